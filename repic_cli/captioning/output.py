"""The file that `repic caption --out` writes: a line of JSON for each picture, with which a stopped run goes on.

Each line carries a hash of the picture file and marks of what made the caption (model, database, options). A picture is
done when its line has the hash that the file has now; a file of other marks is not mixed with.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from repic_cli.files import naming
from repic_plugins.errors import DataError, OptionError
from repic_plugins.text import clean


@dataclass(frozen=True)
class Marks:
    """Short hashes of all that a caption depends on but the picture."""

    model: str
    database: str
    options: str

    @classmethod
    def of(cls, model: object, database: object, options: object) -> Marks:
        """From values that JSON can hold."""
        return cls(*(mark(value) for value in (model, database, options)))


def mark(value: object) -> str:
    """16 hex digits that tell values apart."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def content_hash(path: str | Path) -> str:
    """32 hex digits of a file's bytes, read in parts. Raises `DataError` if it cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        if not Path(path).is_file():  # a pipe or a device would be read for ever
            raise DataError(f"{path}: not a file; give the picture itself")
        with Path(path).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise DataError(f"{path}: the picture cannot be read ({error.strerror or error})") from error
    return digest.hexdigest()


class CaptionFile:
    """An open file of captions; use it in a `with` statement. One process writes it at a time.

    `identity` is the field that tells rows apart: the picture, or where one picture has several captions another.
    What a killed run left behind its last whole line is dropped. `redo` takes lines of other marks for not done, and
    replaces them. Raises `OptionError` for a file that is in use, of other marks or not of repic.
    """

    def __init__(self, path: str | Path, marks: Marks, redo: bool = False, identity: str = "image") -> None:
        self.path, self.marks, self.redo, self.identity = Path(path), marks, redo, identity
        self._done: dict[str, str] = {}
        self._replaced = 0
        if self.path.exists() and not self.path.is_file():
            raise OptionError(f"--out {self.path}: not a file; give the name of a file that ends in .jsonl")
        # The file itself, not a link to it: it is replaced when lines are dropped.
        self.path = self.path.resolve()

    def __enter__(self) -> CaptionFile:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._lock()
        try:
            self._tidy()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._replaced:
                self._tidy()
        finally:
            self._file.close()

    def __len__(self) -> int:
        """Pictures that are done."""
        return len(self._done)

    def has(self, row: Path | str, content: str) -> bool:
        """Whether the picture (or what `identity` names) is done, with this content."""
        return self._done.get(str(row)) == content

    def write(self, row: Mapping[str, Any], content: str = "") -> None:
        """Add the line of a picture; one with an `error` does not count as done."""
        own = str(row[self.identity])
        line = json.dumps({**row, "content": content, **asdict(self.marks)}) + "\n"
        with naming(self.path):
            self._file.write(line.encode())
            self._file.flush()
        self._replaced += own in self._seen
        self._seen.add(own)
        if "error" not in row:
            self._done[own] = content

    def _lock(self) -> IO[bytes]:
        while True:
            file = self.path.open("ab+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Another process may have put a tidied file in its place since it was opened.
                if self.path.exists() and os.fstat(file.fileno()).st_ino == self.path.stat().st_ino:
                    return file
            except BlockingIOError:
                file.close()
                raise OptionError(
                    f"--out {self.path}: another repic is writing it; wait, or give another file"
                ) from None
            except BaseException:
                file.close()
                raise
            file.close()

    def _tidy(self) -> None:
        """Keep the last line of each picture, and only whole ones; learn what is done."""
        last, dirty = self._read()
        self._seen = set(last)
        self._replaced = 0
        if not dirty:
            return
        partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        kept = set(last.values())
        with naming(self.path):
            file = partial.open("wb+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX)  # so that the new file is locked from the moment it is in place
                self._file.seek(0)
                file.writelines(line for number, line in enumerate(self._file) if number in kept)
                file.flush()
                os.fsync(file.fileno())
                partial.replace(self.path)
            except BaseException:
                file.close()
                partial.unlink(missing_ok=True)
                raise
        self._file.close()
        self._file = file

    def _read(self) -> tuple[dict[str, int], bool]:
        """The number of the last line of each picture, and whether other lines are there."""
        last: dict[str, int] = {}
        number = -1
        self._done = {}
        self._file.seek(0)
        for number, line in enumerate(self._file):
            if not line.endswith(b"\n"):
                return last, True  # torn: the run was killed
            row = self._row(line, number)
            own = row[self.identity]
            last[own] = number
            self._done.pop(own, None)
            if "error" not in row and self._same(row):
                self._done[own] = row["content"]
        return last, number + 1 > len(last)

    def _row(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            row = json.loads(line)
            if isinstance(row[self.identity], str) and isinstance(row["content"], str):
                return row
        except (ValueError, KeyError, TypeError):
            pass
        raise OptionError(f"--out {self.path}: line {number + 1} was not written by this command; give another file")

    def _same(self, row: Mapping[str, Any]) -> bool:
        """Whether a line was made as lines are now. Raises `OptionError` if not, unless it is to be done again."""
        other = [name for name, now in asdict(self.marks).items() if row.get(name) != now]
        if other and not self.redo:
            what = {"model": "another model or adapter", "database": "another database", "options": "other options"}
            raise OptionError(
                f"--out {clean(self.path, 200)}: was made with {' and '.join(what[name] for name in other)}; "
                "--redo captions again what is in it, or give another file"
            )
        return not other
