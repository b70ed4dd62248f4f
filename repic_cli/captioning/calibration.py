"""From which probability of yes on a model is to be believed, measured on the pictures of a database.

Models differ in how readily they say yes. So each is asked about pictures of which the truth is known, made of the
references (a collage, or one alone if the model is to look at crops): is A in one of A, and in one of its look-alike B?
The threshold is where a concept is as likely there as not; a model that cannot tell loses nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from repic_cli.captioning.verification import THRESHOLD, Verifier
from repic_cli.concepts.augment import other_views
from repic_cli.data.images import MemoryImage, open_picture
from repic_cli.models.fingerprint import identity
from repic_plugins.errors import DatabaseError, DataError
from repic_plugins.types import Encoder, Reference

if TYPE_CHECKING:
    from PIL.Image import Image

    from repic_cli.concepts.concept import Concept
    from repic_cli.concepts.store import ConceptDatabase

RIGHT = 0.75
"""The share of concepts above the open-set threshold that is taken to be there. On the embedded world more are, but a
stranger with a name is worse than a friend without."""
FLATNESS = 0.01
"""Holds the fitted line back where answers are told apart perfectly."""
MOST, LEAST = 48, 4
"""So many concepts are asked about, or fewer several times; with fewer than `LEAST` nothing is measured."""
SIDE = 448
"""Longer sides of pictures in a collage are reduced to this."""


@dataclass(frozen=True)
class Calibration:
    """A threshold, and what it rests on: pairs asked, and the shares of true and of false pairs that pass it."""

    threshold: float
    pairs: int = 0
    kept: float = 0.0
    passed: float = 0.0


def calibrated(database: ConceptDatabase, verifier: Verifier, encoder: Encoder) -> Calibration:
    """The calibration that the database keeps for this model, or a new one, which it keeps from now on."""
    key = f"verify:{verifier.look}:{identity(verifier.backbone)}"
    kept = _read(database.setting(key))
    if kept is not None:
        return kept
    found = measure(database, verifier, encoder)
    if found.pairs:
        with suppress(DatabaseError):  # a database that may only be read is measured each time
            database.put_setting(key, json.dumps(asdict(found)))
    return found


def measure(database: ConceptDatabase, verifier: Verifier, encoder: Encoder) -> Calibration:
    """Ask the model about the database's own pictures. The same database and model give the same threshold."""
    concepts = _sample(database)
    if len(concepts) < LEAST:
        return Calibration(THRESHOLD)
    rng = np.random.default_rng(len(concepts))
    images = [open_picture(concept.picture.path) for concept in concepts]
    vectors = encoder.encode([_view(concept, image) for concept, image in zip(concepts, images, strict=True)])
    near = vectors @ vectors.T
    near[range(len(concepts)), range(len(concepts))] = -2
    pairs, truth = [], []
    for turn in range(-(-MOST // len(concepts)) * len(concepts)):  # a small database is asked about several times
        index = turn % len(concepts)
        concept = concepts[index]
        twin = int(near[index].argmax())
        others = [k for k in range(len(concepts)) if k not in (index, twin)]
        reference = Reference(concept.name, concept.picture.image)
        for shown, there in ((index, True), (twin, False)):
            # Another picture of the thing where there is one, which the crop of the reference cannot give away.
            tiles = [_another(concepts[shown], rng) or images[shown]]
            if verifier.look == "picture":
                tiles.append(images[others[int(rng.integers(len(others)))]])
            pairs.append((reference, MemoryImage(collage(tiles, rng), f"collage-{turn}-{there}")))
            truth.append(there)
    answers = [verdict.probability for verdict in verifier.judge(pairs)]
    true = [value for value, there in zip(answers, truth, strict=True) if there]
    false = [value for value, there in zip(answers, truth, strict=True) if not there]
    least = best_threshold(true, false)
    return Calibration(least, len(pairs), _share(true, least), _share(false, least))


def best_threshold(true: Sequence[float], false: Sequence[float], right: float = RIGHT) -> float:
    """From which probability of yes on a concept is more likely there than not, if `right` of those asked about are.

    A line is fitted to the log odds of the answers (Platt 1999), so that a few odd ones among these few do not decide.
    0, which keeps all, for answers that tell nothing.
    """
    odds = np.clip(_log_odds(np.array([*true, *false])), -6, 6)  # (N,)
    wanted = np.array([1.0] * len(true) + [0.0] * len(false))
    weight = np.array([1 / len(true)] * len(true) + [1 / len(false)] * len(false))
    inputs = np.stack([odds, np.ones_like(odds)], -1)  # (N, 2)
    line = np.zeros(2)
    for _ in range(50):  # Newton's method
        said = 1 / (1 + np.exp(-inputs @ line))
        slope = inputs.T @ (weight * (said - wanted)) + FLATNESS * line
        bend = (inputs * (weight * said * (1 - said))[:, None]).T @ inputs + FLATNESS * np.eye(2)
        line -= np.linalg.solve(bend, slope)
    if line[0] <= 0:
        return 0.0
    return float(1 / (1 + np.exp((line[1] + _log_odds(right)) / line[0])))


def _log_odds(share: Any) -> Any:
    with np.errstate(divide="ignore"):
        return np.log(share) - np.log1p(-np.asarray(share))


def collage(pictures: Sequence[Image], rng: np.random.Generator) -> Image:
    """Other views of these pictures side by side, in any order."""
    from PIL import Image

    tiles = []
    for index in rng.permutation(len(pictures)):
        (tile,) = other_views(pictures[index], rng, 1)
        tile.thumbnail((SIDE, SIDE))
        tiles.append(tile)
    high = max(tile.height for tile in tiles)
    canvas = Image.new("RGB", (sum(tile.width for tile in tiles), high), (128, 128, 128))
    x = 0
    for tile in tiles:
        canvas.paste(tile, (x, (high - tile.height) // 2))
        x += tile.width
    return canvas


def _sample(database: ConceptDatabase) -> list[Concept]:
    """Up to `MOST` concepts whose picture can be read, from all over the database."""
    with database.reading() as connection:
        ids = [int(row["id"]) for row in connection.execute("SELECT id FROM concepts ORDER BY id")]
    chosen = Random(1).sample(ids, min(len(ids), 2 * MOST))
    usable: list[Concept] = []
    for concept in database.concepts(chosen):
        if len(usable) < MOST and concept.has_picture and _readable(concept):
            usable.append(concept)
    return usable


def _readable(concept: Concept) -> bool:
    try:
        open_picture(concept.picture.path)
    except DataError:
        return False
    return True


def _view(concept: Concept, image: Image) -> Image:
    from repic_cli.concepts.pictures import reference_view

    return reference_view(image, concept.picture.box)


def _another(concept: Concept, rng: np.random.Generator) -> Image | None:
    others = [picture for picture in concept.pictures if picture.id != concept.picture.id and picture.path.is_file()]
    return others[int(rng.integers(len(others)))].image.open() if others else None


def _share(values: Sequence[float], least: float) -> float:
    return sum(value >= least for value in values) / len(values)


def _read(text: str | None) -> Calibration | None:
    """What a database keeps may be anybody's."""
    try:
        found = Calibration(**json.loads(text or "null"))
        return found if 0 <= found.threshold <= 1 else None
    except (ValueError, TypeError):
        return None
