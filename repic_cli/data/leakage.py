"""Whether training data holds what it is evaluated on: the same pictures, the same things, the same names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from repic_cli.data.images import FileImage
from repic_cli.data.pictures import gather, look_at
from repic_plugins.errors import DataError
from repic_plugins.types import Record

Leak = tuple[str, str, Literal["error", "warning"]]
"""Kind, text, level."""


@dataclass(frozen=True)
class Known:
    """A set of data: its records, and the digests of its pictures' pixels by path."""

    records: list[Record]
    digests: Mapping[Path, str]
    unread: tuple[str, ...] = ()
    """What is wrong with pictures that have no digest."""
    folders: tuple[str, ...] = ()
    """Names of sub-folders, for data that is a folder per concept."""

    @cached_property
    def pictures(self) -> dict[str, Path]:
        """Digest -> one picture that has it."""
        return {digest: path for path, digest in reversed([*self.digests.items()])}

    @cached_property
    def identities(self) -> dict[str, str]:
        """What things are shown -> the first record of each."""
        found: dict[str, str] = {}
        for record in self.records:
            listed = record.meta.get("identities", ())
            for identity in listed if isinstance(listed, list | tuple) else ():
                found.setdefault(str(identity), record.id)
        return found

    @cached_property
    def names(self) -> dict[str, str]:
        """Folded name -> a record or folder that has it."""
        found = {name.casefold(): f"the folder {name}" for name in self.folders}
        for record in self.records:
            for reference in record.references:
                found.setdefault(reference.name.casefold(), record.id)
        return found


def known_of(
    place: Path,
    requires: Mapping[str, object],
    workers: int,
    tell: Callable[[str, int, int | None], None],
) -> Known:
    """The data of a record file, a built folder, or any folder of pictures. Raises `DataError`."""
    from repic_cli.data.checking import images_of, looker, record_file
    from repic_cli.data.records import read_records
    from repic_cli.data.source import RECORDS

    records: list[Record] = []
    folders: tuple[str, ...] = ()
    if place.is_dir() and not (place / RECORDS).is_file():
        paths = gather([place], recursive=True)
        folders = tuple(sorted({path.parent.name for path in paths if path.parent != place}))
    else:
        records = read_records(record_file(place), requires)  # type: ignore[arg-type]
        paths = list(dict.fromkeys(image.path for record in records for image in images_of(record)))
    digests: dict[Path, str] = {}
    unread: list[str] = []
    for start in range(0, len(paths), 256):
        part = paths[start : start + 256]
        for path, outcome in zip(part, look_at([FileImage(path) for path in part], looker(True), workers), strict=True):
            if isinstance(outcome, DataError):
                unread.append(str(outcome))
            else:
                digests[path] = outcome[1]
        tell(f"opening {place}", start + len(part), len(paths))
    return Known(records, digests, tuple(unread), folders)


def leaks(ours: Known, other: Known) -> Iterator[Leak]:
    """What both sets hold. The same name alone is a warning: names are drawn, and there are not so many."""
    for line in other.unread:
        yield "not-compared", line, "warning"
    for digest, path in ours.pictures.items():
        if digest in other.pictures:
            yield "leaked-picture", f"{path} is the picture {other.pictures[digest]}", "error"
    for identity, record in ours.identities.items():
        if identity in other.identities:
            yield "leaked-identity", f"{identity} is in {record} and in {other.identities[identity]}", "error"
    for name, record in ours.names.items():
        if name in other.names:
            yield "shared-name", f"{name!r} is in {record} and in {other.names[name]}", "warning"
