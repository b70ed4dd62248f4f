"""From rows to concepts. A database may come from a stranger, so that all texts and file names are checked again."""

from __future__ import annotations

import json
import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from repic_cli.concepts.concept import Concept, StoredPicture, other_names
from repic_cli.concepts.geometry import PixelBox
from repic_cli.concepts.pictures import is_file_name, is_lost_name
from repic_cli.concepts.text import fold, safe_category, safe_info
from repic_cli.data.names import safe_name
from repic_plugins.errors import DatabaseError, DataError
from repic_plugins.text import clean

_CHUNK = 500


class Rows:
    """Reads concepts over one connection. `path` is the database file, for messages."""

    def __init__(self, connection: sqlite3.Connection, path: Path, pictures: Path) -> None:
        self._connection, self._path, self._pictures = connection, path, pictures

    def all(self) -> list[Concept]:
        """All concepts, by name."""
        found = self._connection.execute("SELECT * FROM concepts").fetchall()
        return sorted(self.concepts(found), key=lambda concept: fold(concept.name))

    def by_ids(self, ids: Iterable[int]) -> list[Concept]:
        """The concepts with these ids that are there, in the order of the ids."""
        wanted = list(ids)
        found = {concept.id: concept for concept in self.concepts(list(self._among("concepts", "id", wanted)))}
        return [found[number] for number in wanted if number in found]

    def owner(self, name: str) -> sqlite3.Row | None:
        """The row of the concept that answers to this name."""
        where = "SELECT * FROM concepts WHERE id = (SELECT concept_id FROM spellings WHERE folded = ?)"
        row: sqlite3.Row | None = self._connection.execute(where, (fold(name),)).fetchone()
        return row

    def concepts(self, rows: Sequence[sqlite3.Row]) -> list[Concept]:
        """Concepts from their rows, with what other tables tell about them."""
        made = []
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            ids = [row["id"] for row in part]
            texts: dict[int, list[object]] = defaultdict(list)
            pictures: dict[int, list[StoredPicture]] = defaultdict(list)
            for row in self._among("spellings", "concept_id", ids, "rowid"):
                texts[row["concept_id"]].append(row["text"])
            for row in self._among("pictures", "concept_id", ids, "id"):
                pictures[row["concept_id"]].append(self.picture(row))
            made += [self._concept(row, texts[row["id"]], pictures[row["id"]]) for row in part]
        return made

    def picture(self, row: sqlite3.Row) -> StoredPicture:
        """A picture from its row."""
        file = row["file"]
        if not is_file_name(file) and not is_lost_name(file):
            raise self._damaged(f"picture {row['id']} has the file name {clean(file, 80)!r}")
        box = self._box(row)
        try:
            size = (int(row["width"]), int(row["height"]))
        except (TypeError, ValueError) as error:
            raise self._damaged(f"picture {row['id']} has no size") from error
        return StoredPicture(int(row["id"]), self._pictures / file, size, clean(row["source"], 200), box)

    def _concept(self, row: sqlite3.Row, texts: Sequence[object], pictures: Sequence[StoredPicture]) -> Concept:
        try:
            name, key = safe_name(row["name"]), safe_name(row["key"])
            info, category = safe_info(row["info"]), safe_category(row["category"])
            aliases = other_names([safe_name(text) for text in texts], name, key)  # type: ignore[arg-type]
        except (DataError, TypeError) as error:
            raise DatabaseError(f"{self._path}: concept {row['id']} is damaged: {error}") from error
        created = clean(row["created"], 40)
        return Concept(int(row["id"]), name, info, category, created, aliases, tuple(pictures), key)

    def _box(self, row: sqlite3.Row) -> PixelBox | None:
        box = (row["x1"], row["y1"], row["x2"], row["y2"])
        if box == (None, None, None, None):
            return None
        if not all(isinstance(value, float) and math.isfinite(value) for value in box):
            raise self._damaged(f"picture {row['id']} has a box that is none")
        if not (0 <= box[0] < box[2] and 0 <= box[1] < box[3]):
            raise self._damaged(f"picture {row['id']} has an empty box")
        return box

    def _damaged(self, what: str) -> DatabaseError:
        return DatabaseError(f"{self._path}: damaged: {what}")

    def _among(self, table: str, column: str, ids: Sequence[int], order: str = "id") -> Iterator[sqlite3.Row]:
        """The rows whose column is one of `ids`."""
        query = f"SELECT * FROM {table} WHERE {column} IN (SELECT value FROM json_each(?)) ORDER BY {order}"
        return iter(self._connection.execute(query, (json.dumps([int(number) for number in ids]),)).fetchall())
