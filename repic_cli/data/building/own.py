"""Records from a folder with one sub-folder of pictures per concept, written out like those of the public sources."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from repic_cli.data.building.options import BuildOptions
from repic_cli.data.building.pictures import Pictures
from repic_cli.data.folder import folder_records, read_folder
from repic_cli.data.images import FileImage
from repic_cli.data.sources.pool import Pool
from repic_plugins.types import Record

FOLDER = "folder"


def own_records(options: BuildOptions, pictures: Pictures) -> tuple[Pool, list[Record], tuple[str, ...]]:
    """The records of `options.sources["folder"]`, and notes on what was left out. Raises `DataError`.

    Scenes with several concepts are pictures put side by side (see `repic_cli.data.folder`); they become files.
    """
    folder = read_folder(Path(options.sources[FOLDER]).expanduser())
    made = folder_records(folder, options.count, options.mix, options.references, options.seed)
    records: list[Record] = []
    seen: set[tuple[str, ...]] = set()
    for record in made:
        shown = (record.task, record.image.key, *sorted(reference.image.key for reference in record.references))
        if shown in seen:  # of few pictures the same are drawn again
            continue
        seen.add(shown)
        image = record.image if isinstance(record.image, FileImage) else pictures.keep(FOLDER, record.image, record.id)
        names = [reference.name for reference in record.references]
        identities = [f"{FOLDER}:{name}" for name in names]
        records.append(replace(record, image=image, meta={**record.meta, "source": FOLDER, "identities": identities}))
    pool = Pool(FOLDER, [folder.path], rows=sum(len(concept.images) for concept in folder.concepts))
    lost = len(made) - len(records)
    twice = (f"{lost} of {len(made)} records would have been the same as others: left out",) if lost else ()
    return pool, records, (*folder.notes, *twice)
