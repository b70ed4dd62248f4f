"""Changes of a database folder: rows and picture files together, or neither.

Picture files are written before the rows that name them are committed, and deleted after the rows are gone;
`pictures/.pending` names the files of a change under way, so that the next writer clears away what a killed one left.
All file changes happen under SQLite's write lock.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from repic_cli.concepts import schema
from repic_cli.concepts.pictures import LostPicture, NewPicture, is_file_name
from repic_cli.files import write_file
from repic_plugins.errors import DatabaseError

PENDING = ".pending"


class Transactions:
    """The transactions of one connection. `pictures` is the folder of the picture files."""

    def __init__(self, connection: sqlite3.Connection, pictures: Path) -> None:
        self._connection, self._pictures = connection, pictures
        self._pending = pictures / PENDING

    @contextmanager
    def change(self) -> Iterator[FileChanges]:
        """One transaction that may add or drop picture files, which it is told about first."""
        files = FileChanges(self._pictures)
        try:
            with self.locked():
                self._clear_pending()
                yield files
        finally:
            if files.noted:
                with suppress(sqlite3.Error, OSError), self.locked():  # else the next writer does it
                    self._clear_pending()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The write lock: no other process changes anything meanwhile."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _clear_pending(self) -> None:
        """Delete the files of the last change that no row names. Runs under the write lock."""
        names = pending_files(self._pictures)
        for name in names:
            if not self._connection.execute("SELECT 1 FROM pictures WHERE file = ?", (name,)).fetchone():
                (self._pictures / name).unlink(missing_ok=True)
            for partial in self._pictures.glob(f".{name}.*.partial"):
                partial.unlink(missing_ok=True)
        self._pending.unlink(missing_ok=True)


class FileChanges:
    """The picture files that a change adds or drops."""

    def __init__(self, pictures: Path) -> None:
        self._pictures = pictures
        self.noted: set[str] = set()

    def note(self, names: Iterable[str]) -> None:
        """Put the names on the list of what has to be cleared up if this change comes to nothing."""
        wanted = self.noted | set(filter(is_file_name, names))
        if wanted != self.noted:
            self.noted = wanted
            write_file(self._pictures / PENDING, "\n".join(sorted(wanted)))

    def write(self, pictures: Iterable[NewPicture | LostPicture]) -> None:
        """Write the files that are not there yet, or damaged; safely on the disk before the rows that tell of them."""
        data = {picture.file: picture.data for picture in pictures if picture.data is not None}
        if not data:
            return
        self.note(data)
        for name, content in data.items():
            path = self._pictures / name
            if not path.is_file() or path.read_bytes() != content:
                write_file(path, content)
        _sync(self._pictures)


def pending_files(pictures: Path) -> list[str]:
    """The names that the change under way, or one that was killed, has put on its list."""
    try:
        text = (pictures / PENDING).read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return []
    return [name for name in text.split("\n") if is_file_name(name)]


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """SQLite's errors about the file in words. Raises `DatabaseError`."""
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        name = getattr(error, "sqlite_errorname", "")
        if "locked" in text or "busy" in text:
            why = f"another process has been writing for {schema.WAIT_SECONDS:.0f} s; try again"
        elif "full" in text:
            why = "the disk is full; nothing was changed"
        elif name.startswith("SQLITE_IOERR"):  # also when the disk is full at a bad moment
            why = f"cannot be read or written ({text}); is the disk full? Nothing was changed"
        elif "readonly" in text or "unable to open" in text:
            why = f"cannot be opened or written ({text}); check the permissions of the folder"
        else:
            why = f"damaged, or not a concept database ({text})"
        raise DatabaseError(f"{path}: {why}") from error


def _sync(folder: Path) -> None:
    """Have the names of new files on the disk before the rows that tell of them."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
