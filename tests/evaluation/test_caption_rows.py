"""Reading caption files: both formats, and everything that can be wrong with one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from repic_cli.evaluation.captioned.known import KnownConcept
from repic_cli.evaluation.captioned.rows import CaptionRow, read_captions
from repic_plugins.errors import DataError

LISTS = [["a.jpg", ["<Bo>"], "A dog.", "Caption it."], ["b.jpg", ["bo peep", "<T>"], "</s>"]]


def put(folder: Path, content: str | bytes, name: str = "captions.json") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(LISTS),
        json.dumps(LISTS, indent=4),
        "\n".join(map(json.dumps, LISTS)) + "\n",
        "\ufeff" + json.dumps(LISTS),
        json.dumps([{"image": i, "keys": k, "caption": c, "prompt": (*p, "")[0]} for i, k, c, *p in LISTS]),
    ],
)
def test_formats_give_the_same_rows(tmp_path: Path, content: str) -> None:
    got = read_captions(put(tmp_path, content))
    assert got.rows == (
        CaptionRow(1, "a.jpg", ("Bo",), "A dog.", "Caption it."),
        CaptionRow(2, "b.jpg", ("bo peep", "T"), "</s>"),
    )
    assert not got.skipped and not got.failed


def test_rows_of_a_run_tell_more(tmp_path: Path) -> None:
    row: dict[str, Any] = {"image": "a.jpg", "keys": ["<bo>"], "caption": "x", "setting": "wrong-demonstrations"}
    row |= {"shown": ["<gus>"], "retrieved": []}
    database = {"id": "#database", "concepts": [["gus", "Gus", ["Gustav"], "A cat."]]}
    failed = {"image": "b.jpg", "keys": ["<bo>"], "error": "truncated"}
    got = read_captions(put(tmp_path, "\n".join(map(json.dumps, (database, row, failed)))))
    (only,) = got.rows
    assert only.targets == only.shown == ("gus",) and only.retrieved == ()
    assert got.database == (KnownConcept("gus", "Gus", ("Gustav",), "A cat."),)
    assert got.failed == 1


GOOD = json.dumps(LISTS[0])
BROKEN = [
    ("not a row", f"{GOOD}\n3\n", "row 2: a row is"),
    (
        "missing field",
        f'{GOOD}\n{{"image": "a", "keys": [], "text": "x"}}\n',
        r"row 2: the field 'caption' is missing \(",
    ),
    ("wrong caption", f'{GOOD}\n["a.jpg", ["<b>"], 3]\n', "row 2: caption is a number, not text"),
    ("wrong keys", f'{GOOD}\n["a.jpg", {{}}, "x"]\n', "row 2: keys is an object, not a list"),
    ("empty key", f'{GOOD}\n["a.jpg", ["<>"], "x"]\n', "row 2: a key is empty"),
    ("brackets", f'{GOOD}\n["a.jpg", ["<a<b>>"], "x"]\n', "row 2: the key '<a<b>>' has angle brackets"),
    ("key twice", f'{GOOD}\n["a.jpg", ["<a>", "a"], "x"]\n', "row 2: keys has one name twice"),
    ("too short", f'{GOOD}\n["a.jpg", ["<a>"]]\n', "row 2: .* it has 2 entries"),
    ("half a line", f'{GOOD}\n["a.jpg", ["<a>"], "x', "row 2: not JSON"),
    ("deep", f"{GOOD}\n" + "[" * 100_000 + "\n", "row 2: .*"),
    ("latin", GOOD.encode() + b'\n["a.jpg", ["<b>"], "caf\xe9"]\n', "row 2: caption is not text in UTF-8"),
]


@pytest.mark.parametrize(("content", "message"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
@pytest.mark.parametrize("array", [False, True])
def test_a_bad_row_is_named_or_skipped(tmp_path: Path, content: str | bytes, message: str, array: bool) -> None:
    if array:
        data = content if isinstance(content, bytes) else content.encode()
        content = b"[" + data.strip().replace(b"\n", b",\n") + (b"" if b"half" in data else b"]")
        message = message.replace("not JSON", ".*")
    path = put(tmp_path, content)
    with pytest.raises(DataError, match=f"captions.json: {message}") as error:
        read_captions(path)
    assert "\n" not in str(error.value) and "--skip-bad" in str(error.value)
    got = read_captions(path, skip_bad=True)
    assert [row.image for row in got.rows] == ["a.jpg"]
    assert len(got.skipped) == 1


def test_an_array_cut_anywhere_keeps_its_whole_rows(tmp_path: Path) -> None:
    text = json.dumps(LISTS, indent=1)
    end = text.index("\n ],") + 3
    for cut in range(2, len(text) - 1):
        path = put(tmp_path, text[:cut])
        with pytest.raises(DataError, match=r"captions.json: (row \d+: .* \(line \d+\), and nothing|no captions)"):
            read_captions(path)
        if cut >= end:
            got = read_captions(path, skip_bad=True)
            assert 1 <= len(got.rows) <= 2 and len(got.skipped) == 1, cut


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no captions in it"),
        (b"[]", "no captions in it"),
        (b"\x80\x04K\x01.", "pickled file"),
        (b"PK\x03\x04", "an archive"),
        ("[]".encode("utf-16"), "UTF-16; save it as UTF-8"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, content: bytes, message: str) -> None:
    for skip in (False, True):
        with pytest.raises(DataError, match=message):
            read_captions(put(tmp_path, content), skip_bad=skip)


def test_a_file_of_many_gigabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "names.json"
    with path.open("wb") as file:
        file.truncate(50 << 30)  # sparse: takes no room on the disk
    with pytest.raises(DataError, match=r"names.json: larger than 512 MiB"):
        read_captions(path)
