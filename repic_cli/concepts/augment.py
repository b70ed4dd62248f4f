"""Other views of a reference picture: as the same thing may look in the crop of another photograph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

VIEWS = 4


def other_views(image: Image, rng: np.random.Generator, count: int = VIEWS) -> Iterator[Image]:
    """`count` views: turned a little, cut nearer or shown from farther, in other light, a little blurred.

    Not mirrored: that would make another thing of writing and of faces.
    """
    for _ in range(count):
        yield _blurred(_lit(_framed(image, rng), rng), rng)


def _framed(image: Image, rng: np.random.Generator) -> Image:
    from PIL import Image

    background = tuple(int(value) for value in np.median(np.asarray(image.resize((16, 16))), axis=(0, 1)))
    turned = image.rotate(float(rng.uniform(-12, 12)), Image.Resampling.BICUBIC, expand=False, fillcolor=background)
    width, height = turned.size
    scale = float(rng.uniform(0.8, 1.2))
    dx, dy = (float(value) for value in rng.uniform(-0.06, 0.06, 2))
    middle = (width * (0.5 + dx), height * (0.5 + dy))
    box = (
        round(middle[0] - width * scale / 2),
        round(middle[1] - height * scale / 2),
        round(middle[0] + width * scale / 2),
        round(middle[1] + height * scale / 2),
    )
    canvas = Image.new("RGB", (max(1, box[2] - box[0]), max(1, box[3] - box[1])), background)
    canvas.paste(turned, (-box[0], -box[1]))
    return canvas


def _lit(image: Image, rng: np.random.Generator) -> Image:
    from PIL import ImageEnhance

    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = change(image).enhance(float(rng.uniform(0.75, 1.25)))
    return image


def _blurred(image: Image, rng: np.random.Generator) -> Image:
    from PIL import Image

    part = float(rng.uniform(0.5, 1.0))
    small = image.resize((max(1, round(image.width * part)), max(1, round(image.height * part))))
    return small.resize(image.size, Image.Resampling.BILINEAR)
