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
from repic_cli.data.records import record_row
from repic_cli.data.source import RECORDS
from repic_cli.data.sources.pool import Pool
from repic_cli.files import write_file
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


def write_folder(out: Path, records: Sequence[Record], about: Mapping[str, Any]) -> dict[str, Any]:
    """Write records and manifest into a folder; gives the manifest: `about`, the counts, and what the file must be.

    The same records and `about` give the same bytes, so there is no date in it.
    """
    root = out.absolute()
    lines = [json.dumps(record_row(record, root), ensure_ascii=False) for record in records]
    content = ("\n".join(lines) + "\n").encode()
    file = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    manifest = {"version": VERSION, "counts": counts_of(records), "files": {RECORDS: file}, **about}
    # Without its manifest the folder is unfinished; an old one must not stand beside new records.
    (out / MANIFEST).unlink(missing_ok=True)
    write_file(out / RECORDS, content)
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
