"""Decode many pictures once before a run, so that a bad one is found at the start and not hours later."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from repic_cli.data.images import FileImage
from repic_plugins.errors import DataError
from repic_plugins.types import ImageRef, Record

T = TypeVar("T")


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
