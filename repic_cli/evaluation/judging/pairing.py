"""Which captions are compared: those of both files for the same picture with the same concepts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from repic_cli.evaluation.captioned.identity import identities
from repic_cli.evaluation.captioned.known import KnownConcept
from repic_cli.evaluation.captioned.rows import CaptionRow, CaptionSet
from repic_plugins.errors import DataError


@dataclass(frozen=True)
class Pair:
    """Two captions of one picture. `names` is what each concept of the picture is called."""

    a: CaptionRow
    b: CaptionRow
    names: tuple[str, ...]


@dataclass(frozen=True)
class Pairs:
    """The pairs of two files in the order of the first, and how many rows of each have no partner."""

    pairs: tuple[Pair, ...]
    only_a: int
    only_b: int


def pair_up(a: CaptionSet, b: CaptionSet) -> Pairs:
    """Pair rows by picture and concepts; the second row of a file for the same goes with the second of the other.

    Raises `DataError` when the files have no picture in common.
    """
    ours, theirs = (identities(one.rows, lambda row: row.keys) for one in (a, b))
    called = {one.key: _called(one) for one in (*b.database, *a.database)}
    pairs = tuple(
        Pair(row, b.rows[theirs[identity]], tuple(called.get(key, key) for key in row.keys))
        for identity, number in ours.items()
        if identity in theirs
        for row in (a.rows[number],)
    )
    if not pairs:
        raise DataError(f"{a.path} and {b.path} have no row in common: none with the same picture and the same keys")
    return Pairs(pairs, len(ours) - len(pairs), len(theirs) - len(pairs))


def chosen(pairs: Sequence[Pair], limit: int | None, seed: int) -> list[Pair]:
    """At most `limit` pairs by chance; those of a smaller limit are among those of a larger one."""
    if limit is None or limit >= len(pairs):
        return list(pairs)
    order = list(range(len(pairs)))
    random.Random(seed).shuffle(order)
    return [pairs[number] for number in sorted(order[:limit])]


def folders_of(a: CaptionSet, b: CaptionSet, more: Sequence[Path]) -> list[Path]:
    """Where pictures may lie: in what the user gave, and beside the files."""
    return list(dict.fromkeys([*more, a.path.parent, b.path.parent]))


def _called(concept: KnownConcept) -> str:
    """`Iron Man (also: ironman)`."""
    name, *others = concept.spellings
    return f"{name} (also: {', '.join(others)})" if others else name
