"""What tells the queries of a file apart, so that the rows of two files for one query can be paired."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from repic_cli.concepts.formats.places import path_parts
from repic_cli.evaluation.captioned.rows import CaptionRow

Identity = tuple[tuple[str, ...], tuple[str, ...], int]
"""The parts of the picture's path (`./a/b.jpg` is `a/b.jpg`), the sorted keys, and which of equal queries it is."""


def identities(rows: Sequence[CaptionRow], keys: Callable[[CaptionRow], Sequence[str]]) -> dict[Identity, int]:
    """The number of the row (from 0) of each query, in the order of the rows."""
    seen: Counter[tuple[tuple[str, ...], tuple[str, ...]]] = Counter()
    found: dict[Identity, int] = {}
    for number, row in enumerate(rows):
        what = (path_parts(row.image), tuple(sorted(keys(row))))
        found[(*what, seen[what])] = number
        seen[what] += 1
    return found
