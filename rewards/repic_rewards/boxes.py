"""Overlap of boxes, and the score of a predicted box (paper Eq. 3).

Boxes are (x1, y1, x2, y2) in continuous pixel coordinates, ends exclusive. A box without area, or with a value that
is not a number, overlaps nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from repic_rewards._jit import kernel
from repic_rewards.formats import answer_of
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
    _matrix(first, np.ascontiguousarray(second.T), out)
    return out


def iou_paper(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The paper's code: inclusive pixels in the intersection, exclusive ones in the areas: (N, 4), (N, 4) -> (N,).

    So identical 1 x 1 boxes score 0, and so do boxes that share a strip of one pixel.
    """
    first, second = _checked(a, b, same_length=True)
    out = np.empty(len(first))
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

    strict: the box is read as its convention says, in the `<answer>` where there is one, and scaled from the picture
    that the model saw to the original; no box, or more than one, scores 0.0 (with `allow_many` the first counts).
    paper: the first four bare integers in brackets, unscaled. Raises `ValueError` for an unknown mode, and where
    `parse_boxes` does.
    """
    if mode not in ("strict", "paper"):
        raise ValueError(f"unknown mode {mode!r}; there are strict, paper")
    said = np.full((len(completions), 4), np.nan)
    for index, text in enumerate(completions):
        if mode == "paper":
            first = parse_box_paper(text)
            boxes = [] if first is None else [first]
        else:
            boxes = parse_boxes(answer_of(text), conventions[index], seen[index], original[index])
        if len(boxes) == 1 or (boxes and allow_many):
            said[index] = boxes[0]
    true = np.asarray(truths, np.float64).reshape(-1, 4)
    overlap = iou_paper(said, true) if mode == "paper" else iou(said, true)
    return (overlap >= threshold).astype(float).tolist()


def _checked(a: np.ndarray, b: np.ndarray, *, same_length: bool) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.ascontiguousarray(a, np.float64), np.ascontiguousarray(b, np.float64)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != 4 or second.shape[1] != 4:
        raise ValueError(f"boxes must have shape (N, 4), not {first.shape} and {second.shape}")
    if same_length and len(first) != len(second):
        raise ValueError(f"{len(first)} boxes cannot be paired with {len(second)}")
    return first, second


@kernel
def _overlap(ax1: float, ay1: float, ax2: float, ay2: float, bx1: float, by1: float, bx2: float, by2: float) -> float:
    """IoU of two boxes, without a branch, so that loops over it are vectorised."""
    width = min(ax2, bx2) - max(ax1, bx1)
    height = min(ay2, by2) - max(ay1, by1)
    shared = width * height
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared
    # A box without area makes the width or the height <= 0; NaN and inf reach the union, and fail the last test.
    some = (width > 0) & (height > 0) & (union < np.inf)
    return shared / union if some else 0.0


@kernel
def _pairs(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(a)):
        out[i] = _overlap(a[i, 0], a[i, 1], a[i, 2], a[i, 3], b[i, 0], b[i, 1], b[i, 2], b[i, 3])


@kernel
def _matrix(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """`b` has its coordinates in rows, (4, M), so that neighbours in memory are computed together."""
    for i in range(len(a)):
        x1, y1, x2, y2 = a[i, 0], a[i, 1], a[i, 2], a[i, 3]
        for k in range(b.shape[1]):
            out[i, k] = _overlap(x1, y1, x2, y2, b[0, k], b[1, k], b[2, k], b[3, k])


@kernel
def _pairs_paper(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(a)):
        x1, y1 = max(a[i, 0], b[i, 0]), max(a[i, 1], b[i, 1])
        x2, y2 = min(a[i, 2] - 1, b[i, 2] - 1), min(a[i, 3] - 1, b[i, 3] - 1)
        shared = (x2 - x1 + 1) * (y2 - y1 + 1) if x1 < x2 and y1 < y2 else 0.0
        area_a = max(0.0, a[i, 2] - a[i, 0]) * max(0.0, a[i, 3] - a[i, 1])
        area_b = max(0.0, b[i, 2] - b[i, 0]) * max(0.0, b[i, 3] - b[i, 1])
        value = shared / max(1.0, area_a + area_b - shared)
        out[i] = value if 0 < value < np.inf else 0.0  # NaN is the box of a text without one
