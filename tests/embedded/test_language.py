"""Captions of the world and their way back."""

from __future__ import annotations

import itertools

import pytest

from repic_cli.embedded.language import (
    FORMS,
    POSITIONS,
    Item,
    Mention,
    caption,
    is_where_answer,
    parse_caption,
    where_answer,
)
from repic_cli.embedded.records import record_stream
from repic_cli.embedded.world import identities


@pytest.mark.parametrize(("form", "detailed"), list(itertools.product(FORMS, (False, True))))
def test_parse_reads_back_what_caption_says(form: str, detailed: bool) -> None:
    for start, position in enumerate(POSITIONS):
        phrases = [identity.phrase for identity in identities()[start * 100 : start * 100 + 4]]
        items = [
            Item(phrases[0], position, "Luna"),
            Item(phrases[1], "center"),
            Item(phrases[2], "bottom left", "mr. crab"),
            Item(phrases[3], "right", None),
        ]
        text = caption(items, "navy", "dim", form=form, detailed=detailed)
        expected = [
            Mention(item.name, None if item.name and not detailed else item.phrase, item.position) for item in items
        ]
        assert parse_caption(text) == expected


def test_parse_finds_nothing_where_nothing_is_placed() -> None:
    assert parse_caption("") == []
    assert parse_caption("<luna> is nice. The background is navy.") == []
    assert parse_caption("A dog at the top left.") == []


def test_detailed_caption_of_a_named_object_is_about_a_hundred_characters() -> None:
    record = next(record_stream("ict", 0, "train", 1))
    thing = record.meta["objects"][0]
    for form in FORMS:
        item = Item(thing["phrase"], thing["position"], "luna")
        assert len(caption([item], "navy", "dim", form=form, detailed=True)) >= 95


def test_where_answer_is_read_by_its_place() -> None:
    answer = where_answer("bo", "center", "orange plain moon")
    assert answer == "<bo> is an orange plain moon in the center."
    assert is_where_answer(answer, "bo", "center")
    assert is_where_answer("<Bo> is at the top left.", "bo", "top left")
    assert not is_where_answer("<bo> is at the top left.", "bo", "left")
    assert not is_where_answer("<mo> is at the top left.", "bo", "top left")
    assert where_answer("bo", None) == "<bo> is not in the image."
