"""`repic eval run`: every setting on pictures of the embedded world, going on after a stop, bad input."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from repic_cli.concepts.concept import NewConcept
from repic_cli.concepts.pictures import read_picture
from repic_cli.concepts.store import ConceptDatabase
from repic_cli.data.building.manifest import write_folder
from repic_cli.embedded.world import identities, pick, render_reference, render_scene

NAMES = ("bo", "thao", "gus", "mia")
QUERIES = {"a.png": ["bo"], "b.png": ["thao", "gus"], "c.png": ["mia"], "d.png": []}
Call = Callable[..., tuple[int, str, str]]


class World(NamedTuple):
    """A database of four concepts and a template of four queries on its scenes."""

    database: Path
    queries: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    from repic_cli.concepts.encoders import embedded_encoder

    folder, rng, encoder = tmp_path_factory.mktemp("world"), np.random.default_rng(8), embedded_encoder()
    members = dict(zip((*NAMES, "stranger"), pick(rng, identities("held_out"), 5), strict=True))
    with ConceptDatabase(folder / "mydb", create=True) as database:
        for name in NAMES:
            Image.fromarray(render_reference(rng, members[name])).save(folder / f"{name}.png")
            pictures = [read_picture(folder / f"{name}.png")]
            new = NewConcept(name, pictures, encoder.encode([pictures[0].image]), aliases=(f"{name}bert",))
            database.add(new, "embedded", encoder.id)
    for image, keys in QUERIES.items():
        shown = [members[key] for key in keys or ["stranger"]]
        Image.fromarray(render_scene(rng, shown).image).save(folder / image)
    template = {f"./data/{image}": [f"<{key}>" for key in keys] for image, keys in QUERIES.items()}
    (folder / "queries.json").write_text(json.dumps(template))
    return World(folder / "mydb", folder / "queries.json")


@pytest.fixture
def run(repic: Call, world: World, mini_model: Path, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Run queries of the world with the model that answers with noise, into out.jsonl."""

    def call(setting: str, *args: object, queries: Path = world.queries) -> tuple[int, str, str]:
        more: tuple[object, ...] = ("--model", mini_model, "--max-new-tokens", 6, "--batch-size", 2)
        given = ("--db", world.database) if "--db" not in args else ()
        asked = ("--queries", queries, "--setting", setting, "--out", tmp_path / "out.jsonl")
        return repic("eval", "run", *asked, *given, *more, *args)

    return call


def rows(path: Path) -> list[dict[str, Any]]:
    return [row for line in path.read_text().splitlines() if (row := json.loads(line))["id"] != "#database"]


def test_skip_retrieval_shows_what_is_there(run: Call, tmp_path: Path) -> None:
    code, out, err = run("skip-retrieval")
    assert code == 0 and "strict" in out and "captioned 4 queries, 0 were there already" in err
    found = {row["image"]: row for row in rows(tmp_path / "out.jsonl")}
    assert {image: row["shown"] for image, row in found.items()} == {
        f"./data/{image}": [f"<{key}>" for key in keys] for image, keys in QUERIES.items()
    }
    row = found["./data/b.png"]
    assert row["keys"] == ["<thao>", "<gus>"] and "<thao>" in row["prompt"] and "retrieved" not in row
    assert row["run"]["setting"] == "skip-retrieval" and row["run"]["adapter"] is None and row["run"]["seed"] == 0


def test_the_file_alone_gives_the_same_scores_again(run: Call, repic: Call, tmp_path: Path, world: World) -> None:
    out = tmp_path / "out.jsonl"
    _, first, _ = run("retrieval", "--json", "--top-k", 2)
    again = repic("eval", "score", out, "--json")[1]
    with_db = repic("eval", "score", out, "--json", "--db", world.database)[1]
    assert json.loads(first) == json.loads(again) == json.loads(with_db)
    # The names of the whole database are in it, so that a wrong one is known for one.
    lines = out.read_text().splitlines()
    changed = [json.loads(line) for line in lines]
    for row in changed[1:]:
        row["caption"] = "Here is <miabert>."
    out.write_text("\n".join(map(json.dumps, changed)) + "\n")
    value = json.loads(repic("eval", "score", out, "--json")[1])["files"][0]
    assert value["strict"]["hits"] == 1 and value["strict"]["precision_denominator"] == 3
    assert value["beyond"]["open_set"]["value"] == 1


def test_top_k_shows_the_nearest_and_bounds_the_captions(run: Call, tmp_path: Path) -> None:
    code, out, _ = run("retrieval", "--top-k", 3)
    assert code == 0 and "retrieval (top 3)" in out
    for row in rows(tmp_path / "out.jsonl"):
        assert len(row["shown"]) == 3 and row["shown"] == row["retrieved"]
        assert row["scores"] == sorted(row["scores"], reverse=True)


def test_retrieval_as_repic_caption_does_it(run: Call, tmp_path: Path) -> None:
    code, _, _ = run("retrieval", "--no-verify")
    assert code == 0
    found = {row["image"]: set(row["retrieved"]) for row in rows(tmp_path / "out.jsonl")}
    right = sum({f"<{key}>" for key in keys} <= found[f"./data/{image}"] for image, keys in QUERIES.items() if keys)
    assert right >= 2 and len(found["./data/d.png"]) <= 1


def test_wrong_demonstrations_are_not_in_the_picture(run: Call, tmp_path: Path) -> None:
    code, _, err = run("wrong-demonstrations", "--seed", 5)
    assert code == 0 and "lower is better" in err
    first = {row["id"]: row["shown"] for row in rows(tmp_path / "out.jsonl")}
    for row in rows(tmp_path / "out.jsonl"):
        assert len(row["shown"]) == len(row["keys"]) and not set(row["shown"]) & set(row["keys"])
    (tmp_path / "out.jsonl").unlink()
    run("wrong-demonstrations", "--seed", 5)
    assert {row["id"]: row["shown"] for row in rows(tmp_path / "out.jsonl")} == first


def test_general_needs_no_database(repic: Call, world: World, mini_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    code, table, _ = repic(
        "eval", "run", "--queries", world.queries, "--setting", "general", "--out", out, "--model", mini_model,
        "--max-new-tokens", 6,
    )  # fmt: skip
    assert code == 0 and "open set" in table
    assert all(row["shown"] == [] for row in rows(out)) and len(rows(out)) == 4


def test_a_stopped_run_goes_on(run: Call, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    run("skip-retrieval")
    whole = out.read_bytes()
    out.write_bytes(whole[: -len(whole.splitlines()[-1]) // 2])  # killed in the middle of a line
    code, _, err = run("skip-retrieval")
    assert code == 0 and "captioned 1 queries, 3 were there already" in err
    assert out.read_bytes() == whole
    code, _, err = run("skip-retrieval", "--prompt", "Name them.")
    assert code == 2 and "other options" in err and out.read_bytes() == whole


def test_several_queries_of_one_picture(run: Call, world: World, tmp_path: Path) -> None:
    queries = tmp_path / "queries.json"
    queries.write_text(json.dumps({"b.png": [["<thao>"], ["<gus>"], ["<thao>", "<gus>"]], "a.png": ["<bo>"]}))
    code, _, err = run("skip-retrieval", "--pictures", world.queries.parent, queries=queries)
    assert code == 0 and "captioned 4" in err
    (tmp_path / "out.jsonl").unlink()
    code, _, err = run(
        "wrong-demonstrations", "--pictures", world.queries.parent, "--concepts-per-image", 1, queries=queries
    )
    assert code == 0 and "captioned 3" in err
    for row in rows(tmp_path / "out.jsonl"):  # what is in the picture by any of its queries is no wrong one
        if row["image"] == "b.png":
            assert not {"<thao>", "<gus>"} & set(row["shown"])


BAD = [
    ("q.json", '{"a.png": ["<bo>"], "x.png": ["<bo>"]}', "entry 2: x.png: no such picture"),
    ("q.json", '{"a.png": ["<bo>"], "b.png": ["<nobody>"]}', "no concept 'nobody'"),
    ("q.json", '{"a.png": ["<bo>"], "zero.png": ["<bo>"]}', ""),
    ("q.jsonl", '{"image": "a.png", "keys": ["bo"]}\n{"image": "b.png"}\n', "row 2: a query is an object"),
    ("q.jsonl", '{"image": "a.png", "keys": ["bo"]}\n{"image": "b.png", "k', "row 2: not JSON"),
    ("q.csv", "image,keys\na.png,bo\nb.png,<>\n", "row 3: a key is empty"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD)
def test_bad_queries_are_named_or_counted(
    run: Call, world: World, tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    (tmp_path / "zero.png").write_bytes(b"")
    where = ("--pictures", world.queries.parent)
    code, out, err = run("skip-retrieval", *where, queries=tmp_path / name)
    if message:
        assert code == 5 and message in err and name in err and not out and err.count("\n") == 1
        assert not (tmp_path / "out.jsonl").exists()
        code, out, err = run("skip-retrieval", *where, "--skip-bad", queries=tmp_path / name)
        assert code == 0 and "warning: 1 queries left out" in err
    assert code == 0 and "strict" in out and len([row for row in rows(tmp_path / "out.jsonl") if "caption" in row]) == 1
    if not message:
        assert "warning: 1 pictures could not be read" in err and "1 pictures have no caption" in err


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("skip-retrieval", "--top-k", 2), 2, "--top-k does not go with --setting skip-retrieval"),
        (("general", "--no-verify"), 2, "--verify does not go with --setting general"),
        (("wrong-demonstrations", "--threshold", 0.3), 2, "--threshold does not go with"),
        (("recognition",), 2, "--db does not go with --setting recognition"),
        (("grounding", "--skip-bad"), 2, "does not go with --setting grounding: the records say what is asked"),
        (("skip-retrieval", "--concepts-per-image", 3), 2, "none of the 4 queries"),
    ],
)
def test_options_that_do_not_go_together(run: Call, args: tuple[Any, ...], code: int, message: str) -> None:
    got, _, err = run(*args)
    assert got == code and message in err


def test_columns_of_a_table_are_named(run: Call, tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("picture,keys\na.png,bo\n")
    code, _, err = run("skip-retrieval", queries=tmp_path / "q.csv")
    assert code == 5 and "q.csv: row 1: no column image (there are picture, keys)" in err


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record file of 6 OCT and 4 VLT records of the embedded world, as files."""
    from dataclasses import replace

    from repic_cli.data.images import FileImage
    from repic_cli.embedded.records import records
    from repic_plugins.types import ImageRef

    folder = tmp_path_factory.mktemp("records")

    def saved(image: ImageRef, name: str) -> FileImage:
        image.open().save(folder / f"{name}.png")
        return FileImage(folder / f"{name}.png")

    def as_files() -> Iterator[Any]:
        for kind, count in (("oct", 6), ("vlt", 4)):
            for i, record in enumerate(records(kind, count, 3, "held_out")):  # type: ignore[arg-type]
                shown = tuple(
                    replace(one, image=saved(one.image, f"{kind}{i}r{k}")) for k, one in enumerate(record.references)
                )
                yield replace(record, image=saved(record.image, f"{kind}{i}"), references=shown, meta={})

    write_folder(folder, as_files(), dict)
    return folder / "records.jsonl"


@pytest.mark.parametrize(("setting", "count"), [("recognition", 6), ("grounding", 4)])
def test_skills_of_the_embedded_model(repic: Call, questions: Path, tmp_path: Path, setting: str, count: int) -> None:
    out = tmp_path / "out.jsonl"
    args = ("eval", "run", "--queries", questions, "--setting", setting, "--out", out, "--model", "embedded", "--json")
    code, first, err = repic(*args)
    assert code == 0 and f"answered {count} questions, 0 were there" in err
    scores = json.loads(first)["files"][0]["scores"]
    whole = out.read_bytes()
    out.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    code, again, err = repic(*args)
    assert code == 0 and f"answered {count - 2} questions, 2 were there" in err and again == first
    assert repic("eval", "score", out, "--json")[1] == first
    # The embedded model was trained on these skills.
    assert scores["weighted" if setting == "recognition" else "accuracy"]["value"] >= 0.5
    names = {"recognition": ["positive", "negative", "weighted", "unread"], "grounding": ["accuracy", "iou", "boxless"]}
    assert list(scores) == names[setting]


def test_records_of_another_task_are_no_questions(repic: Call, tmp_path: Path, questions: Path) -> None:
    lines = [line for line in questions.read_text().splitlines() if json.loads(line)["task"] == "vlt"]
    other = questions.parent / "vlt.jsonl"
    other.write_text("\n".join(lines) + "\n")
    code, _, err = repic("eval", "run", "--queries", other, "--setting", "recognition", "--out", tmp_path / "o.jsonl")
    assert code == 5 and "no records of task oct" in err and not (tmp_path / "o.jsonl").exists()
