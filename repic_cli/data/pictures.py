"""Many pictures: those a user means, and decoding all once before a run, so that a bad one is not found hours later."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from repic_cli.data.images import FileImage, find_pictures
from repic_plugins.errors import DataError
from repic_plugins.types import ImageRef, Record

T = TypeVar("T")


def gather(pictures: Sequence[Path], recursive: bool = False) -> list[Path]:
    """All picture files, folders opened, each once. Raises `DataError` for a folder without any."""
    paths: dict[Path, None] = {}
    for given in pictures:
        if not given.exists():
            raise DataError(f"{given}: no such picture or folder")
        found = [given] if not given.is_dir() else _below(given) if recursive else find_pictures(given)
        if not found:
            hint = "" if recursive else "; --recursive looks into its folders too"
            raise DataError(f"{given}: there is no picture in this folder{hint}")
        paths.update(dict.fromkeys(found))
    return list(paths)


def _below(folder: Path) -> list[Path]:
    """The pictures of a folder and of those below it, but hidden ones; links to folders are not followed."""
    found = find_pictures(folder)
    for below in sorted(folder.iterdir()):
        if below.is_dir() and not below.is_symlink() and not below.name.startswith("."):
            found += _below(below)
    return found


def pictures_of(records: Iterable[Record]) -> list[ImageRef]:
    """All different pictures of the records, in order of appearance."""
    found: dict[str, ImageRef] = {}
    for record in records:
        for image in (*(reference.image for reference in record.references), record.image):
            found.setdefault(image.key, image)
    return list(found.values())


def check_pictures(images: Iterable[ImageRef]) -> None:
    """Decode every picture that is a file; raises the `DataError` of the first that cannot be used."""
    for outcome in look_at([image for image in images if isinstance(image, FileImage)], _decode):
        if isinstance(outcome, DataError):
            raise outcome


def look_at(images: Iterable[ImageRef], what: Callable[[ImageRef], T], threads: int = 4) -> list[T | DataError]:
    """`what` of each picture, or the error it raised. Threads: decoders work outside the interpreter's lock."""

    def safely(image: ImageRef) -> T | DataError:
        try:
            return what(image)
        except DataError as error:
            return error

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(safely, images))


def _decode(image: ImageRef) -> None:
    image.open()
