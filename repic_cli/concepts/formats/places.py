"""Finding the pictures that a file names, and only those that lie in a folder the user gave.

A file from a stranger may name any path of this machine. What it names is looked for in the folder of the file itself,
and in folders that the user adds with `--pictures`; nothing else is opened, whatever `..`, a link or an absolute path
leads to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from repic_plugins.errors import DataError
from repic_plugins.text import clean

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:/", re.IGNORECASE)
_DRIVE = re.compile(r"[a-z]:", re.IGNORECASE)
_LONGEST = 4096


@dataclass(frozen=True)
class Found:
    """A picture file. `moved`: it does not lie where the path says, but where the end of the path says."""

    path: Path
    moved: bool


class Places:
    """The folders in which pictures may lie."""

    def __init__(self, folders: Sequence[str | Path]) -> None:
        self.folders = [Path(folder) for folder in folders]
        for folder in self.folders:
            if not folder.is_dir():
                raise DataError(f"{folder}: no such folder; give the folder that the pictures lie in")
        self._roots = [folder.resolve() for folder in self.folders]

    def find(self, text: object) -> Found:
        """The file that a path means. Raises `DataError` if there is none, or if it lies elsewhere.

        Paths were mostly written on another machine: `./data/db/bo.jpg` is also looked for as `data/db/bo.jpg`,
        `db/bo.jpg` and `bo.jpg`, the longest first.
        """
        written = checked_path(text)
        refused = ""
        for number, candidate in enumerate(self._candidates(written)):
            try:
                there = candidate.is_file()
                inside = there and self._is_inside(candidate.resolve())
            except (OSError, ValueError, RuntimeError):  # a name too long for the disk, a ring of links
                continue
            if inside:
                return Found(candidate, number >= len(self.folders))
            if there:
                refused = refused or "it leads out of the folder, by `..` or a link"
        if refused or _climbs(written):
            raise DataError(
                f"{clean(written, 200)}: not followed, {refused or 'its `..` would lead out of the folder'}; "
                "--pictures FOLDER allows another folder"
            )
        where = " or ".join(map(str, self.folders))
        outside = (
            " (what lies elsewhere is not read; --pictures FOLDER allows a folder)" if _is_absolute(written) else ""
        )
        raise DataError(f"{clean(written, 200)}: no such picture in {where}{outside}")

    def _candidates(self, written: str) -> Iterator[Path]:
        """As written below each folder; then by the path's end, from the longest to the bare name."""
        for folder in self.folders:
            yield Path(written) if _is_absolute(written) else folder / written
        parts = path_parts(written)
        if ".." in parts:
            return
        for start in range(len(parts)):
            for folder in self.folders:
                yield folder.joinpath(*parts[start:])

    def _is_inside(self, path: Path) -> bool:
        return any(path.is_relative_to(root) for root in self._roots)


def checked_path(text: object) -> str:
    """A path with `/` as its only separator. Raises `DataError` for what cannot be one."""
    if not isinstance(text, str):
        raise DataError(f"a picture's path must be text, not {type(text).__name__}")
    if not text.strip():
        raise DataError("a picture's path is empty")
    if len(text) > _LONGEST or not text.isprintable():
        raise DataError(f"{clean(text, 100)!r}: too long for a path, or it holds control characters")
    if _ADDRESS.match(text):
        raise DataError(f"{clean(text, 100)}: an address; pictures are not fetched from elsewhere, give files")
    return text.replace("\\", "/")


def path_parts(written: str) -> tuple[str, ...]:
    """The parts of a path without `.` and the root: equal for `./a/b.jpg`, `a/b.jpg` and `/a/b.jpg`."""
    return tuple(part for part in PurePosixPath(written.replace("\\", "/")).parts if part not in (".", "/", "//"))


def _is_absolute(written: str) -> bool:
    return written.startswith(("/", "~")) or _DRIVE.match(written) is not None


def _climbs(written: str) -> bool:
    return ".." in path_parts(written)
