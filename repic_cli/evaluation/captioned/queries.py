"""Queries to caption: which concepts are in which picture.

    {"park.jpg": ["<bo>"], "sea.jpg": [["<bo>", "<gus>"], ["<bo>"]]}     RePIC's templates: keys, or lists of keys
    {"image": "park.jpg", "keys": ["bo"]}                                 JSON lines
    image,keys                                                            CSV; several keys have `;` between them

An empty list of keys says that no concept is in the picture. Pictures are looked for in the folder of the file, and in
those the user adds, by the longest end of their path that is there.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repic_cli.concepts.formats.files import read_json, read_text
from repic_cli.concepts.formats.places import Places
from repic_cli.evaluation.captioned.rows import keys_of, text_of, values_of
from repic_plugins.errors import DataError, OptionError
from repic_plugins.text import clean

_SEPARATOR = ";"


@dataclass(frozen=True, slots=True)
class Query:
    """A picture to caption: as the file calls it, where it lies, and the bare keys of what is in it."""

    image: str
    path: Path
    keys: tuple[str, ...]

    @property
    def id(self) -> str:
        """Tells queries of one file apart."""
        return f"{self.image} {' '.join(f'<{key}>' for key in self.keys)}".rstrip()


@dataclass(frozen=True)
class Queries:
    """The queries of a file; `skipped` tells of rows that cannot be used, `others` counts those of another size.

    `in_picture` has all keys that the file gives to a picture, in any of its queries.
    """

    path: Path
    queries: tuple[Query, ...]
    in_picture: Mapping[str, frozenset[str]]
    skipped: tuple[str, ...] = ()
    others: int = 0


def read_queries(
    path: str | Path, pictures: Sequence[Path] = (), per_image: int | None = None, skip_bad: bool = False
) -> Queries:
    """Read a file of queries, those of `per_image` keys (None: all).

    Raises `DataError` that names file and row for a row or picture that cannot be used; with `skip_bad` such rows are
    told in `skipped`.
    """
    path = Path(path)
    places = Places([path.parent, *pictures])
    queries: dict[str, Query] = {}
    in_picture: dict[str, frozenset[str]] = {}
    skipped: list[str] = []
    others = 0
    for where, image, keys in _entries(path):
        try:
            if isinstance(image, DataError):
                raise image
            query = Query(text_of(image, "image"), places.find(image).path, keys_of(keys, "keys"))
        except DataError as error:
            message = f"{path}: {where}: {error}"
            if not skip_bad:
                raise DataError(f"{message}; --skip-bad leaves such rows out") from None
            skipped.append(message)
            continue
        in_picture[query.image] = in_picture.get(query.image, frozenset()).union(query.keys)
        if per_image is not None and len(query.keys) != per_image:
            others += 1
        else:
            queries.setdefault(query.id, query)
    if not queries and others:
        raise OptionError(f"--concepts-per-image {per_image}: none of the {others} queries of {path} has so many")
    if not queries:
        raise DataError(f"{path}: no queries in it{f' ({skipped[0]})' if skipped else ''}")
    return Queries(path, tuple(queries.values()), in_picture, tuple(skipped), others)


def _entries(path: Path) -> Iterator[tuple[str, Any, Any]]:
    """Where each query stands, its picture (or what is wrong) and its keys."""
    if path.suffix.lower() == ".csv":
        yield from _table(path)
    elif _is_template(path):
        yield from _template(path)
    else:
        for number, value in values_of(path):
            yield (f"row {number}", *_of_row(value))


def _is_template(path: Path) -> bool:
    """Whether a file is one JSON object, and not one on each line."""
    text = read_text(path).strip()
    if not text.startswith("{"):
        return False
    line, _, more = text.partition("\n")
    try:
        first = json.loads(line)
    except (ValueError, RecursionError):
        return True
    return not more and "image" not in first


def _template(path: Path) -> Iterator[tuple[str, Any, Any]]:
    for number, (image, keys) in enumerate(read_json(path).items(), 1):
        lists = keys if isinstance(keys, list) and keys and isinstance(keys[0], list) else [keys]
        for each in lists:
            yield f"entry {number}", image, each


def _of_row(value: Any) -> tuple[Any, Any]:
    if isinstance(value, DataError):
        return value, None
    if isinstance(value, list) and len(value) >= 2:
        return value[0], value[1]
    if isinstance(value, dict) and "image" in value and "keys" in value:
        return value["image"], value["keys"]
    return DataError("a query is an object with image and keys, or a list that begins with them"), None


def _table(path: Path) -> Iterator[tuple[str, Any, Any]]:
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    columns = [name or "" for name in reader.fieldnames or []]
    missing = [name for name in ("image", "keys") if name not in columns]
    if missing:
        there = ", ".join(clean(name, 40) for name in columns[:8])
        raise DataError(f"{path}: row 1: no column {' and '.join(missing)} (there are {there})")
    try:
        for row in reader:
            keys = [key for key in (row["keys"] or "").split(_SEPARATOR) if key.strip()]
            yield f"row {reader.line_num}", row["image"], keys
    except csv.Error as error:
        raise DataError(f"{path}: row {reader.line_num}: not CSV ({error})") from error
