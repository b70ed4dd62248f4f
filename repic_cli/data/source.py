"""Records for training from what `--data` names: the embedded world, a record file, or a folder.

A folder is one that `repic data build` made, with its records in `records.jsonl`, or one with a sub-folder per concept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from repic_cli.data.mixing import apportion, draw
from repic_cli.data.pictures import check_pictures, pictures_of
from repic_plugins.errors import DataError, OptionError
from repic_plugins.types import Box, Record

if TYPE_CHECKING:
    from repic_cli.config_sections import DataSection

EMBEDDED = "embedded"
RECORDS = "records.jsonl"
"""The records of a built folder."""
BEYOND = 2.0
"""Pixels by which a box may reach out of its picture: annotations are rounded."""
Kind = Literal["embedded", "records", "folder"]


@dataclass(frozen=True)
class Loaded:
    """Records, what kind of source they came from, and one line for each thing that was left out."""

    records: tuple[Record, ...]
    kind: Kind
    notes: tuple[str, ...] = ()

    @property
    def tasks(self) -> Counter[str]:
        """Number of records of each task."""
        return Counter(record.task for record in self.records)


def load_records(section: DataSection, requires: Mapping[str, Collection[str]], wanted: Collection[str]) -> Loaded:
    """The records of a run, at most `section.count`.

    `requires` maps the known tasks to the record fields they need; `wanted` are the tasks that a selected reward
    scores: others would train on nothing and are left out. Every picture is decoded once. Raises `DataError` or
    `OptionError` if the source cannot be used or nothing is left.
    """
    unknown = [task for task in section.mix if task not in requires]
    if unknown:
        raise OptionError(f"data.mix: unknown task {unknown[0]!r}; there are {', '.join(sorted(requires))}")
    place = Path(section.source).expanduser()
    if section.source == EMBEDDED:
        loaded = _embedded(section, wanted)
    elif (place / RECORDS).is_file():
        loaded = _file(place / RECORDS, section, requires, wanted)
    elif place.is_dir():
        loaded = _folder(place, section, wanted)
    else:
        loaded = _file(place, section, requires, wanted)
    if not loaded.records:
        raise DataError(f"{section.source}: no record of a task that the selected rewards score")
    return loaded


def _wanted_mix(section: DataSection, wanted: Collection[str]) -> tuple[dict[str, float], list[str]]:
    """The mix without tasks that nothing scores, and a note about them."""
    mix = {task: weight for task, weight in section.mix.items() if weight > 0 and task in wanted}
    lost = [task for task, weight in section.mix.items() if weight > 0 and task not in wanted]
    if not mix:
        raise OptionError(
            f"data.mix: none of its tasks ({', '.join(section.mix)}) is scored by the selected rewards; "
            "choose other rewards or another mix"
        )
    note = f"no selected reward scores {', '.join(lost)}: left out of the mix"
    return mix, [note] if lost else []


def _embedded(section: DataSection, wanted: Collection[str]) -> Loaded:
    from repic_cli.embedded import records as world

    mix, notes = _wanted_mix(section, wanted)
    kinds = get_args(world.Kind)
    impossible = [task for task in mix if task not in kinds]
    if impossible:
        raise OptionError(
            f"data.mix: the embedded world has no records for task {impossible[0]!r}, only for {', '.join(kinds)}"
        )
    records: list[Record] = []
    for task, share in apportion(section.count, mix).items():
        if task != "ict":
            records += world.records(task, share, section.seed)  # type: ignore[arg-type]
            continue
        for size, part in apportion(share, section.references).items():
            absent = section.absent if size < section.max_references else 0.0
            records += world.records(
                "ict", part, section.seed, concepts=size, absent=absent, strangers=section.strangers
            )
    return Loaded(tuple(records), "embedded", tuple(notes))


def _folder(path: Path, section: DataSection, wanted: Collection[str]) -> Loaded:
    from repic_cli.data.folder import TASKS, folder_records, read_folder

    mix, notes = _wanted_mix(section, wanted)
    folder = read_folder(path)
    lost = [task for task in mix if task not in TASKS]
    if lost:
        notes.append(f"{path}: a folder of pictures has no records for {', '.join(lost)}: left out of the mix")
    if len(folder.concepts) < 2 and "oct" in mix:
        notes.append(f"{path}: one concept only, so there is nothing that is not it: no oct records")
    records = folder_records(
        folder,
        section.count,
        mix,
        section.references,
        section.seed,
        absent=section.absent,
        strangers=section.strangers,
        most=section.max_references,
    )
    return Loaded(tuple(records), "folder", (*notes, *folder.bad, *folder.notes))


def _file(path: Path, section: DataSection, requires: Mapping[str, Collection[str]], wanted: Collection[str]) -> Loaded:
    from repic_cli.data.records import read_records

    if not path.exists():
        raise DataError(f"{path}: no such record file or folder; give a .jsonl file, a folder, or embedded")
    records = read_records(path, requires)
    notes = []
    lost = Counter(record.task for record in records if record.task not in wanted)
    if lost:
        listed = ", ".join(f"{number} of {task}" for task, number in lost.items())
        notes.append(f"{path}: no selected reward scores {listed}: left out")
    too_many = [record for record in records if len(record.references) > section.max_references]
    if too_many:
        raise DataError(
            f"{path}: record {too_many[0].id} shows {len(too_many[0].references)} references, more than "
            f"data.max_references = {section.max_references}"
        )
    records = [record for record in records if record.task in wanted]
    chosen = draw(records, section.count, section.mix, section.seed)
    if len(chosen) < len(records):
        notes.append(f"{path}: {len(chosen)} of {len(records)} records drawn (data.count, data.mix)")
    check_pictures(pictures_of(chosen))
    _check_boxes(path, chosen)
    return Loaded(tuple(chosen), "records", tuple(notes))


def _check_boxes(path: Path, records: Sequence[Record]) -> None:
    """A true box in other coordinates (0-1000, those of a resized picture) could never be hit: a run on zeros."""
    for record in records:
        box = record.answer
        if not isinstance(box, Box):
            continue
        width, height = record.image.size
        if min(box.x1, box.y1) < -BEYOND or box.x2 > width + BEYOND or box.y2 > height + BEYOND:
            corners = ", ".join(f"{value:g}" for value in (box.x1, box.y1, box.x2, box.y2))
            raise DataError(
                f"{path}: record {record.id}: the box [{corners}] reaches out of its picture of {width} x {height} "
                "pixels; boxes are in pixels of the upright picture"
            )
