"""Several pictures side by side, as one picture that really shows several concepts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from repic_plugins.types import ImageRef

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class SideBySide:
    """Pictures in one row (an `ImageRef`), each scaled to the least of their heights, at most `height` pixels."""

    parts: tuple[ImageRef, ...]
    height: int = 512

    @cached_property
    def key(self) -> str:
        return f"row:{self.height}:" + "|".join(part.key for part in self.parts)

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        widths, height = self._layout()
        return sum(widths), height

    def open(self) -> Image:
        """Decode and join the parts. Raises `DataError` like the parts do."""
        from PIL import Image

        widths, height = self._layout()
        row = Image.new("RGB", (sum(widths), height))
        left = 0
        for part, width in zip(self.parts, widths, strict=True):
            row.paste(part.open().resize((width, height), Image.Resampling.BICUBIC), (left, 0))
            left += width
        return row

    def _layout(self) -> tuple[list[int], int]:
        height = min(self.height, *(part.size[1] for part in self.parts))
        return [max(1, round(part.size[0] * height / part.size[1])) for part in self.parts], height
