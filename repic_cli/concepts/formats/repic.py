"""The databases of RePIC and RAP: `database.json` or `database_mod.json`, `id2filename.json`, `image.faiss`.

    {"concept_dict": {"<bo>": {"name": "bo", "image": "./data/bo.jpg", "info": "...", "category": "dog"}},
     "path_to_concept": {"./data/bo.jpg": "<bo>"}}

`id2filename.json` tells for each vector of `image.faiss` which picture it is of. In real files the paths of one picture
are written in up to four ways, rows have no picture and vectors no row, and brackets are missing; see `Report`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repic_cli.concepts.drafts import Draft, DraftPicture, Report
from repic_cli.concepts.formats.files import read_json
from repic_cli.concepts.formats.named_vectors import NamedVectors
from repic_cli.concepts.formats.places import Places, checked_path, path_parts
from repic_cli.concepts.formats.rows import extra_fields
from repic_cli.concepts.formats.texts import usable_category, usable_info, usable_names
from repic_cli.concepts.geometry import PixelBox
from repic_cli.concepts.text import fold
from repic_plugins.errors import DataError
from repic_plugins.text import clean

FILES = ("database_mod.json", "database.json")
"""The paper's code reads the first where there are both: its paths were put right."""


@dataclass
class _Row:
    """A concept as the file has it: key with brackets, its fields, the paths of its pictures as they are written."""

    key: str
    fields: Mapping[str, Any]
    paths: list[str] = field(default_factory=list)


def read_repic(source: str | Path, pictures: Sequence[str | Path] = ()) -> tuple[list[Draft], Report]:
    """The concepts of a database file, or of the folder that it lies in.

    Pictures are looked for in that folder, and in the folders `pictures`. Drafts of rows without a picture file are
    given too. Vectors are those of the file, of unit length. Raises `DataError` if there is no such database.
    """
    source = Path(source)
    files = [source] if not source.is_dir() else [source / name for name in FILES if (source / name).is_file()]
    if not files:
        raise DataError(f"{source}: neither {' nor '.join(FILES)} there; give the file, or the folder it lies in")
    places = Places([files[0].parent, *pictures])
    read = [_Reader(file, places) for file in files]
    # Of two files the one that more of its rows can be used of; equal ones are written the same.
    best = max(read, key=lambda reader: reader.usable)
    for other in read:
        if other is not best:
            best.report.note(
                f"{other.path.name} is left aside: {other.usable} of its {len(other.drafts)} rows have a picture or a "
                f"vector, {best.usable} of {len(best.drafts)} in {best.path.name}"
            )
    return best.drafts, best.report


class _Reader:
    def __init__(self, path: Path, places: Places) -> None:
        self.path, self.places = path, places
        self.report = Report(str(path))
        self.rows = self._read_rows()
        self.vectors = NamedVectors(path.parent, self.report)
        taken = self._join_vectors()
        self._names: set[str] = set()
        self._keys = {_bare(row.key) for row in self.rows.values()}
        self.drafts = [draft for row in self.rows.values() if (draft := self._draft(row, taken)) is not None]
        self.usable = sum(any(p.path or p.vector is not None for p in draft.pictures) for draft in self.drafts)

    def _read_rows(self) -> dict[str, _Row]:
        content = read_json(self.path)
        concepts = content.get("concept_dict") if isinstance(content, dict) else None
        if not isinstance(concepts, dict):
            raise DataError(f"{self.path}: not a database of RePIC or RAP: it has no concept_dict")
        self.report.rows = len(concepts)
        rows: dict[str, _Row] = {}
        for key, fields in concepts.items():
            if not isinstance(fields, dict):
                self.report.skip(key, f"its row is a {type(fields).__name__}, not an object")
            elif _bare(key) in rows:
                self.report.skip(key, f"the same as {rows[_bare(key)].key}")
            else:
                rows[_bare(key)] = _Row(key, fields, _paths(fields.get("image")))
        self._add_paths(rows, content.get("path_to_concept"))
        return rows

    def _add_paths(self, rows: Mapping[str, _Row], paths: object) -> None:
        """`path_to_concept`: says again what the rows say, in other spellings, and may know more pictures."""
        if paths is None:
            self.report.note("there is no path_to_concept; the rows name their pictures")
            return
        if not isinstance(paths, dict):
            self.report.skip("path_to_concept", f"a {type(paths).__name__}, not an object")
            return
        respelled = 0
        owners = {_parts(path): row for row in rows.values() for path in row.paths}
        for path, key in paths.items():
            row = rows.get(_bare(key)) if isinstance(key, str) else None
            if row is None:
                self.report.skip(path, f"path_to_concept says {clean(key, 60)}, for which there is no row")
                continue
            if owners.get(_parts(path), row) is not row:
                self.report.skip(path, f"path_to_concept says {row.key}, but it is {owners[_parts(path)].key}'s")
                continue
            if fold(key) != fold(row.key):
                self.report.repair(path, f"path_to_concept says {clean(key, 60)}, which is {row.key}")
            known = [_parts(old) for old in row.paths]
            if _parts(path) not in known:
                row.paths.append(path)
            elif path not in row.paths:
                respelled += 1
        if respelled:
            self.report.repair("path_to_concept", f"{respelled} paths are spelled otherwise than in their rows: joined")

    def _join_vectors(self) -> dict[tuple[str, tuple[str, ...]], int]:
        """Which vector belongs to which path of which row: (bare key, parts of the path) -> number."""
        by_parts: dict[tuple[str, ...], list[tuple[str, tuple[str, ...]]]] = {}
        for bare, row in self.rows.items():
            for path in row.paths:
                parts = _parts(path)
                # Every end of at least two parts: a bare file name is not enough to tell pictures apart.
                for start in range(max(1, len(parts) - 1)):
                    by_parts.setdefault(parts[start:], []).append((bare, parts))
        taken: dict[tuple[str, tuple[str, ...]], int] = {}
        respelled = 0
        for number, name in self.vectors.names.items():
            parts, start = _parts(name), 0
            owners = by_parts.get(parts, [])
            while not owners and len(parts) - start > 2:
                start += 1
                owners = [owner for owner in by_parts.get(parts[start:], []) if owner[1] == parts[start:]]
            # One picture may be of two concepts; two pictures that end alike are not told apart.
            if len({place for _, place in owners}) != 1:
                why = "several rows name pictures that end so" if owners else "no row names its picture"
                self.report.skip(f"vector {number}", f"{name}: {why}")
                continue
            taken.update(dict.fromkeys(owners, number))
            respelled += owners[0][1] != parts
        if respelled:
            self.report.repair(
                "id2filename", f"{respelled} paths are written otherwise than in the rows: joined by their ends"
            )
        return taken

    def _draft(self, row: _Row, taken: Mapping[tuple[str, tuple[str, ...]], int]) -> Draft | None:
        where, fields = row.key, row.fields
        tell = lambda what: self.report.repair(where, what)  # noqa: E731
        try:
            name, key = usable_names(row.key, fields.get("name"), tell)
        except DataError as error:
            self.report.skip(where, str(error))
            return None
        # Captions tell concepts apart by their names alone.
        if fold(name) in self._names or (fold(name) in self._keys and fold(name) != fold(key)):
            tell(f"another concept is called {name!r} too; its key is taken for its name")
            name = key
        if fold(name) in self._names:
            self.report.skip(where, f"another concept is called {name!r}")
            return None
        self._names |= {fold(name), fold(key)}
        info = usable_info(fields.get("info"), tell)
        if not info:
            self.report.note(f"{where} has no info")
        category = usable_category(fields.get("category"), tell)
        aliases, boxes = extra_fields(fields, tell)
        bare = _bare(row.key)
        pictures = [self._picture(where, path, taken.get((bare, _parts(path))), boxes) for path in row.paths]
        return Draft(name, where, _distinct(pictures), key, info, category, aliases)

    def _picture(self, where: str, written: str, vector: int | None, boxes: Mapping[str, PixelBox]) -> DraftPicture:
        values = None if vector is None else self.vectors.get(vector)
        source = _parts(written)[-1] if _parts(written) else ""
        box = boxes.get(written)
        try:
            found = self.places.find(written)
        except DataError as error:
            self.report.no_picture(where, str(error))
            return DraftPicture(None, source, box, values)
        if found.moved:
            self.report.moved.append(clean(f"{where}: {written} is at {found.path}", 500))
        return DraftPicture(found.path, source, box, values)


def _distinct(pictures: Sequence[DraftPicture]) -> tuple[DraftPicture, ...]:
    """Each file once, with its vector if one of the spellings of its path had one."""
    kept: dict[object, DraftPicture] = {}
    for number, picture in enumerate(pictures):
        key: object = picture.path.resolve() if picture.path else number
        if key not in kept or kept[key].vector is None:
            kept[key] = picture
    return tuple(kept.values())


def _bare(key: str) -> str:
    """A key without its brackets, of which one may be missing, folded."""
    return fold(key.strip().removeprefix("<").removesuffix(">").strip())


def _paths(image: object) -> list[str]:
    """`image` is a path; some write a list of them."""
    return [path for path in (image if isinstance(image, list) else [image]) if isinstance(path, str)]


def _parts(path: str) -> tuple[str, ...]:
    try:
        return path_parts(checked_path(path))
    except DataError:
        return (path,)
