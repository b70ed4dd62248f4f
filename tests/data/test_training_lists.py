"""Training lists of RePIC and VLM-R1: read, written, and read again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def repic_rows(make: Any, tmp_path: Path) -> list[dict[str, Any]]:
    """One row of each method, as the lists of the paper's repository are written."""
    for number in range(4):
        make.save(tmp_path / f"images/{number}.jpg", number)
    return [
        {"image": ["0.jpg", "1.jpg"], "problem": "Is <bo> in the second image?", "solution": "yes",
         "accu_reward_method": "yes_no"},
        {"image": ["0.jpg", "2.jpg"], "problem": "The object in the first image is named <bo>. Describe the image.",
         "solution": "<bo>", "accu_reward_method": "yes_no_name"},
        {"image": ["0.jpg", "1.jpg", "2.jpg"], "solution": ["<thao>", "<bo>"],
         "problem": "The references show objects named <bo>, <thao>. Give a caption.",
         "accu_reward_method": "yes_no_name_multi"},
        {"image": "3.jpg", "problem": "Give the dog on the left's bounding box in the image.",
         "solution": [10, 20, 110, 120]},
    ]  # fmt: skip


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("form", ["json", "jsonl", "yaml"])
def test_rows_of_repic(repic: Run, make: Any, tmp_path: Path, repic_rows: list[dict[str, Any]], form: str) -> None:
    source = tmp_path / "train.jsonl"
    if form == "json":
        source = make.json(tmp_path / "train.json", repic_rows)
    else:
        source.write_text("".join(json.dumps(row) + "\n" for row in repic_rows))
    if form == "yaml":
        source = tmp_path / "personalize_ft.yaml"
        source.write_text("datasets:\n    - json_path: train.jsonl\n")
    out = tmp_path / "out"
    code, text, err = repic("data", "import", source, "--images", tmp_path / "images", "--out", out)
    assert (code, err) == (0, "")
    assert text == f"{out}: 4 records of 4 rows (ict-1 1, ict-2 1, oct 1, vlt 1)\n"
    one, single, multi, box = records(out)
    image = str(tmp_path / "images")
    assert (one["task"], one["image"], one["answer"]) == ("oct", f"{image}/1.jpg", {"yes": True})
    assert one["references"] == [{"name": "bo", "image": f"{image}/0.jpg"}]
    assert single["answer"]["names"] == ["bo"]
    shown = [(reference["name"], reference["image"][-5:]) for reference in multi["references"]]
    assert shown == [("bo", "0.jpg"), ("thao", "1.jpg")], "in the order in which the question names them"
    assert (box["phrase"], box["answer"]) == ("the dog on the left", {"box": [10.0, 20.0, 110.0, 120.0]})
    assert repic("data", "check", out)[0] == 0


def test_rows_of_vlm_r1(repic: Run, make: Any, tmp_path: Path) -> None:
    make.save(tmp_path / "coco/train2014/a.jpg", 1)
    turns = [
        {"from": "human", "value": "<image>Please give the region this sentence describes: lady in blue."},
        {"from": "gpt", "value": "<answer>[10.5, 20, 110, 120]</answer>"},
    ]
    rows = [
        {"id": 7, "image": "coco/train2014/a.jpg", "problem": "Give the box this describes: lady in blue.",
         "normal_caption": "lady", "solution": [10.5, 20, 110, 120]},
        {"id": 8, "image": "coco/train2014/a.jpg", "conversations": turns, "accu_reward_method": "default"},
    ]  # fmt: skip
    source = make.json(tmp_path / "rec.json", rows)
    assert repic("data", "import", source, "--out", tmp_path / "out")[0] == 0
    found = records(tmp_path / "out")
    assert [row["id"] for row in found] == ["7", "8"]
    assert {row["phrase"] for row in found} == {"lady in blue"}
    assert {tuple(row["answer"]["box"]) for row in found} == {(10.5, 20.0, 110.0, 120.0)}
    assert found[0]["meta"]["others"] == {"normal_caption": "lady"}


@pytest.mark.parametrize(
    ("problem", "phrase"),
    [
        ("Where the sentence describes: the red cup.", "the red cup"),
        ("Give the bounding box of the red cup in this image.", "the red cup"),
        ("Please provide the coordinates of the bounding box for the red cup in the given image.", "the red cup"),
        ("Show the position of the man in the blue shirt.", "the man in the blue shirt"),
        ("Specify the red cup's bounding box in the photograph.", "the red cup"),
        ("Please provide the red cup’s bounding coordinates in the image.", "the red cup"),
        ("red cup", "red cup"),
    ],
)
def test_phrase_of_a_question(repic: Run, make: Any, tmp_path: Path, problem: str, phrase: str) -> None:
    make.save(tmp_path / "a.jpg", 1)
    make.json(tmp_path / "a.json", [{"image": "a.jpg", "problem": problem, "solution": [1, 2, 30, 40]}])
    code, _, err = repic("data", "import", tmp_path / "a.json", "--out", tmp_path / "out")
    assert code == 0
    assert records(tmp_path / "out")[0]["phrase"] == phrase
    assert ("took the whole question" in err) == (problem == "red cup")


def test_row_without_a_name_gets_one(repic: Run, make: Any, tmp_path: Path) -> None:
    for number in range(2):
        make.save(tmp_path / f"{number}.jpg", number)
    row = {
        "image": ["0.jpg", "1.jpg"],
        "problem": "Are they the same?",
        "solution": "no",
        "accu_reward_method": "yes_no",
    }
    make.json(tmp_path / "a.json", [row, row])
    code, _, err = repic("data", "import", tmp_path / "a.json", "--out", tmp_path / "out")
    assert code == 0
    assert "drew a name for a picture that had none (2 rows)" in err
    first, second = (row["references"][0]["name"] for row in records(tmp_path / "out"))
    assert first and second and first != second


def test_import_and_export_give_back_the_rows(
    repic: Run, make: Any, tmp_path: Path, repic_rows: list[dict[str, Any]]
) -> None:
    source = make.json(tmp_path / "train.json", [{"id": f"row {n}", **row} for n, row in enumerate(repic_rows)])
    assert repic("data", "import", source, "--images", tmp_path / "images", "--out", tmp_path / "a")[0] == 0
    assert repic("data", "export", tmp_path / "a", "--out", tmp_path / "b")[0] == 0
    back = json.loads((tmp_path / "b/train.json").read_text())
    assert len(back) == len(repic_rows)
    for given, row in zip(repic_rows, back, strict=True):
        assert row["problem"] == given["problem"]
        assert row["accu_reward_method"] == given.get("accu_reward_method", "iou")
        wanted = given["solution"]
        assert sorted(row["solution"]) == sorted(wanted) if isinstance(wanted, list) else row["solution"] == wanted
        images = row["image"] if isinstance(row["image"], list) else [row["image"]]
        names = given["image"] if isinstance(given["image"], list) else [given["image"]]
        for image, name in zip(images, names, strict=True):
            assert (tmp_path / "b" / image).read_bytes() == (tmp_path / "images" / name).read_bytes()
    assert (tmp_path / "b/data.yaml").read_text() == "datasets:\n    - json_path: train.json\n"


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_export_and_import_give_back_the_records(
    repic: Run, sources: dict[str, Path], tmp_path: Path, form: str
) -> None:
    places = [part for name, place in sources.items() for part in (f"--{name}", place)]
    assert repic("data", "build", "paper", *places, "--count", 40, "--out", tmp_path / "a")[0] == 0
    code, _, err = repic("data", "export", tmp_path / "a", "--out", tmp_path / "b", "--format", form)
    assert (code, err) == (0, "")
    assert repic("data", "import", tmp_path / "b/data.yaml", "--out", tmp_path / "c")[0] == 0
    before, after = records(tmp_path / "a"), records(tmp_path / "c")
    assert len(before) == len(after) == 40
    for old, new in zip(before, after, strict=True):
        for key in ("id", "task", "answer", "phrase", "meta"):
            assert new.get(key) == old.get(key), key
        assert [r["name"] for r in new.get("references", [])] == [r["name"] for r in old.get("references", [])]
        for one, other in zip(pictures(old, tmp_path / "a"), pictures(new, tmp_path / "c"), strict=True):
            assert one.size == other.size and ImageChops.difference(one, other).getbbox() is None


def pictures(row: dict[str, Any], root: Path) -> list[Image.Image]:
    from repic_cli.data.images import FileImage

    found = []
    for image in [*(reference["image"] for reference in row.get("references", [])), row["image"]]:
        place = {"path": image} if isinstance(image, str) else image
        found.append(FileImage(root / place["path"], place.get("box")).open())
    return found


def test_infos_and_absent_names_survive(repic: Run, make: Any, tmp_path: Path) -> None:
    root = tmp_path / "a"
    for number in range(3):
        make.save(root / f"{number}.jpg", number)
    shown = [
        {"name": "bo", "image": "0.jpg", "info": "A brown dog."},
        {"name": "gus", "image": "1.jpg", "aliases": ["augustus"]},
    ]
    row = {
        "id": "x",
        "task": "ict",
        "image": "2.jpg",
        "references": shown,
        "answer": {"names": ["bo"], "absent": ["gus"]},
    }
    plain = {"id": "y", "task": "caption", "image": "2.jpg"}
    (root / "records.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(plain) + "\n")
    code, _, err = repic("data", "export", root, "--out", tmp_path / "b")
    assert code == 0
    assert "1 records have no place in this format, as y" in err
    assert repic("data", "import", tmp_path / "b/train.json", "--out", tmp_path / "c")[0] == 0
    (back,) = records(tmp_path / "c")
    assert back["answer"] == row["answer"]
    assert [reference.get("info", "") for reference in back["references"]] == ["A brown dog.", ""]
    assert [reference.get("aliases", []) for reference in back["references"]] == [[], ["augustus"]]


def test_lists_that_count_alike_keep_their_ids_apart(repic: Run, make: Any, tmp_path: Path) -> None:
    make.save(tmp_path / "a.jpg", 1)
    row = {"id": 1, "image": "a.jpg", "problem": "Where is the dog?", "solution": [1, 2, 30, 40]}
    parts = [make.json(tmp_path / part / "rows.json", [row]) for part in ("one", "two", "three")]
    listed = "".join(f"  - json_path: {part.relative_to(tmp_path)}\n" for part in parts)
    (tmp_path / "all.yaml").write_text(f"datasets:\n{listed}")
    assert repic("data", "import", tmp_path / "all.yaml", "--images", tmp_path, "--out", tmp_path / "out")[0] == 0
    assert [record["id"] for record in records(tmp_path / "out")] == ["1", "1-2", "1-3"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"solution": "perhaps"}, "row 1: solution must be yes or no, not 'perhaps'"),
        ({"image": "0.jpg"}, "row 1: a question about a name needs a reference picture and the query picture"),
        ({"image": None}, "row 1: image must be a file name, or a list of them"),
        ({"image": ["0.jpg", "no.jpg"]}, "row 1: "),
        ({"problem": None}, "row 1: problem must be a str"),
        ({"accu_reward_method": "mcq"}, "row 1: accu_reward_method 'mcq' is not read; there are yes_no, iou"),
        ({"accu_reward_method": "yes_no_name", "solution": "<|im_end|>"}, "row 1: concept name"),
        ({"accu_reward_method": "yes_no_name_multi", "solution": ["<a>", "<b>"]}, "names <a>, <b> for 1 reference"),
        ({"accu_reward_method": "iou", "image": "0.jpg", "solution": [1, 2, float("nan"), 4]}, "row 1: box must be 4"),
        ({"accu_reward_method": "iou", "image": "0.jpg", "solution": [1, 2, 3]}, "row 1: box must be 4 finite numbers"),
        (
            {"accu_reward_method": "iou", "image": "0.jpg", "solution": [1, 2, 3000, 40]},
            "row 1: the box [1, 2, 3000, 40]",
        ),
        ({"accu_reward_method": "iou", "image": "0.jpg", "solution": "[1,2,3,4] or [5,6,7,8]"}, "must be one box"),
        ({"repic": {"info": ["one", "too many"]}}, "repic.info must be a list with an entry for each of 1 reference"),
        (
            {"accu_reward_method": "yes_no_name", "solution": "<bo>", "repic": {"answer": {"names": ["gus"]}}},
            "answer names 'gus', which no reference shows",
        ),
    ],
)
def test_bad_row_is_one_line_or_counted(
    repic: Run, make: Any, tmp_path: Path, repic_rows: list[dict[str, Any]], change: dict[str, Any], says: str
) -> None:
    source = make.json(tmp_path / "train.json", [{**repic_rows[0], **change}, *repic_rows])
    arguments = ("data", "import", source, "--images", tmp_path / "images", "--out", tmp_path / "out")
    code, out, err = repic(*arguments)
    assert (code, out, err.count("\n")) == (5, "", 1)
    assert f"{source}: row 1: " in err and says in err
    assert not (tmp_path / "out/records.jsonl").exists()
    code, out, err = repic(*arguments, "--skip-bad")
    assert code == 0
    assert "4 records of 5 rows" in out and "1 rows could not be used" in err


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", b'[{"image": "0.jpg", "prob', "the file is not whole, after item 0"),
        ("a.json", b"", "there is nothing in it"),
        ("a.jsonl", b'{"image": "0.jpg"}\n{"image"\n', "row 1: the field 'solution' is missing"),
        ("a.jsonl", b'\n{"image"\n', "row 2: not valid JSON"),
        ("a.jsonl", '{"image": "Zo\xeb.jpg"}'.encode("latin1"), "line 1 is not UTF-8 text"),
        ("a.jsonl", b"[1, 2]", "row 1: must be an object"),
        ("a.yaml", b"datasets: [", "not valid YAML"),
        ("a.yaml", b"json_path: x.json", "must have a list `datasets`"),
        ("a.yaml", b"datasets:\n  - json_path: gone.json", "gone.json: no such file"),
        ("a.yaml", b"datasets:\n  - json_path: a.json\n    sampling_strategy: first:10", "only sampling_strategy all"),
        ("a.yaml", b"datasets:\n  - json_path: a.yaml", "a.yaml is a list itself"),
        ("a.yaml", b"!!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_broken_file_is_one_line(repic: Run, tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    code, out, err = repic("data", "import", tmp_path / name, "--out", tmp_path / "out")
    assert (code, out, err.count("\n")) == (5, "", 1)
    assert says in err and str(tmp_path) in err
    assert not any((tmp_path / "out").glob("*"))


def test_folder_that_is_there_is_not_written_over(repic: Run, make: Any, tmp_path: Path, repic_rows: Any) -> None:
    source = make.json(tmp_path / "train.json", repic_rows)
    arguments = ("--images", tmp_path / "images", "--out", tmp_path / "out")
    assert repic("data", "import", source, *arguments)[0] == 0
    code, _, err = repic("data", "import", source, *arguments)
    assert code == 5 and "is there already; give a new folder" in err
    code, _, err = repic("data", "export", tmp_path / "out", "--out", tmp_path)
    assert code == 5 and "is there already; give a new folder" in err
