"""The file of captions: going on after a stop at any byte, changed pictures, other settings, two writers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from repic_cli.captioning.output import CaptionFile, Marks, content_hash
from repic_plugins.errors import DataError, OptionError

MARKS = Marks.of("model", "database", {"threshold": 0.5})


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, *names: str, marks: Marks = MARKS, content: str = "c") -> None:
    with CaptionFile(path, marks) as file:
        for name in names:
            file.write({"image": name, "caption": f"of {name}"}, content)


def test_done_pictures_are_known_again(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.jsonl"
    write(out, "a.png", "b.png")
    with CaptionFile(out, MARKS) as file:
        assert len(file) == 2
        assert file.has(Path("a.png"), "c")
        assert not file.has(Path("a.png"), "changed")
        assert not file.has(Path("c.png"), "c")


def test_a_file_torn_at_any_byte_goes_on(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    write(whole, "a.png", "b.png", "ü c.png")
    data = whole.read_bytes()
    torn = tmp_path / "torn.jsonl"
    for cut in range(len(data)):
        torn.write_bytes(data[:cut])
        with CaptionFile(torn, MARKS) as file:
            for name in ("a.png", "b.png", "ü c.png"):
                if not file.has(Path(name), "c"):
                    file.write({"image": name, "caption": f"of {name}"}, "c")
        assert torn.read_bytes() == data, cut
    assert {path.name for path in tmp_path.iterdir()} == {"whole.jsonl", "torn.jsonl"}


def test_a_changed_picture_and_a_failed_one_are_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with CaptionFile(out, MARKS) as file:
        file.write({"image": "a.png", "caption": "old"}, "1")
        file.write({"image": "b.png", "error": "truncated"})
        file.write({"image": "c.png", "caption": "c"}, "3")
    with CaptionFile(out, MARKS) as file:
        assert len(file) == 2
        assert not file.has(Path("b.png"), "")
        file.write({"image": "a.png", "caption": "new"}, "2")
        file.write({"image": "b.png", "caption": "whole now"}, "4")
    assert [(row["image"], row["caption"]) for row in rows(out)] == [
        ("c.png", "c"),
        ("a.png", "new"),
        ("b.png", "whole now"),
    ]


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        (Marks.of("other", "database", {"threshold": 0.5}), "another model or adapter;"),
        (Marks.of("model", "other", {"threshold": 0.5}), "another database;"),
        (Marks.of("model", "other", {"threshold": 0.6}), "another database and other options;"),
    ],
)
def test_other_settings_are_not_mixed_in(tmp_path: Path, marks: Marks, message: str) -> None:
    out = tmp_path / "out.jsonl"
    write(out, "a.png", "b.png")
    before = out.read_bytes()
    with pytest.raises(OptionError, match=message), CaptionFile(out, marks):
        pass
    assert out.read_bytes() == before
    with CaptionFile(out, marks, redo=True) as file:
        assert len(file) == 0
        file.write({"image": "a.png", "caption": "again"}, "c")
    assert [row["caption"] for row in rows(out)] == ["of b.png", "again"]


@pytest.mark.parametrize("text", ['{"a": 1}\n', "[]\n", "hello\n", '{"image": 3, "content": "c"}\n'])
def test_somebody_elses_file_is_left_alone(tmp_path: Path, text: str) -> None:
    out = tmp_path / "notes.jsonl"
    out.write_text(text)
    with pytest.raises(OptionError, match="line 1 was not written by this command"), CaptionFile(out, MARKS):
        pass
    assert out.read_text() == text


def test_two_writers_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    write(out, "a.png")
    with CaptionFile(out, MARKS) as file:
        with pytest.raises(OptionError, match="another repic is writing it"), CaptionFile(out, MARKS):
            pass
        file.write({"image": "a.png", "caption": "again"}, "d")
    write(out, "b.png")
    assert [row["image"] for row in rows(out)] == ["a.png", "b.png"]


def test_the_lock_holds_when_the_file_was_tidied(tmp_path: Path) -> None:
    """Tidying puts a new file in place: a second process must not get in through it."""
    out = tmp_path / "out.jsonl"
    write(out, "a.png")
    with out.open("ab") as file:
        file.write(b'{"image": "b.p')
    with (
        CaptionFile(out, MARKS),
        pytest.raises(OptionError, match="another repic is writing it"),
        CaptionFile(out, MARKS),
    ):
        pass


def test_a_folder_or_a_device_is_no_output(tmp_path: Path) -> None:
    for place in (tmp_path, Path("/dev/null")):
        with pytest.raises(OptionError, match="not a file"):
            CaptionFile(place, MARKS)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    write(tmp_path / "real.jsonl", "a.png")
    (tmp_path / "link.jsonl").symlink_to("real.jsonl")
    with CaptionFile(tmp_path / "link.jsonl", MARKS) as file:
        file.write({"image": "a.png", "caption": "again"}, "d")
    assert (tmp_path / "link.jsonl").is_symlink()
    assert [row["caption"] for row in rows(tmp_path / "real.jsonl")] == ["again"]


def test_hashes_of_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    (tmp_path / "b").write_bytes(b"x" * 2_999_999 + b"y")
    assert content_hash(tmp_path / "a") != content_hash(tmp_path / "b")
    (tmp_path / "b").write_bytes(b"x" * 3_000_000)
    assert content_hash(tmp_path / "a") == content_hash(tmp_path / "b")
    for missing in (tmp_path / "none", tmp_path, Path("/dev/zero")):
        with pytest.raises(DataError):
            content_hash(missing)
