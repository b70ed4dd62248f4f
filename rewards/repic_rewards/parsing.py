"""Boxes in the words of a model: every convention of the common model families, read into original pixels.

| convention | who writes it | unit |
|---|---|---|
| `pixels` | Qwen2.5-VL | pixels of the *resized* picture |
| `per_mille` | Qwen2-VL, Qwen3-VL, InternVL | 0 to 1000 of width and height |
| `per_999` | DeepSeek-VL2 | 0 to 999 |
| `loc1024` | PaliGemma | `<loc0000>` to `<loc1023>`, y before x |

The form is read from the text: `[x1, y1, x2, y2]` with integers or decimals, alone, in JSON (`bbox_2d`) or in a code
fence; `{"x1": ..}`; `(x1,y1),(x2,y2)` with or without `<box>`; location tokens.
"""

from __future__ import annotations

import re
from typing import Literal

Convention = Literal["pixels", "per_mille", "per_999", "loc1024"]
Corners = tuple[float, float, float, float]
Size = tuple[int, int]

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)"
_SEPARATOR = r"\s*,\s*"
_LIST = rf"\[\s*({_NUMBER}){_SEPARATOR}({_NUMBER}){_SEPARATOR}({_NUMBER}){_SEPARATOR}({_NUMBER})\s*\]"
_POINT = rf"\(\s*({_NUMBER}){_SEPARATOR}({_NUMBER})\s*\)"
_POINTS = rf"{_POINT}\s*,?\s*{_POINT}"
_LOC = r"<loc(\d{4})>\s*<loc(\d{4})>\s*<loc(\d{4})>\s*<loc(\d{4})>"
_BOX = re.compile(f"{_LIST}|{_POINTS}|{_LOC}|" + r"\{[^{}]*\}")
_KEYS = tuple(re.compile(rf"""["']?\b{key}["']?\s*[:=]\s*({_NUMBER})""") for key in ("x1", "y1", "x2", "y2"))
_PAPER = re.compile(r"\[(\d+),\s*(\d+),\s*(\d+),\s*(\d+)\]")
_INNER = re.compile(f"{_LIST}|{_POINTS}")

_FULL = {"per_mille": 1000.0, "per_999": 999.0, "loc1024": 1024.0}


def parse_box_paper(text: str) -> Corners | None:
    """The paper's code: the first four bare integers in brackets, as they stand; None if there are none."""
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
    in pixels; without them `pixels` are left as they are. Swapped corners are put in order and what lies outside the
    picture is cut off; a box that has no area then is left out. Raises `ValueError` for an unknown convention, or
    when a relative one lacks `original`.
    """
    if convention not in ("pixels", *_FULL):
        raise ValueError(f"unknown box convention {convention!r}; there are pixels, {', '.join(_FULL)}")
    if convention != "pixels" and original is None:
        raise ValueError(f"boxes of convention {convention} need the size of the original picture")
    boxes = (_to_pixels(corners, tokens, convention, seen, original) for corners, tokens in _corners(text))
    return [box for box in boxes if box is not None]


def _corners(text: str) -> list[tuple[Corners, bool]]:
    """Four numbers of each box, and whether they are location tokens (which give y first)."""
    found: list[tuple[Corners, bool]] = []
    for match in _BOX.finditer(text):
        numbers = [group for group in match.groups() if group is not None]
        if numbers:
            a, b, c, d = map(float, numbers)
            tokens = match[0].startswith("<loc")
            found.append(((b, a, d, c) if tokens else (a, b, c, d), tokens))
            continue
        inner = _INNER.findall(match[0])
        for groups in inner:  # a JSON object that holds the list
            a, b, c, d = (float(group) for group in groups if group)
            found.append(((a, b, c, d), False))
        keyed = [key.search(match[0]) for key in _KEYS]
        if not inner and all(keyed):
            a, b, c, d = (float(hit[1]) for hit in keyed if hit)
            found.append(((a, b, c, d), False))
    return found


def _to_pixels(
    corners: Corners, tokens: bool, convention: Convention, seen: Size | None, original: Size | None
) -> Corners | None:
    """Scale to the original picture, order the corners, cut at the border; None without area."""
    full = _FULL["loc1024"] if tokens else _FULL.get(convention)
    x1, y1, x2, y2 = corners
    if original is not None:
        width, height = original
        across, down = (full, full) if full else (seen or original)
        x1, x2 = x1 * width / across, x2 * width / across
        y1, y2 = y1 * height / down, y2 * height / down
    x1, x2, y1, y2 = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
    if original is not None:
        x1, x2 = min(max(x1, 0.0), width), min(max(x2, 0.0), width)
        y1, y2 = min(max(y1, 0.0), height), min(max(y2, 0.0), height)
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None
