"""Damaged and hostile files: one clear line with file and row, or a count; and never half a build."""

from __future__ import annotations

import json
import math
import os
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repic_cli.data.sources.celeba import scan_celeba
from repic_cli.data.sources.pickles import read_pickle
from repic_cli.data.sources.reading import Lowest, Scan, json_items
from repic_plugins.errors import DataError

Run = Callable[..., tuple[int, str, str]]
Change = Callable[[Path], object]


def coco_file(root: Path) -> Path:
    return root / "annotations/instances_train2017.json"


def edited(**changes: Any) -> Change:
    """Change the third annotation (None takes a field away)."""

    def change(root: Path) -> None:
        rows = json.loads(coco_file(root).read_text())
        rows["annotations"][2] |= {key: value for key, value in changes.items() if value is not None}
        for key in [key for key, value in changes.items() if value is None]:
            del rows["annotations"][2][key]
        coco_file(root).write_text(json.dumps(rows))  # writes NaN as Python does

    return change


def edited_image(**changes: Any) -> Change:
    def change(root: Path) -> None:
        rows = json.loads(coco_file(root).read_text())
        rows["images"][1] |= changes
        coco_file(root).write_text(json.dumps(rows))

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (edited(bbox=[1.0, float("nan"), 3.0, 4.0]), "annotations, item 3: bbox must be 4 finite numbers"),
        (edited(bbox=[1.0, 2.0, float("inf"), 4.0]), "annotations, item 3: bbox must be 4 finite numbers"),
        (edited(bbox=None), "annotations, item 3: bbox must be 4 finite numbers, not None"),
        (edited(bbox=[1.0, 2.0, 3.0]), "annotations, item 3: bbox must be 4 finite numbers"),
        (edited(bbox=[1.0, 2.0, 0.0, 9.0]), "has no area"),
        (edited(image_id=None), "annotations, item 3: the field 'image_id' is missing"),
        (edited(category_id=4711), "annotations, item 3: category_id 4711 is none of the categories"),
        (edited_image(file_name="../../etc/passwd"), "images, item 2: the file name '../../etc/passwd' leads out"),
        (edited_image(file_name="/etc/passwd"), "leads out of the folder of pictures"),
        (edited_image(width="wide"), "images, item 2: width and height must be positive numbers"),
    ],
)
def test_bad_row_is_one_line_or_counted(make: Any, repic: Run, tmp_path: Path, change: Change, says: str) -> None:
    root = make.coco(tmp_path / "coco")
    change(root)
    out = tmp_path / "out"
    code, _, err = repic("data", "build", "coco", "--coco", root, "--out", out, "--count", 8)
    assert code == 5
    assert err.startswith(f"error: {coco_file(root)}: ") and err.count("\n") == 1
    assert says in err and "--skip-bad" in err
    assert not (out / "records.jsonl").exists() and not (out / "manifest.json").exists()

    code, _, err = repic("data", "build", "coco", "--coco", root, "--out", out, "--count", 8, "--skip-bad")
    assert code == 0
    assert "1 of 37 rows could not be read" in err
    assert json.loads((out / "manifest.json").read_text())["sources"]["coco"]["bad_rows"] == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda root: coco_file(root).write_bytes(coco_file(root).read_bytes()[:6000]), "the file is not whole"),
        (lambda root: coco_file(root).write_bytes(b""), "the file is not whole, after item 0 of categories"),
        (lambda root: coco_file(root).write_text("{]"), "not JSON in UTF-8"),
        (lambda root: coco_file(root).write_bytes(coco_file(root).read_text().encode("utf-16")), "not JSON in UTF-8"),
        (
            lambda root: coco_file(root).write_bytes(coco_file(root).read_bytes().replace(b'"cat"', b'"cat\xe9"')),
            "not JSON in UTF-8, after item 1 of categories",
        ),
        (lambda root: make_json(root, "annotations"), "there is no list 'annotations' in it"),
        (lambda root: make_json(root, "categories"), "there is no list 'categories' in it"),
        (lambda root: make_json(root, "images"), "no picture of its list 'images'"),
        (lambda root: coco_file(root).unlink(), "there is no annotation file in it"),
    ],
)
def test_broken_file_is_one_line_even_with_skip_bad(
    make: Any, repic: Run, tmp_path: Path, change: Change, says: str
) -> None:
    root = make.coco(tmp_path / "coco")
    change(root)
    code, out, err = repic("data", "build", "coco", "--coco", root, "--out", tmp_path / "out", "--skip-bad")
    assert (code, out, err.count("\n")) == (5, "", 1)
    assert says in err and str(root) in err
    assert not (tmp_path / "out/records.jsonl").exists()


def make_json(root: Path, without: str) -> None:
    rows = json.loads(coco_file(root).read_text())
    del rows[without]
    coco_file(root).write_text(json.dumps(rows))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.write_bytes(b""), "not a picture"),
        (lambda path: path.write_bytes(path.read_bytes()[:700]), "truncated or corrupt"),
        (lambda path: path.unlink(), "no such picture"),
    ],
)
def test_bad_picture_is_one_line_or_replaced(
    make: Any, repic: Run, tmp_path: Path, damage: Callable[[Path], object], says: str
) -> None:
    root = make.coco(tmp_path / "coco")
    for path in sorted((root / "train2017").iterdir())[:3]:
        damage(path)
    arguments = ("data", "build", "coco", "--coco", root, "--out", tmp_path / "out", "--count", 12)
    code, _, err = repic(*arguments)
    assert (code, err.count("\n")) == (5, 1)
    assert says in err and str(root / "train2017") in err
    assert not (tmp_path / "out/records.jsonl").exists()
    code, _, err = repic(*arguments, "--skip-bad")
    assert code == 0
    assert "pictures could not be used" in err
    assert repic("data", "check", tmp_path / "out")[0] == 0


def test_sources_without_a_usable_picture(make: Any, repic: Run, tmp_path: Path) -> None:
    root = make.coco(tmp_path / "coco")
    for path in (root / "train2017").iterdir():
        path.write_bytes(b"")
    code, _, err = repic("data", "build", "coco", "--coco", root, "--out", tmp_path / "out", "--skip-bad")
    assert (code, err) == (5, "error: no record can be made: no picture of the sources can be used\n")
    assert not (tmp_path / "out/records.jsonl").exists()


def test_picture_of_another_size_than_annotated(make: Any, repic: Run, tmp_path: Path) -> None:
    root = make.coco(tmp_path / "coco")
    for path in (root / "train2017").iterdir():
        make.picture(1, (90, 90)).save(path)
    code, _, err = repic("data", "build", "coco", "--coco", root, "--out", tmp_path / "out", "--count", 4)
    assert code == 5
    assert "reaches out of the picture of 90 x 90 pixels" in err


@pytest.mark.parametrize(
    ("file", "line", "says"),
    [
        ("identity_CelebA.txt", "000003.jpg\n", "line 16: must be a file name and 1 value, not 1 words"),
        ("identity_CelebA.txt", "000003.jpg x\n", "line 16: the person must be a number, not 'x'"),
        ("identity_CelebA.txt", "../../x.jpg 5\n", "line 16: the file name '../../x.jpg' leads out"),
        ("list_landmarks_align_celeba.txt", "000003.jpg 1 2 3\n", "line 18: must be a file name and 10 values"),
        ("list_landmarks_align_celeba.txt", f"000003.jpg {'nan ' * 10}\n", "landmarks must be 10 finite numbers"),
    ],
)
def test_bad_line_of_celeba(make: Any, repic: Run, tmp_path: Path, file: str, line: str, says: str) -> None:
    root = make.celeba(tmp_path / "celeba")
    with (root / file).open("a") as lines:
        lines.write(line)
    arguments = ("data", "build", "celeba", "--celeba", root, "--out", tmp_path / "out", "--count", 6)
    code, _, err = repic(*arguments)
    assert (code, err.count("\n")) == (5, 1)
    assert f"{root / file}: " in err and says in err
    assert repic(*arguments, "--skip-bad")[0] == 0


def test_line_in_another_encoding(make: Any, repic: Run, tmp_path: Path) -> None:
    root = make.celeba(tmp_path / "celeba")
    with (root / "identity_CelebA.txt").open("ab") as lines:
        lines.write("Zo\xeb.jpg 7\n".encode("latin1"))
    code, _, err = repic("data", "build", "celeba", "--celeba", root, "--out", tmp_path / "out")
    assert code == 5
    assert "line 16 is not UTF-8" in err


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"description": None}, "row 8: must be an object"),
        ({"description": {"item": "", "category": "x"}}, "row 8: description: item is empty"),
    ],
)
def test_bad_row_of_subjects200k(make: Any, repic: Run, tmp_path: Path, row: dict[str, Any], says: str) -> None:
    good = [make.subject_row(i, f"thing {i}", "Tools") for i in range(8)]
    make.parquet(tmp_path / "s/data/train-0.parquet", [*good, {**good[0], **row}])
    arguments = ("data", "build", "subjects200k", "--subjects200k", tmp_path / "s", "--out", tmp_path / "out")
    code, _, err = repic(*arguments, "--count", 6)
    assert (code, err.count("\n")) == (5, 1)
    assert f"train-0.parquet: {says}" in err
    assert repic(*arguments, "--count", 6, "--skip-bad")[0] == 0


def test_missing_columns_and_damaged_parquet(make: Any, repic: Run, tmp_path: Path) -> None:
    path = make.parquet(tmp_path / "s/data/train-0.parquet", [{"image": {"bytes": b"x", "path": None}, "text": "a"}])
    arguments = ("data", "build", "subjects200k", "--subjects200k", tmp_path / "s", "--out", tmp_path / "out")
    code, _, err = repic(*arguments)
    assert code == 5
    assert f"{path}: has no column 'quality_assessment'; there are image, text" in err
    path.write_bytes(path.read_bytes()[:60])
    code, _, err = repic(*arguments)
    assert code == 5
    assert f"{path}: not a whole Parquet file" in err


def test_null_cells_of_refcoco_and_items_that_are_no_objects(make: Any, repic: Run, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    table = make.refcoco_parquet(tmp_path / "p") / "data/train-00000-of-00001.parquet"
    make.coco(tmp_path / "coco", year=2014)
    rows = pq.read_table(table).to_pylist()
    make.parquet(table, [{**rows[0], "raw_anns": None}, {**rows[1], "sentences": None}, *rows[2:]])
    arguments = ("data", "build", "refcoco", "--coco", tmp_path / "coco", "--count", 4, "--out", tmp_path / "out")
    code, _, err = repic(*arguments, "--refcoco", tmp_path / "p")
    assert code == 5 and f"{table}: row 0: raw_anns must be a str" in err
    code, _, err = repic(*arguments, "--refcoco", tmp_path / "p", "--skip-bad")
    assert code == 0 and "2 of 12 rows could not be read" in err
    file = make.refcoco(tmp_path / "r") / "refcoco/instances.json"
    content = json.loads(file.read_text())
    make.json(file, {**content, "images": [7, *content["images"]], "annotations": [7, *content["annotations"]]})
    code, _, err = repic(*arguments[:-1], tmp_path / "other", "--refcoco", tmp_path / "r")
    assert code == 5 and f"{file}: annotations, item 1: must be an object, not a int" in err


def test_rows_of_parquet_without_a_picture(make: Any, repic: Run, tmp_path: Path) -> None:
    rows = [make.subject_row(i, f"thing {i}", "Tools") for i in range(6)]
    for row in rows[:2]:
        row["image"] = {"bytes": b"", "path": None}
    make.parquet(tmp_path / "s/train-0.parquet", rows)
    arguments = ("data", "build", "subjects200k", "--subjects200k", tmp_path / "s", "--out", tmp_path / "out")
    code, _, err = repic(*arguments)
    assert code == 5
    assert "there is no picture in it" in err and "row " in err
    code, _, err = repic(*arguments, "--skip-bad")
    assert code == 0
    assert "pictures could not be used" in err


class Evil:
    """What unpickles to a call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/repic-was-here",)


def test_pickle_is_not_run(tmp_path: Path, make: Any, repic: Run, sources: dict[str, Path]) -> None:
    root = make.refcoco(tmp_path / "refer")
    file = root / "refcoco/refs(unc).p"
    file.write_bytes(pickle.dumps([{"ref_id": 1, "evil": Evil()}]))
    code, _, err = repic(
        "data", "build", "refcoco", "--refcoco", root, "--coco", sources["coco"], "--out", tmp_path / "out"
    )
    assert code == 5
    assert f"{file}: refused, a pickle may hold plain values only" in err
    assert not Path("/tmp/repic-was-here").exists()


def test_pickles_of_both_pythons_and_of_numpy_are_read(tmp_path: Path) -> None:
    import numpy as np

    value = [{"id": np.int64(7), "score": np.float32(0.5), "text": "caf\xe9", "list": (1, None, True)}]
    plain = [{"id": 7, "score": 0.5, "text": "caf\xe9", "list": [1, None, True]}]
    for protocol in (0, 2, 4):
        (tmp_path / "a.p").write_bytes(pickle.dumps(value, protocol=protocol))
        assert read_pickle(tmp_path / "a.p") == plain
    # As Python 2 wrote a str of UTF-8 bytes.
    (tmp_path / "b.p").write_bytes(b"(lp0\nS'caf\\xc3\\xa9'\np1\na.")
    assert read_pickle(tmp_path / "b.p") == ["caf\xe9"]


def test_pickle_that_says_itself_again_and_again_stays_small(tmp_path: Path) -> None:
    value: list[Any] = ["x"]
    for _ in range(60):
        value = [value, value]
    (tmp_path / "a.p").write_bytes(pickle.dumps(value))
    tracemalloc.start()
    read_pickle(tmp_path / "a.p")
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_damaged_pickle(tmp_path: Path) -> None:
    (tmp_path / "a.p").write_bytes(pickle.dumps([{"a": 1}])[:-4])
    with pytest.raises(DataError, match="damaged"):
        read_pickle(tmp_path / "a.p")


def test_endless_list_of_names_is_streamed(make: Any, tmp_path: Path) -> None:
    """Of however many lines, memory is that of the people who are kept."""
    root = make.celeba(tmp_path / "celeba")
    for name in ("list_landmarks_align_celeba.txt", "list_attr_celeba.txt", "list_eval_partition.txt"):
        (root / name).unlink()
    peaks = []
    for lines in (20_000, 100_000):
        with (root / "identity_CelebA.txt").open("w") as file:
            file.writelines(f"{number:09d}.jpg {number // 20}\n" for number in range(lines))
        tracemalloc.start()
        pool = scan_celeba(root, Scan(limit=50))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert pool.rows == lines
        assert len(pool.pairs) == 100 * 4
    assert peaks[1] < peaks[0] + 300_000, f"{peaks} bytes for 80,000 lines more"


def test_json_list_is_streamed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with path.open("w") as file:
        file.write('{"annotations": [')
        file.writelines(f'{{"id": {number}, "bbox": [1, 2, NaN, 4]}}, ' for number in range(60_000))
        file.write('{"id": 60000}]}')
    tracemalloc.start()
    last = None
    for _, item in json_items(path, "annotations"):
        last = item
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert last == {"id": 60_000}
    assert peak < 1_200_000, f"{peak:,} bytes for a file of {path.stat().st_size:,}"


def test_words_that_json_has_not_are_null_wherever_a_chunk_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for blanks in range(40):
        text = '[{"a": "' + "x" * ((1 << 16) - 60 + blanks) + '", "b": [NaN, -Infinity, 1.5, Infinity], "c": "NaN"}]'
        path.write_text(text)
        ((_, row),) = json_items(path)
        assert row["b"] == [None, None, 1.5, None]
        assert row["c"] == "NaN"


def test_those_words_stay_where_a_text_says_them(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for blanks in range(40):
        said = ["an Infinity sign", 'a "quote\\" , NaN , \\\\', "\\" * ((1 << 16) - 90 + blanks), "x: -Infinity ]"]
        rows = [{"said": said, "box": [math.nan, 1, -math.inf]}, {"said": said}]
        path.write_text(json.dumps(rows))
        found = [row for _, row in json_items(path)]
        assert found == [{"said": said, "box": [None, 1, None]}, {"said": said}]


def test_draw_does_not_depend_on_the_order() -> None:
    items = [(f"group {number % 500}", str(number)) for number in range(5000)]
    found = []
    for ordered in (items, items[::-1], sorted(items)):
        kept: Lowest[str] = Lowest("seed", 7, members=3)
        for key, member in ordered:
            kept.add(key, member, member)
        found.append(list(kept))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 7
    assert all(len(members) == 3 for _, members in found[0])
