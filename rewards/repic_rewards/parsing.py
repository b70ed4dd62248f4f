"""Boxes in the words of a model: every convention of the common model families, read into original pixels.

| convention | who writes it | unit |
|---|---|---|
| `pixels` | Qwen2.5-VL | pixels of the *resized* picture |
| `per_mille` | Qwen2-VL, Qwen3-VL, InternVL | 0 to 1000 of width and height |
| `per_999` | DeepSeek-VL2 | 0 to 999 |
| `loc1024` | PaliGemma | `<loc0000>` to `<loc1023>`, y before x |

The form is read from the text: four numbers in brackets or parentheses, alone, in JSON (`bbox_2d`), in a code fence or
in tags; two corners, `(x1,y1),(x2,y2)`; `{"x1": .., "y1": .., "x2": .., "y2": ..}` in any order; location tokens.
"""

from __future__ import annotations

import re
from typing import Literal

Convention = Literal["pixels", "per_mille", "per_999", "loc1024"]
Corners = tuple[float, float, float, float]
Size = tuple[int, int]

# No two neighbouring parts of a pattern can match the same characters: a text of any length is read in linear time.
_NUMBER = r"([-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))"
_COMMA = r"\s*,\s*"
_FOUR = rf"[\[(]\s*{_COMMA.join([_NUMBER] * 4)}\s*[\])]"
_POINT = rf"[\[(]\s*{_NUMBER}{_COMMA}{_NUMBER}\s*[\])]"
_BETWEEN = r"\s*(?:,\s*)?"
_TOKENS = r"\s*".join([r"<loc([0-9]{4})>"] * 4)
_BOX = re.compile(rf"{_FOUR}|(?P<points>){_POINT}{_BETWEEN}{_POINT}|(?P<tokens>){_TOKENS}|\{{(?P<object>[^{{}}]*)\}}")
_NEXT_POINT = re.compile(_BETWEEN + _POINT)
_KEYED = re.compile(rf"""\b([xy][12])\b["']?\s*[:=]\s*["']?{_NUMBER}""")

# As in the paper's code: bare integers, blanks around the commas alone, \d of any script.
_PAPER = re.compile(r"\[(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\]")

_FULL = {"per_mille": 1000.0, "per_999": 999.0, "loc1024": 1024.0}


def parse_box_paper(text: str) -> Corners | None:
    """The first four bare integers in brackets, as they stand; None if there are none (the paper's code, VLT)."""
    match = _PAPER.search(text)
    if match is None:
        return None
    x1, y1, x2, y2 = map(float, match.groups())
    return x1, y1, x2, y2


def parse_boxes(
    text: str, convention: Convention = "pixels", seen: Size | None = None, original: Size | None = None
) -> list[Corners]:
    """All boxes of a text, in pixels of the original picture, in order of appearance.

    `seen` is the size of the picture that the model saw, `original` that of the picture itself, both (width, height)
    in pixels; without them `pixels` are left as they are. Swapped corners are put in order, what lies outside the
    picture is cut off (a box can lose its area by that), and a box that is said again is one box. Corner lists of
    more than two points are no boxes. Raises `ValueError` for an unknown convention, a size that is not positive,
    or a relative convention without `original`.
    """
    if convention not in ("pixels", *_FULL):
        raise ValueError(f"unknown box convention {convention!r}; there are pixels, {', '.join(_FULL)}")
    if convention != "pixels" and original is None:
        raise ValueError(f"boxes of convention {convention} need the size of the original picture")
    if any(size is not None and min(size) <= 0 for size in (seen, original)):
        raise ValueError(f"pictures have a width and a height, not {seen} and {original}")
    boxes = [_to_pixels(corners, located, convention, seen, original) for corners, located in _corners(text)]
    return list(dict.fromkeys(boxes))


def _corners(text: str) -> list[tuple[Corners, bool]]:
    """Four numbers of each box, and whether they are location tokens (which are turned to x first)."""
    found: list[tuple[Corners, bool]] = []
    at = 0
    while match := _BOX.search(text, at):
        at = match.end()
        inside = match["object"]
        if inside is not None:
            found += _corners(inside) or _keyed(inside)
            continue
        a, b, c, d = (float(number) for number in match.groups() if number)
        if match["tokens"] is not None:
            found.append(((b, a, d, c), True))
            continue
        path = False
        while match["points"] is not None and (more := _NEXT_POINT.match(text, at)):
            path, at = True, more.end()
        if not path:
            found.append(((a, b, c, d), False))
    return found


def _keyed(text: str) -> list[tuple[Corners, bool]]:
    """The box of `"x1": 10, "y1": 20, ...`, if all four keys are there."""
    values = {key: float(number) for key, number in _KEYED.findall(text)}
    if len(values) < 4:
        return []
    return [((values["x1"], values["y1"], values["x2"], values["y2"]), False)]


def _to_pixels(
    corners: Corners, located: bool, convention: Convention, seen: Size | None, original: Size | None
) -> Corners:
    """Scale to the original picture, order the corners, cut at the border."""
    x1, y1, x2, y2 = corners
    across, down = 1.0, 1.0
    if original is not None:
        full = _FULL["loc1024"] if located else _FULL.get(convention)
        width, height = (full, full) if full else (seen or original)
        across, down = original[0] / width, original[1] / height
    x1, x2 = sorted((x1 * across, x2 * across))
    y1, y2 = sorted((y1 * down, y2 * down))
    if original is not None:
        x1, x2 = (min(max(x, 0.0), float(original[0])) for x in (x1, x2))
        y1, y2 = (min(max(y, 0.0), float(original[1])) for y in (y1, y2))
    return x1, y1, x2, y2
