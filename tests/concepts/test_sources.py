"""Concepts from folders, CSV and JSON, and many at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from repic_cli.concepts import filling
from repic_cli.concepts.adding import add_concept, create_database, update_concept
from repic_cli.concepts.concept import Update
from repic_cli.concepts.drafts import Draft, DraftPicture, Report
from repic_cli.concepts.filling import Existing, Options, fill
from repic_cli.concepts.formats.folders import read_folders
from repic_cli.concepts.formats.sources import read_source
from repic_cli.concepts.formats.tables import read_table
from repic_cli.concepts.store import ConceptDatabase
from repic_cli.concepts.verify import verify
from repic_plugins.errors import DatabaseError, DataError, OptionError
from repic_plugins.registry import PluginRegistry

Photo = Callable[..., Path]


@pytest.fixture
def things_folder(tmp_path: Path, photo: Photo) -> Path:
    """Bo with two pictures and texts, thao with one, and things that are no concepts."""
    folder = tmp_path / "things"
    for number, name in enumerate(("bo/1.jpg", "bo/2.PNG", "thao/odd 'name' (1).webp", ".hidden/1.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(photo(f"x{Path(name).suffix}", seed=number), folder / name)
    (folder / "bo/info.txt").write_text("A brown\ndog.\n")
    (folder / "bo/category.txt").write_text("dog\n")
    (folder / "empty").mkdir()
    (folder / "a, b").mkdir()
    return folder


def test_a_folder(things_folder: Path) -> None:
    drafts, report = read_folders(things_folder)
    assert [(draft.name, draft.info, draft.category, len(draft.pictures)) for draft in drafts] == [
        ("bo", "A brown dog.", "dog", 2),
        ("thao", "", "", 1),
    ]
    assert report.rows == 4
    assert len(report.skipped) == 2


def test_a_folder_of_pictures_alone(things_folder: Path) -> None:
    with pytest.raises(DataError, match=r"no sub-folders.* --name NAME"):
        read_folders(things_folder / "bo")


CSV = """name,picture,info,category,aliases,box
Bo,bo/1.jpg,"A dog, brown.",dog,Bobby; Bobs,"2,3,30,20"
thao,thao/odd 'name' (1).webp,,,,
bo,bo/2.PNG,again,,,
bo,bo/none.png,,,,
"""
ROWS = [
    {
        "name": "Bo",
        "key": "b1",
        "info": "A dog, brown.",
        "category": "dog",
        "aliases": ["Bobby", "Bobs"],
        "pictures": [{"path": "bo/1.jpg", "box": [2, 3, 30, 20]}, "bo/2.PNG", "bo/none.png"],
    },
    {"name": "thao", "picture": "thao/odd 'name' (1).webp"},
]


@pytest.mark.parametrize(
    ("name", "content"),
    [("t.csv", CSV), ("t.csv", "\ufeff" + CSV.replace("\n", "\r\n")), ("t.json", ROWS), ("t.json", {"concepts": ROWS})],
)
def test_tables(things_folder: Path, name: str, content: Any) -> None:
    path = things_folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), newline="")
    (bo, thao), report = read_table(path)
    assert (bo.name, bo.info, bo.category, bo.aliases) == ("Bo", "A dog, brown.", "dog", ("Bobby", "Bobs"))
    assert bo.key == ("Bo" if name == "t.csv" else "b1")
    assert [(picture.source, picture.box) for picture in bo.pictures] == [("1.jpg", (2, 3, 30, 20)), ("2.PNG", None)]
    assert [picture.source for picture in thao.pictures] == ["odd 'name' (1).webp"]
    assert report.rows == 2
    assert len(report.unread) == 1 and "bo/none.png: no such picture" in report.unread[0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", "must name the columns"),
        ("t.csv", "a,b\n1,2\n", "must name the columns"),
        ("t.csv", "name,picture\nbo\n", "line 2 has another number of cells"),
        ("t.csv", "name,picture\nbo,1.png,x\n", "line 2 has another number of cells"),
        ("t.csv", 'name,picture\n"bo,1.png\n', "not CSV"),
        ("t.csv", "name,picture\n", "there is no concept in it"),
        ("t.json", "{}", "must be a list of concepts"),
        ("t.json", "[1]", "concept 1 is a int, not an object"),
        ("t.json", '[{"nmae": "bo"}]', "unknown field 'nmae'"),
        ("t.json", '{"concept_dict": {}}', "repic db import"),
        ("t.json", "[]", "there is no concept in it"),
        ("t.txt", "bo", "not a source of concepts"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_source(tmp_path / name)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ("1,2,3", "not four numbers"),
        ([1, 2, 1, 4], "is empty"),
        ("a b c d", "not four numbers"),
        ([1, 2, 3, 1e999], "is empty"),
    ],
)
def test_boxes_that_are_none(things_folder: Path, box: Any, message: str) -> None:
    (things_folder / "t.json").write_text(json.dumps([{"name": "bo", "pictures": [{"path": "bo/1.jpg", "box": box}]}]))
    (draft,), report = read_table(things_folder / "t.json")
    assert not draft.pictures
    assert message in report.unread[0]


def test_a_picture_needs_a_name(things_folder: Path) -> None:
    with pytest.raises(OptionError, match="--name"):
        read_source(things_folder / "bo/1.jpg")


def test_many_at_once(tmp_path: Path, things_folder: Path, registry: PluginRegistry) -> None:
    heard: list[tuple[int, int]] = []
    (things_folder / "thao/damaged.png").write_bytes(b"x")
    drafts, report = read_folders(things_folder)
    fill(tmp_path / "mydb", registry, drafts, report, tell=lambda *numbers: heard.append(numbers))
    assert (report.added, report.pictures, report.encoded) == (2, 3, 3)
    assert heard[-1] == (2, 2)
    with ConceptDatabase(tmp_path / "mydb") as database:
        assert [len(concept.pictures) for concept in database.concepts()] == [2, 1]
        assert not verify(database).problems


def test_more_pictures_than_are_held_at_a_time(
    tmp_path: Path, photo: Photo, registry: PluginRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "BATCH", 3)
    pictures = tuple(DraftPicture(photo(f"{seed}.png", seed), f"{seed}.png") for seed in range(8))
    drafts = [Draft("a", "a", pictures[:1]), Draft("b", "b", pictures), Draft("c", "c", pictures[6:])]
    report = fill(tmp_path / "mydb", registry, drafts, Report("test"))
    assert (report.added, report.extended, report.pictures) == (3, 0, 11)
    with ConceptDatabase(tmp_path / "mydb") as database:
        assert [len(concept.pictures) for concept in database.concepts()] == [1, 8, 2]
    # The same again: nothing is new, whatever is asked for.
    for existing in Existing:
        report = fill(tmp_path / "mydb", registry, drafts, Report("test"), Options(existing=existing))
        assert (report.added, report.extended, report.pictures, len(report.skipped)) == (0, 0, 0, 3)


def test_a_name_that_is_taken_by_a_row_before(tmp_path: Path, photo: Photo, registry: PluginRegistry) -> None:
    drafts = [Draft(name, name, (DraftPicture(photo(f"{name}.png", 1), "x"),)) for name in ("bo", "BO", "thao")]
    report = fill(tmp_path / "mydb", registry, drafts, Report("test"))
    assert report.added == 2
    assert "there is a concept 'BO' already" in report.skipped[0]


def test_the_box_is_what_the_encoder_sees(tmp_path: Path, registry: PluginRegistry, encoder: Any) -> None:
    image = Image.new("RGB", (300, 100), "white")
    image.paste((200, 0, 0), (10, 10, 60, 60))
    image.paste((0, 0, 200), (150, 0, 300, 100))
    image.save(tmp_path / "scene.png")
    concept = add_concept(tmp_path / "mydb", registry, "red", [tmp_path / "scene.png"], box=(10, 10, 60, 60))
    (picture,) = concept.pictures
    assert picture.box == (10, 10, 60, 60)
    assert picture.size == (300, 100)
    with ConceptDatabase(tmp_path / "mydb") as database:
        (vector,) = database.vectors(encoder.id, encoder.dimension)[1]
    # The box with a fifth of its side around it.
    np.testing.assert_allclose(vector, encoder.encode([image.crop((5, 5, 65, 65))])[0], atol=1e-5)


def test_create_and_update(tmp_path: Path, registry: PluginRegistry, photo: Photo) -> None:
    assert create_database(tmp_path / "mydb") == "embedded"
    with pytest.raises(DatabaseError, match="there is a database already"):
        create_database(tmp_path / "mydb")
    add_concept(tmp_path / "mydb", registry, "bo", [photo("1.png", 1)])
    changed = update_concept(tmp_path / "mydb", registry, "bo", Update(info="A dog."), [photo("2.png", 2)])
    assert (changed.info, len(changed.pictures)) == ("A dog.", 2)
    with pytest.raises(DatabaseError, match="no concept 'gus'"):
        update_concept(tmp_path / "mydb", registry, "gus", Update(), [photo("2.png", 2)])


@pytest.mark.slow
def test_photographs_of_twenty_things(repic_pack: Path, tmp_path: Path, registry: PluginRegistry) -> None:
    """DreamBooth: JPEG, PNG with transparency, two frames in one file, large files, odd names."""
    folder = tmp_path / "things"
    shutil.copytree(repic_pack / "queries/dreambooth", folder)
    folder.chmod(0o755)
    mpo = next((repic_pack / "edge_cases").glob("mpo*.jpg"))
    odd = folder / "odd one's (2)"
    odd.mkdir()
    shutil.copy(mpo, odd / "schön, 'two' frames.JPG")
    Image.new("RGBA", (700, 900), (200, 30, 30, 90)).save(odd / "glass.png")
    Image.new("RGB", (9000, 6000), "green").save(odd / "big.jpg")
    drafts, report = read_folders(folder)
    fill(tmp_path / "mydb", registry, drafts, report)
    assert (report.added, report.pictures, report.unread, report.skipped) == (21, 111, [], [])
    with ConceptDatabase(tmp_path / "mydb") as database:
        assert not verify(database).problems
        ids, vectors = database.vectors(*database_encoder(database))
        # Every stored picture is its own nearest neighbour, or as near as one that looks the same.
        scores = vectors @ vectors.T
        assert (scores.max(axis=1) - np.diag(scores) < 1e-5).all()
        assert len(ids) == 111
        for name in ("odd one's (2)", "dog", "FANCY_BOOT"):
            database.remove(name)
        assert not verify(database).problems
        assert len(list(database.pictures.iterdir())) == sum(len(c.pictures) for c in database.concepts())


def database_encoder(database: ConceptDatabase) -> tuple[str, int]:
    with database.reading() as connection:
        row = connection.execute("SELECT encoder, dimension FROM embeddings").fetchone()
    return str(row[0]), int(row[1])
