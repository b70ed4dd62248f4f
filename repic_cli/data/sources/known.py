"""The sources by name: how each is read, what it may be used for, and where its pictures come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from repic_cli.data.building.options import PAPER, BuildOptions
from repic_cli.data.sources.pool import Pool
from repic_cli.data.sources.reading import Scan
from repic_cli.data.sources.tables import picture_bytes
from repic_plugins.errors import DataError, OptionError

Fetch = Callable[[Path, str, Sequence[int]], Iterator[tuple[int, bytes | DataError]]]
"""File, column, rows -> the bytes of the pictures in these rows."""

LICENCES = {
    "coco": "annotations CC BY 4.0; pictures under the terms of Flickr, each with its own licence",
    "objects365": "annotations CC BY 4.0; pictures under the terms of Flickr; academic use",
    "celeba": "non-commercial research only; no redistribution of the pictures",
    "subjects200k": "Apache-2.0 by its card; pictures generated with FLUX.1-dev, whose terms apply",
    "refcoco": "annotations Apache-2.0; pictures are COCO's",
    "folder": "your own",
}
"""Source -> what its publishers say of its use, in brief. Read their terms before you train or publish."""
OWN = "as its publisher says"
HUB = "hf:"


@dataclass(frozen=True)
class Source:
    """A source of a build, ready to be read."""

    name: str
    scan: Callable[[Scan], Pool]
    fetch: Fetch = picture_bytes

    @property
    def licence(self) -> str:
        return LICENCES.get(self.name, OWN)


def open_source(name: str, options: BuildOptions) -> Source:
    """A source by its name in `options.sources`. Raises `DataError`, `OptionError`."""
    place = options.sources[name]
    root = Path(place).expanduser()
    if name.startswith(HUB):
        return _data_set(name, options)
    if name == "refcoco":
        from repic_cli.data.sources.refcoco import scan_refcoco

        coco = options.sources.get("coco") or options.coco_pictures
        return Source(name, lambda scan: scan_refcoco(root, Path(coco).expanduser() if coco else None, scan))
    readers = _readers()
    if name not in readers:
        raise OptionError(f"no source {name!r}; there are {', '.join((*PAPER, 'folder'))} and {HUB}NAME")
    return Source(name, lambda scan: readers[name](root, scan))


def _readers() -> dict[str, Callable[[Path, Scan], Pool]]:
    from repic_cli.data.sources.celeba import scan_celeba
    from repic_cli.data.sources.detection import scan_coco, scan_objects365
    from repic_cli.data.sources.subjects200k import scan_subjects200k

    return {
        "coco": scan_coco,
        "objects365": scan_objects365,
        "celeba": scan_celeba,
        "subjects200k": scan_subjects200k,
    }


def _data_set(name: str, options: BuildOptions) -> Source:
    from repic_cli.data.sources.datasets import Columns, DataSet

    columns = Columns(
        options.image_column,
        options.label_column,
        options.phrase_column,
        options.box_column,
        options.box_format,
        options.keep_names,
    )
    data = DataSet(name, options.sources[name], options.split, columns)
    return Source(name, data.scan, data.fetch)
