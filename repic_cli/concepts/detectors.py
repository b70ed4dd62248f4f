"""Detectors: where in a picture things may be. These two need no model; plugins and later issues add others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from repic_cli.concepts.geometry import PixelBox
from repic_plugins.errors import OptionError
from repic_plugins.types import Proposal

if TYPE_CHECKING:
    from PIL.Image import Image


class WholeDetector:
    """The whole picture, as one proposal."""

    def propose(self, image: Image) -> list[Proposal]:
        return [Proposal((0.0, 0.0, float(image.width), float(image.height)))]


class GridDetector:
    """The whole picture, a grid of square windows at several scales, and what stands out from a flat background.

    `scales` are sides of windows in parts of the picture's shorter side; windows overlap by half. On a picture whose
    background is about flat (`repic_cli.concepts.salient`), the things on it come first.
    """

    def __init__(self, scales: Sequence[float], salient: bool) -> None:
        if not all(0.05 <= scale <= 1 for scale in scales):
            raise OptionError(f"detector grid: scales must lie between 0.05 and 1, not {', '.join(map(str, scales))}")
        self.scales, self.salient = tuple(scales), salient

    def propose(self, image: Image) -> list[Proposal]:
        from repic_cli.concepts.salient import salient_boxes

        found = [Proposal(box, 1.0) for box in salient_boxes(image)] if self.salient else []
        found += WholeDetector().propose(image)
        # Windows cut things in two: where the things are known already they would only add wrong matches.
        if len(found) == 1:
            found += [Proposal(box) for scale in self.scales for box in windows(image.size, scale)]
        return found


def windows(size: tuple[int, int], scale: float) -> list[PixelBox]:
    """Square windows that cover a picture of `size` (width, height) and overlap by about half, in reading order."""
    side = scale * min(size)
    rows, columns = _starts(size[1], side), _starts(size[0], side)
    return [(x, y, x + side, y + side) for y in rows for x in columns]


def _starts(length: float, side: float) -> list[float]:
    free = length - side
    steps = int(-(-free // (side / 2))) if free > 0 else 0
    return [free * index / steps for index in range(steps + 1)] if steps else [max(0.0, free / 2)]
