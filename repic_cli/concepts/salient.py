"""Things that stand out from a flat background, found without a model.

The colour of the border is taken for the background: a plane is fitted to it per channel. What differs from the plane
is foreground; its connected parts are things. A photograph of a room has no such background, and gets no boxes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from repic_cli.concepts.geometry import PixelBox, area, overlap

if TYPE_CHECKING:
    from PIL.Image import Image

WORK_SIDE = 128
"""Larger pictures are looked at reduced to this side."""
MOST = 16
_LEAST_PART = 0.004
_FLAT = 0.8
"""A background is flat when this share of the border lies near the plane."""
Mask = NDArray[np.bool_]


def salient_boxes(image: Image) -> list[PixelBox]:
    """Boxes of things on a flat background, the largest first; none when the background is not flat."""
    small = image.copy()
    small.thumbnail((WORK_SIDE, WORK_SIDE))
    pixels = np.asarray(small, np.float32)  # (h, w, 3)
    if min(pixels.shape[:2]) < 8:
        return []
    mask = foreground(pixels)
    if mask is None:
        return []
    height, width = mask.shape
    boxes = _merge([box for box in components(mask) if area(box) >= _LEAST_PART * height * width])
    x, y = image.width / width, image.height / height
    scaled = [(x1 * x, y1 * y, x2 * x, y2 * y) for x1, y1, x2, y2 in boxes]
    return sorted(scaled, key=area, reverse=True)[:MOST]


def foreground(pixels: NDArray[np.float32]) -> Mask | None:
    """(h, w, 3) -> (h, w), True where a pixel differs from the background; None when that is not flat."""
    height, width, _ = pixels.shape
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    terms = np.stack([np.ones_like(rows), columns / width, rows / height], -1)  # (h, w, 3)
    border = np.zeros((height, width), bool)
    border[:3], border[-3:], border[:, :3], border[:, -3:] = True, True, True, True
    samples, values = terms[border], pixels[border]
    # Start from the median colour, then fit planes to what lies near: things may touch the border.
    plane = np.zeros((3, 3), np.float32)
    plane[0] = np.median(values, axis=0)
    spread = 40.0
    for _ in range(3):
        far = np.linalg.norm(values - samples @ plane, axis=1)
        near = far < max(spread, 12.0)
        if near.mean() < _FLAT * 0.75:
            return None
        plane = np.linalg.lstsq(samples[near], values[near], rcond=None)[0].astype(np.float32)
        spread = 4 * float(np.median(np.linalg.norm(values[near] - samples[near] @ plane, axis=1)))
    far = np.linalg.norm(values - samples @ plane, axis=1)
    if (far < max(spread, 24.0)).mean() < _FLAT or spread > 60:
        return None
    mask: Mask = np.linalg.norm(pixels - terms @ plane, axis=-1) > max(spread, 24.0)
    return mask if mask.mean() < 0.75 else None


def components(mask: Mask) -> list[PixelBox]:
    """Boxes of the connected parts (8 neighbours) of a mask."""
    parent: list[int] = []
    runs: list[tuple[int, int, int]] = []  # row, start, end
    above: list[int] = []
    for row, line in enumerate(mask):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], line, [False]]).astype(np.int8)))
        current = []
        for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            index = len(runs)
            runs.append((row, start, end))
            parent.append(index)
            current.append(index)
            for other in above:
                if runs[other][1] <= end and start <= runs[other][2]:
                    parent[_root(parent, other)] = _root(parent, index)
        above = current
    found: dict[int, list[float]] = {}
    for index, (row, start, end) in enumerate(runs):
        box = found.setdefault(_root(parent, index), [start, row, end, row + 1])
        box[0], box[1] = min(box[0], start), min(box[1], row)
        box[2], box[3] = max(box[2], end), max(box[3], row + 1)
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in found.values()]


def _root(parent: list[int], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index


def _merge(boxes: list[PixelBox]) -> list[PixelBox]:
    """A part inside another one belongs to it: a halo and what it goes around."""
    kept: list[PixelBox] = []
    for box in sorted(boxes, key=area, reverse=True):
        for index, other in enumerate(kept):
            if overlap(box, other)[1] > 0.6:
                x1, y1, x2, y2 = zip(box, other, strict=True)
                kept[index] = (min(x1), min(y1), max(x2), max(y2))
                break
        else:
            kept.append(box)
    return kept
