"""Reference pictures as files of a database: made safe on the way in, found by the hash of their content."""

from __future__ import annotations

import hashlib
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from repic_cli.concepts.geometry import PixelBox, square
from repic_cli.data.images import open_picture
from repic_plugins.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

MAX_SIDE = 2048
"""Longer sides are reduced to this many pixels: no model looks closer at a reference, and databases stay small."""
_LOSSLESS = frozenset({"PNG", "BMP", "GIF", "TIFF", "PPM"})
_LOSSLESS_PIXELS = 1_000_000
MARGIN = 0.2
"""Room around a box, in parts of its longer side: a thing is told by a little of its surroundings too."""
_FILE = re.compile(r"[0-9a-f]{64}\.(?:png|jpg)")
_NO_FILE = re.compile(r"[0-9a-f]{64}\.vector")


@dataclass(frozen=True)
class NewPicture:
    """A picture ready to be stored: its bytes, the file name that follows from them, and the pixels they decode to.

    `box` is where the thing is, in pixels of `image`; None: the whole picture shows it.
    """

    data: bytes
    file: str
    image: Image
    source: str
    box: PixelBox | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.size

    @property
    def view(self) -> Image:
        """What an encoder is shown."""
        return reference_view(self.image, self.box)


@dataclass(frozen=True)
class LostPicture:
    """A reference picture whose file is not at hand: its vector alone is kept, under a name that follows from it."""

    file: str
    source: str
    data: None = None
    size: tuple[int, int] = (0, 0)
    box: None = None


def lost_picture(vector: NDArray[np.float32], source: str) -> LostPicture:
    """What stands for a picture of which only the vector (D,) is there."""
    return LostPicture(f"{hashlib.sha256(vector.astype('<f4').tobytes()).hexdigest()}.vector", source)


def read_picture(path: str | Path, box: PixelBox | None = None) -> NewPicture:
    """Decode any picture and encode it anew: upright, RGB, without metadata (such as the place it was taken).

    Small pictures of a lossless format stay lossless (PNG); all else becomes JPEG of quality 95. The bytes depend on
    the pixels alone, so that a picture given twice is one file. `box` is in pixels of the upright picture. Raises
    `DataError` like `open_picture`, and for a box that shows nothing of the picture.
    """
    from PIL import Image

    path = Path(path)
    image = open_picture(path)
    before = image.size
    checked = None if box is None else _inside(box, before, path)
    if max(image.size) > MAX_SIDE:
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    lossless = _format(path) in _LOSSLESS and image.width * image.height <= _LOSSLESS_PIXELS
    data = _encode(image, lossless)
    with Image.open(io.BytesIO(data)) as decoded:
        seen = decoded.convert("RGB")
    file = f"{hashlib.sha256(data).hexdigest()}.{'png' if lossless else 'jpg'}"
    return NewPicture(data, file, seen, path.name, None if checked is None else _scale(checked, before, seen.size))


def reference_view(image: Image, box: PixelBox | None) -> Image:
    """The part of a reference picture that an encoder is shown: all of it, or the square around the thing's box.

    The crops of a picture that is searched are cut the same way.
    """
    if box is None:
        return image
    x1, y1, x2, y2 = square(box, image.size, MARGIN)
    return image.crop((round(x1), round(y1), max(round(x2), round(x1) + 1), max(round(y2), round(y1) + 1)))


def is_file_name(text: object) -> bool:
    """Whether this is a name that `read_picture` gives: a damaged or hostile database could hold a path instead."""
    return isinstance(text, str) and _FILE.fullmatch(text) is not None


def is_lost_name(text: object) -> bool:
    """Whether this is a name that `lost_picture` gives: there never was a file of that name."""
    return isinstance(text, str) and _NO_FILE.fullmatch(text) is not None


def _inside(box: PixelBox, size: tuple[int, int], path: Path) -> PixelBox:
    """The part of the box that lies in the picture."""
    x1, y1 = max(0.0, box[0]), max(0.0, box[1])
    x2, y2 = min(float(size[0]), box[2]), min(float(size[1]), box[3])
    if not all(map(math.isfinite, box)) or x2 - x1 < 1 or y2 - y1 < 1:
        shown = ", ".join(f"{value:g}" for value in box)
        raise DataError(
            f"{path}: the box {shown} shows nothing of the picture of {size[0]} x {size[1]} pixels; give x1,y1,x2,y2"
        )
    return x1, y1, x2, y2


def _scale(box: PixelBox, before: tuple[int, int], after: tuple[int, int]) -> PixelBox:
    across, down = after[0] / before[0], after[1] / before[1]
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def _format(path: Path) -> str:
    from PIL import Image

    with Image.open(path) as image:
        return image.format or ""


def _encode(image: Image, lossless: bool) -> bytes:
    buffer = io.BytesIO()
    if lossless:
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()
