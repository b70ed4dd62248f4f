"""`repic data check` finds what is wrong; `show` shows records without being fooled by them."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., tuple[int, str, str]]
Rows = list[dict[str, Any]]


@pytest.fixture
def folder(make: Any, tmp_path: Path) -> Path:
    """Four good records on three pictures."""
    root = tmp_path / "data"
    for number in range(3):
        make.save(root / f"{number}.jpg", number)
    crop = {"path": "0.jpg", "box": [10, 20, 90, 110]}
    write(root, [
        {"id": "a", "task": "oct", "image": "0.jpg", "references": [{"name": "bo", "image": crop}],
         "answer": {"yes": True}, "meta": {"identities": ["coco:1"]}},
        {"id": "b", "task": "oct", "image": "1.jpg", "references": [{"name": "bo", "image": crop}],
         "answer": {"yes": False}},
        {"id": "c", "task": "vlt", "image": "2.jpg", "phrase": "the cup", "answer": {"box": [5, 5, 50, 60]}},
        {"id": "d", "task": "ict", "image": "2.jpg", "references": [{"name": "thao", "image": "1.jpg"}],
         "answer": {"names": ["thao"]}},
    ])  # fmt: skip
    return root


def write(root: Path, rows: Rows) -> None:
    (root / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(root: Path) -> Rows:
    return [json.loads(line) for line in (root / "records.jsonl").read_text().splitlines()]


def check(repic: Run, *arguments: object) -> tuple[int, dict[str, Any]]:
    code, out, err = repic("data", "check", *arguments, "--json")
    assert err == ""
    return code, json.loads(out)


def test_nothing_is_wrong(repic: Run, folder: Path) -> None:
    code, report = check(repic, folder)
    assert code == 0
    assert (report["records"], report["pictures"], report["clean"], report["counts"]) == (4, 3, True, {})
    assert check(repic, folder / "records.jsonl")[0] == 0


def changed(index: int, **changes: Any) -> Callable[[Path, Rows], object]:
    return lambda root, rows: rows[index].update(changes)


BOX = {"path": "0.jpg", "box": [10, 20, 400, 110]}


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (lambda root, rows: (root / "1.jpg").unlink(), "missing-picture", "1.jpg: no such picture (first in b)"),
        (lambda root, rows: (root / "1.jpg").write_bytes(b""), "corrupt-picture", "1.jpg: not a picture"),
        (
            lambda root, rows: (root / "1.jpg").write_bytes((root / "1.jpg").read_bytes()[:900]),
            "corrupt-picture",
            "truncated",
        ),
        (changed(2, answer={"box": [5, 5, 50, 600]}), "box-outside", "c: [5, 5, 50, 600], the answer in"),
        (changed(3, image=BOX), "box-outside", "d: [10, 20, 400, 110], a part of"),
        (changed(2, answer={"box": [5, 5, float("nan"), 60]}), "bad-row", "row 3: not valid JSON (NaN is not JSON)"),
        (changed(2, answer={"box": [5, 5, None, 60]}), "bad-row", "row 3: answer.box.2"),
        (changed(3, references=[{"name": " ", "image": "1.jpg"}]), "bad-row", "row 4: references.0.name: a concept"),
        (changed(3, references=[]), "bad-row", "row 4: task ict needs the field 'references'"),
        (changed(3, task="rec"), "bad-row", "row 4: unknown task 'rec'"),
        (changed(1, id="a"), "duplicate-id", "row 2 has the id 'a' of row 1"),
        (lambda root, rows: rows.append({**rows[0], "id": "e"}), "duplicate-record", "e shows and asks the same as a"),
        (
            lambda root, rows: rows.append({**rows[0], "id": "e", "answer": {"yes": False}}),
            "contradiction",
            "e shows and asks the same as a, with another answer",
        ),
    ],
)
def test_each_thing_that_is_wrong_is_found(
    repic: Run, folder: Path, change: Callable[[Path, Rows], object], code: str, says: str
) -> None:
    rows = read(folder)
    change(folder, rows)
    write(folder, rows)
    exit_code, report = check(repic, folder)
    assert exit_code == 5
    assert report["counts"] == {code: 1}
    assert says in report["findings"][0]["text"]


def test_report_for_people(repic: Run, folder: Path) -> None:
    rows = read(folder)
    write(
        folder, [{**rows[2], "id": f"c{n}", "phrase": f"cup {n}", "answer": {"box": [1, 1, 999, 9]}} for n in range(9)]
    )
    code, out, err = repic("data", "check", folder)
    assert code == 5
    assert out == f"{folder}: 9 records, 1 pictures: 9 findings\n"
    assert err.splitlines()[0] == "box-outside: 9" and err.splitlines()[-1] == "  and 4 more"


def test_nothing_to_look_at(repic: Run, tmp_path: Path) -> None:
    assert repic("data", "check", tmp_path / "no")[::2] == (
        5,
        f"error: {tmp_path / 'no'}: no such record file or folder\n",
    )
    code, _, err = repic("data", "check", tmp_path)
    assert code == 5 and "there is no records.jsonl in it" in err
    (tmp_path / "records.jsonl").write_text("\n")
    assert "no records in it" in repic("data", "check", tmp_path)[2]


def test_counts_against_the_manifest(repic: Run, sources: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert repic("data", "build", "coco", "--coco", sources["coco"], "--count", 12, "--out", out)[0] == 0
    lines = (out / "records.jsonl").read_text().splitlines(keepends=True)
    (out / "records.jsonl").write_text("".join(lines[:-1]))
    code, report = check(repic, out)
    assert code == 5
    assert report["counts"]["changed-records"] == 1
    assert any("records: the manifest says 12, there are 11" in f["text"] for f in report["findings"])
    (out / "manifest.json").write_text("{")
    assert "the manifest is damaged" in repic("data", "check", out)[2]


def test_leakage(repic: Run, folder: Path, make: Any, tmp_path: Path) -> None:
    other = tmp_path / "evaluation"
    # The picture under another name, without loss in another format: the pixels count, not the file.
    from PIL import Image

    other.mkdir()
    Image.open(folder / "1.jpg").save(other / "copy.png")
    make.save(other / "new.jpg", 77)
    rows = read(folder)
    write(other, [
        {**rows[3], "image": "copy.png", "references": [{"name": "Thao", "image": "new.jpg"}],
         "answer": {"names": ["Thao"]}},
        {**rows[1], "image": "new.jpg", "references": [{"name": "other", "image": "new.jpg"}],
         "meta": {"identities": ["coco:1"]}},
    ])  # fmt: skip
    code, report = check(repic, folder, "--against", other)
    assert code == 5
    assert report["counts"] == {"leaked-picture": 1, "leaked-identity": 1, "shared-name": 1}
    assert f"{folder / '1.jpg'} is the picture {other / 'copy.png'}" in report["findings"][0]["text"]


def test_name_alone_is_a_warning(repic: Run, folder: Path, make: Any, tmp_path: Path) -> None:
    make.save(tmp_path / "concepts/thao/1.jpg", 99)
    code, report = check(repic, folder, "--against", tmp_path / "concepts")
    assert code == 0
    assert report["counts"] == {"shared-name": 1}
    make.save(tmp_path / "concepts/thao/2.jpg", 2)
    (tmp_path / "concepts/thao/2.jpg").write_bytes((folder / "2.jpg").read_bytes())
    assert check(repic, folder, "--against", tmp_path / "concepts")[1]["counts"]["leaked-picture"] == 1
    (tmp_path / "concepts/thao/2.jpg").write_bytes(b"")
    code, report = check(repic, folder, "--against", tmp_path / "concepts")
    assert code == 0 and report["counts"] == {"not-compared": 1, "shared-name": 1}


class Page(HTMLParser):
    """What a page consists of: tags, the addresses of its pictures, its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.boxes: list[str] = []
        self.text = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        about = dict(attrs)
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href")]
        if "box" in (about.get("class") or "").split():
            self.boxes.append(about["style"] or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_gallery_shows_pictures_boxes_and_prompts(repic: Run, folder: Path, tmp_path: Path) -> None:
    code, out, err = repic("data", "show", folder, "--out", tmp_path / "page.html")
    assert (code, out, err) == (0, f"{tmp_path / 'page.html'}: 4 of 4 records\n", "")
    page = Page(tmp_path / "page.html")
    assert page.tags.count("img") == 4 + 3
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.addresses)
    assert "the cup" in page.text and "<thao>" in page.text and "[5, 5, 50, 60]" in page.text
    # 320 x 240: the answer of c, and the part of a's own picture that is its reference.
    assert any("left: 1.5625%; top: 2.083" in style for style in page.boxes)
    assert any("left: 3.125%; top: 8.333" in style for style in page.boxes)
    assert len(page.boxes) == 2


def test_gallery_replaces_no_records(repic: Run, folder: Path) -> None:
    before = (folder / "records.jsonl").read_bytes()
    code, _, err = repic("data", "show", folder, "--out", folder / "records.jsonl")
    assert code == 2 and "has to end in .html" in err
    assert (folder / "records.jsonl").read_bytes() == before


def test_gallery_escapes_everything(repic: Run, folder: Path, tmp_path: Path) -> None:
    rows = read(folder)
    evil = "<script>alert(1)</script>\x1b[31m\u202e"
    rows[2]["phrase"] = evil
    rows[3]["references"][0]["info"] = evil
    rows[3]["meta"] = {evil: evil}
    write(folder, rows)
    assert repic("data", "show", folder, "--out", tmp_path / "page.html")[0] == 0
    page = Page(tmp_path / "page.html")
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.text, "as text"
    raw = (tmp_path / "page.html").read_text()
    assert "\x1b" not in raw and "\u202e" not in raw
    assert "default-src 'none'" in raw


def test_gallery_of_a_few_has_every_kind(repic: Run, sources: dict[str, Path], tmp_path: Path) -> None:
    places = [part for name in ("coco", "refcoco") for part in (f"--{name}", sources[name])]
    assert repic("data", "build", "mix", *places, "--count", 30, "--out", tmp_path / "out")[0] == 0
    code, out, _ = repic("data", "show", tmp_path / "out", "--out", tmp_path / "p.html", "--limit", 5, "--json")
    assert (code, json.loads(out)["shown"]) == (0, 5)
    text = Page(tmp_path / "p.html").text
    assert all(kind in text for kind in ("oct: yes", "oct: no", "ict: 1 names", "ict: 2 names", "vlt"))


def test_gallery_tells_of_pictures_that_cannot_be_opened(repic: Run, folder: Path, tmp_path: Path) -> None:
    (folder / "2.jpg").unlink()
    assert repic("data", "show", folder, "--out", tmp_path / "page.html")[0] == 0
    assert "2.jpg: no such picture" in Page(tmp_path / "page.html").text
