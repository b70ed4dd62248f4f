"""Each public source in its true format: read, checked, trained on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., tuple[int, str, str]]
SOURCES = ("coco", "objects365", "celeba", "subjects200k", "refcoco")
KINDS = {
    "coco": {"oct", "ict-1", "ict-2"},
    "objects365": {"oct", "ict-1", "ict-2"},
    "celeba": {"oct", "ict-1"},
    "subjects200k": {"oct", "ict-1"},
    "refcoco": {"vlt"},
}
TRAINING = (
    "lora.r=4",
    "train.per_device_batch_size=4",
    "train.num_generations=4",
    "train.max_completion_length=8",
    "data.count=6",
    "data.mix={oct=1, vlt=1, ict=1}",
)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


@pytest.fixture
def build(repic: Run, sources: dict[str, Path], tmp_path: Path) -> Callable[..., Path]:
    """Build from one or all of the sources; it has to succeed."""

    def run(what: str, *options: object, name: str = "data", given: tuple[str, ...] = SOURCES) -> Path:
        wanted = given if what in ("paper", "mix") else ("coco", what) if what == "refcoco" else (what,)
        places = [part for source in dict.fromkeys(wanted) for part in (f"--{source}", sources[source])]
        code, _, err = repic("data", "build", what, *places, "--out", tmp_path / name, *options)
        assert code == 0, err
        return tmp_path / name

    return run


@pytest.mark.parametrize("source", SOURCES)
def test_fixture_to_records_to_three_steps(
    source: str,
    build: Callable[..., Path],
    repic: Run,
    mini_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = build(source, "--count", 24)
    manifest = json.loads((data / "manifest.json").read_text())
    assert set(manifest["counts"]["kinds"]) == KINDS[source]
    assert manifest["sources"][source]["licence"]
    code, out, err = repic("data", "check", data)
    assert (code, err) == (0, ""), err
    assert "nothing is wrong" in out

    monkeypatch.setenv("REPIC_EMBEDDED_MODEL", str(mini_model))
    sets = [part for setting in TRAINING for part in ("--set", setting)]
    run = tmp_path / "run"
    code, out, err = repic("train", "--data", data, "--output", run, "--max-steps", "3", "--json", *sets)
    assert code == 0, err
    assert json.loads(out)["steps"] == 3
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3


def test_reference_is_a_part_of_its_query_or_of_another_picture(build: Callable[..., Path]) -> None:
    """COCO does not say which things of two pictures are one (paper 3.2: the reference is cropped from the query)."""
    for row in rows(build("coco", "--count", 20)):
        reference = row["references"][0]["image"]
        assert (reference["path"] == row["image"]) == (row["answer"] != {"yes": False})
        assert reference["box"] in ([10.5, 20.25, 110.5, 140.25], [190.0, 90.0, 280.0, 190.0])


def test_hard_negatives_show_the_same_category(build: Callable[..., Path], sources: dict[str, Path]) -> None:
    found = json.loads((sources["coco"] / "annotations/instances_train2017.json").read_text())
    names = {row["id"]: row["name"] for row in found["categories"]}
    category = {f"coco:{row['id']}": names[row["category_id"]] for row in found["annotations"]}
    picture = {f"coco:{row['id']}": row["image_id"] for row in found["annotations"]}
    negatives = [row for row in rows(build("coco", "--count", 20)) if row["answer"] == {"yes": False}]
    assert negatives
    for row in negatives:
        assert row["meta"]["pair"] == "hard negative"
        one, other = row["meta"]["identities"]
        assert category[one] == category[other]
        assert picture[one] != picture[other]


def test_several_names_belong_to_different_things_of_one_picture(build: Callable[..., Path]) -> None:
    multi = [row for row in rows(build("coco", "--count", 20, "--references", "2=1")) if row["task"] == "ict"]
    assert multi
    for row in multi:
        shown = [reference["image"] for reference in row["references"]]
        assert {image["path"] for image in shown} == {row["image"]}
        assert len({tuple(image["box"]) for image in shown}) == len(set(row["meta"]["categories"])) == 2
        assert sorted(row["answer"]["names"]) == sorted(reference["name"] for reference in row["references"])


def test_people_of_celeba_are_compared_with_people_who_look_alike(build: Callable[..., Path]) -> None:
    data = build("celeba", "--count", 18)
    for row in rows(data):
        reference = row["references"][0]
        assert 0 < reference["image"]["box"][0] < reference["image"]["box"][2] < 178
        assert reference["image"]["path"] != row["image"]
        assert "_" not in reference["name"], "people have human names"
    kinds = {row["meta"].get("pair") for row in rows(data)}
    assert kinds == {None, "positive", "hard negative"}
    assert not any("celeba:77" in row["meta"]["identities"] for row in rows(data)), "77 is of the test split"


def test_halves_of_subjects200k_are_written_once_as_they_are(
    build: Callable[..., Path], sources: dict[str, Path]
) -> None:
    import pyarrow.parquet as pq

    data = build("subjects200k", "--count", 18)
    cells = pq.read_table(sources["subjects200k"] / "data/train-00001-of-00002.parquet")["image"].to_pylist()
    assert (data / "pictures/subjects200k/train-00001-of-00002-1.png").read_bytes() == cells[1]["bytes"]
    assert len(list((data / "pictures/subjects200k").iterdir())) == 6, "the rows with marks of 5"
    assert {tuple(row["image"]["box"]) for row in rows(data)} == {(144.0, 8.0, 272.0, 136.0)}
    assert {tuple(row["references"][0]["image"]["box"]) for row in rows(data)} == {(8.0, 8.0, 136.0, 136.0)}


@pytest.mark.parametrize(
    ("size", "left", "right"),
    [
        ((1048, 528), (8, 8, 520, 520), (528, 8, 1040, 520)),
        ((1072, 544), (16, 16, 528, 528), (544, 16, 1056, 528)),
        ((1056, 528), (8, 8, 520, 520), (536, 8, 1048, 520)),
        ((2096, 1048), (16, 16, 1032, 1032), (1064, 16, 2080, 1032)),
    ],
)
def test_halves_are_found_from_the_size(size: tuple[int, int], left: tuple[int, ...], right: tuple[int, ...]) -> None:
    from repic_cli.data.sources.subjects200k import halves

    assert halves(size) == (left, right)
    with pytest.raises(ValueError, match="not two squares"):
        halves((500, 528))


def test_regions_have_the_box_and_a_phrase_of_the_annotation(
    build: Callable[..., Path], sources: dict[str, Path]
) -> None:
    found = rows(build("refcoco", "--count", 24))
    assert len(found) == 9, "of twelve references three are of the val split; the two sets name the same things"
    for row in found:
        number = int(row["meta"]["identities"][0].removeprefix("coco:")) // 10
        assert row["answer"] == {"box": [10.5, 20.25, 110.5, 140.25]}
        assert row["phrase"] in (f"the left one {number}", f"round thing {number}")
        assert row["image"].endswith(f"COCO_train2014_{number + 1:012d}.jpg")


def test_refcoco_as_parquet_gives_the_same_regions(
    build: Callable[..., Path], repic: Run, sources: dict[str, Path], make: Any, tmp_path: Path
) -> None:
    make.refcoco_parquet(tmp_path / "hub")
    options = ("--refcoco", tmp_path / "hub", "--coco", sources["coco"], "--out", tmp_path / "other")
    assert repic("data", "build", "refcoco", *options)[0] == 0

    def regions(folder: Path) -> set[tuple[str, str]]:
        return {(row["image"], json.dumps(row["answer"])) for row in rows(folder)}

    assert regions(tmp_path / "other") > regions(build("refcoco"))
