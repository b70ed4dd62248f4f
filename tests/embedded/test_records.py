"""Records of the world: deterministic, true, and split."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from repic_cli.embedded.records import Kind, draw_names, first_names, record_stream, records
from repic_cli.embedded.world import identities
from repic_plugins.builtin import tasks
from repic_plugins.types import Box, Names, Record, YesNo

KINDS: tuple[Kind, ...] = ("oct", "vlt", "ict", "caption", "where")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split", ["train", "held_out"])
def test_same_seed_same_records(kind: Kind, split: str) -> None:
    one, two = records(kind, 5, 3, split), records(kind, 5, 3, split)  # type: ignore[arg-type]
    assert one == two
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(np.asarray(a.image.open()), np.asarray(b.image.open()))
    assert records(kind, 5, 4, split) != one  # type: ignore[arg-type]
    # A longer list starts with the shorter one.
    assert records(kind, 7, 3, split)[:5] == one  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_a_record_have_keys_of_their_own(kind: Kind) -> None:
    seen: dict[str, bytes] = {}
    for split in ("train", "held_out"):
        for seed in (0, 1):
            for record in records(kind, 10, seed, split):  # type: ignore[arg-type]
                for image in (record.image, *(reference.image for reference in record.references)):
                    assert seen.setdefault(image.key, image.open().tobytes()) == image.open().tobytes()


def test_held_out_records_show_held_out_identities_and_names_only() -> None:
    phrases = {identity.phrase for identity in identities("held_out")}
    known = set(first_names("train"))
    for kind in KINDS:
        for record in records(kind, 40, 0, "held_out"):
            assert {thing["phrase"] for thing in record.meta["objects"]} <= phrases
            assert not {reference.name.lower() for reference in record.references} & known


def test_oct_is_balanced_and_true() -> None:
    rows = records("oct", 300, 0)
    shares = np.mean([isinstance(row.answer, YesNo) and row.answer.value for row in rows])
    assert 0.4 < shares < 0.6
    for row in rows:
        assert isinstance(row.answer, YesNo)
        shown = [thing for thing in row.meta["objects"] if thing["name"] == row.references[0].name]
        assert bool(shown) == row.answer.value


def test_ict_names_are_those_of_the_scene() -> None:
    absent = strangers = 0
    for row in records("ict", 200, 0, absent=0.5, strangers=0.3):
        assert isinstance(row.answer, Names)
        named = {thing["name"] for thing in row.meta["objects"] if thing["name"]}
        assert named == set(row.answer.required)
        assert [reference.name for reference in row.references if reference.name in named] == list(row.answer.required)
        assert len(row.references) == len(row.answer.required) + len(row.answer.absent) <= 4
        absent += len(row.answer.absent)
        strangers += len(row.meta["objects"]) - len(named)
    assert 80 < absent < 120
    assert 40 < strangers < 80
    for count in (1, 2, 4, 7):
        for row in records("ict", 5, 0, concepts=count):
            assert isinstance(row.answer, Names)
            assert len(row.references) == len(row.answer.required) == count


def test_vlt_box_is_that_of_the_phrase() -> None:
    for row in records("vlt", 50, 0):
        assert isinstance(row.answer, Box)
        boxes = [thing["box"] for thing in row.meta["objects"] if f"the {thing['phrase']}" == row.phrase]
        assert (row.answer.x1, row.answer.y1, row.answer.x2, row.answer.y2) in boxes


def test_names_are_different_and_usable() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        names = draw_names(rng, 4, "train")
        assert len({name.lower() for name in names}) == 4
        assert all(name.isalpha() for name in names)


@pytest.mark.parametrize("kind", ["oct", "vlt", "ict", "caption"])
def test_tasks_put_every_record_into_words(kind: Kind) -> None:
    builder = getattr(tasks, kind)()
    for record in records(kind, 30, 1):
        sample = builder.build(record, Random(0))
        placeholders = [part for part in sample.messages[0]["content"] if part["type"] == "image"]
        assert len(placeholders) == len(sample.images) == len(record.references) + 1
        assert sample.images[-1] == record.image


def test_stream_does_not_end() -> None:
    stream = record_stream("caption", (1, 2))
    rows: list[Record] = [next(stream) for _ in range(3)]
    assert len({row.id for row in rows}) == 3
