"""What a source offers: pairs of pictures of one thing, scenes with several things, and regions with phrases.

Every source comes down to these three, so that one builder makes the records of all of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from repic_cli.data.images import PixelBox


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture or a part of one (`box`: x1, y1, x2, y2 in pixels).

    With a `row`, `path` is a Parquet file and the picture's bytes are in that row of `column`. With a `half`, it is the
    left (0) or the right (1) of two pictures side by side.
    """

    path: Path
    box: PixelBox | None = None
    row: int | None = None
    column: str = ""
    half: int | None = None

    @property
    def picture(self) -> tuple[Path, int | None, str]:
        """Which picture it is of, whatever the part."""
        return self.path, self.row, self.column


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures of one thing. `identity` is its own; things of one `look` are easily taken for each other."""

    reference: Shot
    query: Shot
    identity: str
    category: str
    look: str
    name: str = ""
    """Its name, for data whose things have one; empty: one is drawn."""


@dataclass(frozen=True, slots=True)
class Part:
    """A thing in a scene."""

    shot: Shot
    identity: str
    category: str


@dataclass(frozen=True, slots=True)
class Group:
    """A scene with two or three different things that are well visible and hardly overlap."""

    query: Shot
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Region:
    """A box in a picture and what people called it."""

    picture: Shot
    box: PixelBox
    phrases: tuple[str, ...]
    identity: str


@dataclass(slots=True)
class Pool:
    """What a source offers, in an order that depends on the seed and not on that of its files."""

    source: str
    files: list[Path] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)
    rows: int = 0
    """Rows that were read."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Reason -> rows that are fine but do not serve."""
    bad: Counter[str] = field(default_factory=Counter)
    """File -> rows that could not be read."""
    examples: list[str] = field(default_factory=list)
    """The first bad rows, one line each."""
