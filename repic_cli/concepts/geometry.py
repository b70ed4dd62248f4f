"""Boxes of pictures: x1, y1, x2, y2 in pixels, x to the right, y down, x2 and y2 exclusive."""

from __future__ import annotations

PixelBox = tuple[float, float, float, float]


def square(box: PixelBox, size: tuple[int, int], margin: float = 0.0, shift: tuple[float, float] = (0, 0)) -> PixelBox:
    """The square around `box`, its side the longer side of the box times (1 + margin), moved to lie in the picture.

    Encoders see squares, so that no part of a proposal is cut away and nothing is stretched. `size` is (width, height)
    of the picture; `shift` moves the square by parts of its side. A picture too small for the square cuts it.
    """
    width, height = size
    side = max(box[2] - box[0], box[3] - box[1]) * (1 + margin)
    x = (box[0] + box[2] - side) / 2 + shift[0] * side
    y = (box[1] + box[3] - side) / 2 + shift[1] * side
    x, y = min(max(0.0, x), max(0.0, width - side)), min(max(0.0, y), max(0.0, height - side))
    return x, y, min(x + side, width), min(y + side, height)


def area(box: PixelBox) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def overlap(one: PixelBox, other: PixelBox) -> tuple[float, float]:
    """Intersection over union, and intersection over the smaller of the two; both 0 for boxes apart."""
    shared = area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))
    if shared == 0.0:
        return 0.0, 0.0
    first, second = area(one), area(other)
    return shared / (first + second - shared), shared / min(first, second)
