"""`manifest.json` of a built folder: what is in it, of what it was made, and what may be done with it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from repic_cli.data.building.compose import Refused
from repic_cli.data.building.options import BuildOptions
from repic_cli.data.source import RECORDS
from repic_cli.data.sources.pool import Pool
from repic_plugins.errors import DataError
from repic_plugins.types import Names, Record

MANIFEST = "manifest.json"
VERSION = 1


def kind_of(record: Record) -> str:
    """`oct`, `vlt`, `ict-1`, `ict-2` ... as counted in a manifest."""
    return f"{record.task}-{len(record.references)}" if isinstance(record.answer, Names) else record.task


def counts_of(records: Iterable[Record]) -> dict[str, Any]:
    """Numbers of records: in all, by task, kind, source, and by the kind of pair."""
    listed = list(records)
    pairs = Counter(str(record.meta["pair"]) for record in listed if "pair" in record.meta)
    return {
        "records": len(listed),
        "tasks": _sorted(Counter(record.task for record in listed)),
        "kinds": _sorted(Counter(map(kind_of, listed))),
        "sources": _sorted(Counter(str(record.meta.get("source", "")) for record in listed)),
        **({"pairs": _sorted(pairs)} if pairs else {}),
    }


def make_manifest(
    what: str,
    options: BuildOptions,
    pools: Sequence[Pool],
    licences: Mapping[str, str],
    records: Sequence[Record],
    content: bytes,
    refused: Refused,
) -> dict[str, Any]:
    """The manifest of a build; the same for the same build, so it holds no date."""
    return {
        "version": VERSION,
        "what": what,
        "counts": counts_of(records),
        "sources": {pool.source: _source(pool, licences[pool.source], options, refused) for pool in pools},
        "options": options.model_dump(mode="json"),
        "files": {RECORDS: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}},
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
