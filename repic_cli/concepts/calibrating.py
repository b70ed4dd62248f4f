"""Scores to calibrate with: from the pictures of the database themselves, or from a folder of other pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from repic_cli.concepts.augment import other_views
from repic_cli.concepts.calibration import STRANGERS, Calibration, Scores, fit, save_calibration, shares
from repic_cli.concepts.search import crops
from repic_plugins.errors import DatabaseError, DataError

if TYPE_CHECKING:
    from repic_cli.concepts.concept import Concept
    from repic_cli.concepts.search import Retriever

MOST_CONCEPTS = 300
MOST_PICTURES = 8
"""Concepts, and pictures of each, that are looked at: more would not move the threshold."""
UNKNOWN = "unknown"
"""The subfolder of a validation folder with pictures that show none of the concepts."""
_BATCH = 64
Tell = Callable[[int, int], None]


def calibrate(
    retriever: Retriever,
    validation: Path | None = None,
    target: float = STRANGERS,
    tell: Tell | None = None,
    save: bool = True,
) -> Calibration:
    """Fit the threshold and keep it in the database (with `save`).

    `validation`: a folder with pictures in subfolders called as the concepts they show, and strangers in `unknown/`;
    None: the database's own pictures. `target` is the share of strangers that may be named. Raises `DatabaseError`
    when the database has fewer than two concepts with pictures, `DataError` for a folder without use.
    """
    tell = tell or (lambda done, total: None)
    scores = own_scores(retriever, tell) if validation is None else folder_scores(retriever, validation, tell)
    threshold, slope, offset = fit(scores, retriever.encoder.threshold, target)
    named, missed = shares(scores, threshold)
    made = Calibration(
        retriever.encoder.id,
        round(threshold, 4),
        target,
        len(scores.strangers),
        len(scores.same),
        round(named, 4),
        round(missed, 4),
        round(slope, 4),
        round(offset, 4),
        "database" if validation is None else str(validation),
        datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if save:
        save_calibration(retriever.database, made)
    return made


def own_scores(retriever: Retriever, tell: Tell) -> Scores:
    """Every concept in turn is a stranger to the others; and should be found in its other pictures, or views of them.

    Where a concept has several pictures, each is compared with the others (leave one out). Views of a picture stand in
    for what the database does not have, other photographs of the thing.
    """
    concepts = _with_pictures(retriever)
    if len(concepts) < 2:
        folder = retriever.database.folder
        raise DatabaseError(
            f"{folder}: has {len(concepts)} concept with pictures; calibration compares concepts with each other and "
            "needs two or more (or --validation FOLDER)"
        )
    rng = np.random.default_rng(0)
    same: list[float] = []
    strangers: list[float] = []
    for done, concept in enumerate(concepts, 1):
        for picture in [shown for shown in concept.pictures if shown.path.is_file()][:MOST_PICTURES]:
            image = picture.image.open()
            vectors = retriever.encoder.encode([image, *other_views(image, rng)])  # (1 + V, D)
            own = _own_vectors(retriever, concept)
            others = np.array([vector for number, vector in own.items() if number != picture.id])
            if len(others):
                same.append(float((others @ vectors[0]).max()))
            elif picture.id in own:
                same += (vectors[1:] @ own[picture.id]).tolist()
            found = retriever.index.search(vectors, 2)
            strangers += [
                max((match.score for match in matches if match.concept != concept.id), default=-1.0)
                for matches in found
            ]
        tell(done, len(concepts))
    return Scores(np.array(same), np.array(strangers), len(concepts))


def _with_pictures(retriever: Retriever) -> list[Concept]:
    """A sample of the concepts that have a picture file, by id."""
    with retriever.database.reading() as connection:
        ids = [int(row[0]) for row in connection.execute("SELECT id FROM concepts ORDER BY id")]
    if len(ids) > MOST_CONCEPTS:
        ids = sorted(np.random.default_rng(0).choice(ids, MOST_CONCEPTS, replace=False).tolist())
    return [concept for concept in retriever.database.concepts(ids) if concept.has_picture]


def _own_vectors(retriever: Retriever, concept: Concept) -> dict[int, np.ndarray]:
    ids, vectors = retriever.index.stored.read([picture.id for picture in concept.pictures])
    return {int(number): vector for number, vector in zip(ids[:, 0], vectors, strict=True)}


def folder_scores(retriever: Retriever, folder: Path, tell: Tell) -> Scores:
    """Pictures of a folder, looked at as `find` does: places, crops, search.

    The best score of any place with the concept that the picture shows is one of the same thing; the best score of any
    place of a picture in `unknown/` is a stranger's.
    """
    tasks = list(_pictures(retriever, folder))
    same: list[float] = []
    strangers: list[float] = []
    for done, (path, concept) in enumerate(tasks, 1):
        found = _compare(retriever, path, concept)
        if found is not None:
            same += found[0]
            strangers += found[1]
        tell(done, len(tasks))
    if not same and not strangers:
        raise DataError(f"{folder}: none of its pictures can be read")
    return Scores(np.array(same), np.array(strangers), len(strangers))


def _pictures(retriever: Retriever, folder: Path) -> Iterator[tuple[Path, Concept | None]]:
    from repic_cli.data.images import find_pictures

    if not folder.is_dir():
        raise DataError(f"{folder}: not a folder; give one with a subfolder of pictures for each concept")
    places = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not places:
        raise DataError(f"{folder}: has no subfolders; call them as the concepts that their pictures show, or unknown")
    for place in places:
        concept = None
        if place.name != UNKNOWN:
            try:
                concept = retriever.database.find(place.name)
            except (DatabaseError, DataError) as error:
                raise DataError(
                    f"{place}: {str(error).partition(': ')[2] or error}; pictures of strangers go to {folder / UNKNOWN}"
                ) from error
        for path in find_pictures(place):
            yield path, concept


def _compare(retriever: Retriever, path: Path, concept: Concept | None) -> tuple[list[float], list[float]] | None:
    from repic_cli.data.images import open_picture

    try:
        image = open_picture(path)
    except DataError:
        return None
    proposals = retriever.propose(image)
    vectors = retriever.encoder.encode(crops(image, proposals))
    found = retriever.index.search(vectors, 2)
    if concept is None:
        best = max((matches[0].score for matches in found if matches), default=-1.0)
        return [], [best]
    own = np.array(list(_own_vectors(retriever, concept).values()))
    if not len(own):
        return None
    return [float((vectors @ own.T).max())], []
