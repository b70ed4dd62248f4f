"""`repic db search|reindex|calibrate` as a user calls them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repic_cli.app import main
from repic_cli.concepts.adding import add_concept
from repic_cli.concepts.concept import NewConcept
from repic_cli.concepts.encoders import embedded_encoder
from repic_cli.concepts.pictures import lost_picture
from repic_cli.concepts.store import ConceptDatabase
from repic_cli.embedded.world import Identity, identities, pick, render_reference, render_scene
from repic_plugins.manager import load_plugins

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """`repic db ...` in this process: exit code, stdout, stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["--no-plugins", "db", *map(str, words)])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Identity]]:
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(6)
    members = list(pick(rng, identities("held_out"), 8))
    registry = load_plugins(enabled=False)
    for number, member in enumerate(members[:6]):
        path = folder / f"{number}.png"
        Image.fromarray(render_reference(rng, member)).save(path)
        category = "round" if number % 2 else "pointed"
        add_concept(folder / "db", registry, f"thing {number}", [path], category=category)
    return folder / "db", members


@pytest.fixture
def place(tmp_path: Path, made: tuple[Path, list[Identity]]) -> Path:
    """A database of six things, a picture of two of them, and one of strangers."""
    shutil.copytree(made[0], tmp_path / "db")
    rng = np.random.default_rng(3)
    members = made[1]
    Image.fromarray(render_scene(rng, members[:2]).image).save(tmp_path / "known.png")
    Image.fromarray(render_scene(rng, members[6:]).image).save(tmp_path / "strangers.png")
    return tmp_path


def test_search_names_what_is_there(place: Path, run: Run) -> None:
    code, out, err = run("search", place / "db", place / "known.png", place / "strangers.png")
    assert code == 0
    first, _, second = out.partition("strangers.png")
    assert first.count("  found\n") == 2
    assert "thing 0" in first
    assert "thing 1" in first
    assert ": no concepts" in second
    assert "not near enough" in second
    assert "note: detector grid: " in err


def test_search_as_json(place: Path, run: Run) -> None:
    code, out, _ = run("search", place / "db", place / "known.png", "--json", "--top", 1)
    found = json.loads(out)
    assert code == 0
    assert found["index"]["kind"] == "flat"
    assert found["threshold_from"] == "the encoder's guess"
    (picture,) = found["pictures"]
    (hit,) = picture["found"]
    assert set(hit) == {"name", "category", "score", "box", "label", "picture"}
    assert "more than 1 were found" in {near["reason"] for near in picture["rejected"]}
    assert len(picture["rejected"]) == len({near["name"] for near in picture["rejected"]})


def test_search_in_a_category(place: Path, run: Run) -> None:
    _, out, _ = run("search", place / "db", place / "known.png", "--category", "ROUND", "--json")
    (picture,) = json.loads(out)["pictures"]
    assert [hit["name"] for hit in picture["found"]] == ["thing 1"]
    assert {near["category"] for near in picture["rejected"]} == {"round"}
    code, _, err = run("search", place / "db", place / "known.png", "--category", "rond")
    assert code == 6
    assert "no concept of category 'rond'; did you mean round?" in err


def test_search_goes_on_after_a_broken_picture(place: Path, run: Run) -> None:
    (place / "pictures").mkdir()
    (place / "pictures" / "a.png").write_bytes(b"\x89PNG")
    shutil.copy(place / "known.png", place / "pictures" / "b.png")
    code, out, err = run("search", place / "db", place / "pictures")
    assert code == 0
    assert "b.png: 2 concepts" in out
    assert "skipped: " in err
    (place / "pictures" / "b.png").unlink()
    assert run("search", place / "db", place / "pictures")[0] == 5
    assert "no such picture" in run("search", place / "db", place / "missing.png")[2]
    (place / "empty").mkdir()
    assert "there is no picture in this folder" in run("search", place / "db", place / "empty")[2]


def test_calibrate_is_kept_and_used(place: Path, run: Run) -> None:
    code, out, _ = run("calibrate", place / "db", "--dry-run", "--json")
    shown = json.loads(out)
    assert (code, shown["kept"], shown["before"]) == (0, False, 0.85)
    assert json.loads(run("search", place / "db", place / "known.png", "--json")[1])["threshold"] == 0.85
    code, out, _ = run("calibrate", place / "db")
    assert code == 0
    assert f"threshold {shown['threshold']:.3f}" in out
    found = json.loads(run("search", place / "db", place / "known.png", "--json")[1])
    assert (found["threshold"], found["threshold_from"]) == (shown["threshold"], "calibrated")
    assert run("calibrate", place / "db", "--strangers", 7)[0] == 2
    assert "not a folder" in run("calibrate", place / "db", "--validation", place / "nowhere")[2]


def test_reindex_makes_the_kind_that_is_asked_for(place: Path, run: Run) -> None:
    assert "compares with all of them (flat)" in run("reindex", place / "db")[1]
    code, _, err = run("reindex", place / "db", "--kind", "ivf")
    assert (code, "needs at least 1000 vectors" in err) == (2, True)
    assert run("reindex", place / "db", "--kind", "annoy")[0] == 2
    encoder = embedded_encoder()
    vectors = np.random.default_rng(0).normal(size=(1200, encoder.dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with ConceptDatabase(place / "db") as database:
        many = [
            NewConcept(f"c{number}", [lost_picture(vector, "made up")], vector[None])
            for number, vector in enumerate(vectors)
        ]
        database.add_many(many, "embedded", encoder.id)
    code, out, _ = run("reindex", place / "db", "--kind", "ivf")
    assert code == 0
    assert "ivf index of 1206 vectors" in out
    state = json.loads(run("search", place / "db", place / "known.png", "--json")[1])["index"]
    assert (state["kind"], Path(state["file"]).is_file()) == ("ivf", True)
    assert json.loads(run("reindex", place / "db", "--json")[1])["kind"] == "ivf"
    assert json.loads(run("reindex", place / "db", "--kind", "auto", "--json")[1])["file"] is None
    assert list((place / "db" / "index").glob("*.index")) == []
