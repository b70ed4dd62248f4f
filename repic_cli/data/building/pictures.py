"""The pictures that records refer to: files stay where they are, pictures inside tables are written out once.

A part of a picture stays a box in it. Reading a part decodes the whole picture, some milliseconds beside a training
step of seconds, and a thousand records need no copy of what the disk already holds.
"""

from __future__ import annotations

import filecmp
import hashlib
import io
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from repic_cli.data.images import FileImage, PixelBox, open_picture
from repic_cli.data.pictures import look_at
from repic_cli.data.sources.known import Fetch
from repic_cli.data.sources.pool import Shot
from repic_cli.data.sources.subjects200k import halves
from repic_cli.files import replacing, write_file
from repic_plugins.errors import DataError
from repic_plugins.types import ImageRef

FOLDER = "pictures"
BEYOND = 2.0
"""Pixels by which a box may reach out of its picture: annotations are rounded."""
_Key = tuple[Path, int | None, str]


def slug(name: str) -> str:
    """A source's name as part of ids and file names."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[-60:] or "source"


class Pictures:
    """Opens every picture once, in threads, and remembers its file and size or what is wrong with it."""

    def __init__(self, root: Path, fetch: Mapping[str, Fetch], *, copy: bool = False, workers: int = 4) -> None:
        self.root, self._fetch, self._copy, self._workers = root, fetch, copy, workers
        self._known: dict[_Key, tuple[Path, tuple[int, int]] | DataError] = {}
        self._tables: dict[Path, Path] = {}

    def prepare(self, source: str, shots: Iterable[Shot]) -> None:
        """Get the pictures of the shots ready: `image` then answers at once."""
        new = {shot.picture: shot for shot in shots if shot.picture not in self._known}
        files: dict[_Key, Path | DataError] = {}
        tables: dict[tuple[Path, str], list[int]] = {}
        for key, shot in new.items():
            if shot.row is None:
                files[key] = shot.path
            else:
                tables.setdefault((shot.path, shot.column), []).append(shot.row)
        for (path, column), rows in tables.items():
            files.update(self._extract(source, path, column, rows))
        found = {key: file for key, file in files.items() if isinstance(file, Path)}
        self._known.update({key: file for key, file in files.items() if isinstance(file, DataError)})
        sizes = look_at([FileImage(path) for path in found.values()], _size, self._workers)
        for (key, path), size in zip(found.items(), sizes, strict=True):
            copied = isinstance(size, tuple) and self._copy and key[1] is None
            self._known[key] = size if isinstance(size, DataError) else (
                self._copied(source, path) if copied else path, size
            )  # fmt: skip

    def image(self, source: str, shot: Shot) -> FileImage:
        """The picture of a shot. Raises `DataError` if it cannot be used, or if the box lies outside of it."""
        self.prepare(source, [shot])
        known = self._known[shot.picture]
        if isinstance(known, DataError):
            raise known
        path, size = known
        box = shot.box
        try:
            if shot.half is not None:
                box = halves(size)[shot.half]
            return FileImage(path, None if box is None else fit(box, size))
        except ValueError as error:
            raise DataError(f"{path}: {error}") from error

    def size(self, shot: Shot) -> tuple[int, int]:
        """Width and height of a picture that `image` has given."""
        known = self._known[shot.picture]
        assert not isinstance(known, DataError)
        return known[1]

    def keep(self, source: str, image: ImageRef, name: str) -> FileImage:
        """A picture that is no file, written as PNG."""
        path = self.root / FOLDER / slug(source) / f"{name}.png"
        buffer = io.BytesIO()
        image.open().save(buffer, "PNG")
        write_file(path, buffer.getvalue())
        return FileImage(path)

    def _extract(self, source: str, table: Path, column: str, rows: Sequence[int]) -> dict[_Key, Path | DataError]:
        files: dict[_Key, Path | DataError] = {}
        folder = self.root / FOLDER / slug(source)
        for row, content in self._fetch[source](table, column, rows):
            if isinstance(content, DataError):
                files[table, row, column] = content
                continue
            path = self._free(folder / f"{slug(table.stem)}-{row}{_ending(content)}", table)
            if not path.is_file() or path.read_bytes() != content:
                write_file(path, content)
            files[table, row, column] = path
        return files

    def _free(self, path: Path, table: Path) -> Path:
        """The path, or a numbered one if a table of the same name in another folder has it."""
        number, free = 1, path
        while self._tables.setdefault(free, table) != table:
            number += 1
            free = path.with_stem(f"{path.stem}-{number}")
        return free

    def _copied(self, source: str, path: Path) -> Path:
        """The picture's copy. Its name keeps apart pictures of one name from several folders."""
        mark = hashlib.blake2b(str(path.parent).encode(), digest_size=4).hexdigest()
        target = self.root / FOLDER / slug(source) / f"{mark}-{path.name}"
        if not target.is_file() or not filecmp.cmp(path, target, shallow=False):
            with path.open("rb") as file, replacing(target) as copy:
                shutil.copyfileobj(file, copy)
        return target


def fit(box: PixelBox, size: tuple[int, int]) -> PixelBox:
    """A box cut to its picture. Raises `ValueError` if it reaches out of it by more than `BEYOND` pixels."""
    width, height = size
    x1, y1, x2, y2 = box
    if min(x1, y1) < -BEYOND or x2 > width + BEYOND or y2 > height + BEYOND:
        shown = ", ".join(f"{value:g}" for value in box)
        raise ValueError(f"the box [{shown}] reaches out of the picture of {width} x {height} pixels")
    cut = (max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2))
    if cut[0] >= cut[2] or cut[1] >= cut[3]:
        raise ValueError(f"the box {list(box)} is empty within the picture of {width} x {height} pixels")
    return cut[0], cut[1], cut[2], cut[3]


def _size(image: ImageRef) -> tuple[int, int]:
    """Decodes the picture: a truncated one has a header, too."""
    assert isinstance(image, FileImage)
    return open_picture(image.path).size


def _ending(content: bytes) -> str:
    """The file ending that goes with a picture's first bytes."""
    kinds = ((b"\x89PNG", ".png"), (b"\xff\xd8", ".jpg"), (b"GIF8", ".gif"), (b"BM", ".bmp"))
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    return next((ending for start, ending in kinds if content.startswith(start)), ".img")
