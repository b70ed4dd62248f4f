"""Concepts from a folder with one sub-folder of pictures each; its name is the name of the concept.

things/bo/1.jpg 2.jpg ...
things/bo/info.txt          optional: a sentence about it
things/bo/category.txt      optional: what it is
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from repic_cli.concepts.drafts import Draft, DraftPicture, Report
from repic_cli.concepts.formats.files import read_text
from repic_cli.concepts.formats.places import Places
from repic_cli.concepts.formats.texts import usable_category, usable_info
from repic_cli.data.images import SUFFIXES, find_pictures
from repic_cli.data.names import safe_name
from repic_plugins.errors import DataError


def read_folders(folder: str | Path, pictures: Sequence[str | Path] = ()) -> tuple[list[Draft], Report]:
    """The concepts of a folder. Raises `DataError` if there are none.

    Links are followed when they lead to places in it, or in the folders `pictures`.
    """
    folder = Path(folder)
    report, drafts = Report(str(folder)), []
    places = Places([folder, *pictures])
    for place in sorted(item for item in folder.iterdir() if item.is_dir() and not item.name.startswith(".")):
        report.rows += 1
        draft = _read(place, folder, places, report)
        if draft is not None:
            drafts.append(draft)
    if not report.rows:
        hint = f"; for the pictures of one concept: --name NAME {folder}" if find_pictures(folder) else ""
        raise DataError(f"{folder}: no sub-folders, of which each would be a concept{hint}")
    return drafts, report


def _read(place: Path, folder: Path, places: Places, report: Report) -> Draft | None:
    where = place.name
    try:
        name = safe_name(place.name)
        found = find_pictures(place)
        if not found:
            raise DataError(f"no pictures in it (they end in {', '.join(sorted(SUFFIXES))})")
    except DataError as error:
        report.skip(where, str(error))
        return None
    pictures = []
    for path in found:
        try:
            pictures.append(DraftPicture(places.find(str(path.relative_to(folder))).path, path.name))
        except DataError as error:
            report.no_picture(where, str(error))
    texts = {"info": "", "category": ""}
    for what, use in (("info", usable_info), ("category", usable_category)):
        try:
            file = places.find(f"{place.name}/{what}.txt").path if (place / f"{what}.txt").is_file() else None
            texts[what] = "" if file is None else use(read_text(file), lambda done: report.repair(where, done))
        except DataError as error:
            report.skip(where, f"{what}: {error}")
    return Draft(name, where, tuple(pictures), info=texts["info"], category=texts["category"])
