"""Concepts on their way into a database, from whatever they are read, and the account of what became of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repic_cli.concepts.geometry import PixelBox
from repic_plugins.text import clean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class DraftPicture:
    """A reference picture to be read from `path`; None: there is only its vector (D,), or nothing.

    `source` is the name that its file has or had.
    """

    path: Path | None
    source: str
    box: PixelBox | None = None
    vector: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Draft:
    """A concept as it was read, its texts checked. `where` says in which row or folder it stands."""

    name: str
    where: str
    pictures: tuple[DraftPicture, ...]
    key: str = ""
    info: str = ""
    category: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Piece:
    """A draft, or a part of one with more pictures than are in memory at a time."""

    draft: Draft
    first: bool = True


def in_parts(drafts: Iterable[Draft], most: int) -> Iterator[list[Piece]]:
    """The drafts in order, in parts of at most `most` pictures; large drafts are cut into pieces."""
    part: list[Piece] = []
    room = most
    for draft in drafts:
        for start in range(0, max(1, len(draft.pictures)), most):
            piece = Piece(replace(draft, pictures=draft.pictures[start : start + most]), start == 0)
            # A later piece needs to find in the database what the first has made.
            if part and (len(piece.draft.pictures) > room or not piece.first):
                yield part
                part, room = [], most
            part.append(piece)
            room -= max(1, len(piece.draft.pictures))
    if part:
        yield part


@dataclass
class Report:
    """What became of a source: counts, and one line for each thing that was repaired or left out.

    `rows` are the concepts that the source describes. `added` counts new concepts, `extended` those that were there
    and got pictures, `without_picture` those of the new ones that have none. `vectors` are those of the source,
    `reused` those taken over, `encoded` pictures that the encoder looked at. `unread` tells of pictures that are not
    there or cannot be read, `moved` of those found by the end of their path, `skipped` of concepts and vectors.
    """

    source: str
    rows: int = 0
    added: int = 0
    extended: int = 0
    without_picture: int = 0
    pictures: int = 0
    vectors: int = 0
    reused: int = 0
    encoded: int = 0
    moved: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def repair(self, where: str, what: str) -> None:
        """Something was put right."""
        self.repaired.append(_line(where, what))

    def skip(self, where: str, why: str) -> None:
        """A concept or vector was left out."""
        self.skipped.append(_line(where, why))

    def no_picture(self, where: str, why: str) -> None:
        """A picture is not there, or cannot be read."""
        self.unread.append(_line(where, why))

    def note(self, what: str) -> None:
        """Something to know that is neither."""
        self.notes.append(clean(what, 400))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def _line(where: str, what: str) -> str:
    return f"{clean(where, 120)}: {clean(what, 400)}"
