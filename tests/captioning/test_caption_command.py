"""`repic db` and `repic caption` as people type them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from repic_cli.captioning.opening import choose_model
from repic_cli.config import resolve

Repic = Callable[..., tuple[int, str, str]]
QUICK = ("--max-new-tokens", 4)
# The model answers with noise, so what is found is not put to it.
FOUND = (*QUICK, "--no-verify")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)).save(path)
    return path


def one_error(err: str) -> str:
    """The only line of stderr that is no note."""
    (line,) = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert line.startswith("error: ")
    return line


def test_add_list_show_remove(repic: Repic, tmp_path: Path, photo: Path) -> None:
    db = tmp_path / "mydb"
    code, out, err = repic(
        "db", "add", db, "--name", "Bo", "--info", "A dog.", "--category", "dog", "--alias", "bobo", photo
    )
    assert (code, out) == (0, f"added Bo with 1 picture; {db} has 1 in all\n")
    assert "knows repic's toy world only" in err
    code, out, _ = repic("db", "add", db, "--name", "<thao>", photo, "--json")
    assert (code, json.loads(out)["name"]) == (0, "thao")
    code, out, _ = repic("db", "list", db)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["name", "Bo", "thao"]
    listed = json.loads(repic("db", "list", db, "--json")[1])
    assert listed["encoder"] == "embedded"
    assert [concept["info"] for concept in listed["concepts"]] == ["A dog.", ""]
    assert "photo.png" in repic("db", "show", db, "BOBO")[1]
    shown = json.loads(repic("db", "show", db, "bo", "--json")[1])
    assert shown["pictures"][0]["width"] == 40
    assert not shown["pictures"][0]["missing"]
    assert repic("db", "remove", db, "bo")[1] == f"removed Bo; {db} has 1 left\n"
    assert json.loads(repic("db", "remove", db, "thao", "--json")[1])["left"] == 0
    assert "has no concepts" in repic("db", "list", db)[2]
    assert list((db / "pictures").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("db", "add", "{db}", "--name", "bo", "none.png"), 5, "none.png: no such picture"),
        (("db", "add", "{db}", "--name", "<|im_end|>", "{photo}"), 5, "concept name '<|im_end|>'"),
        (("db", "add", "{db}", "--name", "a/../b", "{photo}"), 5, "looks like a path"),
        (("db", "add", "{db}", "--name", "bo", "--info", "a\x1b]0;x\x07", "{photo}"), 5, "control character U+001B"),
        (("db", "add", "{db}", "--name", "bo"), 2, "missing argument"),
        (("db", "add", "{photo}", "--name", "bo", "{photo}"), 6, "a concept database is a folder"),
        (("db", "add", "{db}", "--name", "bo", "--encoder", "ViT", "{photo}"), 2, "MODEL:WEIGHTS"),
        (("db", "list", "{db}"), 6, "no concept database here"),
        (("db", "remove", "{db}", "bo"), 6, "no concept database here"),
        (("caption", "{photo}", "--db", "{db}"), 6, "no concept database here"),
        (("caption", "none.png"), 5, "none.png: no such picture or folder"),
        (("caption", "{empty}"), 5, "there is no picture in this folder"),
        (("caption", "{photo}", "--concepts", "bo"), 2, "--concepts needs --db"),
        (("caption", "{photo}", "--preset", "papr"), 2, "unknown preset 'papr'; did you mean paper"),
        (("caption", "{photo}", "--model", "no-such"), 7, "no-such: no such folder"),
    ],
)
def test_bad_input_is_one_line(
    repic: Repic, tmp_path: Path, photo: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"db": tmp_path / "mydb", "photo": photo, "empty": tmp_path / "empty"}
    got, out, err = repic(*(argument.format(**places) for argument in arguments))
    assert (got, out) == (code, "")
    assert message.lower() in one_error(err).lower()
    assert not (tmp_path / "mydb").exists()


def test_picture_bomb_is_refused(repic: Repic, tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    code, _, err = repic("db", "add", tmp_path / "mydb", "--name", "bo", tmp_path / "bomb.png")
    assert code == 5
    assert "too large" in one_error(err)
    assert not (tmp_path / "mydb").exists()


def test_caption_one_picture(repic: Repic, album: Any, mini_model: Path) -> None:
    code, out, err = repic("caption", album.scenes / "a_bo.png", "--db", album.database, "--model", mini_model, *FOUND)
    assert code == 0
    assert len(out.splitlines()) == 1
    assert "  found: bo (" in err
    code, _, err = repic(
        "caption", album.scenes / "c_stranger.png", "--db", album.database, "--model", mini_model, *QUICK
    )
    assert code == 0
    assert "found no concept; the nearest is " in err


def test_caption_a_folder_with_a_bad_picture(repic: Repic, album: Any, mini_model: Path) -> None:
    (album.scenes / "bad.jpg").write_bytes(b"\xff\xd8\xff broken")
    code, out, err = repic("caption", album.scenes, "--db", album.database, "--model", mini_model, "--json", *FOUND)
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [Path(row["image"]).name for row in rows] == ["a_bo.png", "b_two.png", "bad.jpg", "c_stranger.png"]
    assert "error" in rows[2]
    assert rows[0]["concepts"][0]["name"] == "bo"
    assert rows[3]["concepts"] == []
    assert "warning: 1 of 4 pictures skipped" in err


def test_caption_with_given_concepts(repic: Repic, album: Any, mini_model: Path) -> None:
    arguments = ("caption", album.scenes / "b_two.png", "--db", album.database, "--model", mini_model, "--json", *QUICK)
    code, out, err = repic(*arguments, "--concepts", "Bo, gus", "--prompt", "What is it?")
    row = json.loads(out)
    assert (code, err) == (0, "")
    assert [used["name"] for used in row["concepts"]] == ["bo", "gus"]
    assert row["concepts"][0]["score"] is None
    assert "What is it?" in row["prompt"]


def test_a_single_bad_picture_is_an_error(repic: Repic, tmp_path: Path, mini_model: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    code, out, err = repic("caption", tmp_path / "bad.jpg", "--model", mini_model)
    assert (code, out) == (5, "")
    assert "bad.jpg: not a picture" in one_error(err)


def test_a_folder_of_bad_pictures_is_an_error(repic: Repic, tmp_path: Path, mini_model: Path) -> None:
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "bad.jpg").write_bytes(b"no picture")
    code, _, err = repic("caption", tmp_path / "all", "--model", mini_model)
    assert code == 5
    assert err.splitlines()[-1] == "error: none of the 1 pictures could be read"


def test_empty_database(repic: Repic, album: Any) -> None:
    with sqlite3.connect(album.database / "concepts.db") as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("DELETE FROM concepts")
    code, _, err = repic("caption", album.scenes, "--db", album.database)
    assert code == 6
    assert "the database is empty" in one_error(err)


def test_a_spoilt_threshold_is_found_before_the_model_is_loaded(repic: Repic, album: Any) -> None:
    code, _, err = repic("caption", album.scenes, "--db", album.database, "--threshold", 7, "--model", "no/model")
    assert code == 2
    assert "a cosine lies between -1 and 1" in one_error(err)


def test_a_run_folder_tells_its_model(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "config.toml").write_text(resolve(overrides={"model.name": "mine/model"}).to_toml())
    for adapter in (tmp_path, tmp_path / "adapter"):
        assert choose_model(None, str(adapter), None).model.name == "mine/model"
        assert choose_model("other", str(adapter), None).model.name == "other"
        assert choose_model(None, str(adapter), "paper").model.name != "mine/model"
    assert choose_model(None, str(tmp_path / "none"), None).model.name == "embedded"
    (tmp_path / "downloads").mkdir()
    assert choose_model(None, str(tmp_path / "downloads"), None).model.name == "embedded", "not its neighbour"


def test_another_model_is_not_loaded_as_the_embedded_one_is() -> None:
    assert choose_model(None, None, None).model.dtype == "float32"
    assert choose_model("some/model", None, None).model.dtype == "auto"
    assert choose_model("some/model", None, "paper").model.dtype == "bfloat16"


def test_the_embedded_model_says_what_it_is(repic: Repic, album: Any, mini_model: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("REPIC_EMBEDDED_MODEL", str(mini_model))
    code, _, err = repic("caption", album.scenes / "a_bo.png", *QUICK)
    assert code == 0
    assert err.startswith("note: the embedded model knows repic's toy world")


def test_photographs(repic: Repic, repic_pack: Path, tmp_path: Path, mini_model: Path) -> None:
    """References and query of DreamBooth run through, though the embedded encoder knows nothing of them."""
    folder = repic_pack / "queries/dreambooth/shiny_sneaker"
    pictures = sorted(folder.iterdir())
    assert repic("db", "add", tmp_path / "mydb", "--name", "sneaker", *pictures[:2])[0] == 0
    code, out, _ = repic("caption", pictures[3], "--db", tmp_path / "mydb", "--model", mini_model, "--json", *QUICK)
    assert code == 0
    assert json.loads(out)["image"] == str(pictures[3])
