"""Shares, draws, sources and the order of prompts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from repic_cli.config import resolve
from repic_cli.data.images import MemoryImage
from repic_cli.data.mixing import apportion, draw
from repic_cli.data.prompts import Prompts
from repic_cli.data.source import Loaded, load_records
from repic_plugins.builtin import tasks
from repic_plugins.errors import DataError, OptionError
from repic_plugins.types import Names, Record, Reference, YesNo

REQUIRES = {"oct": ("references", "answer"), "vlt": ("phrase", "answer"), "ict": ("references", "answer")}
ALL = set(REQUIRES)


@pytest.mark.parametrize(
    ("count", "weights", "shares"),
    [
        (10, {"a": 1, "b": 1}, {"a": 5, "b": 5}),
        (10, {"a": 2, "b": 1}, {"a": 7, "b": 3}),
        (3, {"a": 1, "b": 1}, {"a": 2, "b": 1}),
        (0, {"a": 1}, {"a": 0}),
        (5, {"a": 1, "b": 0}, {"a": 5}),
        (1000, {"a": 0.345, "b": 0.345, "c": 0.31}, {"a": 345, "b": 345, "c": 310}),
    ],
)
def test_shares_add_up(count: int, weights: dict[str, float], shares: dict[str, int]) -> None:
    assert apportion(count, weights) == shares


def test_shares_within_limits() -> None:
    assert apportion(10, {"a": 1, "b": 1}, {"a": 2, "b": 100}) == {"a": 2, "b": 8}
    assert apportion(10, {"a": 1, "b": 1}, {"a": 2, "b": 3}) == {"a": 2, "b": 3}
    assert apportion(9, {"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 100, "c": 2}) == {"a": 1, "b": 6, "c": 2}


def picture() -> MemoryImage:
    return MemoryImage(Image.new("RGB", (8, 8)), key="p")


def yes(number: int, task: str = "oct") -> Record:
    answer = YesNo(True) if task == "oct" else Names(("bo",))
    return Record(f"{task}{number}", task, picture(), (Reference("bo", picture()),), answer)


def test_draw_follows_the_mix() -> None:
    records = [*(yes(n) for n in range(50)), *(yes(n, "ict") for n in range(10))]
    assert draw(records, 60, {}, 0) == records, "all of them when there are no more"
    drawn = draw(records, 30, {"oct": 1, "ict": 1}, 0)
    assert Counter(record.task for record in drawn) == {"oct": 20, "ict": 10}, "ten are all there are"
    assert drawn == sorted(drawn, key=records.index)
    assert draw(records, 30, {"oct": 1, "ict": 1}, 0) == drawn
    assert draw(records, 30, {"oct": 1, "ict": 1}, 1) != drawn


def load(wanted: set[str] = ALL, requires: Mapping[str, Any] = REQUIRES, **data: Any) -> Loaded:
    section = resolve(overrides={f"data.{key}": value for key, value in data.items()}).data
    return load_records(section, requires, wanted)


def test_embedded_world() -> None:
    loaded = load(count=20)
    assert (loaded.kind, loaded.notes) == ("embedded", ())
    assert loaded.tasks == {"ict": 10, "oct": 5, "vlt": 5}
    assert {len(record.references) for record in loaded.records if record.task == "ict"} <= {1, 2, 3}
    assert load(count=20).records == loaded.records
    assert load(count=20, seed=1).records != loaded.records


def test_number_of_references() -> None:
    section = resolve(sets=["data.references={4=1}", "data.max_references=4", "data.mix={ict=1}", "data.count=3"]).data
    loaded = load_records(section, REQUIRES, ALL)
    assert {len(record.references) for record in loaded.records} == {4}


def test_tasks_that_nothing_scores_are_left_out() -> None:
    loaded = load({"oct"}, count=10)
    assert loaded.tasks == {"oct": 10}
    assert loaded.notes == ("no selected reward scores vlt, ict: left out of the mix",)
    with pytest.raises(OptionError, match=r"none of its tasks .* is scored"):
        load({"caption"}, count=10)


def test_tasks_of_the_mix_must_exist_and_be_possible() -> None:
    section = resolve(sets=["data.mix={haiku=1}"]).data
    with pytest.raises(OptionError, match="unknown task 'haiku'"):
        load_records(section, REQUIRES, ALL)
    with pytest.raises(OptionError, match="has no records for task 'haiku'"):
        load_records(section, {**REQUIRES, "haiku": ()}, {"haiku"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    Image.new("RGB", (60, 60)).save(tmp_path / "a.png")
    reference = {"name": "bo", "image": "a.png"}
    rows = [
        {"task": "oct", "image": "a.png", "references": [reference], "answer": {"yes": bool(n % 2)}} for n in range(6)
    ]
    rows += [{"task": "ict", "image": "a.png", "references": [reference], "answer": {"names": ["bo"]}}] * 2
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_record_file(file: Path) -> None:
    loaded = load(source=str(file))
    assert (loaded.kind, loaded.notes, loaded.tasks) == ("records", (), {"oct": 6, "ict": 2})
    loaded = load(source=str(file), count=4)
    assert loaded.tasks == {"oct": 2, "ict": 2}
    assert "4 of 8 records drawn" in loaded.notes[0]
    loaded = load({"ict"}, source=str(file))
    assert loaded.tasks == {"ict": 2}
    assert "no selected reward scores 6 of oct" in loaded.notes[0]
    with pytest.raises(DataError, match="no record of a task"):
        load({"vlt"}, source=str(file))
    with pytest.raises(DataError, match="no such record file or folder"):
        load(source=str(file) + "x")


def test_pictures_of_a_record_file_are_opened_first(file: Path) -> None:
    (file.parent / "a.png").unlink()
    with pytest.raises(DataError, match=r"a\.png: no such picture"):
        load(source=str(file))


@pytest.mark.parametrize(
    ("box", "fits"),
    [([10, 10, 61, 60.4], True), ([-1, 0, 60, 60], True), ([10, 10, 600, 400], False), ([-9, 0, 60, 60], False)],
)
def test_boxes_in_other_coordinates_are_refused(file: Path, box: list[float], fits: bool) -> None:
    file.write_text(json.dumps({"id": "x", "task": "vlt", "image": "a.png", "phrase": "it", "answer": {"box": box}}))
    if fits:
        assert load(source=str(file)).tasks == {"vlt": 1}
        return
    with pytest.raises(DataError, match=r"record x: the box .* reaches out of its picture of 60 x 60 pixels"):
        load(source=str(file))


def test_too_many_references(file: Path) -> None:
    references = [{"name": f"n{k}", "image": "a.png"} for k in range(4)]
    row = {"id": "x", "task": "ict", "image": "a.png", "references": references, "answer": {"names": ["n1"]}}
    file.write_text(json.dumps(row))
    with pytest.raises(DataError, match=r"record x shows 4 references, more than data\.max_references = 3"):
        load(source=str(file))


def test_folder(tmp_path: Path) -> None:
    for name in ("bo", "gus"):
        (tmp_path / name).mkdir()
        for index in range(2):
            Image.new("RGB", (9, 9), (index, 9, 9)).save(tmp_path / name / f"{index}.png")
    loaded = load(source=str(tmp_path), count=10)
    assert loaded.kind == "folder"
    assert "has no records for vlt" in loaded.notes[0]
    assert loaded.tasks == {"oct": 3, "ict": 7}


def test_prompts_go_through_all_records_in_a_new_order_each_epoch() -> None:
    records = [yes(n) for n in range(10)]
    prompts = Prompts(records, {"oct": tasks.oct()}, 25, 3)
    assert len(prompts) == 25
    epochs = [[prompts[row].id for row in range(start, min(start + 10, 25))] for start in (0, 10, 20)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(record.id for record in records)
    assert epochs[0] != epochs[1]
    assert [prompts.epoch(row) for row in (0, 9, 10, 24)] == [0, 0, 1, 2]
    assert prompts.record(24).id == prompts[24].id
    with pytest.raises(IndexError):
        prompts[25]


def test_a_prompt_is_one_and_the_same_whenever_it_is_built() -> None:
    records = [yes(n) for n in range(10)]
    first, second = (Prompts(records, {"oct": tasks.oct()}, 30, 3) for _ in range(2))
    assert [second[row] for row in reversed(range(30))] == [first[row] for row in range(30)][::-1]
    wordings = {prompt.messages[0]["content"][-1]["text"] for prompt in first if prompt.id == "oct0"}
    assert len(wordings) > 1, "worded anew in each epoch"
    other = Prompts(records, {"oct": tasks.oct()}, 30, 4)
    assert [prompt.id for prompt in other] != [prompt.id for prompt in first]


def test_record_that_does_not_fit_its_task() -> None:
    wrong = Record("ict0", "ict", picture(), (Reference("bo", picture()),), YesNo(True))
    with pytest.raises(DataError, match="sample ict0: task ict needs names as its answer"):
        Prompts([wrong], {"ict": tasks.ict()}, 1, 0)[0]
    with pytest.raises(DataError, match="no records"):
        Prompts([], {}, 1, 0)
