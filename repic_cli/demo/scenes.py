"""What the demo shows: a person's things (held-out identities) and pictures in which some of them are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repic_cli.embedded.language import INFOS

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from repic_cli.embedded.world import Identity, Scene

CONCEPTS = 8
QUERIES: tuple[tuple[int, int], ...] = ((1, 0), (2, 0), (2, 1), (3, 0))
"""For each query picture: how many of the person's things are in it, and how many strangers."""
TRUTH = "truth.json"


@dataclass(frozen=True)
class Thing:
    """A personal concept: its name, what is known about it, and its reference picture."""

    name: str
    info: str
    picture: Image


@dataclass(frozen=True)
class Query:
    """A picture and what is truly in it (as `meta["objects"]` of records)."""

    path: Path
    objects: Sequence[Mapping[str, Any]]


def make_things(seed: int) -> tuple[list[Thing], list[Identity]]:
    """The person's things, and their identities in the same order."""
    import numpy as np
    from PIL import Image

    from repic_cli.embedded.records import draw_names
    from repic_cli.embedded.world import identities, pick, render_reference

    rng = np.random.default_rng([seed, 41])
    members = pick(rng, identities("held_out"), CONCEPTS)
    names = draw_names(rng, CONCEPTS, "held_out")
    infos = rng.permutation(np.array(INFOS))
    things = [
        Thing(name, f"{info}.", Image.fromarray(render_reference(rng, member)))
        for name, info, member in zip(names, map(str, infos), members, strict=False)
    ]
    return things, members


def write_queries(folder: Path, seed: int, things: Sequence[Thing], members: Sequence[Identity]) -> list[Query]:
    """Draw the query pictures into `folder`, with their truth beside them."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, 42])
    names = {member: thing.name for member, thing in zip(members, things, strict=True)}
    queries, left = [], list(members)
    for number, (own, strangers) in enumerate(QUERIES, 1):
        chosen, left = left[:own], left[own:]
        scene = _scene(rng, chosen, strangers, members)
        path = folder / f"photo{number}.png"
        Image.fromarray(scene.image).save(path)
        objects = [
            {
                "phrase": placed.identity.phrase,
                "position": placed.position,
                "box": list(placed.box),
                "name": names.get(placed.identity),
            }
            for placed in scene.objects
        ]
        queries.append(Query(path, objects))
    truth = {query.path.name: list(query.objects) for query in queries}
    (folder / TRUTH).write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    return queries


def read_queries(folder: Path) -> list[Query]:
    """The query pictures that `write_queries` left."""
    truth = json.loads((folder / TRUTH).read_text(encoding="utf-8"))
    return [Query(folder / name, objects) for name, objects in truth.items()]


def _scene(rng: np.random.Generator, chosen: Sequence[Identity], strangers: int, members: Sequence[Identity]) -> Scene:
    """A scene whose things do not touch: boxes are proposed without a model, which takes things that touch for one."""
    from repic_cli.embedded.world import identities, pick, render_scene

    others = pick(rng, identities("held_out"), strangers, without=members)
    everyone = [*chosen, *others]
    while True:
        scene = render_scene(rng, [everyone[int(index)] for index in rng.permutation(len(everyone))])
        boxes = [placed.box for placed in scene.objects]
        if all(_apart(one, other) for i, one in enumerate(boxes) for other in boxes[:i]):
            return scene


def _apart(one: Sequence[int], other: Sequence[int], gap: int = 3) -> bool:
    """Whether there are at least `gap` pixels between two boxes."""
    return one[2] + gap <= other[0] or other[2] + gap <= one[0] or one[3] + gap <= other[1] or other[3] + gap <= one[1]
