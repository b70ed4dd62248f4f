"""Which vectors of a database changed since a moment: what a search index made then has to catch up on.

SQLite's triggers write the list, in the transaction of the change itself, so that no code path can forget it. Part of
the schema (`repic_cli.concepts.schema`), kept apart because only the index reads it.
"""

from __future__ import annotations

import sqlite3

TABLES = """
-- One row per vector that was added, replaced or removed. `mark` tells two histories apart that have equal numbers, as
-- when an older copy of the file is put back and changed again.
CREATE TABLE changes (
  revision INTEGER PRIMARY KEY AUTOINCREMENT,
  encoder TEXT NOT NULL,
  picture_id INTEGER NOT NULL,
  mark INTEGER NOT NULL DEFAULT (random())
);
CREATE TRIGGER vector_added AFTER INSERT ON embeddings BEGIN
  INSERT INTO changes (encoder, picture_id) VALUES (new.encoder, new.picture_id);
END;
CREATE TRIGGER vector_replaced AFTER UPDATE ON embeddings BEGIN
  INSERT INTO changes (encoder, picture_id) VALUES (new.encoder, new.picture_id);
END;
CREATE TRIGGER vector_removed AFTER DELETE ON embeddings BEGIN
  INSERT INTO changes (encoder, picture_id) VALUES (old.encoder, old.picture_id);
END;
"""

Moment = tuple[int, int]
"""A revision and its mark; (0, 0) before the first change."""


def now(connection: sqlite3.Connection) -> Moment:
    """The moment of the last change, whichever encoder it was about."""
    row = connection.execute("SELECT revision, mark FROM changes ORDER BY revision DESC LIMIT 1").fetchone()
    return (0, 0) if row is None else (int(row[0]), int(row[1]))


def since(connection: sqlite3.Connection, encoder: str, moment: Moment) -> list[int] | None:
    """The pictures whose vectors of `encoder` changed after `moment`; None if that is no moment of this database."""
    revision, mark = moment
    if moment != (0, 0):
        row = connection.execute("SELECT mark FROM changes WHERE revision = ?", (revision,)).fetchone()
        if row is None or int(row[0]) != mark:
            return None
    query = "SELECT DISTINCT picture_id FROM changes WHERE revision > ? AND encoder = ? ORDER BY picture_id"
    return [int(row[0]) for row in connection.execute(query, (revision, encoder))]
