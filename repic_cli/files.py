"""Writing files so that a full disk or a crash leaves the old file or the new one, never half of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Put `path` into an `OSError` that names no file: those of write() and flush() do not.

    The root command then says which file the disk was too full for.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write beside `path`, put in place of `path` in one step at the end. Makes the folder.

    Raises `OSError` that names `path`; what was at `path` is then untouched and nothing is left beside it.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException as error:
            if isinstance(error, OSError) and error.filename == str(partial):
                error.filename, error.filename2 = str(path), None  # a name that the user has never seen
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


def write_file(path: str | Path, content: str | bytes) -> None:
    """Write text (UTF-8) or bytes as `replacing` does."""
    with replacing(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)
