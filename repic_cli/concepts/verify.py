"""Checking a database: that its file is whole, its rows fit together, and every picture is what it was."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repic_cli.concepts.pictures import is_file_name
from repic_cli.concepts.transaction import PENDING, pending_files
from repic_plugins.errors import DatabaseError
from repic_plugins.text import clean

if TYPE_CHECKING:
    from repic_cli.concepts.concept import Concept, StoredPicture
    from repic_cli.concepts.store import ConceptDatabase

_CHUNK = 500
Tell = Callable[[int, int], None]
"""Hears how many of how many concepts have been looked at."""


@dataclass
class Verdict:
    """What was found. `problems` is empty when nothing is lost or damaged; `notes` are harmless."""

    concepts: int = 0
    pictures: int = 0
    vectors: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def verify(database: ConceptDatabase, files: bool = True, tell: Tell | None = None) -> Verdict:
    """Check a database while others may use it. `files`: read every picture file and compare it with its hash.

    The derived search index is no part of this: it is checked when it is used, and rebuilt.
    """
    verdict = Verdict()
    with database.reading() as connection:
        _check_file(connection, verdict)
        ids = [int(row[0]) for row in connection.execute("SELECT id FROM concepts ORDER BY id")]
    if verdict.problems:
        return verdict  # what is read from a damaged file says nothing
    for start in range(0, len(ids), _CHUNK):
        _check_concepts(database, ids[start : start + _CHUNK], files, verdict)
        if tell is not None:
            tell(min(start + _CHUNK, len(ids)), len(ids))
    _check_vectors(database, verdict)
    _check_strays(database, verdict)
    return verdict


def _check_file(connection: sqlite3.Connection, verdict: Verdict) -> None:
    for row in connection.execute("PRAGMA integrity_check(20)"):
        if row[0] != "ok":
            verdict.problems.append(f"the database file is damaged: {clean(row[0], 200)}")
    for row in connection.execute("PRAGMA foreign_key_check"):
        verdict.problems.append(f"a row of {clean(row[0], 40)} belongs to nothing in {clean(row[2], 40)}")
    query = "SELECT name FROM concepts WHERE id NOT IN (SELECT concept_id FROM spellings)"
    for row in connection.execute(query):
        verdict.problems.append(f"concept {clean(row[0], 100)!r} cannot be found by its name")


def _check_concepts(database: ConceptDatabase, ids: list[int], files: bool, verdict: Verdict) -> None:
    """Concepts that are gone by now were removed by somebody else: no problem."""
    found: list[Concept] = []
    with database.snapshot():
        for number in ids:
            try:
                found += database.concepts([number])
            except DatabaseError as error:
                verdict.problems.append(str(error))
        for concept in found:
            for name in (concept.name, concept.key):
                if (database.owner(name) or (None,))[0] != concept.id:
                    verdict.problems.append(f"concept {concept.name!r} cannot be found as {name!r}")
    for concept in found:
        verdict.concepts += 1
        verdict.pictures += len(concept.pictures)
        if not concept.pictures:
            verdict.notes.append(f"concept {concept.name!r} has neither a picture nor a vector")
        elif all(picture.never_there for picture in concept.pictures):
            verdict.notes.append(f"concept {concept.name!r} has vectors only, no picture to show")
        for picture in concept.pictures:
            problem = _file_problem(picture, files)
            if problem and _is_stored(database, picture):
                verdict.problems.append(f"concept {concept.name!r}: {problem}")


def _file_problem(picture: StoredPicture, files: bool) -> str:
    path = picture.path
    if picture.never_there:
        return ""
    if path.is_symlink():
        return f"{path} is a link, not a picture file"
    if not path.is_file():
        return f"{path} is missing; add the picture again with `repic db update ... --picture`"
    if files and _hash(path) != path.stem:
        return f"{path} is damaged: its content is not that of its name"
    return ""


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _check_vectors(database: ConceptDatabase, verdict: Verdict) -> None:
    """Every vector is one: of unit length, which no other number survives."""
    import numpy as np

    with database.reading() as connection:
        for number, encoder, dimension, data in connection.execute("SELECT * FROM embeddings"):
            verdict.vectors += 1
            length = float(np.linalg.norm(np.frombuffer(data, "<f4").astype(np.float64)))
            if not abs(length - 1) < 0.01:
                verdict.problems.append(
                    f"the vector of picture {number} by {clean(encoder, 60)} ({dimension}) is not of unit length"
                )
        query = """SELECT count(*) FROM pictures WHERE id NOT IN (SELECT picture_id FROM embeddings)"""
        without = connection.execute(query).fetchone()[0]
    if without:
        verdict.notes.append(f"{without} pictures have no vector yet; they get one when they are searched")


def _check_strays(database: ConceptDatabase, verdict: Verdict) -> None:
    """Files that no concept has. A writer at work, or one that was killed, has its own on a list."""
    try:
        names = [path.name for path in database.pictures.iterdir()]
    except OSError as error:
        verdict.problems.append(f"{database.pictures}: cannot be read ({error.strerror})")
        return
    pending = set(pending_files(database.pictures))
    if pending:
        verdict.notes.append(
            f"{len(pending)} files of a change that was stopped, or is under way; the next one clears up"
        )
    strays = [name for name in names if name not in pending and is_file_name(name)]
    with database.snapshot():
        strays = _unnamed(database, strays)
    if strays:
        with database.writing():  # now no change can be half done
            strays = [name for name in _unnamed(database, strays) if (database.pictures / name).exists()]
    verdict.problems += [f"{database.pictures / name}: no concept has this picture" for name in strays]
    odd = [name for name in names if not is_file_name(name) and name != PENDING and not name.endswith(".partial")]
    if odd:
        verdict.notes.append(f"{len(odd)} files in {database.pictures} are not ours (the first: {clean(odd[0], 80)})")


def _unnamed(database: ConceptDatabase, names: Iterable[str]) -> list[str]:
    """Those of the names that no row has."""
    with database.reading() as connection:
        query = "SELECT 1 FROM pictures WHERE file = ?"
        return [name for name in names if connection.execute(query, (name,)).fetchone() is None]


def _is_stored(database: ConceptDatabase, picture: StoredPicture) -> bool:
    with database.reading() as connection:
        return connection.execute("SELECT 1 FROM pictures WHERE id = ?", (picture.id,)).fetchone() is not None
