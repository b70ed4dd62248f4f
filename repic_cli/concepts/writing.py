"""From concepts to rows: statements of one transaction, which the store begins and ends."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from repic_cli.concepts.concept import NewConcept
from repic_cli.concepts.pictures import LostPicture, NewPicture
from repic_cli.concepts.text import fold
from repic_plugins.text import clean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class RowWriter:
    """Writes rows over one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def insert(self, concept: NewConcept, encoder: str) -> int:
        """A new concept with all that belongs to it; gives its id."""
        created = datetime.now(UTC).isoformat(timespec="seconds")
        row = (concept.key, concept.name, concept.info, concept.category, created)
        sql = "INSERT INTO concepts (key, name, info, category, created) VALUES (?, ?, ?, ?, ?)"
        number = self._connection.execute(sql, row).lastrowid
        assert number is not None
        self.insert_names(number, concept.names)
        self.insert_pictures(number, concept.pictures, concept.vectors, encoder)
        return number

    def insert_names(self, concept: int, names: Iterable[str]) -> None:
        """What a concept answers to. SQLite refuses a name that another one has."""
        rows = [(fold(text), text, concept) for text in names]
        self._connection.executemany("INSERT INTO spellings VALUES (?, ?, ?)", rows)

    def insert_pictures(
        self, concept: int, pictures: Sequence[NewPicture | LostPicture], vectors: NDArray[np.float32], encoder: str
    ) -> None:
        """Rows of pictures; one that the concept has already keeps its row, and gets the new box."""
        sql = """INSERT INTO pictures (concept_id, file, width, height, source, x1, y1, x2, y2)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (concept_id, file)
                 DO UPDATE SET x1 = excluded.x1, y1 = excluded.y1, x2 = excluded.x2, y2 = excluded.y2 RETURNING id"""
        for picture, vector in zip(pictures, vectors, strict=True):
            box = picture.box or (None,) * 4
            row = (concept, picture.file, *picture.size, clean(picture.source, 200), *box)
            number = self._connection.execute(sql, row).fetchone()[0]
            # Vectors of other encoders would be of the old box; they are made anew when they are needed.
            self._connection.execute("DELETE FROM embeddings WHERE picture_id = ?", (number,))
            self.put_vector(number, encoder, vector)

    def put_vector(self, picture: int, encoder: str, vector: NDArray[np.float32]) -> None:
        """The vector (D,) of a picture, in place of an older one by the same encoder."""
        row = (picture, encoder, len(vector), vector.astype("<f4").tobytes())
        sql = "INSERT OR REPLACE INTO embeddings (picture_id, encoder, dimension, vector) VALUES (?, ?, ?, ?)"
        self._connection.execute(sql, row)
