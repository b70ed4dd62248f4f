"""The vectors of one encoder as a database holds them, read in parts: they may be more than the memory takes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from repic_cli.concepts import changes
from repic_cli.concepts.text import fold
from repic_plugins.errors import DatabaseError

if TYPE_CHECKING:
    import sqlite3

    from repic_cli.concepts.changes import Moment
    from repic_cli.concepts.store import ConceptDatabase

Ids = NDArray[np.int64]  # (N, 2): picture, concept
Vectors = NDArray[np.float32]  # (N, D), of unit length
NO_IDS: Ids = np.zeros((0, 2), np.int64)
_SELECT = """SELECT picture_id, concept_id, vector FROM embeddings JOIN pictures ON pictures.id = picture_id
             WHERE encoder = ? AND dimension = ?"""


class StoredVectors:
    """All vectors that `encoder` made of the reference pictures. Methods raise `DatabaseError`."""

    def __init__(self, database: ConceptDatabase, encoder: str, dimension: int) -> None:
        self.database, self.encoder, self.dimension = database, encoder, dimension

    def __len__(self) -> int:
        with self.database.reading() as connection:
            query = "SELECT count(*) FROM embeddings WHERE encoder = ? AND dimension = ?"
            return int(connection.execute(query, (self.encoder, self.dimension)).fetchone()[0])

    def moment(self) -> Moment:
        """The moment of the last change. What is read later may hold newer vectors, never older ones."""
        with self.database.reading() as connection:
            return changes.now(connection)

    def changed(self, moment: Moment) -> list[int] | None:
        """Pictures whose vectors came, went or changed after `moment`; None if it is not of this database."""
        with self.database.reading() as connection:
            return changes.since(connection, self.encoder, moment)

    def pictures(self) -> NDArray[np.int64]:
        """The ids of all pictures that have a vector, ascending."""
        query = "SELECT picture_id FROM embeddings WHERE encoder = ? AND dimension = ? ORDER BY picture_id"
        with self.database.reading() as connection:
            rows = connection.execute(query, (self.encoder, self.dimension)).fetchall()
        return np.array([row[0] for row in rows], np.int64)

    def read(self, pictures: Iterable[int]) -> tuple[Ids, Vectors]:
        """Ids and vectors of those of the given pictures that are (still) there, by picture id."""
        query = f"{_SELECT} AND picture_id IN (SELECT value FROM json_each(?)) ORDER BY picture_id"
        wanted = json.dumps([int(picture) for picture in pictures])
        with self.database.reading() as connection:
            rows = connection.execute(query, (self.encoder, self.dimension, wanted)).fetchall()
        return self._arrays(rows)

    def blocks(self, size: int = 16384) -> Iterator[tuple[Ids, Vectors]]:
        """All ids and vectors by picture id, at most `size` at a time."""
        query = f"{_SELECT} AND picture_id > ? ORDER BY picture_id LIMIT ?"
        last = 0
        while True:
            # Each part is a query of its own: a long one would keep the write-ahead log from being emptied.
            with self.database.reading() as connection:
                rows = connection.execute(query, (self.encoder, self.dimension, last, size)).fetchall()
            if not rows:
                return
            ids, vectors = self._arrays(rows)
            last = int(ids[-1, 0])
            yield ids, vectors

    def concepts_of(self, category: str) -> NDArray[np.int64]:
        """The ids of the concepts of a category, however it is capitalised."""
        with self.database.reading() as connection:
            rows = connection.execute("SELECT id, category FROM concepts WHERE category != ''").fetchall()
        return np.array([row[0] for row in rows if fold(str(row[1])) == fold(category)], np.int64)

    def _arrays(self, rows: list[sqlite3.Row]) -> tuple[Ids, Vectors]:
        ids = np.array([(row[0], row[1]) for row in rows], np.int64).reshape(-1, 2)
        values = np.frombuffer(b"".join(row[2] for row in rows), np.dtype("<f4")).reshape(-1, self.dimension)
        # A vector of another length would be near everything: files may be damaged, or a stranger's.
        lengths = np.linalg.norm(values, axis=1)
        if not (np.abs(lengths - 1) < 0.01).all():
            bad = int(ids[int(np.argmax(~(np.abs(lengths - 1) < 0.01))), 0])
            raise DatabaseError(
                f"{self.database.path}: damaged: the vector of picture {bad} is not of unit length; remove its concept "
                "and add it again"
            )
        return ids, values
