"""Concepts from a table: CSV, or JSON with one object per concept.

CSV has a header and one row per picture; rows with one name are one concept:

    name,picture,info,category,aliases,box
    bo,bo/1.jpg,A brown dog.,dog,Bobby;Bobs,10 20 110 220
    bo,bo/2.jpg,,,,

JSON is a list of concepts (or an object that has it as `concepts`):

    [{"name": "bo", "info": "A brown dog.", "category": "dog", "aliases": ["Bobby"],
      "pictures": ["bo/1.jpg", {"path": "bo/2.jpg", "box": [10, 20, 110, 220]}]}]
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from repic_cli.concepts.drafts import Draft, DraftPicture, Report
from repic_cli.concepts.formats.files import MAX_BYTES, read_json, read_text
from repic_cli.concepts.formats.places import Places
from repic_cli.concepts.formats.rows import box_of, usable_aliases
from repic_cli.concepts.formats.texts import usable_category, usable_info, usable_names
from repic_cli.concepts.text import fold
from repic_plugins.errors import DataError
from repic_plugins.text import clean

COLUMNS = ("name", "picture", "info", "category", "aliases", "box", "key")


def read_table(path: str | Path, pictures: Sequence[str | Path] = ()) -> tuple[list[Draft], Report]:
    """The concepts of a .csv or .json file; pictures lie in the file's folder or in `pictures`. Raises `DataError`."""
    path = Path(path)
    report = Report(str(path))
    places = Places([path.parent, *pictures])
    objects = _csv_objects(path) if path.suffix.lower() == ".csv" else _json_objects(path)
    drafts = []
    for where, fields in objects:
        report.rows += 1
        draft = _draft(where, fields, places, report)
        if draft is not None:
            drafts.append(draft)
    if not report.rows:
        raise DataError(f"{path}: there is no concept in it")
    return drafts, report


def _json_objects(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    content = read_json(path)
    if isinstance(content, dict) and "concept_dict" in content:
        raise DataError(f"{path}: a database of RePIC or RAP; `repic db import DB {path}` reads it")
    items = content.get("concepts") if isinstance(content, dict) else content
    if not isinstance(items, list):
        raise DataError(f"{path}: must be a list of concepts, or an object with the list `concepts`")
    known = {*COLUMNS, "pictures"}
    for number, item in enumerate(items, 1):
        if not isinstance(item, dict):
            raise DataError(f"{path}: concept {number} is a {type(item).__name__}, not an object")
        unknown = sorted(set(item) - known)
        if unknown:
            raise DataError(
                f"{path}: concept {number} has the unknown field {clean(unknown[0], 60)!r}; "
                f"there are {', '.join(sorted(known))}"
            )
        given = item.get("pictures", [])
        listed = given if isinstance(given, list) else [given]
        yield _where(number, item), {**item, "pictures": [*listed, *([item] if "picture" in item else [])]}


def _csv_objects(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """One object per name, with the first text that its rows have."""
    csv.field_size_limit(MAX_BYTES)
    try:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
        header = [name.strip() for name in reader.fieldnames or ()]
        if "name" not in header or "picture" not in header or set(header) - set(COLUMNS):
            raise DataError(
                f"{path}: the first line must name the columns: {','.join(COLUMNS)} (name and picture at least)"
            )
        reader.fieldnames = header
        found: dict[str, dict[str, Any]] = {}
        for number, row in enumerate(reader, 2):
            if None in row or None in row.values():
                raise DataError(f"{path}: line {reader.line_num} has another number of cells than the first line")
            concept = found.setdefault(fold(row["name"].strip()), {"where": f"row {number}", "pictures": []})
            for column, cell in row.items():
                if cell.strip() and column not in ("picture", "box"):
                    concept.setdefault(column, cell)
            if row["picture"].strip():
                concept["pictures"].append({key: row[key] for key in ("picture", "box") if row.get(key, "").strip()})
    except csv.Error as error:
        raise DataError(f"{path}: not CSV, near line {reader.line_num}: {clean(error, 120)}") from error
    for concept in found.values():
        if "aliases" in concept:
            concept["aliases"] = [alias for alias in concept["aliases"].split(";") if alias.strip()]
        yield f"{clean(concept.get('name', ''), 60)} ({concept['where']})", concept


def _where(number: int, item: Mapping[str, Any]) -> str:
    return f"{clean(item.get('name', ''), 60)} (concept {number})"


def _draft(where: str, fields: Mapping[str, Any], places: Places, report: Report) -> Draft | None:
    tell = _teller(report, where)
    try:
        name, key = usable_names(fields.get("key") or fields.get("name"), fields.get("name"), tell)
    except DataError as error:
        report.skip(where, str(error))
        return None
    pictures = []
    for item in fields["pictures"]:
        try:
            pictures.append(_picture(item, places))
        except DataError as error:
            report.no_picture(where, str(error))
    info, category = usable_info(fields.get("info"), tell), usable_category(fields.get("category"), tell)
    return Draft(name, where, tuple(pictures), key, info, category, usable_aliases(fields.get("aliases"), tell))


def _picture(item: object, places: Places) -> DraftPicture:
    """From a path, or an object with `path` (or `picture`) and maybe `box`."""
    if not isinstance(item, dict):
        item = {"path": item}
    path = places.find(item.get("path", item.get("picture"))).path
    box = item.get("box")
    return DraftPicture(path, path.name, None if box is None else box_of(box))


def _teller(report: Report, where: str) -> Callable[[str], None]:
    return lambda what: report.repair(where, what)
