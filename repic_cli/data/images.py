"""Safe access to pictures: every picture that enters the program is opened here.

Pillow is imported where it is used, so that command-line help stays quick.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from repic_plugins.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

MAX_PIXELS = 100_000_000
"""Largest picture, in pixels, that is decoded. A file of a few kilobytes can unpack to gigabytes."""

_LIMIT = f"{MAX_PIXELS // 10**6} million pixels"

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".mpo", ".ppm"})
"""File name endings (lower case) that folder importers look at."""

_ORIENTATION = 0x0112  # EXIF tag; values 5 to 8 swap width and height
PixelBox = tuple[float, float, float, float]


def open_picture(path: str | Path) -> Image:
    """Decode a picture: RGB, upright (EXIF applied), first frame, transparent parts on white.

    Raises `DataError`, one line that names the file, if it is missing, no picture, truncated, corrupt, or larger than
    `MAX_PIXELS`; the size is checked before anything is decoded.
    """
    path = Path(path)
    with _header(path) as image:
        try:
            image.load()
            return _to_rgb(_upright(image))
        # Decoders raise nearly anything on hostile bytes (OSError, SyntaxError, struct.error, zlib.error, ...).
        except Exception as error:
            raise DataError(f"{path}: the picture is truncated or corrupt ({_short(error)})") from error


def picture_size(path: str | Path) -> tuple[int, int]:
    """Width and height in pixels after EXIF orientation, from the header alone. Raises like `open_picture`."""
    with _header(Path(path)) as image:
        width, height = image.size
        return (height, width) if _orientation(image) >= 5 else (width, height)


def find_pictures(folder: str | Path) -> list[Path]:
    """The picture files directly in `folder`, by name, without hidden ones. Raises `DataError` if it is no folder."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found = (p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    return sorted(p for p in found if p.is_file())


@dataclass(frozen=True)
class FileImage:
    """A picture in a file, opened on demand (an `ImageRef`).

    `box` (x1, y1, x2, y2 in pixels of the upright picture) makes it a crop, rounded outwards and clipped.
    """

    path: Path
    box: PixelBox | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))
        if self.box is not None:
            object.__setattr__(self, "box", tuple(float(value) for value in self.box))

    @cached_property
    def key(self) -> str:
        """The absolute path, and the box if there is one."""
        place = str(self.path.absolute())
        return place if self.box is None else f"{place}#{','.join(f'{value:g}' for value in self.box)}"

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of what `open` returns. Raises `DataError` like `open_picture`."""
        whole = picture_size(self.path)
        if self.box is None:
            return whole
        x1, y1, x2, y2 = _crop(self.box, whole, str(self.path))
        return x2 - x1, y2 - y1

    def open(self) -> Image:
        """Decode the picture. Raises `DataError` like `open_picture`, or if the box lies outside the picture."""
        image = open_picture(self.path)
        return image if self.box is None else image.crop(_crop(self.box, image.size, str(self.path)))


class MemoryImage:
    """A picture that is already decoded (an `ImageRef`).

    `image` is a PIL picture or a uint8 array of shape (H, W, 3) or (H, W). `key` defaults to a hash of the pixels;
    give one where many pictures are made and hashing would cost. Two are equal when their keys are.
    """

    def __init__(self, image: Image | NDArray[Any], key: str | None = None) -> None:
        self._image = _from_array(image) if hasattr(image, "__array_interface__") and not _is_pil(image) else image
        self._key = key

    @property
    def key(self) -> str:
        if self._key is None:
            picture = self._rgb
            digest = hashlib.blake2b(picture.tobytes(), digest_size=16, person=b"repic-image")
            digest.update(repr(picture.size).encode())
            self._key = f"memory:{digest.hexdigest()}"
        return self._key

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self._rgb.size

    def open(self) -> Image:
        """A copy, so that whoever draws on it does not change the picture for others."""
        return self._rgb.copy()

    @cached_property
    def _rgb(self) -> Image:
        return _to_rgb(cast("Image", self._image))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MemoryImage) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        width, height = self.size
        return f"MemoryImage({width}x{height}, key={self.key!r})"


def _header(path: Path) -> Image:
    """Open the file without decoding it; checks that it is a picture of bearable size."""
    from PIL import Image, UnidentifiedImageError

    if not path.exists():
        raise DataError(f"{path}: no such picture")
    if not path.is_file():  # also keeps devices and pipes from being read for ever
        raise DataError(f"{path}: not a file; give the picture itself")
    try:
        _quieten_pillow()
        image = Image.open(path)
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: the picture is too large; the most is {_LIMIT}") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: not a picture in a format that can be read") from error
    except PermissionError as error:
        raise DataError(f"{path}: no permission to read the picture") from error
    except Exception as error:  # a damaged header, see open_picture
        raise DataError(f"{path}: the picture is truncated or corrupt ({_short(error)})") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise DataError(f"{path}: the picture is too large ({width} x {height}); the most is {_LIMIT}")
    return image


@cache
def _quieten_pillow() -> None:
    """Turn off Pillow's warnings: ours is a limit of our own, and a damaged picture is an error or does not matter.

    Its limit on size, from which it warns and at twice of which it refuses, lies around ours.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _orientation(image: Image) -> int:
    """The EXIF orientation, 1 if there is none or the EXIF block is damaged (the pixels may still be fine)."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(image: Image) -> Image:
    from PIL.Image import Transpose

    steps = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    step = steps.get(_orientation(image))
    return image if step is None else image.transpose(step)


def _to_rgb(image: Image) -> Image:
    """RGB without surprises: what is transparent becomes white, 16 bits are scaled to 8 instead of clipped."""
    from PIL import Image

    if image.mode == "RGB":
        return image.copy()
    if image.mode.startswith(("I", "F")):
        return _scale_deep(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _scale_deep(image: Image) -> Image:
    """Grey values of more than 8 bits, or floats, scaled to 0..255 by the smallest usual range that holds them."""
    import numpy as np
    from PIL import Image

    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    top = values.max(initial=0.0)
    usual = [65535.0] if ";" in image.mode else [1.0, 255.0, 65535.0] if image.mode == "F" else [255.0, 65535.0]
    limit = next((value for value in usual if top <= value), top)
    return Image.fromarray(np.clip(values / limit * 255.0, 0, 255).astype(np.uint8))


def _is_pil(image: object) -> bool:
    from PIL.Image import Image

    return isinstance(image, Image)


def _from_array(array: Any) -> Image:
    import numpy as np
    from PIL import Image

    pixels = np.asarray(array)
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise DataError(f"a picture must be uint8 of shape (H, W, 3), not {pixels.dtype} of shape {pixels.shape}")
    return Image.fromarray(np.array(pixels, order="C"))  # a copy: Pillow may share the array's memory


def _crop(box: PixelBox, size: tuple[int, int], name: str) -> tuple[int, int, int, int]:
    """Whole pixels that cover `box`, inside the picture."""
    if not all(math.isfinite(value) for value in box):
        raise DataError(f"{name}: the box {box} holds a value that is no number")
    x1, y1 = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    x2, y2 = min(size[0], math.ceil(box[2])), min(size[1], math.ceil(box[3]))
    if x1 >= x2 or y1 >= y2:
        raise DataError(f"{name}: the box {box} is empty or lies outside the picture of {size[0]} x {size[1]} pixels")
    return x1, y1, x2, y2


def _short(error: Exception) -> str:
    """The first line of an error, cut."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:120]
