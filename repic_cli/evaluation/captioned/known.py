"""Which concepts there are, what they are called in captions, and what is known about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from repic_cli.concepts.text import fold
from repic_plugins.errors import DatabaseError

if TYPE_CHECKING:
    from repic_cli.evaluation.captioned.rows import CaptionRow


@dataclass(frozen=True, slots=True)
class KnownConcept:
    """A concept: the bare key that files call it by, its name, other names, and its info."""

    key: str
    name: str
    aliases: tuple[str, ...] = ()
    info: str = ""

    @property
    def spellings(self) -> tuple[str, ...]:
        """All that names it in a caption, the name first."""
        kept: dict[str, str] = {}
        for text in (self.name, self.key, *self.aliases):
            kept.setdefault(text, text)
        return tuple(kept)


@dataclass
class Known:
    """All concepts that are looked for in captions; a key of a row that no database has is one of its own."""

    concepts: list[KnownConcept] = field(default_factory=list)
    from_database: int = 0
    _by_key: dict[str, int] = field(default_factory=dict)
    _by_fold: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.concepts)

    def add(self, concept: KnownConcept) -> int:
        """Add a concept and give its number."""
        number = len(self.concepts)
        self.concepts.append(concept)
        self._by_key.setdefault(concept.key, number)
        for text in concept.spellings:
            self._by_fold.setdefault(fold(text), number)
        return number

    def find(self, key: str) -> int | None:
        """The number of the concept that a row's key means: by key, else by any spelling in any case of a database."""
        number = self._by_key.get(key)
        if number is not None:
            return number
        number = self._by_fold.get(fold(key)) if self.from_database else None
        return number if number is not None and number < self.from_database else None

    def number(self, key: str) -> int:
        """The same; a key that nobody knows becomes a concept."""
        found = self.find(key)
        if found is None:
            found = self.add(KnownConcept(key, key))
        else:
            self._by_key.setdefault(key, found)  # folding costs more than looking up
        return found


def known_concepts(rows: Iterable[CaptionRow], database: Sequence[KnownConcept] = ()) -> Known:
    """The concepts of a database, and those that the rows name or show beyond it."""
    known = Known()
    for concept in database:
        if known.find(concept.key) is None:  # two databases may have it
            known.add(concept)
    known.from_database = len(known.concepts)
    keys: dict[str, None] = {}
    for row in rows:
        keys.update(dict.fromkeys((*row.keys, *(row.shown or ()), *(row.retrieved or ()))))
    for key in keys:
        known.number(key)
    return known


def read_known(path: str | Path) -> list[KnownConcept]:
    """The concepts of a database of ours (a folder), or of a database file of RePIC or RAP. Raises `DatabaseError`."""
    from repic_cli.concepts.schema import FILE

    path = Path(path)
    if path.is_dir() and (path / FILE).is_file():
        return _ours(path)
    if path.exists():
        return _theirs(path)
    raise DatabaseError(f"{path}: no such database; give its folder, or a database.json of RePIC")


def _ours(folder: Path) -> list[KnownConcept]:
    from repic_cli.concepts.store import ConceptDatabase

    with ConceptDatabase(folder) as database:
        found = [KnownConcept(one.key, one.name, one.aliases, one.info) for one in database.concepts()]
    if not found:
        raise DatabaseError(f"{folder}: the database is empty, so it knows no names")
    return found


def _theirs(path: Path) -> list[KnownConcept]:
    from repic_cli.concepts.formats.repic import read_repic

    drafts, _ = read_repic(path)
    return [KnownConcept(draft.key or draft.name, draft.name, draft.aliases, draft.info) for draft in drafts]
