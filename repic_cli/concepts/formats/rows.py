"""What the tables and files of concepts have in common: other names, boxes, lists of pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from repic_cli.concepts.geometry import PixelBox
from repic_cli.concepts.text import MAX_ALIASES
from repic_cli.data.names import safe_name
from repic_plugins.errors import DataError
from repic_plugins.text import clean


def extra_fields(fields: Mapping[str, Any], tell: Callable[[str], None]) -> tuple[tuple[str, ...], dict[str, PixelBox]]:
    """What our own export adds to a row of RePIC: `aliases`, and `boxes` by the path of the picture."""
    boxes: dict[str, PixelBox] = {}
    given = fields.get("boxes")
    for path, values in given.items() if isinstance(given, dict) else ():
        try:
            boxes[path] = box_of(values)
        except DataError as error:
            tell(f"{error}; left out")
    return usable_aliases(fields.get("aliases"), tell), boxes


def usable_aliases(value: object, tell: Callable[[str], None]) -> tuple[str, ...]:
    """Other names from a list; those that cannot be names are left out, which `tell` hears."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        tell(f"aliases are a {type(value).__name__}, not a list: left out")
        return ()
    kept = []
    for alias in value:
        try:
            kept.append(safe_name(alias))
        except DataError as error:
            tell(f"{error}; left out as another name")
    if len(kept) > MAX_ALIASES:
        tell(f"{len(kept)} aliases: the first {MAX_ALIASES} are kept")
    return tuple(kept[:MAX_ALIASES])


def box_of(values: object) -> PixelBox:
    """A box from four numbers, or from a text that holds four. Raises `DataError`."""
    numbers = values.replace(",", " ").split() if isinstance(values, str) else values
    try:
        x1, y1, x2, y2 = (float(number) for number in numbers)  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise DataError(f"the box {clean(values, 60)!r} is not four numbers x1,y1,x2,y2") from error
    if not all(math.isfinite(number) for number in (x1, y1, x2, y2)) or x1 >= x2 or y1 >= y2:
        raise DataError(f"the box {clean(values, 60)!r} is empty; give x1,y1,x2,y2 with x1 < x2 and y1 < y2")
    return x1, y1, x2, y2
