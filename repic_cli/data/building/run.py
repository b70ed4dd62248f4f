"""A build: scan the sources, share out, make the records, write. It goes on where it was stopped.

What a scan found is kept in `.building/` until the end, and pictures that are written out stay; records and manifest
appear only when all is done, the manifest last.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from repic_cli.data.building.compose import Refused, compose, shares
from repic_cli.data.building.manifest import MANIFEST, describe, read_manifest, write_folder
from repic_cli.data.building.options import FOLDER, BuildOptions
from repic_cli.data.building.own import own_records
from repic_cli.data.building.pictures import FOLDER as PICTURES
from repic_cli.data.building.pictures import Pictures
from repic_cli.data.mixing import apportion
from repic_cli.data.source import RECORDS
from repic_cli.data.sources.known import LICENCES, Source, open_source
from repic_cli.data.sources.pool import Pool
from repic_cli.data.sources.reading import Scan
from repic_cli.files import write_file
from repic_plugins.errors import DataError
from repic_plugins.types import Record

Tell = Callable[[str, int, int | None], None]
"""What is being done, how much is done, of how much."""

WORK = ".building"
_SPARE = 4
"""Candidates that are kept for each record: hard negatives come from them, and stand-ins for pictures that are bad."""
_LEAST = 2000
_POOL: TypeAdapter[Pool] = TypeAdapter(Pool)


@dataclass(frozen=True)
class Built:
    """A finished build. `fresh`: made now, not found as it was asked for."""

    folder: Path
    manifest: dict[str, Any]
    notes: tuple[str, ...]
    fresh: bool = True


def build(
    what: str,
    options: BuildOptions,
    out: Path,
    *,
    workers: int = 4,
    overwrite: bool = False,
    tell: Tell = lambda what, done, total: None,
) -> Built:
    """Build records into the folder `out`. Raises `DataError`, `OptionError`; then no records are written.

    A folder that holds this very build already is left as it is.
    """
    found = read_manifest(out)
    if found is not None and not overwrite:
        if found.get("what") == what and found.get("options") == options.model_dump(mode="json"):
            return Built(out, found, (), fresh=False)
        raise DataError(f"{out}: holds another build; give another --out, or --overwrite")
    _check_folder(out, found)
    if FOLDER in options.sources:
        return _own(what, options, out, workers)
    sources = [open_source(name, options) for name in options.sources]
    pools = [_scanned(source, options, out, tell) for source in sources]
    wanted = shares(pools, options)
    total = sum(sum(by_source.values()) for by_source in wanted.values())
    if not total:
        raise DataError(f"the sources {', '.join(options.sources)} make none of the tasks {', '.join(options.mix)}")
    refused = Refused()
    pictures = Pictures(
        out, {source.name: source.fetch for source in sources}, copy=options.pictures == "copy", workers=workers
    )
    licences = {source.name: source.licence for source in sources}
    records = _told(compose(pools, wanted, options, pictures, refused), total, tell)
    manifest = write_folder(out, records, lambda: describe(what, options, pools, licences, refused))
    shutil.rmtree(out / WORK, ignore_errors=True)
    return Built(out, manifest, _notes(options, pools, manifest, refused))


def _own(what: str, options: BuildOptions, out: Path, workers: int) -> Built:
    pictures, refused = Pictures(out, {}, copy=options.pictures == "copy", workers=workers), Refused()
    pool, records, notes = own_records(options, pictures, refused)
    about = describe(what, options, [pool], {FOLDER: LICENCES[FOLDER]}, refused)
    return Built(out, write_folder(out, records, lambda: about), (*notes, *_unusable(refused)))


def _told(records: Iterable[Record], total: int, tell: Tell) -> Iterator[Record]:
    number = 0
    for number, record in enumerate(records, 1):
        tell("making records", number, total)
        yield record
    if not number:
        raise DataError("no record can be made: no picture of the sources can be used")


def _check_folder(out: Path, manifest: dict[str, Any] | None) -> None:
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: not a folder")
    ours = {WORK, PICTURES, MANIFEST, RECORDS}
    others = [item.name for item in out.iterdir() if item.name not in ours] if out.is_dir() else []
    if others and manifest is None:
        raise DataError(f"{out}: the folder holds other things ({others[0]}); give a new one")


def _scanned(source: Source, options: BuildOptions, out: Path, tell: Tell) -> Pool:
    """The pool of a source, from a stopped build where its files have not changed since."""
    limit = max(_LEAST, _SPARE * options.count)
    reading = {"image_column", "label_column", "phrase_column", "box_column", "box_format", "split", "keep_names"}
    settings = options.model_dump(mode="json", include={"seed", "skip_bad", "sources", *reading})
    key = hashlib.sha256(json.dumps([source.name, limit, settings]).encode()).hexdigest()[:16]
    kept = out / WORK / f"{key}.json"
    try:
        saved = json.loads(kept.read_bytes())
        pool = _POOL.validate_python(saved["pool"])
        if saved["files"] == _stamps(pool):
            return pool
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        pass  # none, or one that was not finished
    scan = Scan(
        options.seed, limit, options.skip_bad, options.split, lambda name, rows: tell(f"reading {name}", rows, None)
    )
    pool = source.scan(scan)
    write_file(kept, json.dumps({"files": _stamps(pool), "pool": _POOL.dump_python(pool, mode="json")}))
    return pool


def _stamps(pool: Pool) -> list[list[Any]]:
    return [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in pool.files]


def _notes(options: BuildOptions, pools: list[Pool], manifest: dict[str, Any], refused: Refused) -> tuple[str, ...]:
    made = manifest["counts"]["records"]
    notes = [f"{made} of {options.count} records: the sources have no more"] if made < options.count else []
    # One source alone is known to have no more; of several, that is news.
    mix = options.mix if len(pools) > 1 else {}
    for task, share in apportion(made, mix).items():
        found = manifest["counts"]["tasks"].get(task, 0)
        if found < share - 1:
            notes.append(f"{found} records of {task} instead of {share}: the sources have no more")
    for pool in pools:
        if bad := sum(pool.bad.values()):
            notes.append(f"{pool.source}: {bad:,} of {pool.rows:,} rows could not be read, as {pool.examples[0]}")
    return (*notes, *_unusable(refused))


def _unusable(refused: Refused) -> tuple[str, ...]:
    if not refused.examples:
        return ()
    return (f"{sum(refused.counts.values()):,} pictures could not be used, as {refused.examples[0]}",)
