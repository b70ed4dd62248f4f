"""A training list of RePIC or VLM-R1 as a folder of our records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from repic_cli.data.building.manifest import MANIFEST, write_folder
from repic_cli.data.building.pictures import Pictures, fit
from repic_cli.data.formats.importing import Importer
from repic_cli.data.formats.rows import Row, read_rows
from repic_cli.data.images import FileImage
from repic_cli.data.source import RECORDS
from repic_cli.data.sources.known import OWN
from repic_cli.data.sources.pool import Shot
from repic_plugins.errors import DataError
from repic_plugins.types import Box, Record

_BATCH = 256
_EXAMPLES = 20
SOURCE = "import"


@dataclass
class Imported:
    """What was read. `bad`: rows that could not be, `examples` the first of them."""

    folder: Path
    manifest: dict[str, Any] = field(default_factory=dict)
    rows: int = 0
    bad: int = 0
    examples: list[str] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)


def import_file(
    file: Path,
    out: Path,
    *,
    images: Path | None = None,
    copy: bool = False,
    skip_bad: bool = False,
    seed: int = 2024,
    workers: int = 4,
    tell: Callable[[str, int, int | None], None] = lambda what, done, total: None,
) -> Imported:
    """Write the rows of `file` as records into the folder `out`; every picture is opened once.

    `images` is the folder that the rows' paths are relative to (default: that of the file). Raises `DataError` for the
    first row that cannot be used, or counts such rows with `skip_bad`. No records are written before all are made.
    """
    for name in (MANIFEST, RECORDS):
        if (out / name).exists():
            raise DataError(f"{out / name}: is there already; give a new folder")
    done = Imported(out)
    importer = Importer(images, seed)
    pictures = Pictures(out, {}, copy=copy, workers=workers)
    options = {"images": str(images or ""), "copy": copy, "skip_bad": skip_bad, "seed": seed}

    def records() -> Iterator[Record]:
        for record in _records(read_rows(file), importer, pictures, done, skip_bad):
            yield record
            tell("reading rows", done.rows, None)
        if done.bad == done.rows:
            raise DataError(f"{file}: no row of it can be used" + "".join(f", as {line}" for line in done.examples[:1]))

    def about() -> dict[str, Any]:
        source = {"path": str(file), "licence": OWN, "rows": done.rows, "bad_rows": done.bad}
        source |= {"examples": done.examples, "notes": importer.notes}
        return {"what": SOURCE, "sources": {SOURCE: source}, "options": options}

    done.manifest = write_folder(out, records(), about)
    done.notes = importer.notes
    return done


def _records(
    rows: Iterator[Row], importer: Importer, pictures: Pictures, done: Imported, skip_bad: bool
) -> Iterator[Record]:
    while batch := list(islice(rows, _BATCH)):
        made: list[tuple[Row, Record | str]] = []
        for row in batch:
            try:
                made.append((row, importer.record(row)))
            except (ValueError, TypeError, KeyError, DataError) as error:
                made.append((row, str(error)))
        usable = [record for _, record in made if isinstance(record, Record)]
        pictures.prepare(SOURCE, (shot for record in usable for shot in _shots(record)))
        for row, record in made:
            done.rows += 1
            try:
                if isinstance(record, str):
                    raise DataError(record)
                yield _with_pictures(record, pictures)
            except (DataError, ValueError) as error:
                line = f"{row.where}: {error}"
                if not skip_bad:
                    raise DataError(f"{line} (--skip-bad counts such rows and goes on)") from error
                done.bad += 1
                done.examples += [line] if len(done.examples) < _EXAMPLES else []


def _shots(record: Record) -> Iterable[Shot]:
    for image in (*(reference.image for reference in record.references), record.image):
        assert isinstance(image, FileImage)
        yield Shot(image.path)


def _with_pictures(record: Record, pictures: Pictures) -> Record:
    """The record with pictures that were opened, and its box within them. Raises `DataError`, `ValueError`."""
    *shown, query = [pictures.image(SOURCE, shot) for shot in _shots(record)]
    references = tuple(
        replace(reference, image=image) for reference, image in zip(record.references, shown, strict=True)
    )
    answer = record.answer
    if isinstance(answer, Box):
        answer = Box(*fit((answer.x1, answer.y1, answer.x2, answer.y2), pictures.size(Shot(record.image.path))))  # type: ignore[attr-defined]
    return replace(record, image=query, references=references, answer=answer)
