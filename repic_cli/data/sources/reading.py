"""Reading a source's files as a stream: memory does not grow with the file, and a bad row has one clear line."""

from __future__ import annotations

import hashlib
import heapq
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Generic, TypeVar

from repic_cli.data.images import PixelBox
from repic_cli.data.sources.pool import Pool
from repic_plugins.errors import DataError
from repic_plugins.text import clean

T = TypeVar("T")

MAX_LINE = 1_000_000
_EXAMPLES = 20
_CHUNK = 1 << 16
# Python writes these into JSON, which has no such words. As null they are a bad value in one row, not a broken file.
_NO_NUMBER = re.compile(rb"(?<=[\[,:\s])-?(?:NaN|Infinity)(?=[\s,\]}])")
_QUOTE = re.compile(rb"\\.|(\")", re.DOTALL)  # a quote that begins or ends a text, or what a backslash takes along
_KEEP = 16  # bytes held back, so that no word is cut by the end of a chunk


@dataclass
class Scan:
    """How a source is read: what is wanted of it, and what happens to rows that cannot be used."""

    seed: int = 0
    limit: int = 10_000
    """Groups (pictures, people, ...) that are kept."""
    skip_bad: bool = False
    split: str = "train"
    """The part of the data that is read, where its publishers have split it."""
    progress: Callable[[str, int], None] = field(default=lambda what, done: None)

    def reject(self, pool: Pool, path: Path, where: str, why: str) -> None:
        """A row that cannot be read: `DataError`, or counted with `skip_bad`."""
        line = f"{path}: {where}: {clean(why)}"
        if not self.skip_bad:
            raise DataError(f"{line} (--skip-bad counts such rows and goes on)")
        pool.bad[str(path)] += 1
        if len(pool.examples) < _EXAMPLES:
            pool.examples.append(line)

    def rows(self, pool: Pool, items: Iterator[T]) -> Iterator[T]:
        """The same items, counted."""
        for item in items:
            pool.rows += 1
            if pool.rows % 10_000 == 0:
                self.progress(pool.source, pool.rows)
            yield item


class Lowest(Generic[T]):
    """The groups of a stream whose keys hash lowest: at most `groups`, with at most `members` members each.

    A draw without replacement that needs no more memory than its result, whatever the order of the stream.
    """

    def __init__(self, seed: str, groups: int, members: int = 32) -> None:
        self.seed, self.groups, self.members = seed, groups, members
        self._kept: dict[str, list[tuple[int, str, T]]] = {}
        self._heap: list[tuple[int, str]] = []
        self._hash = lru_cache(maxsize=1024)(self._digest)

    def _digest(self, key: str) -> int:
        return int.from_bytes(hashlib.blake2b(f"{self.seed}\0{key}".encode(), digest_size=8).digest(), "big")

    def wants(self, key: str) -> bool:
        """Whether the group may still be part of the result."""
        return key in self._kept or len(self._heap) < self.groups or self._hash(key) < -self._heap[0][0]

    def add(self, key: str, member: str, item: T) -> None:
        """Offer an item; `member` names it within its group."""
        if not self.wants(key):
            return
        if key not in self._kept:
            self._kept[key] = []
            heapq.heappush(self._heap, (-self._hash(key), key))
            if len(self._heap) > self.groups:
                del self._kept[heapq.heappop(self._heap)[1]]
        if key in self._kept:
            self._kept[key].append((self._digest(f"{key}\0{member}"), member, item))
            if len(self._kept[key]) >= 4 * self.members:
                self._shorten(key)

    def _shorten(self, key: str) -> list[tuple[int, str, T]]:
        self._kept[key] = sorted(self._kept[key], key=lambda entry: entry[:2])[: self.members]
        return self._kept[key]

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    def __iter__(self) -> Iterator[tuple[str, list[T]]]:
        """The groups from the lowest hash up, and the members of each likewise."""
        for key in sorted(self._kept, key=lambda key: (self._hash(key), key)):
            yield key, [item for _, _, item in self._shorten(key)]


class _WithoutNaN:
    """A file whose bare NaN and Infinity read as null."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._rest, self._done = file, b"", False
        self._in_text = False  # whether `_rest` begins within a text, which may say "Infinity" as it likes
        start = file.read(3)
        self._rest = b"" if start == b"\xef\xbb\xbf" else start

    def read(self, size: int = -1) -> bytes:
        if size == 0:
            return b""
        while not self._done and len(self._rest) <= _KEEP:
            chunk = self._file.read(_CHUNK)
            self._done = not chunk
            self._rest += chunk
        if b"N" in self._rest or b"I" in self._rest:
            self._replace()
        cut = len(self._rest) if self._done else len(self._rest) - _KEEP
        backslashes = cut - len(self._rest[:cut].rstrip(b"\\"))
        cut += backslashes % 2  # the last one takes the next byte along
        out, self._rest = self._rest[:cut], self._rest[cut:]
        self._in_text ^= _quotes(out) % 2 == 1
        return out

    def _replace(self) -> None:
        parts, at, in_text = [], 0, self._in_text
        for found in _NO_NUMBER.finditer(self._rest):
            before = self._rest[at : found.start()]
            in_text ^= _quotes(before) % 2 == 1
            parts += [before, found.group() if in_text else b"null"]
            at = found.end()
        self._rest = b"".join((*parts, self._rest[at:]))


def _quotes(data: bytes) -> int:
    """How many quotes begin or end a text in it."""
    return data.count(b'"') if b"\\" not in data else sum(bool(quote) for quote in _QUOTE.findall(data))


def json_items(path: Path, key: str = "") -> Iterator[tuple[int, Any]]:
    """Number (from 1) and value of each item of the list `key` of a JSON object (empty: of a JSON list), streamed.

    Raises `DataError` if the file is missing, no JSON in UTF-8, or ends early.
    """
    import ijson

    number = 0
    prefix = f"{key}.item" if key else "item"
    try:
        with open_file(path) as file:
            for value in ijson.items(_WithoutNaN(file), prefix, use_float=True, buf_size=_CHUNK):
                number += 1
                yield number, value
    except (ijson.JSONError, UnicodeDecodeError) as error:
        given = error.args[0] if error.args else ""
        what = given.decode("utf-8", "replace") if isinstance(given, bytes) else str(error)
        ended = "premature" in what.casefold() or "incomplete" in what.casefold()
        hint = "the file is not whole" if ended else "not JSON in UTF-8"
        place = f"after item {number:,} of {key or 'its list'}"
        raise DataError(f"{path}: {hint}, {place} ({clean(what.splitlines()[0], 80)})") from error


def open_file(path: Path) -> BinaryIO:
    """A file to read. Raises `DataError` if it is missing, no file, or may not be read."""
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if not path.is_file():
        raise DataError(f"{path}: not a file")
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not blank. Raises `DataError`, also for a line that is not UTF-8."""
    with open_file(path) as file:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise DataError(f"{path}: line {number} is longer than {MAX_LINE:,} bytes")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise DataError(f"{path}: line {number} is not UTF-8 text") from error
            if text:
                yield number, text


def xywh(value: object) -> PixelBox:
    """A box x, y, width, height as x1, y1, x2, y2. `ValueError` unless it is four finite numbers with an area."""
    x, y, width, height = numbers(value, 4, "bbox")
    if width <= 0 or height <= 0:
        raise ValueError(f"the bbox {value} has no area")
    return x, y, x + width, y + height


def xyxy(value: object) -> PixelBox:
    """A box x1, y1, x2, y2. `ValueError` unless it is four finite numbers with an area."""
    x1, y1, x2, y2 = numbers(value, 4, "box")
    if x1 >= x2 or y1 >= y2:
        raise ValueError(f"the box {value} has no area")
    return x1, y1, x2, y2


def numbers(value: Any, count: int, name: str) -> tuple[float, ...]:
    """`count` finite numbers of a list. Raises `ValueError`."""
    # By millions of rows, so all are tested at once: a sum is finite only if its parts are.
    if isinstance(value, list | tuple) and len(value) == count and {*map(type, value)} <= {int, float}:
        with suppress(OverflowError):  # a whole number of hundreds of digits
            if math.isfinite(sum(value)):
                return tuple(map(float, value))
    raise ValueError(f"{name} must be {count} finite numbers, not {clean(value, 60)}")


def is_number(value: object) -> bool:
    """Whether it is a finite number (not a bool)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def field_of(row: object, name: str, kind: type[T]) -> T:
    """A field of a row. Raises `ValueError` if it is missing or of another type."""
    if not isinstance(row, dict):
        raise ValueError(f"must be an object, not a {type(row).__name__}")
    if name not in row:
        raise ValueError(f"the field {name!r} is missing")
    value = row[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{name} must be a {kind.__name__}, not {clean(repr(value), 60)}")
    return value


def inside(name: str) -> PurePosixPath:
    """A file name of an annotation file, as a path that cannot lead out of its folder. Raises `ValueError`."""
    check_inside(name)
    return PurePosixPath(name.replace("\\", "/"))


def check_inside(name: str) -> None:
    """Raises `ValueError` for a file name that leads out of its folder."""
    parts = name.replace("\\", "/").split("/")
    if not name.strip() or not parts[0] or ".." in parts or "\0" in name:
        raise ValueError(f"the file name {clean(repr(name), 80)} leads out of the folder of pictures")


def in_turn(groups: Sequence[Sequence[T]]) -> list[T]:
    """The first of every group, then the second of every group that has one, and so on."""
    return [item for row in zip_longest(*groups) for item in row if item is not None]


def first_file(folder: Path, patterns: tuple[str, ...], what: str) -> Path:
    """The first file that matches one of the patterns. Raises `DataError`."""
    if not folder.exists():
        raise DataError(f"{folder}: no such folder")
    for pattern in patterns:
        found = sorted(path for path in folder.glob(pattern) if path.is_file())
        if found:
            return found[0]
    raise DataError(f"{folder}: there is no {what} in it (looked for {', '.join(patterns)})")
