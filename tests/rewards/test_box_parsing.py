"""Reading boxes from text: all forms and conventions, and no text that takes for ever."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic_rewards.parsing import Convention, parse_box_paper, parse_boxes

BOX = (10.0, 20.0, 110.0, 220.0)
SIZE = (200, 300)

FORMS = [
    "[10, 20, 110, 220]",
    "The box is [10,20,110,220].",
    "[10.0, 20.00, 110., 220]",
    "[ 10 ,\n 20, 110 , 220 ]",
    "(10, 20, 110, 220)",
    "[[10, 20, 110, 220]]",
    "[110, 220, 10, 20]",
    "[110, 20, 10, 220]",
    '[{"bbox_2d": [10, 20, 110, 220], "label": "a dog {brown}"}]',
    '```json\n[\n\t{"bbox_2d": [10, 20, 110, 220], "label": "dog"}\n]\n```',
    '{"object": {"bbox_2d": [10, 20, 110, 220]}}',
    "<box>(10,20),(110,220)</box>",
    "<|box_start|>(10,20),(110,220)<|box_end|>",
    "<box>[[10, 20, 110, 220]]</box>",
    "<|det|>[[10, 20, 110, 220]]<|/det|>",
    "[[10, 20], [110, 220]]",
    "(10,20) (110,220)",
    '{"x1": 10, "y1": 20, "x2": 110, "y2": 220}',
    "{'y2': 220.0, 'x2': 110, 'y1': 20, 'x1': 10}",
    '{x1: 10, y1: "20", x2: 110, y2=220}',
    "[10, 20, 110, 220] and again [10, 20, 110, 220]",
]


@pytest.mark.parametrize("text", FORMS)
def test_forms(text: str) -> None:
    assert parse_boxes(text) == [BOX]
    assert parse_boxes(text, "pixels", SIZE, SIZE) == [BOX]


NO_BOX = [
    "",
    "10, 20, 110, 220",
    "[10, 20, 110]",
    "[10, 20, 110, 220, 0.9]",
    "[a, b, c, d]",
    "(10, 20)",
    "[[10, 20], [110, 20], [110, 220]]",
    "[[10, 20], [110, 20], [110, 220], [10, 220]]",
    '{"x1": 10, "y1": 20, "x2": 110}',
    '{"point_2d": [10, 20], "label": "dog"}',
    "<loc0010><loc0020><loc0110>",
]


@pytest.mark.parametrize("text", NO_BOX)
def test_no_box(text: str) -> None:
    assert parse_boxes(text) == []


@pytest.mark.parametrize(
    ("text", "convention", "expected"),
    [
        ("[500, 500, 1000, 1000]", "per_mille", (100, 150, 200, 300)),
        ("[999, 0, 333, 999]", "per_999", (200 / 3, 0, 200, 300)),
        ("<loc0512><loc0256><loc1023><loc0768> dog", "loc1024", (50, 150, 150, 300 * 1023 / 1024)),
        ("<loc0000><loc0000><loc0512><loc0512>", "pixels", (0, 0, 100, 150)),
        ("[50, 30, 100, 60]", "pixels", (100, 75, 200, 150)),
    ],
)
def test_conventions(text: str, convention: Convention, expected: tuple[float, ...]) -> None:
    assert parse_boxes(text, convention, (100, 120), SIZE) == [pytest.approx(expected)]


def test_overshoot_is_cut_off() -> None:
    assert parse_boxes("[-5, -7, 9999, 1e9]", "pixels", SIZE, SIZE) == []  # no exponents in any convention
    assert parse_boxes("[-5, -7, 9999, 100]", "pixels", SIZE, SIZE) == [(0, 0, 200, 100)]
    assert parse_boxes("[300, 10, 400, 20]", "pixels", SIZE, SIZE) == [(200, 10, 200, 20)]
    assert parse_boxes("[-5, -7, 9999, 100]") == [(-5, -7, 9999, 100)]
    assert parse_boxes(f"[{'9' * 5000}, 0, 10, 10]", "pixels", SIZE, SIZE) == [(10, 0, 200, 10)]


def test_several_boxes_in_order() -> None:
    text = '[1, 2, 3, 4], (5,6),(7,8); {"x1": 9, "y1": 10, "x2": 11, "y2": 12}, [1, 2, 3, 4]'
    assert parse_boxes(text) == [(1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12)]
    text = '[{"bbox_2d": [1, 2, 3, 4]}, {"bbox_2d": [1, 2, 3, 5]}]'
    assert parse_boxes(text) == [(1, 2, 3, 4), (1, 2, 3, 5)]


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="unknown box convention 'percent'"):
        parse_boxes("", "percent")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="need the size of the original"):
        parse_boxes("", "per_mille")
    with pytest.raises(ValueError, match="have a width and a height"):
        parse_boxes("", "pixels", (0, 10), SIZE)


def test_papers_regular_expression() -> None:
    assert parse_box_paper("x [10 ,20,\n110, 220] [1,2,3,4]") == BOX
    for text in ("[10.0, 20, 110, 220]", "[ 10, 20, 110, 220]", "[10, 20, 110, 220 ]", "[-1, 2, 3, 4]", "(1,2),(3,4)"):
        assert parse_box_paper(text) is None
    assert parse_box_paper("[٣, 4, 5, 6]") == (3, 4, 5, 6)  # its \d takes digits of all scripts


@given(st.text(alphabet="[](){}<>,.-+ 0123456789xy=:\"'loc", max_size=80))
def test_any_text_gives_ordered_boxes_within_the_picture(text: str) -> None:
    for x1, y1, x2, y2 in parse_boxes(text, "pixels", (100, 100), SIZE):
        assert 0 <= x1 <= x2 <= 200
        assert 0 <= y1 <= y2 <= 300


HOSTILE = ["(1,2)" + " " * 60_000, "[" * 60_000, "[1" * 60_000, "[1" + " " * 60_000, "{" * 60_000, "{x1" * 30_000]
HOSTILE += [
    "[" + "1" * 60_000,
    "<loc0001>" * 20_001,
    "(1,2)" * 20_001,
    "{" + "x1 " * 30_000 + "}",
    "[1,2,3" + "\n" * 60_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=[text[:6] for text in HOSTILE])
def test_hostile_texts_take_linear_time(text: str) -> None:
    def seconds(size: int) -> float:
        begin = time.process_time()
        parse_boxes(text[:size])
        parse_box_paper(text[:size])
        return time.process_time() - begin

    # Quadratic time would be minutes at this length.
    assert seconds(len(text)) < 3
