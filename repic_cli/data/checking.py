"""What is wrong with records: rows, pictures, boxes, duplicates, counts, and leakage into an evaluation set."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from repic_cli.data.images import FileImage
from repic_cli.data.leakage import Known, known_of, leaks
from repic_cli.data.pictures import look_at
from repic_cli.data.records import read_row
from repic_cli.data.source import BEYOND, RECORDS
from repic_cli.data.sources.reading import text_lines
from repic_plugins.errors import DataError
from repic_plugins.types import Box, ImageRef, Record

Level = Literal["error", "warning"]
Requires = Mapping[str, Collection[str]]
Tell = Callable[[str, int, int | None], None]
_KEPT = 200
"""Findings of one kind that are kept; the others are counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `code`: its kind, as `missing-picture`."""

    code: str
    text: str
    level: Level = "error"


@dataclass
class Report:
    """What was looked at, and what is wrong with it."""

    path: Path
    records: int = 0
    pictures: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    against: str = ""

    def add(self, code: str, text: str, level: Level = "error") -> None:
        self.counts[code] += 1
        if self.counts[code] <= _KEPT:
            self.findings.append(Finding(code, text, level))

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong, but for warnings."""
        return not any(finding.level == "error" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "path": str(self.path),
            "against": self.against or None,
            "records": self.records,
            "pictures": self.pictures,
            "clean": self.clean,
            "counts": dict(self.counts),
            "findings": [{"code": f.code, "level": f.level, "text": f.text} for f in self.findings],
        }


def record_file(place: Path) -> Path:
    """The record file that a path means: itself, or that of a built folder. Raises `DataError`."""
    if place.is_dir():
        if not (place / RECORDS).is_file():
            raise DataError(f"{place}: there is no {RECORDS} in it; an unfinished build, or not one of repic")
        return place / RECORDS
    if not place.is_file():
        raise DataError(f"{place}: no such record file or folder")
    return place


def check_data(
    place: Path,
    requires: Requires,
    against: Path | None = None,
    workers: int = 4,
    tell: Tell = lambda what, done, total: None,
) -> Report:
    """Look at every row and picture of a record file or a built folder; `against` is data that it must not overlap.

    `requires` maps the known tasks to the record fields they need. Raises `DataError` only if there is nothing to
    look at; everything else is a finding.
    """
    file = record_file(place)
    report = Report(place)
    records = _read(file, requires, report)
    report.records = len(records)
    _check_twice(records, report)
    shown = _pictures(records, report, workers, tell, hashing=against is not None)
    _check_boxes(records, shown, report)
    if place.is_dir():
        _check_manifest(place, records, report)
    if against is not None:
        report.against = str(against)
        other = known_of(against, requires, workers, tell)
        ours = Known(records, {path: digest for path, (_, digest) in shown.items()})
        for code, text, level in leaks(ours, other):
            report.add(code, text, level)
    return report


def _read(file: Path, requires: Requires, report: Report) -> list[Record]:
    records: list[Record] = []
    seen: dict[str, int] = {}
    rows = 0
    for number, line in text_lines(file):
        rows += 1
        try:
            record = read_row(file, number, line, requires)
        except DataError as error:
            report.add("bad-row", str(error))
            continue
        if record.id in seen:
            report.add("duplicate-id", f"row {number} has the id {record.id!r} of row {seen[record.id]}")
        seen.setdefault(record.id, number)
        records.append(record)
    if not rows:
        raise DataError(f"{file}: no records in it")
    return records


def _check_twice(records: Iterable[Record], report: Report) -> None:
    """Records that ask the same about the same pictures; worse, such that want different answers."""
    seen: dict[tuple[object, ...], Record] = {}
    for record in records:
        shown = tuple(sorted(reference.image.key for reference in record.references))
        box = record.answer if isinstance(record.answer, Box) else None
        key = (record.task, record.image.key, shown, record.phrase.casefold(), None if record.phrase else box)
        first = seen.setdefault(key, record)
        if first is record:
            continue
        if record.task == "ict" or first.answer == record.answer:
            report.add("duplicate-record", f"{record.id} shows and asks the same as {first.id}")
        elif not record.phrase:  # one phrase may fit two things of a picture
            report.add("contradiction", f"{record.id} shows and asks the same as {first.id}, with another answer")


def _pictures(
    records: Iterable[Record], report: Report, workers: int, tell: Tell, *, hashing: bool
) -> dict[Path, tuple[tuple[int, int], str]]:
    """The size and, if wanted, a digest of the pixels of every picture that can be used."""
    users: dict[Path, str] = {}
    for record in records:
        for image in images_of(record):
            users.setdefault(image.path, record.id)
    paths = list(users)
    report.pictures = len(paths)
    found: dict[Path, tuple[tuple[int, int], str]] = {}
    step = 256
    for start in range(0, len(paths), step):
        part = paths[start : start + step]
        for path, outcome in zip(
            part, look_at([FileImage(path) for path in part], looker(hashing), workers), strict=True
        ):
            if isinstance(outcome, DataError):
                code = "missing-picture" if not path.exists() else "corrupt-picture"
                report.add(code, f"{outcome} (first in {users[path]})")
            else:
                found[path] = outcome
        tell("opening pictures", start + len(part), len(paths))
    return found


def images_of(record: Record) -> list[FileImage]:
    """The pictures of a record, the query last."""
    images: list[ImageRef] = [*(reference.image for reference in record.references), record.image]
    return [image for image in images if isinstance(image, FileImage)]


def looker(hashing: bool) -> Callable[[ImageRef], tuple[tuple[int, int], str]]:
    """What gives the size of a picture, and a digest of its upright RGB pixels."""

    def look(image: ImageRef) -> tuple[tuple[int, int], str]:
        picture = image.open()
        digest = hashlib.blake2b(picture.tobytes(), digest_size=16).hexdigest() if hashing else ""
        return picture.size, f"{digest}-{picture.size}"

    return look


def _check_boxes(records: Iterable[Record], shown: Mapping[Path, tuple[tuple[int, int], str]], report: Report) -> None:
    for record in records:
        boxes = [(image.path, image.box, "a part of") for image in images_of(record) if image.box is not None]
        if isinstance(record.answer, Box) and isinstance(record.image, FileImage) and record.image.box is None:
            answer = (record.answer.x1, record.answer.y1, record.answer.x2, record.answer.y2)
            boxes.append((record.image.path, answer, "the answer in"))
        for path, (x1, y1, x2, y2), what in boxes:
            if path not in shown:
                continue
            width, height = shown[path][0]
            if min(x1, y1) < -BEYOND or x2 > width + BEYOND or y2 > height + BEYOND:
                box = ", ".join(f"{value:g}" for value in (x1, y1, x2, y2))
                report.add("box-outside", f"{record.id}: [{box}], {what} {path}, which has {width} x {height} pixels")


def _check_manifest(folder: Path, records: list[Record], report: Report) -> None:
    from repic_cli.data.building.manifest import Counts, read_manifest

    manifest = read_manifest(folder)
    if manifest is None:
        return
    counts = Counts()
    for record in records:
        counts.add(record)
    told, found = manifest["counts"], counts.as_json()
    for key in sorted({*told, *found}):
        if told.get(key) != found.get(key):
            report.add("wrong-count", f"{key}: the manifest says {told.get(key)}, there are {found.get(key)}")
    digest = hashlib.sha256((folder / RECORDS).read_bytes()).hexdigest()
    wanted = manifest.get("files", {}).get(RECORDS, {}).get("sha256")
    if wanted not in (None, digest):
        report.add("changed-records", f"{folder / RECORDS} is not the file that the manifest was written for")
