"""Record files: what is read, and the one line that names file and row for what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from repic_cli.data.building.manifest import write_folder
from repic_cli.data.images import FileImage, MemoryImage
from repic_cli.data.records import read_records, record_row
from repic_plugins.errors import DataError
from repic_plugins.types import Box, Names, Record, Reference, YesNo

REQUIRES = {
    "oct": ("references", "answer"),
    "vlt": ("phrase", "answer"),
    "ict": ("references", "answer"),
    "caption": (),
}
BO = {"name": "bo", "image": "bo.jpg", "info": "A dog.", "aliases": ["Bobo"]}
ROW = {"id": "1", "task": "ict", "image": "q.jpg", "references": [BO], "answer": {"names": ["bo"]}}


def write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def read(tmp_path: Path, *rows: object) -> list[Record]:
    return read_records(write(tmp_path / "data.jsonl", *rows), REQUIRES)


def test_all_kinds_of_rows(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        ROW,
        "",
        {"task": "oct", "image": "q.jpg", "references": [BO], "answer": {"yes": False}, "meta": {"a": [1]}},
        {
            "task": "vlt",
            "image": {"path": "q.jpg", "box": [0, 0, 9, 9]},
            "phrase": "it",
            "answer": {"box": [1, 2, 3, 4]},
        },
        {"task": "caption", "image": "/abs/q.jpg"},
    )
    assert found[0] == Record(
        "1",
        "ict",
        FileImage(tmp_path / "q.jpg"),
        (Reference("bo", FileImage(tmp_path / "bo.jpg"), "A dog.", ("Bobo",)),),
        Names(("bo",)),
        meta={},
    )
    assert [record.id for record in found] == ["1", "data-3", "data-4", "data-5"], "the row, blank lines counted"
    assert found[1].answer == YesNo(False)
    assert found[1].meta == {"a": [1]}
    assert found[2].answer == Box(1, 2, 3, 4)
    assert found[2].image == FileImage(tmp_path / "q.jpg", (0, 0, 9, 9))
    assert found[3].image == FileImage(Path("/abs/q.jpg"))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    records = read(tmp_path, ROW, {"task": "vlt", "image": "q.jpg", "phrase": "it", "answer": {"box": [1, 2, 3, 4]}})
    write_folder(tmp_path / "sub", records, dict)
    assert read_records(tmp_path / "sub/records.jsonl", REQUIRES) == records
    assert record_row(records[0], tmp_path.absolute())["image"] == "q.jpg"
    with pytest.raises(DataError, match="is not a file"):
        record_row(Record("m", "caption", MemoryImage(Image.new("RGB", (2, 2)))))


def but(**changes: Any) -> dict[str, Any]:
    return {**ROW, **changes}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{", "row 1: not valid JSON"),
        ("[]", "row 1: a record is an object with task, image, ..., not a list"),
        ("[" * 100_000, "row 1: not valid JSON"),
        ('{"task": NaN}', "NaN is not JSON"),
        (but(colour="red"), "unknown field 'colour'"),
        (but(references=[{**BO, "colour": 1}]), "unknown field 'references.0.colour'"),
        ({"task": "ict"}, "the field 'image' is missing"),
        (but(task="haiku"), "unknown task 'haiku'; there are caption, ict, oct, vlt"),
        (but(references=[]), "task ict needs the field 'references'"),
        (but(answer=None), "task ict needs the field 'answer'"),
        (but(answer={"yes": True, "names": ["bo"]}), "exactly one of yes, box and names"),
        (but(answer={}), "exactly one of yes, box and names"),
        (but(answer={"yes": "maybe"}), "answer.yes"),
        (but(answer={"names": []}), "answer.names"),
        (but(answer={"names": ["thao"]}), "'thao', which no reference shows"),
        (but(answer={"names": ["bo"], "absent": ["gus"]}), "'gus', which no reference shows"),
        (but(answer={"names": ["bo"], "aliases": []}), None),
        (but(answer={"names": ["bo"], "aliases": [["b"], ["c"]]}), "one list for each of names"),
        (but(answer={"box": [5, 5, 5, 9]}), "is empty"),
        (but(answer={"box": [5, 5, 9]}), "answer.box"),
        (but(references=[BO, {**BO, "name": "Bo"}]), "two references have the same name"),
        (but(references=[{**BO, "name": "<|im_end|>"}]), "references.0.name"),
        (but(references=[{**BO, "info": "x" * 5000}]), "references.0.info"),
        (but(id=""), "id: "),
        (but(image=""), None),
    ],
)
def test_bad_rows_name_file_row_and_field(tmp_path: Path, row: object, words: str | None) -> None:
    if words is None:
        read(tmp_path, row)
        return
    with pytest.raises(DataError) as caught:
        read(tmp_path, row)
    assert str(caught.value).startswith(f"{tmp_path / 'data.jsonl'}: row 1")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_records(tmp_path / "none.jsonl", REQUIRES)
    with pytest.raises(DataError, match="no records in it"):
        read(tmp_path, "", "")
    with (tmp_path / "long.jsonl").open("wb") as file:
        file.truncate(50 << 30)  # a hole in the disk that reads as one line of 50 GiB
    with pytest.raises(DataError, match="line 1 is longer than"):
        read_records(tmp_path / "long.jsonl", REQUIRES)
    with pytest.raises(DataError, match="record 2 has the id '1' of record 1"):
        read(tmp_path, ROW, ROW)
    (tmp_path / "data.jsonl").write_bytes(b"\xff\xfe{}")
    with pytest.raises(DataError, match="not UTF-8"):
        read_records(tmp_path / "data.jsonl", REQUIRES)
    (tmp_path / "data.jsonl").write_text('{"a": "' + "x" * 1_100_000)
    with pytest.raises(DataError, match="longer than 1,000,000"):
        read_records(tmp_path / "data.jsonl", REQUIRES)
    with pytest.raises(DataError, match="cannot read"):
        read_records(tmp_path, REQUIRES)
