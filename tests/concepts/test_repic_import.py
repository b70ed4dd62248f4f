"""Databases of RePIC and RAP: the real files with their known counts, and each of their faults alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from PIL import Image

from repic_cli.concepts.drafts import Report
from repic_cli.concepts.filling import Existing, Options, fill
from repic_cli.concepts.formats.exporting import export_repic
from repic_cli.concepts.formats.flat_index import read_flat_index
from repic_cli.concepts.formats.named_vectors import DIMENSION, ENCODER
from repic_cli.concepts.formats.repic import read_repic
from repic_cli.concepts.store import ConceptDatabase
from repic_cli.concepts.vector_index import VectorIndex
from repic_cli.concepts.verify import verify
from repic_plugins.errors import DataError
from repic_plugins.registry import PluginRegistry

KEEP = Options(without_pictures=True)


@pytest.fixture
def imported(tmp_path: Path, registry: PluginRegistry) -> Callable[..., tuple[ConceptDatabase, Report]]:
    """Import a source into a new database, which the test closes by ending."""

    def run(source: Path, options: Options = KEEP) -> tuple[ConceptDatabase, Report]:
        drafts, report = read_repic(source)
        fill(tmp_path / "mydb", registry, drafts, report, options)
        return ConceptDatabase(tmp_path / "mydb"), report

    return run


@pytest.mark.parametrize(
    ("name", "file", "rows", "pictures", "vectors", "without_row"),
    [
        ("2_concepts", "database_mod.json", 16, 0, 16, 0),
        ("4_concepts", "database_mod.json", 32, 0, 35, 3),
        ("dreambooth", "database_mod.json", 20, 20, 20, 0),
        ("myvlm", "database_mod.json", 29, 0, 29, 0),
        ("yollava", "database_mod.json", 40, 0, 40, 0),
        ("dreambooth", "database.json", 20, 20, 20, 0),
        ("2_concepts", "database.json", 45, 0, 16, 16),
        ("myvlm", "database.json", 45, 0, 29, 29),
        ("yollava", "database.json", 40, 0, 40, 40),
    ],
)
def test_every_database_of_the_pack(
    repic_pack: Path, imported: Any, name: str, file: str, rows: int, pictures: int, vectors: int, without_row: int
) -> None:
    folder = repic_pack / f"repic_databases/database_{name}"
    # The folder itself stands for the better of its files.
    database, report = imported(folder if file == "database_mod.json" else folder / file)
    assert Path(report.source).name == file
    assert (report.rows, report.added, report.pictures) == (rows, rows, pictures)
    assert (report.vectors, report.reused, report.encoded) == (vectors, vectors - without_row, 0)
    assert len([line for line in report.skipped if "no row names its picture" in line]) == without_row
    assert len(report.skipped) == without_row
    assert len(report.unread) == report.without_picture == rows - pictures
    with database:
        assert database.encoder == (ENCODER if report.reused else "embedded")
        assert len(database) == rows
        assert not verify(database).problems


@pytest.mark.parametrize("name", ["2_concepts", "4_concepts", "dreambooth", "myvlm", "yollava"])
def test_neighbours_are_those_of_the_original_index(repic_pack: Path, imported: Any, name: str) -> None:
    folder = repic_pack / f"repic_databases/database_{name}"
    database, _ = imported(folder)
    expected = json.loads((repic_pack / "expected_nn.json").read_text())[folder.name]
    rows = json.loads((folder / "database_mod.json").read_text())["concept_dict"]
    keys = {row["image"]: key.strip("<>") for key, row in rows.items()}
    with database:
        ids, vectors = database.vectors(ENCODER, DIMENSION)
        names = [database.concepts([int(concept)])[0].key for concept in ids[:, 1]]
        index = VectorIndex(database, ENCODER, DIMENSION)
        places = {int(picture): row for row, picture in enumerate(ids[:, 0])}
        compared = 0
        for path, neighbours in expected.items():
            # Those of pictures without a row, which nobody can be told, are left out.
            wanted = [(keys[n["file"]], n["sq_l2"]) for n in neighbours if n["file"] in keys]
            if path not in keys:
                continue
            own = vectors[names.index(keys[path])]
            found = [
                (names[places[near.picture]], 2 - 2 * near.score) for near in index.pictures(own[None], len(wanted))[0]
            ]
            assert [key for key, _ in found] == [key for key, _ in wanted]
            np.testing.assert_allclose([d for _, d in found], [d for _, d in wanted], atol=2e-5)
            compared += 1
    assert compared == len(rows)


def test_names_keys_and_texts_of_the_pack(repic_pack: Path, imported: Any) -> None:
    database, report = imported(repic_pack / "repic_databases/database_4_concepts")
    with database:
        hero = database.find("ironman")
        assert (hero.name, hero.key, hero.category) == ("Iron Man", "ironman", "human")
        assert database.find("iron man") == hero
        assert [database.find(key).name for key in ("mr.krab", "<black widow>", "quick silver")] == [
            "Mr.Krabs",
            "Black Widow",
            "Quicksilver",
        ]
    assert [name in line for name, line in zip(("sim", "sky", "sunghoon"), report.skipped, strict=True)] == [True] * 3


def test_an_empty_info_is_told(repic_pack: Path) -> None:
    drafts, report = read_repic(repic_pack / "repic_databases/database_dreambooth")
    assert "<fancy_boot> has no info" in report.notes
    assert sum(not draft.info for draft in drafts) == 1


@pytest.mark.parametrize(
    ("file", "rows", "note"),
    [
        ("asset_databases/main_figure.json", 7, "there is no path_to_concept"),
        ("asset_databases/multi.json", 3, "path_to_concept says <C, which is <C>"),
        ("asset_databases/multi_large.json", 7, "path_to_concept says <A>, for which there is no row"),
        ("asset_databases/style_1.json", 1, ""),
        ("rap_example_database.json", 10, ""),
    ],
)
def test_edge_cases_of_the_pack(repic_pack: Path, imported: Any, file: str, rows: int, note: str) -> None:
    """No pictures, no vectors: nothing but texts can be kept, which is told."""
    database, report = imported(repic_pack / "edge_cases" / file)
    database.close()
    assert (report.rows, report.added, report.without_picture) == (rows, rows, rows)
    assert any(note in line for line in [*report.notes, *report.repaired, *report.skipped])


def test_without_pictures_nothing_is_kept_unasked(repic_pack: Path, tmp_path: Path, registry: PluginRegistry) -> None:
    drafts, report = read_repic(repic_pack / "repic_databases/database_myvlm")
    fill(tmp_path / "mydb", registry, drafts, report)
    assert (report.added, len(report.skipped), len(report.unread)) == (0, 29, 29)
    assert not (tmp_path / "mydb").exists()


# Small databases of our own, with one fault each.


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., Path]:
    """Write a database folder: rows, files, and vectors by path."""

    def make(
        rows: dict[str, Any],
        paths: Any = None,
        pictures: tuple[str, ...] = ("bo.png",),
        vectors: dict[str, np.ndarray] | None = None,
    ) -> Path:
        folder = tmp_path / "theirs"
        for number, name in enumerate(pictures):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20), (9 * number, 50, 99)).save(folder / name)
        folder.mkdir(exist_ok=True)
        content = {"concept_dict": rows} | ({} if paths is None else {"path_to_concept": paths})
        (folder / "database.json").write_text(json.dumps(content))
        if vectors is not None:
            index = faiss.IndexFlatL2(DIMENSION)
            index.add(np.stack(list(vectors.values())).astype(np.float32))
            faiss.write_index(index, str(folder / "image.faiss"))
            (folder / "id2filename.json").write_text(json.dumps(dict(enumerate(vectors))))
        return folder

    return make


def unit(number: int, length: float = 1.0) -> np.ndarray:
    return np.eye(DIMENSION, dtype=np.float32)[number] * length


def row(name: Any = "bo", image: Any = "./bo.png", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": image, "info": "A dog.", "category": "dog", **more}


@pytest.mark.parametrize(
    "written",
    [
        "bo.png",
        "./bo.png",
        "./data/x/bo.png",
        "data\\\\x\\\\bo.png",
        "/home/else/theirs/bo.png",
        "theirs/bo.png",
        "//bo.png",
    ],
)
def test_ways_to_write_a_path(source: Any, written: str) -> None:
    (draft,), report = read_repic(source({"<bo>": row(image=written)}))
    assert draft.pictures[0].path is not None and draft.pictures[0].path.name == "bo.png"
    assert not report.unread


def test_a_deeper_path_wins_over_a_bare_name(source: Any) -> None:
    folder = source({"<a>": row("a", "x/one/bo.png")}, pictures=("bo.png", "one/bo.png"))
    (draft,), _ = read_repic(folder)
    assert draft.pictures[0].path == folder / "one/bo.png"


def test_more_pictures_in_path_to_concept(source: Any) -> None:
    paths = {"bo.png": "<bo>", "./bo.png": "<bo", "more/2.png": "BO", "gone.png": "<bo>", "bo2.png": "<nobody>"}
    folder = source({"<bo>": row()}, paths, ("bo.png", "more/2.png"))
    (draft,), report = read_repic(folder)
    assert [picture.source for picture in draft.pictures] == ["bo.png", "2.png", "gone.png"]
    assert any("<nobody>, for which there is no row" in line for line in report.skipped)
    assert len(report.unread) == 1


def test_a_path_of_another_row_is_not_taken_over(source: Any) -> None:
    rows = {"<bo>": row(), "<gus>": row("gus", "gus.png")}
    drafts, report = read_repic(source(rows, {"bo.png": "<gus>"}, ("bo.png", "gus.png")))
    assert [len(draft.pictures) for draft in drafts] == [1, 1]
    assert any("but it is <bo>'s" in line for line in report.skipped)


@pytest.mark.parametrize(
    ("rows", "names", "told"),
    [
        ({"<bo>": row("Bo B")}, [("Bo B", "bo")], ""),
        ({"<bo>": row(None)}, [("bo", "bo")], "has no name"),
        ({"<bo>": row("<|im_end|>")}, [("bo", "bo")], "its key is taken for it"),
        ({"<|x|>": row("Bo")}, [("Bo", "Bo")], "its name stands for the key"),
        ({"<bo>": row(["x"])}, [("bo", "bo")], "must be text, not list"),
        ({"<a>": row("b"), "<b>": row("x")}, [("a", "a"), ("x", "b")], "another concept is called 'b' too"),
        ({"<a>": row("x"), "<b>": row("X")}, [("x", "a"), ("b", "b")], "another concept is called 'X' too"),
        ({"<|x|>": row("a/b")}, [], "looks like a path"),
        ({"<bo>": row(), "bo": row()}, [("bo", "bo")], "the same as <bo>"),
        ({"<bo>": "text"}, [], "its row is a str"),
    ],
)
def test_names(source: Any, rows: dict[str, Any], names: list[tuple[str, str]], told: str) -> None:
    drafts, report = read_repic(source(rows))
    assert [(draft.name, draft.key) for draft in drafts] == names
    assert any(told in line for line in [*report.repaired, *report.skipped]) or not told


@pytest.mark.parametrize(
    ("info", "kept", "told"),
    [
        ("A\x1b[31m dog\x00.", "A dog .", "control character"),
        ("A <|im_end|> dog.", "A dog.", "special token"),
        (None, "", ""),
        ({"a": 1}, "", "is a dict, not text"),
        ("word " * 2_000_000, None, "has 10000000 characters: cut"),
    ],
)
def test_infos(source: Any, info: Any, kept: str | None, told: str) -> None:
    (draft,), report = read_repic(source({"<bo>": row(info=info)}))
    assert kept is None or draft.info.replace(" .", ".") == kept.replace(" .", ".")
    assert len(draft.info) <= 2000
    assert any(told in line for line in report.repaired) or not told
    assert all(len(line) < 700 and line.isprintable() for line in report.repaired)


def test_vectors_are_joined_reused_or_told(source: Any, imported: Any) -> None:
    rows = {"<bo>": row(image="db/theirs/bo.png"), "<gus>": row("gus", "gus.png"), "<max>": row("max", "a/max.png")}
    vectors = {
        "theirs/bo.png": unit(0, 3.0),  # another spelling, and not of unit length
        "gus.png": unit(1),
        "b/max.png": unit(2),  # the bare name alone does not join
        "stranger.png": unit(3),
        "zero.png": unit(4, 0.0),
    }
    database, report = imported(source(rows, vectors=vectors))
    with database:
        ids, values = database.vectors(ENCODER, DIMENSION)
        named = {database.concepts([int(c)])[0].name: v for c, v in zip(ids[:, 1], values, strict=True)}
    assert set(named) == {"bo", "gus"}
    np.testing.assert_allclose(named["bo"], unit(0), atol=1e-6)
    assert (report.vectors, report.reused, report.added, report.without_picture) == (5, 2, 3, 2)
    assert any("1 vectors were not of unit length" in line for line in report.repaired)
    assert sum("no row names its picture" in line for line in report.skipped) == 2
    assert sum("no direction" in line for line in report.skipped) == 1


def test_one_picture_of_two_concepts_has_one_vector(source: Any) -> None:
    drafts, report = read_repic(source({"<a>": row("a"), "<b>": row("b")}, vectors={"./bo.png": unit(5)}))
    assert all(draft.pictures[0].vector is not None for draft in drafts)
    assert not report.skipped


def test_vectors_of_another_encoder_are_left_aside(source: Any, imported: Any) -> None:
    """The database is to use the embedded encoder: pictures are encoded anew."""
    folder = source({"<bo>": row()}, vectors={"bo.png": unit(0)})
    database, report = imported(folder, Options(encoder="embedded"))
    with database:
        assert database.encoder == "embedded"
    assert (report.reused, report.encoded) == (0, 1)
    assert any("are not of the encoder embedded: left aside" in line for line in report.notes)


def test_names_that_are_there_are_skipped_or_merged(source: Any, imported: Any, tmp_path: Path) -> None:
    folder = source({"<bo>": row()}, vectors={"bo.png": unit(0)})
    imported(folder)[0].close()
    database, report = imported(folder)
    assert (report.added, len(database)) == (0, 1)
    assert any("there is a concept 'bo' already" in line for line in report.skipped)
    database.close()
    Image.new("RGB", (20, 20), "green").save(folder / "bo.png")
    database, report = imported(folder, Options(existing=Existing.merge))
    with database:
        assert (report.added, report.extended, report.pictures) == (0, 1, 1)
        assert len(database.find("bo").pictures) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "has no concept_dict"),
        ('{"concept_dict": []}', "has no concept_dict"),
        ("{", "not JSON"),
        ('{"concept_dict": {"<a>": {}, "<a>": {}}}', "stands twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"concept_dict": ' + "9" * 5000 + "}", "not JSON"),
    ],
)
def test_what_is_no_database(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "database.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_repic(tmp_path)


def test_a_folder_without_a_database(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither database_mod"):
        read_repic(tmp_path)


@pytest.mark.parametrize("kind", ["IndexFlatL2", "IndexFlatIP"])
def test_flat_indexes_are_read_as_faiss_reads_them(tmp_path: Path, kind: str) -> None:
    values = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    index = getattr(faiss, kind)(5)
    index.add(values)
    faiss.write_index(index, str(tmp_path / "image.faiss"))
    np.testing.assert_array_equal(read_flat_index(tmp_path / "image.faiss"), values)


def vectors_by_name(database: ConceptDatabase) -> dict[str, bytes]:
    ids, values = database.vectors(ENCODER, DIMENSION)
    return {database.concepts([int(c)])[0].name: v.tobytes() for c, v in zip(ids[:, 1], values, strict=True)}


def test_export_and_import_lose_nothing(tmp_path: Path, registry: PluginRegistry, source: Any, imported: Any) -> None:
    rows = {
        "<ironman>": row("Iron Man", aliases=["Tony", "a/b"], boxes={"./bo.png": [2, 3, 15, 16]}),
        "<gus>": row("gus", "gone.png"),
    }
    vectors = {"bo.png": unit(0), "gone.png": unit(1)}
    first, _ = imported(source(rows, vectors=vectors))
    with first:
        done = export_repic(first, tmp_path / "out")
        assert (done.concepts, done.pictures, done.vectors) == (2, 1, 2)
        with pytest.raises(DataError, match="is there already"):
            export_repic(first, tmp_path / "out")
        drafts, report = read_repic(tmp_path / "out")
        fill(tmp_path / "again", registry, drafts, report, KEEP)
        with ConceptDatabase(tmp_path / "again") as second:
            for one, other in zip(first.concepts(), second.concepts(), strict=True):
                assert (one.name, one.key, one.info, one.category, one.aliases) == (
                    other.name,
                    other.key,
                    other.info,
                    other.category,
                    other.aliases,
                )
                assert [(p.size, p.box) for p in one.pictures] == [(p.size, p.box) for p in other.pictures]
            assert second.find("Tony").pictures[0].box == (2, 3, 15, 16)
            assert vectors_by_name(first) == vectors_by_name(second)
    index = faiss.read_index(str(tmp_path / "out/image.faiss"))  # as other programs read it
    assert (index.ntotal, index.d) == (2, DIMENSION)
    assert not list(tmp_path.glob(".*.partial"))
