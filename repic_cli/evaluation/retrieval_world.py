"""Databases and scenes of the embedded world for the study of retrieval: known things, and strangers among them.

What scenes show is held out: no picture of it was in the training of the model or the encoder. There are 154 held-out
identities; at least `STRANGERS` of them are never in a database, so a database of 200 is filled up with identities of
the training split, which no scene shows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from repic_cli.concepts.concept import NewConcept
from repic_cli.concepts.encoders import EMBEDDED
from repic_cli.concepts.pictures import read_picture
from repic_cli.concepts.store import ConceptDatabase
from repic_cli.data.images import MemoryImage
from repic_cli.embedded.language import INFOS
from repic_cli.embedded.records import LOOKALIKE_SHARE, draw_names
from repic_cli.embedded.world import Identity, identities, lookalike, pick, render_reference, render_scene
from repic_plugins.types import Encoder, ImageRef

STRANGERS = 40


@dataclass(frozen=True)
class World:
    """Who is in a database. `names` holds all of it; only the first `shown` identities are ever in scenes."""

    names: dict[Identity, str]
    shown: tuple[Identity, ...]
    strangers: tuple[Identity, ...]


@dataclass(frozen=True)
class StudyScene:
    """A picture and the names of the known things in it, in the order in which they were drawn from the database."""

    image: ImageRef
    names: tuple[str, ...]


def make_world(size: int, seed: int) -> World:
    """A database of `size` concepts, and the strangers to it."""
    rng = np.random.default_rng([seed, size, 51])
    everyone = identities("held_out")
    order = [everyone[int(index)] for index in rng.permutation(len(everyone))]
    shown = order[: min(size, len(order) - STRANGERS)]
    filling = pick(rng, identities("train"), size - len(shown))
    names = draw_names(rng, size, "held_out")
    return World(dict(zip([*shown, *filling], names, strict=True)), tuple(shown), tuple(order[len(shown) :]))


def fill_database(database: ConceptDatabase, world: World, encoder: Encoder, seed: int) -> None:
    """One reference picture for each concept, and an info that does not tell its looks."""
    rng = np.random.default_rng([seed, len(world.names), 52])
    with tempfile.TemporaryDirectory() as place:
        pictures = []
        for number, identity in enumerate(world.names):
            path = Path(place) / f"{number}.png"
            Image.fromarray(render_reference(rng, identity)).save(path)
            pictures.append(read_picture(path))
    vectors = encoder.encode([picture.view for picture in pictures])
    infos = [f"{INFOS[int(rng.integers(len(INFOS)))]}." for _ in pictures]
    concepts = [
        NewConcept(name, [picture], vectors[k : k + 1], info, "toy")
        for k, (name, picture, info) in enumerate(zip(world.names.values(), pictures, infos, strict=True))
    ]
    database.add_many(concepts, EMBEDDED, encoder.id)


def make_scenes(world: World, known: int, count: int, seed: int) -> list[StudyScene]:
    """`count` scenes of `known` things of the database and one or two strangers (one to three without known things).

    A stranger is a look-alike of a thing of the database (it differs in one attribute) as often as distractors are in
    training.
    """
    rng = np.random.default_rng([seed, len(world.names), known, 53])
    return [_scene(rng, world, known, f"scene-{len(world.names)}-{seed}-{known}-{index}") for index in range(count)]


def _scene(rng: np.random.Generator, world: World, known: int, key: str) -> StudyScene:
    members = pick(rng, world.shown, known)
    strangers = _strangers(rng, members or world.shown, int(rng.integers(1, 3 if known else 4)), world.strangers)
    everyone = [*members, *strangers]
    scene = render_scene(rng, [everyone[int(index)] for index in rng.permutation(len(everyone))])
    return StudyScene(MemoryImage(scene.image, key=key), tuple(world.names[member] for member in members))


def _strangers(
    rng: np.random.Generator, things: Sequence[Identity], count: int, pool: Sequence[Identity]
) -> list[Identity]:
    chosen: list[Identity] = []
    while len(chosen) < count:
        if rng.random() < LOOKALIKE_SHARE:
            other = lookalike(rng, things[int(rng.integers(len(things)))], pool)
        else:
            other = pick(rng, pool, 1)[0]
        if other not in chosen:
            chosen.append(other)
    return chosen
