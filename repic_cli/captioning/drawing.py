"""A picture with the boxes of its concepts and their names: green for what was kept, grey for what was not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repic_cli.captioning.results import UsedConcept
from repic_plugins.text import clean

if TYPE_CHECKING:
    from PIL.Image import Image

KEPT, REJECTED = (0, 114, 50), (90, 90, 90)
LEAST_SIDE = 448
"""Smaller pictures are enlarged, or the names would cover them."""
MOST_SIDE = 2048


def draw_boxes(image: Image, concepts: Iterable[UsedConcept]) -> Image:
    """A copy of an upright RGB picture with boxes and names; concepts without a box are passed over.

    What was kept is drawn last, over the rest.
    """
    from PIL import ImageDraw

    scale = min(max(1.0, LEAST_SIDE / max(image.size)), MOST_SIDE / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    canvas = image.resize((width, height)) if scale != 1 else image.copy()
    pen = ImageDraw.Draw(canvas)
    font = _font(max(13, max(canvas.size) // 40))
    for used in sorted(concepts, key=lambda used: used.kept):
        if used.box is not None:
            x1, y1, x2, y2 = (value * scale for value in used.box)
            _box(pen, (x1, y1, x2, y2), label(used), KEPT if used.kept else REJECTED, font, canvas.size)
    return canvas


def label(used: UsedConcept) -> str:
    """`bo 0.93, yes 0.88`: name, cosine, and the probability of yes; a `?` for what was not kept."""
    score = "" if used.score is None else f" {used.score:.2f}"
    asked = "" if used.probability is None else f", yes {used.probability:.2f}"
    return f"{clean(used.name, 40)}{'' if used.kept else '?'}{score}{asked}"


def drawing_names(pictures: Sequence[Path]) -> list[str]:
    """A file name for each picture's drawing, `photo.png` for `photo.jpg`, numbered where two would be the same."""
    names: list[str] = []
    taken: set[str] = set()
    numbers: Counter[str] = Counter()
    for picture in pictures:
        stem = picture.stem
        while True:
            numbers[stem] += 1
            name = f"{stem}.png" if numbers[stem] == 1 else f"{stem}-{numbers[stem]}.png"
            if name.casefold() not in taken:
                break
        taken.add(name.casefold())
        names.append(name)
    return names


def _box(pen: Any, box: tuple[float, ...], text: str, color: tuple[int, ...], font: Any, size: tuple[int, int]) -> None:
    x1, y1, x2, y2 = box
    thick = max(2, max(size) // 300)
    pen.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=color, width=thick)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    wide, high = right - left + 6, bottom - top + 6
    # Above the box where there is room, else inside it; never out of the picture.
    x = min(max(0.0, x1), max(0.0, size[0] - wide))
    y = y1 - high if y1 >= high else min(y1, size[1] - high)
    pen.rectangle((x, y, x + wide, y + high), fill=color)
    pen.text((x + 3 - left, y + 3 - top), text, fill=(255, 255, 255), font=font)


def _font(size: int) -> Any:
    """DejaVu Sans, which matplotlib brings: it has many more scripts than Pillow's own font."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size)
