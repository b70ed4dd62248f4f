"""The built-in tasks: templates in the paper's counts, one prompt layout, and what they refuse."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from random import Random

import pytest

from repic_plugins.builtin import tasks
from repic_plugins.errors import OptionError
from repic_plugins.examples import PlainImage
from repic_plugins.manager import load_plugins
from repic_plugins.types import Box, Names, Record, Reference, YesNo

QUERY = PlainImage()
BO = Reference("bo", PlainImage(56, 56), "A brown dog.")
THAO = Reference("thao", PlainImage(56, 56, (1, 2, 3)))
RECORDS = {
    "oct": Record("r1", "oct", QUERY, (BO,), YesNo(True)),
    "vlt": Record("r2", "vlt", QUERY, (), Box(1, 2, 3, 4), "the red ball"),
    "ict": Record("r3", "ict", QUERY, (BO, THAO), Names(("bo",), ("thao",)), meta={"seen": 1}),
    "caption": Record("r4", "caption", QUERY),
}


def text(sample):
    return "".join(part.get("text", "") for part in sample.messages[0]["content"])


def test_templates_have_the_papers_counts():
    shipped = tomllib.loads(tasks.DEFAULT_TEMPLATES.read_text(encoding="utf-8"))
    assert len(shipped["oct"]["questions"]) == 16 and len(shipped["vlt"]["questions"]) == 11
    ict = [shipped["ict"][wording] for wording in tasks.ICT_WORDINGS]
    assert sum(map(len, ict)) == 26 == len({line for lines in ict for line in lines})
    assert len(shipped["ict"]["detail"]) + len(shipped["ict"]["detail_personal"]) == 10  # a part asks for detail


@pytest.mark.parametrize("name", RECORDS)
def test_each_task_puts_references_first_and_the_query_last(name):
    record = RECORDS[name]
    sample = load_plugins(False).build_task(name).build(record, Random(3))
    content = sample.messages[0]["content"]
    pictures = [part for part in content if part["type"] == "image"]
    assert len(pictures) == len(sample.images) == len(record.references) + 1
    assert sample.images == (*(reference.image for reference in record.references), QUERY)
    assert content[-2]["type"] == "image" and content[-1]["type"] == "text"
    assert (sample.id, sample.task, sample.answer) == (record.id, name, record.answer)
    assert "{" not in text(sample)
    for reference in record.references:
        assert f"<{reference.name}>" in text(sample) and reference.info in text(sample)
    assert record.phrase in text(sample) and dict(record.meta).items() <= dict(sample.meta).items()


@pytest.mark.parametrize("name", RECORDS)
def test_the_same_seed_gives_the_same_prompt(name):
    task = load_plugins(False).build_task(name)
    assert task.build(RECORDS[name], Random(1)) == task.build(RECORDS[name], Random(1))
    assert len({text(task.build(RECORDS[name], Random(seed))) for seed in range(30)}) > 5


def test_single_and_multi_have_their_own_frame():
    task = load_plugins(False).build_task("ict")
    single = task.build(replace(RECORDS["ict"], references=(BO,)), Random(0))
    multi = task.build(RECORDS["ict"], Random(0))
    assert "second image" in text(single) and "<bo> and <thao>" in text(multi)
    assert single.meta["wording"] in tasks.ICT_WORDINGS
    assert "What now?" in text(task.build_question(RECORDS["ict"], "What now?", Random(0)))
    assert tasks.join(["a", "b", "c"]) == "<a>, <b> and <c>"


def test_reasoning_puts_its_instruction_first():
    task = load_plugins(False).build_task("ict", reasoning="observe")
    assert "<observe>" in text(task.build(RECORDS["ict"], Random(0)))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("oct", {"answer": None}, "task oct needs an answer yes or no, got none"),
        ("oct", {"references": (BO, THAO)}, "needs 1 reference picture, got 2"),
        ("vlt", {"phrase": ""}, "task vlt needs a phrase"),
        ("vlt", {"answer": YesNo(True)}, "needs a box as its answer, got an answer yes or no"),
        ("ict", {"references": ()}, "needs reference pictures"),
    ],
)
def test_records_that_do_not_fit_are_refused(name, change, message):
    with pytest.raises(ValueError, match=message):
        load_plugins(False).build_task(name).build(replace(RECORDS[name], **change), Random(0))


def test_a_question_about_references_needs_some():
    with pytest.raises(ValueError, match="needs reference pictures"):
        load_plugins(False).build_task("ict").build_question(RECORDS["caption"], "What?", Random(0))


def test_templates_can_be_replaced_table_by_table(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('[vlt]\nquestions = ["Box of {phrase}, please."]\n')
    registry = load_plugins(False)
    assert "Box of the red ball, please." in text(
        registry.build_task("vlt", templates=str(file)).build(RECORDS["vlt"], Random(0))
    )
    assert registry.build_task("oct", templates=file).build(RECORDS["oct"], Random(0))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not toml", "cannot read the templates"),
        ("[poem]\nx = 'y'", r"unknown table \[poem\]; there are"),
        ("[vlt]\nanswers = []", r"unknown key vlt\.answers"),
        ("[vlt]\nquestions = []", "must be a list of strings that is not empty"),
        ("[vlt]\nquestions = 'Where?'", "must be a list of strings"),
        ("[vlt]\nquestions = [3]", "must be a list of strings"),
        ("[ict]\nsingle = ['x']", "must be a string"),
        ("[vlt]\nquestions = ['Where is {thing}?']", "bad placeholder"),
        ("[vlt]\nquestions = ['Where is {phrase?']", "bad placeholder"),
    ],
)
def test_bad_templates_name_file_and_entry(tmp_path, content, message):
    file = tmp_path / "mine.toml"
    file.write_text(content)
    with pytest.raises(OptionError, match=message) as error:
        load_plugins(False).build_task("vlt", templates=file)
    assert str(error.value).startswith(str(file))
