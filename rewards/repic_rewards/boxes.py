"""Overlap of boxes, and the score of a predicted box (paper Eq. 3).

Boxes are (x1, y1, x2, y2) in continuous pixel coordinates, ends exclusive. A box without area, or with a value that
is not a number, overlaps nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from repic_rewards._jit import kernel
from repic_rewards.parsing import Convention, Corners, Size, parse_box_paper, parse_boxes

Mode = Literal["strict", "paper"]


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of row i of `a` and row i of `b`: (N, 4), (N, 4) -> (N,) float64."""
    first, second = _checked(a, b, same_length=True)
    out = np.empty(len(first))
    _pairs(first, second, out)
    return out


def iou_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every row of `a` with every row of `b`: (N, 4), (M, 4) -> (N, M) float64."""
    first, second = _checked(a, b, same_length=False)
    out = np.empty((len(first), len(second)))
    _matrix(first, second, out)
    return out


def iou_paper(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The paper's code: inclusive pixels in the intersection, exclusive ones in the areas: (N, 4), (N, 4) -> (N,).

    Identical 1 x 1 boxes score 0 by it.
    """
    first, second = _checked(a, b, same_length=True)
    out = np.zeros(len(first))
    _pairs_paper(first, second, out)
    return out


def score_boxes(
    completions: Sequence[str],
    truths: Sequence[Corners],
    *,
    conventions: Sequence[Convention],
    seen: Sequence[Size | None],
    original: Sequence[Size | None],
    threshold: float = 0.5,
    mode: Mode = "strict",
    allow_many: bool = False,
) -> list[float]:
    """1.0 where the box in the completion has IoU >= `threshold` with the true one, else 0.0; N values.

    strict: the box is read as its convention says and scaled from the picture that the model saw to the original; no
    box, or more than one, scores 0.0 (with `allow_many` the first counts). paper: the first four bare integers in
    brackets, unscaled.
    """
    said = np.full((len(completions), 4), np.nan)
    for index, text in enumerate(completions):
        if mode == "paper":
            first = parse_box_paper(text)
            boxes = [] if first is None else [first]
        else:
            boxes = parse_boxes(text, conventions[index], seen[index], original[index])
        if len(boxes) == 1 or (boxes and allow_many):
            said[index] = boxes[0]
    true = np.asarray(truths, np.float64).reshape(-1, 4)
    overlap = iou_paper(said, true) if mode == "paper" else iou(said, true)
    return [float(value >= threshold) for value in overlap]


def _checked(a: np.ndarray, b: np.ndarray, *, same_length: bool) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.ascontiguousarray(a, np.float64), np.ascontiguousarray(b, np.float64)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != 4 or second.shape[1] != 4:
        raise ValueError(f"boxes must have shape (N, 4), not {first.shape} and {second.shape}")
    if same_length and len(first) != len(second):
        raise ValueError(f"{len(first)} boxes cannot be paired with {len(second)}")
    return first, second


@kernel
def overlap_of(a: np.ndarray, b: np.ndarray) -> float:
    """IoU of two boxes (4,); every comparison is false for NaN, so such a box overlaps nothing."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if not (width > 0 and height > 0):
        return 0.0
    if not (a[2] > a[0] and a[3] > a[1] and b[2] > b[0] and b[3] > b[1]):
        return 0.0
    shared = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 and union < np.inf else 0.0


@kernel
def _pairs(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    for index in range(len(a)):
        out[index] = overlap_of(a[index], b[index])


@kernel
def _matrix(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    for row in range(len(a)):
        for column in range(len(b)):
            out[row, column] = overlap_of(a[row], b[column])


@kernel
def _pairs_paper(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    for index in range(len(a)):
        x1, y1 = max(a[index, 0], b[index, 0]), max(a[index, 1], b[index, 1])
        x2, y2 = min(a[index, 2] - 1, b[index, 2] - 1), min(a[index, 3] - 1, b[index, 3] - 1)
        shared = 0.0
        if x1 < x2 and y1 < y2:
            shared = (x2 - x1 + 1) * (y2 - y1 + 1)
        first = (a[index, 2] - a[index, 0]) * (a[index, 3] - a[index, 1])
        second = (b[index, 2] - b[index, 0]) * (b[index, 3] - b[index, 1])
        union = first + second - shared
        # The paper's code divides by whatever comes out; without area there is nothing to divide by.
        if union > 0:
            out[index] = shared / union
