"""The SQLite file of a concept database: tables, version, and how a connection is opened."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from repic_cli.concepts import changes
from repic_plugins.errors import DatabaseError

FILE = "concepts.db"
PICTURES = "pictures"
APPLICATION = 0x72657069  # "repi", so that another program's SQLite file is not taken for ours
WAIT_SECONDS = 60.0
"""How long a writer waits for another one."""
_PAGE = 4096

_VERSION_1 = """
CREATE TABLE settings (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
);
CREATE TABLE concepts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  info TEXT NOT NULL,
  category TEXT NOT NULL,
  created TEXT NOT NULL
);
-- Names and aliases, folded: no two concepts can answer to one name.
CREATE TABLE spellings (
  folded TEXT PRIMARY KEY,
  text TEXT NOT NULL,
  concept_id INTEGER NOT NULL REFERENCES concepts ON DELETE CASCADE
);
CREATE INDEX spellings_of_concept ON spellings (concept_id);
-- One row per reference picture; concepts may share a file.
CREATE TABLE pictures (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  concept_id INTEGER NOT NULL REFERENCES concepts ON DELETE CASCADE,
  file TEXT NOT NULL,
  width INTEGER NOT NULL,
  height INTEGER NOT NULL,
  source TEXT NOT NULL,
  UNIQUE (concept_id, file)
);
CREATE INDEX pictures_of_file ON pictures (file);
CREATE TABLE embeddings (
  picture_id INTEGER NOT NULL REFERENCES pictures ON DELETE CASCADE,
  encoder TEXT NOT NULL,
  dimension INTEGER NOT NULL,
  vector BLOB NOT NULL CHECK (length(vector) = 4 * dimension),
  PRIMARY KEY (picture_id, encoder)
) WITHOUT ROWID;
"""
_VERSION_2 = """
-- What others call the concept for good, as `<bo>` in a file: the name that captions use may change.
ALTER TABLE concepts ADD COLUMN key TEXT NOT NULL DEFAULT '';
UPDATE concepts SET key = name;
CREATE INDEX concepts_of_category ON concepts (category);
-- Where in the picture the thing is, in pixels of the stored file; NULL: the picture as a whole shows it.
ALTER TABLE pictures ADD COLUMN x1 REAL;
ALTER TABLE pictures ADD COLUMN y1 REAL;
ALTER TABLE pictures ADD COLUMN x2 REAL;
ALTER TABLE pictures ADD COLUMN y2 REAL;
"""
STEPS = (_VERSION_1, _VERSION_2 + changes.TABLES)
"""`STEPS[n]` leads from version n to version n + 1. New files take all of them, so that no two files can differ."""
VERSION = len(STEPS)


def connect(path: Path, create: bool) -> sqlite3.Connection:
    """Open the file, make its tables if there are none and `create` is set, and check that it is ours.

    Raises `DatabaseError` when it is missing, of another program, or of a newer repic.
    """
    if not create and not path.is_file():
        raise DatabaseError(f"{path.parent}: no concept database here; make one with `repic db add {path.parent} ...`")
    connection = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        _use_wal(connection)
        _prepare(connection, path, create)
    except BaseException:
        connection.close()
        raise
    return connection


def is_beginning(path: Path) -> bool:
    """Whether the file got no further than its first page, which holds no tables; nor does its write-ahead log."""
    log = path.with_name(path.name + "-wal")
    return not ((path.exists() and path.stat().st_size > _PAGE) or (log.exists() and log.stat().st_size))


def _use_wal(connection: sqlite3.Connection) -> None:
    """Write-ahead log: readers do not wait for a writer. SQLite does not queue for this change, so we do."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _prepare(connection: sqlite3.Connection, path: Path, create: bool) -> None:
    if _number(connection, "user_version") != VERSION:
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Read again: another process may have made the tables in the meantime.
            _upgrade(connection, path, create)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # SQLite has taken it back itself when the disk is full
                connection.execute("ROLLBACK")
            raise
    if _number(connection, "application_id") != APPLICATION:
        raise DatabaseError(f"{path}: not a concept database of repic; give another folder")


def _upgrade(connection: sqlite3.Connection, path: Path, create: bool) -> None:
    version = _number(connection, "user_version")
    if version > VERSION and _number(connection, "application_id") == APPLICATION:
        raise DatabaseError(
            f"{path}: made by a newer repic (version {version}, this one reads {VERSION}); update repic"
        )
    if version == 0:
        if connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise DatabaseError(f"{path}: not a concept database of repic; give another folder")
        if not create:
            raise DatabaseError(f"{path.parent}: the database is empty; see `repic db create --help`")
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
    if 0 <= version < VERSION and _number(connection, "application_id") == APPLICATION:
        for step in STEPS[version:]:
            _run(connection, step)
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _run(connection: sqlite3.Connection, script: str) -> None:
    """Run statements inside the open transaction, which `executescript` would commit."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
