"""`repic caption` over many pictures: going on, sidecars, drawings, explanations, the summary."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from repic_cli.data.pictures import gather
from repic_plugins.errors import DataError

QUICK = ("--max-new-tokens", 4, "--device", "cpu", "--verify-threshold", 0)


@pytest.fixture
def caption(repic: Any, album: Any, mini_model: Path) -> Any:
    return lambda *args: repic("caption", album.scenes, "--db", album.database, "--model", mini_model, *QUICK, *args)


def rows(path: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({row["image"] for row in found}) == len(found)
    return {Path(row["image"]).name: row for row in found}


def test_a_run_goes_on_where_it_stopped(caption: Any, album: Any, tmp_path: Path) -> None:
    out = tmp_path / "captions.jsonl"
    (album.scenes / "bad.jpg").write_bytes(b"\xff\xd8\xff broken")
    code, text, err = caption("--out", out)
    assert code == 0
    assert text.startswith("captioned 3 pictures in ")
    assert "skipped: " in err
    assert "warning: 1 of 4 pictures skipped" in err
    first = rows(out)
    assert set(first) == {"a_bo.png", "b_two.png", "c_stranger.png", "bad.jpg"}
    assert "error" in first["bad.jpg"]
    assert [used["name"] for used in first["a_bo.png"]["concepts"]] == ["bo"]

    # Killed in the second line: the first stays as it is, the others are made again.
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(lines[0] + lines[1][:40])
    shutil.copy(album.scenes / "c_stranger.png", album.scenes / "bad.jpg")
    code, text, _ = caption("--out", out, "--json", "--batch-size", 1)
    assert code == 0
    summary = json.loads(text)
    assert (summary["captioned"], summary["kept"], summary["skipped"]) == (3, 1, [])
    second = rows(out)
    assert {name: row["caption"] for name, row in second.items() if name != "bad.jpg"} == {
        name: row["caption"] for name, row in first.items() if name != "bad.jpg"
    }
    assert "error" not in second["bad.jpg"]
    before = out.read_bytes()
    assert caption("--out", out)[1].startswith("captioned 0 pictures")
    assert out.read_bytes() == before

    # Another picture under an old name is captioned anew.
    shutil.copy(album.scenes / "b_two.png", album.scenes / "a_bo.png")
    assert json.loads(caption("--out", out, "--json")[1])["captioned"] == 1
    assert {used["name"] for used in rows(out)["a_bo.png"]["concepts"]} == {"thao", "gus"}


def test_a_changed_database_is_noticed(caption: Any, repic: Any, album: Any, tmp_path: Path) -> None:
    out = tmp_path / "captions.jsonl"
    caption("--out", out)
    assert repic("db", "remove", album.database, "gus")[0] == 0
    code, _, err = caption("--out", out)
    assert code == 2
    assert "was made with another database; --redo captions again" in err
    assert caption("--out", out, "--redo")[0] == 0
    assert [used["name"] for used in rows(out)["b_two.png"]["concepts"]] == ["thao"]
    code, _, err = caption("--out", out, "--max-concepts", 1)
    assert "was made with other options" in err


def test_sidecars_and_drawings(caption: Any, album: Any, tmp_path: Path) -> None:
    (album.scenes / "b_two.png.xmp").write_text("somebody else's")
    code, _, err = caption("--sidecar", "xmp", "--draw", tmp_path / "drawn")
    assert code == 0
    assert "warning: " in err
    assert "b_two.png.xmp: written by another program" in err
    assert "<rdf:li>bo</rdf:li>" in (album.scenes / "a_bo.png.xmp").read_text()
    assert (album.scenes / "b_two.png.xmp").read_text() == "somebody else's"
    drawn = sorted((tmp_path / "drawn").iterdir())
    assert [path.name for path in drawn] == ["a_bo.png", "b_two.png", "c_stranger.png"]
    assert max(Image.open(drawn[0]).size) == 448


def test_explanations(repic: Any, album: Any, mini_model: Path) -> None:
    call = ("caption", album.scenes / "a_bo.png", "--db", album.database, "--model", mini_model, *QUICK[:4])
    err = repic(*call, "--explain")[2]
    assert "verification: a concept is kept from yes 0.50 on (not measured" in err
    line = next(line for line in err.splitlines() if line.startswith("  bo: "))
    assert "; at " in line
    assert "; distance 0." in line
    assert "; yes 0." in line
    _, out, err = repic(*call, "--explain", "--no-verify", "--json")
    (used,) = json.loads(out)["concepts"]
    assert used["kept"]
    assert used["distance"] == pytest.approx(1 - used["score"], abs=2e-4)
    assert used["threshold"] is not None
    assert used["probability"] is None
    assert "yes" not in err
    err = repic(*call, "--concepts", "bo", "--explain")[2]
    assert "  bo: kept; given by name" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--redo",), "--redo needs --out"),
        (("--verify-threshold", "2"), "a probability lies between 0 and 1"),
        (("--out", "{scenes}"), "not a file"),
        (("--sidecar", "exif"), "exif"),
    ],
)
def test_bad_options(repic: Any, album: Any, mini_model: Path, arguments: tuple[str, ...], message: str) -> None:
    given = [part.format(scenes=album.scenes) for part in arguments]
    code, _, err = repic("caption", album.scenes, "--db", album.database, "--model", mini_model, *given)
    assert code == 2
    assert message in err


def test_pictures_that_the_model_cannot_take_are_skipped(caption: Any, album: Any) -> None:
    Image.new("RGB", (3, 900)).save(album.scenes / "line.png")
    code, _, err = caption()
    assert code == 0
    assert "line.png: the model cannot take a picture of 3 x 900" in err


def test_folders_in_folders(tmp_path: Path) -> None:
    for name in ("b.png", "in/a.png", "in/deep/c.JPG", ".hidden/d.png", "in/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name, "PNG")
    (tmp_path / "in" / "loop").symlink_to(tmp_path)
    names = [str(path.relative_to(tmp_path)) for path in gather([tmp_path], recursive=True)]
    assert names == ["b.png", "in/a.png", "in/deep/c.JPG"]
    assert gather([tmp_path, tmp_path / "b.png"]) == [tmp_path / "b.png"], "each once"
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="--recursive looks into"):
        gather([tmp_path / "empty"])
