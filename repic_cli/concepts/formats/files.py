"""Reading a file that may be anything: its kind is told from its first bytes, and only text is parsed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from repic_plugins.errors import DataError
from repic_plugins.text import clean

MAX_BYTES = 1 << 29
"""Largest text file that is read, in bytes: a million concepts with their infos."""
_KINDS = (
    (b"PK", "an archive; unpack it, and give the folder"),
    (b"\x1f\x8b", "an archive; unpack it, and give the folder"),
    (b"7z\xbc\xaf", "an archive; unpack it, and give the folder"),
    (b"Rar!", "an archive; unpack it, and give the folder"),
    (b"\x93NUMPY", "a NumPy file; give CSV, JSON, or a folder"),
    (b"SQLite format 3", "an SQLite file; a database of repic is given by its folder"),
)
_PICKLES = tuple(b"\x80" + bytes([version]) for version in range(2, 6))


def read_text(path: Path) -> str:
    """The text of a file. Raises `DataError` if it is missing, no file, too large, or no text at all."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not text in UTF-8; save it as such") from error


def read_bytes(path: Path) -> bytes:
    """The bytes of a file that should be text. Raises `DataError` if it is missing, too large, or something else."""
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if not path.is_file():  # a pipe or a device would be read for ever
        raise DataError(f"{path}: not a file")
    try:
        large = path.stat().st_size > MAX_BYTES
        with path.open("rb") as file:
            data = b"" if large else file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if large or len(data) > MAX_BYTES:
        raise DataError(f"{path}: larger than {MAX_BYTES >> 20} MiB; split it")
    kind = _kind(data)
    if kind:
        raise DataError(f"{path}: {kind}")
    return data


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises `DataError`; a key that stands twice in one object is an error too."""
    try:
        return json.loads(read_text(path), object_pairs_hook=_once)
    except _TwiceError as error:
        raise DataError(f"{path}: the key {clean(error, 80)!r} stands twice in one object; leave one out") from error
    except RecursionError as error:
        raise DataError(f"{path}: nested too deeply") from error
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({clean(error, 120)})") from error


def _kind(data: bytes) -> str:
    if data.startswith(_PICKLES):
        return "a pickled file, which could run any code; it is never loaded: give CSV, JSON, or a folder"
    return next((what for start, what in _KINDS if data.startswith(start)), "")


class _TwiceError(ValueError):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        raise _TwiceError(next(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]
    return made
