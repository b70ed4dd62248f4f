"""Reference pictures as files of a database: made safe on the way in, found by the hash of their content."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from repic_cli.data.images import open_picture

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_SIDE = 2048
"""Longer sides are reduced to this many pixels: no model looks closer at a reference, and databases stay small."""
_LOSSLESS = frozenset({"PNG", "BMP", "GIF", "TIFF", "PPM"})
_LOSSLESS_PIXELS = 1_000_000
_FILE = re.compile(r"[0-9a-f]{64}\.(?:png|jpg)")


@dataclass(frozen=True)
class NewPicture:
    """A picture ready to be stored: its bytes, the file name that follows from them, and the pixels they decode to."""

    data: bytes
    file: str
    image: Image
    source: str

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.size


def read_picture(path: str | Path) -> NewPicture:
    """Decode any picture and encode it anew: upright, RGB, without metadata (such as the place it was taken).

    Small pictures of a lossless format stay lossless (PNG); all else becomes JPEG of quality 95. The bytes depend on
    the pixels alone, so that a picture given twice is one file. Raises `DataError` like `open_picture`.
    """
    from PIL import Image

    path = Path(path)
    image = open_picture(path)
    if max(image.size) > MAX_SIDE:
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    lossless = _format(path) in _LOSSLESS and image.width * image.height <= _LOSSLESS_PIXELS
    data = _encode(image, lossless)
    with Image.open(io.BytesIO(data)) as decoded:
        seen = decoded.convert("RGB")
    file = f"{hashlib.sha256(data).hexdigest()}.{'png' if lossless else 'jpg'}"
    return NewPicture(data, file, seen, path.name)


def is_file_name(text: object) -> bool:
    """Whether this is a name that `read_picture` gives: a damaged or hostile database could hold a path instead."""
    return isinstance(text, str) and _FILE.fullmatch(text) is not None


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
