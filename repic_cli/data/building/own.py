"""Records from a folder with one sub-folder of pictures per concept, written out like those of the public sources."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from repic_cli.data.building.compose import Refused
from repic_cli.data.building.options import FOLDER, BuildOptions
from repic_cli.data.building.pictures import Pictures
from repic_cli.data.folder import folder_records, read_folder
from repic_cli.data.images import FileImage
from repic_cli.data.sources.pool import Pool, Shot
from repic_plugins.types import ImageRef, Record


def own_records(
    options: BuildOptions, pictures: Pictures, refused: Refused
) -> tuple[Pool, list[Record], tuple[str, ...]]:
    """The records of `options.sources["folder"]`, and notes on what was left out. Raises `DataError`.

    Scenes with several concepts are pictures put side by side (see `repic_cli.data.folder`); they become files.
    """
    folder = read_folder(Path(options.sources[FOLDER]).expanduser())
    for line in folder.bad:
        refused.add(FOLDER, line.removeprefix("left out: "), options.skip_bad)
    made = folder_records(folder, options.count, options.mix, options.references, options.seed)
    unlike: dict[tuple[str, ...], Record] = {}
    for record in made:  # of few pictures the same are drawn again
        shown = (record.task, record.image.key, *sorted(reference.image.key for reference in record.references))
        unlike.setdefault(shown, record)
    records = [_written(record, pictures) for record in unlike.values()]
    pool = Pool(FOLDER, [folder.path], rows=sum(len(concept.images) for concept in folder.concepts))
    lost = len(made) - len(records)
    twice = (f"{lost} of {len(made)} records would have been the same as others: left out",) if lost else ()
    return pool, records, (*folder.notes, *twice)


def _written(record: Record, pictures: Pictures) -> Record:
    """The record with pictures that are files, in the folder of the build where they are to be copied."""
    images: Iterable[ImageRef] = (record.image, *(reference.image for reference in record.references))
    image, *shown = (
        pictures.image(FOLDER, Shot(one.path, one.box))
        if isinstance(one, FileImage)
        else pictures.keep(FOLDER, one, record.id)
        for one in images
    )
    references = tuple(replace(one, image=other) for one, other in zip(record.references, shown, strict=True))
    return replace(record, image=image, references=references, meta={**record.meta, "source": FOLDER})
