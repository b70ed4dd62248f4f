"""`repic eval score` as people and scripts call it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

ROWS = [
    ["a.jpg", ["<bo>"], "<Bo>'s ball rolls.", "Caption it."],
    ["b.jpg", ["<bo>"], "<Bo> and <gus> and <Zoe>.", "Caption it."],
    ["b.jpg", ["<gus>"], "A cat.", "Caption it."],
]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(ROWS))
    return path


def test_both_protocols_side_by_side(repic: Call, captions: Path) -> None:
    code, out, err = repic("eval", "score", captions, "--mistakes", "--by", "concept")
    assert code == 0
    assert "paper, case folded" in out and "strict" in out and "1/1/3" in out and "2/3/3" in out
    assert "possessive" in out and "costs nothing" in out and "invented" in out and "captions, by concept" in out
    assert "invented: captions with a bracketed name" in err


def test_the_released_captions_from_the_command_line(repic: Call, repic_pack: Path, tmp_path: Path) -> None:
    files = sorted(repic_pack.glob("repic_captions/*/*.json"))
    code, out, _ = repic("eval", "score", "--protocol", "paper", "--json", *files)
    assert code == 0
    expected = json.loads((repic_pack / "expected_scores.json").read_text())
    wanted = {tuple(map(tuple, e["per_record"])) for e in expected}
    got = json.loads(out)["files"]
    assert {tuple(map(tuple, one["slots"])) for one in got} == wanted and len(got) == 8


def test_forms_on_stdout_and_in_files(repic: Call, captions: Path, tmp_path: Path) -> None:
    outs = [tmp_path / f"scores{ending}" for ending in (".json", ".csv", ".md")]
    extra = [part for path in outs for part in ("--out", path)]
    for flag, path in zip(("--json", "--csv", "--markdown"), outs, strict=True):
        code, out, _ = repic("eval", "score", captions, flag, *extra)
        assert code == 0 and path.read_text() == out
    value = json.loads(outs[0].read_text())["files"][0]
    assert value["strict"]["hits"] == 2 and value["slots"] == [["none"], ["hit"], ["none"]]
    lines = list(csv.DictReader(io.StringIO(outs[1].read_text())))
    assert [line["hits"] for line in lines if (line["level"], line["protocol"]) == ("file", "strict")] == ["2"]
    assert {line["item"] for line in lines} == {"", "bo", "gus", "a.jpg", "b.jpg"}
    assert "| captions | paper, case folded |" in outs[2].read_text()


def test_texts_of_files_stay_texts(repic: Call, tmp_path: Path) -> None:
    path = tmp_path / "captions.json"
    path.write_text(json.dumps([["=cmd()|\x1b[31m<b>x", ["<bo>"], "<img src=x onerror=y> <Zoe|>", ""]]))
    code, out, _ = repic("eval", "score", path, "--by", "picture", "--mistakes", "--markdown")
    assert code == 0 and "<" not in out and "\x1b" not in out
    assert "'=cmd()" in repic("eval", "score", path, "--csv")[1]


def test_comparison(repic: Call, captions: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps([[image, keys, "<bo> and <gus>", ""] for image, keys, *_ in ROWS]))
    code, out, _ = repic("eval", "score", captions, other, "--compare")
    assert code == 0 and "other against captions: 3 common queries" in out and "McNemar p" in out


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("--compare",), 2, "--compare needs two files"),
        (("--json", "--csv"), 2, "give one"),
        (("--out", "scores.txt"), 2, "has to end in .json, .csv, .md"),
        (("--paper-pool", "db"), 2, "needs --db"),
        (("--db", "nowhere"), 6, "nowhere: no such database"),
    ],
)
def test_what_cannot_be_done_is_said(
    repic: Call, captions: Path, args: tuple[str, ...], code: int, message: str
) -> None:
    got, out, err = repic("eval", "score", captions, *args)
    assert got == code and message in err and not out and err.count("\n") == 1


def test_captions_are_not_replaced_by_their_scores(repic: Call, captions: Path, tmp_path: Path) -> None:
    before = captions.read_bytes()
    (tmp_path / "link.json").symlink_to(captions)
    code, _, err = repic("eval", "score", captions, "--out", tmp_path / "link.json")
    assert code == 2 and "the captions themselves" in err and captions.read_bytes() == before
    (tmp_path / "folder.json").mkdir()
    code, _, err = repic("eval", "score", captions, "--out", tmp_path / "folder.json")
    assert code == 2 and "a folder" in err


def test_paths_of_other_machines_are_paired(repic: Call, captions: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(captions.read_text().replace('["', '["./', 1))
    code, out, _ = repic("eval", "score", captions, other, "--compare", "--json")
    assert code == 0 and json.loads(out)["comparisons"][0]["left_out"] == [0, 0]


def test_bad_rows_are_named_or_counted(repic: Call, captions: Path) -> None:
    captions.write_text(captions.read_text()[:-20])
    code, out, err = repic("eval", "score", captions)
    assert code == 5 and "captions.json: row 3: the file ends in the middle of it (line 1)" in err and not out
    code, out, err = repic("eval", "score", captions, "--skip-bad")
    assert code == 0 and "warning: 1 rows left out" in err and "row 3" in err and "2/2/2" in out


def test_nothing_is_written_when_something_is_wrong(repic: Call, captions: Path, tmp_path: Path) -> None:
    captions.write_text("[3]")
    assert repic("eval", "score", captions, "--out", tmp_path / "scores.json")[0] == 5
    assert [path.name for path in tmp_path.iterdir()] == ["captions.json"]
