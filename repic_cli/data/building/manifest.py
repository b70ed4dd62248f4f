"""`manifest.json` of a built folder: what is in it, of what it was made, and what may be done with it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from repic_cli.data.building.compose import Refused
from repic_cli.data.building.options import BuildOptions
from repic_cli.data.records import record_row
from repic_cli.data.source import RECORDS
from repic_cli.data.sources.pool import Pool
from repic_cli.files import replacing, write_file
from repic_plugins.errors import DataError
from repic_plugins.types import Names, Record

MANIFEST = "manifest.json"
VERSION = 1


def kind_of(record: Record) -> str:
    """`oct`, `vlt`, `ict-1`, `ict-2` ... as counted in a manifest."""
    return f"{record.task}-{len(record.references)}" if isinstance(record.answer, Names) else record.task


class Counts:
    """Numbers of records: in all, by task, kind and source, and by the kind of pair."""

    def __init__(self) -> None:
        self.records = 0
        self._by: dict[str, Counter[str]] = {key: Counter() for key in ("tasks", "kinds", "sources", "pairs")}

    def add(self, record: Record) -> None:
        self.records += 1
        self._by["tasks"][record.task] += 1
        self._by["kinds"][kind_of(record)] += 1
        self._by["sources"][str(record.meta.get("source", ""))] += 1
        if "pair" in record.meta:
            self._by["pairs"][str(record.meta["pair"])] += 1

    def as_json(self) -> dict[str, Any]:
        """As a manifest has them."""
        return {"records": self.records, **{key: _sorted(found) for key, found in self._by.items() if found}}


def write_folder(out: Path, records: Iterable[Record], about: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """Write records as they come, and the manifest; gives it: the counts, what the file must be, and `about`.

    The same records and `about` give the same bytes, so there is no date in it. Raises what `records` raises; then, and
    when it is stopped, the folder is as it was.
    """
    root, counts, digest, size = out.absolute(), Counts(), hashlib.sha256(), 0
    with replacing(out / RECORDS) as file:
        for record in records:
            line = json.dumps(record_row(record, root), ensure_ascii=False).encode() + b"\n"
            file.write(line)
            digest.update(line)
            size += len(line)
            counts.add(record)
        # Without its manifest the folder is unfinished; an old one must not stand beside new records.
        (out / MANIFEST).unlink(missing_ok=True)
    content = {"sha256": digest.hexdigest(), "bytes": size}
    manifest = {"version": VERSION, "counts": counts.as_json(), "files": {RECORDS: content}, **about()}
    write_file(out / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    return manifest


def describe(
    what: str, options: BuildOptions, pools: Sequence[Pool], licences: Mapping[str, str], refused: Refused
) -> dict[str, Any]:
    """What the manifest of a build says of its sources and options."""
    return {
        "what": what,
        "sources": {pool.source: _source(pool, licences[pool.source], options, refused) for pool in pools},
        "options": options.model_dump(mode="json"),
        "refused": refused.examples,
    }


def _source(pool: Pool, licence: str, options: BuildOptions, refused: Refused) -> dict[str, Any]:
    return {
        "path": options.sources.get(pool.source, ""),
        "licence": licence,
        "files": [str(path) for path in pool.files],
        "rows": pool.rows,
        "offered": {"pairs": len(pool.pairs), "groups": len(pool.groups), "regions": len(pool.regions)},
        "left_out": _sorted(pool.left_out),
        "bad_rows": sum(pool.bad.values()),
        "bad_pictures": refused.counts[pool.source],
        "examples": pool.examples,
    }


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder; None if there is none. Raises `DataError` if it is damaged."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: the manifest is damaged: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("counts"), dict):
        raise DataError(f"{path}: not a manifest of repic")
    return found


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items()))
