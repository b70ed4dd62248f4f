"""Overlap of boxes against plain Python, and the box score (VLT, paper Eq. 3)."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Box = tuple[float, float, float, float]
numbers = st.one_of(
    st.integers(-3, 12).map(float),
    st.floats(-1e6, 1e6),
    st.sampled_from([math.nan, math.inf, -math.inf]),
)
boxes = st.tuples(numbers, numbers, numbers, numbers)
pairs = st.lists(st.tuples(boxes, boxes), max_size=8)


def slow_iou(a: Box, b: Box) -> float:
    if not all(map(math.isfinite, (*a, *b))) or a[2] <= a[0] or a[3] <= a[1] or b[2] <= b[0] or b[3] <= b[1]:
        return 0.0
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union else 0.0


def slow_iou_paper(a: Box, b: Box) -> float:
    """What the paper's code computes, for integers."""
    x1, y1, x2, y2 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]) - 1, min(a[3], b[3]) - 1
    shared = (x2 - x1 + 1) * (y2 - y1 + 1) if x1 < x2 and y1 < y2 else 0
    areas = [max(0, box[2] - box[0]) * max(0, box[3] - box[1]) for box in (a, b)]
    return shared / max(1, sum(areas) - shared)


def as_arrays(cases: list[tuple[Box, Box]]) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.array([case[i] for case in cases], float).reshape(-1, 4) for i in (0, 1))


@settings(max_examples=100, deadline=None)
@given(pairs)
def test_iou_agrees_with_python(compiled: SimpleNamespace, cases: list[tuple[Box, Box]]) -> None:
    a, b = as_arrays(cases)
    assert compiled.boxes.iou(a, b) == pytest.approx([slow_iou(*case) for case in cases], rel=1e-12)
    matrix = compiled.boxes.iou_matrix(a, b)
    assert matrix.shape == (len(cases), len(cases))
    assert matrix == pytest.approx(
        np.array([[slow_iou(x, y) for _, y in cases] for x, _ in cases]).reshape(matrix.shape)
    )


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_plain_iou_agrees_with_python(plain: SimpleNamespace, cases: list[tuple[Box, Box]]) -> None:
    a, b = as_arrays(cases)
    with np.errstate(all="ignore"):
        assert plain.boxes.iou(a, b) == pytest.approx([slow_iou(*case) for case in cases], rel=1e-12)
        assert plain.boxes.iou_matrix(a, b).diagonal() == pytest.approx([slow_iou(*case) for case in cases])


whole = st.tuples(*[st.integers(0, 9)] * 4)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(whole, whole), max_size=8))
def test_iou_paper_agrees_with_python(compiled: SimpleNamespace, cases: list[tuple[Box, Box]]) -> None:
    expected = [slow_iou_paper(*case) for case in cases]
    assert compiled.boxes.iou_paper(*as_arrays(cases)) == pytest.approx(expected, rel=1e-12)


def test_known_overlaps(rewards: SimpleNamespace) -> None:
    a = np.array([[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 10, 10], [0, 0, 4, 4], [5, 5, 5, 9]])
    b = np.array([[0, 0, 1, 1], [1, 1, 3, 3], [0, 0, 10, 5], [4, 0, 8, 4], [5, 5, 5, 9]])
    assert rewards.boxes.iou(a, b) == pytest.approx([1, 1 / 7, 0.5, 0, 0])
    # The paper's code gives identical 1 x 1 boxes 0, and loses an overlap that is one pixel wide.
    assert rewards.boxes.iou_paper(a, b) == pytest.approx([0, 0, 0.5, 0, 0])
    assert rewards.boxes.iou_matrix(a[:2], b[:3]).shape == (2, 3)
    nothing = np.empty((0, 4))
    assert rewards.boxes.iou(nothing, nothing).shape == (0,)
    assert rewards.boxes.iou_matrix(nothing, b).shape == (0, 5)


@pytest.mark.parametrize(("a", "b"), [((2, 3), (2, 3)), ((4,), (4,)), ((2, 4), (3, 4)), ((2, 4), (2, 5))])
def test_shapes_are_checked(compiled: SimpleNamespace, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="boxes"):
        compiled.boxes.iou(np.zeros(a), np.zeros(b))


def test_float32_and_lists_are_welcome(compiled: SimpleNamespace) -> None:
    assert compiled.boxes.iou(np.array([[0, 0, 1, 1]], np.float32), [[0, 0, 1, 1]]) == [1.0]


def scored(rewards: SimpleNamespace, text: str, truth: Box = (10, 20, 110, 220), **options: object) -> float:
    frame = {"conventions": ["pixels"], "seen": [(200, 300)], "original": [(200, 300)]}
    return rewards.boxes.score_boxes([text], [truth], **{**frame, **options})[0]


def test_score_of_one_box(rewards: SimpleNamespace) -> None:
    right = "[10, 20, 110, 220]"
    assert scored(rewards, right) == scored(rewards, right, mode="paper") == 1.0
    assert scored(rewards, "[10, 20, 110, 119]") == 0.0
    assert scored(rewards, "[10, 20, 110, 119]", threshold=0.4) == 1.0
    assert scored(rewards, "[10, 20, 110, 120]") == 1.0  # IoU of exactly 0.5 counts
    assert scored(rewards, "no box") == scored(rewards, "no box", mode="paper") == 0.0
    assert scored(rewards, "") == scored(rewards, "", mode="paper") == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "[10.0, 20.0, 110.0, 220.0]",
        "[ 10, 20, 110, 220]",
        "<box>(10,20),(110,220)</box>",
        '{"x1": 10, "y1": 20, "x2": 110, "y2": 220}',
        "[110, 220, 10, 20]",
    ],
)
def test_forms_that_the_papers_code_does_not_read(rewards: SimpleNamespace, text: str) -> None:
    assert scored(rewards, text, mode="paper") == 0.0
    assert scored(rewards, text) == 1.0


def test_several_boxes(rewards: SimpleNamespace) -> None:
    right, wrong = "[10, 20, 110, 220]", "[1, 1, 2, 2]"
    assert scored(rewards, f"{wrong} {right}", mode="paper") == 0.0  # the first hit only
    assert scored(rewards, f"{right} {wrong}", mode="paper") == 1.0  # the others go unpunished
    assert scored(rewards, f"{right} {wrong}") == 0.0
    assert scored(rewards, f"{right} {wrong}", allow_many=True) == 1.0
    assert scored(rewards, f"{wrong} {right}", allow_many=True) == 0.0
    assert scored(rewards, f"{right}, that is {right}") == 1.0  # one box, said twice
    assert scored(rewards, f"{right} [5, 5, 5, 5]") == 0.0  # a box without area is a guess too


def test_box_is_read_in_the_answer(rewards: SimpleNamespace) -> None:
    text = "<think>[1, 1, 2, 2] or [3, 3, 4, 4]?</think><answer>[10, 20, 110, 220]</answer>"
    assert scored(rewards, text) == 1.0
    assert scored(rewards, text, mode="paper") == 0.0


def test_box_is_scaled_to_the_original(rewards: SimpleNamespace) -> None:
    assert scored(rewards, "[5, 10, 55, 110]", seen=[(100, 150)]) == 1.0
    assert scored(rewards, "[50, 67, 550, 733]", conventions=["per_mille"]) == 1.0
    assert scored(rewards, "[5, 10, 55, 110]", seen=[(100, 150)], mode="paper") == 0.0


def test_unknown_mode(compiled: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="unknown mode 'loose'"):
        scored(compiled, "", mode="loose")
