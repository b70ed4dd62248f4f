"""Replies that were paid for, kept on disk by what was asked. Holds no key, no caption and no picture.

SQLite: each reply is committed before the next is asked for, so that a process killed at any moment loses none.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repic_plugins.errors import DatabaseError

_MARK = 0x52504A31  # "RPJ1", in the header of the file
_TABLE = """CREATE TABLE IF NOT EXISTS replies (
  key TEXT PRIMARY KEY, text TEXT NOT NULL, refusal TEXT NOT NULL, finish TEXT NOT NULL, tokens_in INTEGER,
  tokens_out INTEGER, model TEXT NOT NULL, made REAL NOT NULL) WITHOUT ROWID"""


@dataclass(frozen=True)
class Reply:
    """What the endpoint sent. `finish` is its reason to stop; tokens are None where it does not count them."""

    text: str
    refusal: str = ""
    finish: str = ""
    tokens_in: int | None = None
    tokens_out: int | None = None
    model: str = ""


def default_path(environ: Mapping[str, str] = os.environ) -> Path:
    """`~/.cache/repic/judge.sqlite`, or below XDG_CACHE_HOME."""
    home = environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".cache") / "repic" / "judge.sqlite"


def key_of(value: Any) -> str:
    """64 hex digits that tell requests apart; `value` is all that a reply depends on, as JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class ReplyCache:
    """The replies in a file; use it in a `with` statement. Several processes may share it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __enter__(self) -> ReplyCache:
        with self._explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self.path.exists():  # replies may repeat private captions
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self._base = sqlite3.connect(self.path, timeout=30)
            try:
                self._open()
            except BaseException:
                self._base.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._base.close()

    def get(self, key: str) -> Reply | None:
        """The reply to a request, if it was ever given."""
        with self._explained():
            row = self._base.execute(
                "SELECT text, refusal, finish, tokens_in, tokens_out, model FROM replies WHERE key = ?", (key,)
            ).fetchone()
        return None if row is None else Reply(*row)

    def put(self, key: str, reply: Reply) -> None:
        """Keep a reply, for good when this returns."""
        values = (key, reply.text, reply.refusal, reply.finish, reply.tokens_in, reply.tokens_out, reply.model)
        with self._explained(), self._base:
            self._base.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*values, time.time()))

    def _open(self) -> None:
        mark = self._base.execute("PRAGMA application_id").fetchone()[0]
        tables = self._base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if mark != _MARK and tables:
            raise DatabaseError(f"--cache {self.path}: a database of something else; give another file")
        with self._base:
            self._base.execute(_TABLE)
            self._base.execute(f"PRAGMA application_id = {_MARK}")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise DatabaseError(
                f"--cache {self.path}: cannot be used ({error}); give another file, or move it out of the way"
            ) from error
