"""The measures of the embedded world: a perfect answer gets 1, and each kind of mistake shows in its own measure."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from repic_cli.embedded import language
from repic_cli.embedded.world import identities
from repic_cli.evaluation.scores import CONCEPTS, KINDS, WorldScores
from repic_cli.evaluation.slices import Slice, merge, score_slice
from repic_cli.evaluation.world import world_slices
from repic_plugins.types import Box, BoxFrame, ImageRef, Record, YesNo

COUNT = 24


@cache
def slices() -> tuple[Slice, ...]:
    return tuple(world_slices(COUNT, seed=5))


def frame(image: ImageRef) -> BoxFrame:
    return BoxFrame("pixels", image.size, image.size)


def perfect(record: Record) -> str:
    """What a model that knows everything would say."""
    if isinstance(record.answer, YesNo):
        return "yes" if record.answer.value else "No."
    if isinstance(record.answer, Box):
        box = record.answer
        return f'{{"bbox_2d": [{box.x1:.0f}, {box.y1:.0f}, {box.x2:.0f}, {box.y2:.0f}]}}'
    if record.task == "where":
        name = record.references[0].name
        thing = next(o for o in record.meta["objects"] if o["name"] == name)
        return language.where_answer(name, thing["position"], thing["phrase"])
    return described(record, [item["name"] for item in record.meta["objects"]])


def described(record: Record, names: list[str | None]) -> str:
    items = [
        language.Item(item["phrase"], item["position"], name)
        for item, name in zip(record.meta["objects"], names, strict=True)
    ]
    return language.caption(items, record.meta["background"], record.meta["light"], form="listing", detailed=True)


def answered(answer: Callable[[Record], str]) -> WorldScores:
    return WorldScores(merge(score_slice(part, [answer(row) for row in part.records], frame) for part in slices()))


def test_a_perfect_model_gets_everything() -> None:
    scores = answered(perfect)
    assert set(scores) == set(KINDS)
    for name, kind in KINDS.items():
        if not kind.unit:
            assert scores[name].value == (0 if kind.better == "lower" else 1), name
    assert scores["length"].value > 60


def test_chances_are_counted() -> None:
    scores = answered(perfect)
    for n in CONCEPTS:
        assert scores[f"recall_{n}"].n == n * COUNT
        assert scores[f"binding_{n}"].n == n * COUNT
    assert scores["unasked"].n == 3 * COUNT
    assert scores["oct"].n == scores["vlt"].n == scores["where"].n == COUNT


def test_names_in_any_order_are_recalled_but_not_bound() -> None:
    def rotate(record: Record) -> str:
        names = [item["name"] for item in record.meta["objects"]]
        return described(record, names[1:] + names[:1])

    scores = answered(lambda record: rotate(record) if record.task == "ict" else perfect(record))
    assert scores["recall_4"].value == 1
    assert scores["binding_4"].value < 0.2 and scores["described"].value < 0.4
    chance = scores.measures["binding_4"].chance
    assert chance is not None and 0.2 < chance < 0.5


def test_one_name_for_everything_is_noticed() -> None:
    def repeat(record: Record) -> str:
        name = next(item["name"] for item in record.meta["objects"] if item["name"])
        return described(record, [name] * len(record.meta["objects"]))

    scores = answered(lambda record: repeat(record) if record.task == "ict" else perfect(record))
    assert scores["recall_2"].value == 0.5 and scores["binding_2"].value == 0
    assert scores["repeated"].value > 0.6 and answered(perfect)["repeated"].value == 0


def test_a_model_without_names_has_no_binding() -> None:
    def nameless(record: Record) -> str:
        return described(record, [None] * len(record.meta["objects"]))

    scores = answered(lambda record: nameless(record) if record.task == "ict" else perfect(record))
    assert scores["recall_1"].value == scores["bound_recall_2"].value == 0
    assert scores["binding_1"].n == 0 and scores["binding_1"].value != scores["binding_1"].value


def test_extra_names_and_boxes_are_noticed() -> None:
    scores = answered(lambda record: f"{perfect(record)} <zork> [0, 0, 9, 9]")
    assert scores["unasked"].value == scores["caption_names"].value == 1
    assert scores["vlt"].value == scores["vlt_iou"].value == 0
    assert scores["where"].value == 0
    assert scores["recall_4"].value == 1


def test_empty_answers_are_wrong_and_break_nothing() -> None:
    scores = answered(lambda record: "")
    for name in ("recall_1", "oct", "vlt", "where", "caption", "caption_color"):
        assert scores[name].value == 0
    assert scores["length"].value == 0


def test_samples_are_held_out_and_repeat() -> None:
    phrases = {identity.phrase for identity in identities("held_out")}
    again = world_slices(COUNT, seed=5)
    for part, same in zip(slices(), again, strict=True):
        assert [s.messages for s in part.samples] == [s.messages for s in same.samples]
        assert {item["phrase"] for row in part.records for item in row.meta["objects"]} <= phrases
    other = world_slices(COUNT, seed=6)
    assert other[0].samples[0].messages != slices()[0].samples[0].messages


def test_each_completion_needs_its_sample() -> None:
    with pytest.raises(ValueError, match="23 completions"):
        score_slice(slices()[0], ["x"] * 23, frame)
