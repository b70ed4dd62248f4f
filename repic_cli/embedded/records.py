"""Training and evaluation records drawn from the embedded world.

Deterministic: the same kind, seed and split give the same records, whatever was drawn before. Names are first
names from Faker, or invented; held-out records use names that no training record has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, Literal

import numpy as np

from repic_cli.data.images import MemoryImage
from repic_cli.embedded.language import INFOS, with_article
from repic_cli.embedded.world import (
    Identity,
    Picture,
    Scene,
    Split,
    identities,
    lookalike,
    pick,
    render_reference,
    render_scene,
)
from repic_plugins.types import Box, Names, Record, Reference, YesNo

Kind = Literal["oct", "vlt", "ict", "caption", "where"]

SYLLABLES = tuple(
    "ka lo mi ra tu ne bi so pa vi do zu fe ga ho je wi xa qui yo ta ri li mo sha ne bo len dar mis".split()
)
VOWELS, CONSONANTS = "aeiouy", "bcdfghjklmnpqrstvwxz"
LOOKALIKE_SHARE = 0.3
"""How often a distractor differs from the wanted object in one attribute only."""
TRAIN_REFERENCES = {1: 0.5, 2: 0.3, 3: 0.2}
"""Number of references of an ICT record when it is not given: at most 3, as in the paper."""
STRANGERS = 0.2
"""How often a picture of fewer than four named objects has one that nothing names."""


@cache
def first_names(split: Split) -> tuple[str, ...]:
    """Short first names from Faker, four fifths of them for training; in lower case."""
    from faker.providers.person.en_US import Provider

    names = sorted(
        {name.lower() for name in Provider.first_names if name.isascii() and name.isalpha() and len(name) <= 7}
    )
    order = np.random.default_rng(71).permutation(len(names))
    cut = len(names) * 4 // 5
    return tuple(names[index] for index in sorted(order[:cut] if split == "train" else order[cut:]))


def draw_names(rng: np.random.Generator, count: int, split: Split) -> list[str]:
    """`count` different names; one in six has a capital letter.

    Held out: 60 % from Faker, the others of SYLLABLES. In training half are of any letters: a few hundred names seen
    again and again are learnt by heart, and then names that were never seen come out garbled.
    """
    pool = first_names(split)
    names: list[str] = []
    while len(names) < count:
        kind = rng.random()
        if split == "train" and kind < 0.5:
            name = _any_name(rng)
        elif kind < (0.7 if split == "train" else 0.6):
            name = pool[int(rng.integers(len(pool)))]
        else:
            name = "".join(SYLLABLES[int(k)] for k in rng.integers(len(SYLLABLES), size=int(rng.integers(2, 4))))
        if name not in (given.lower() for given in names) and (split != "train" or name not in _held_out_names()):
            names.append(name.capitalize() if rng.random() < 1 / 6 else name)
    return names


def _any_name(rng: np.random.Generator) -> str:
    """Three to eight letters, vowels and consonants about in turn."""
    vowel = bool(rng.random() < 0.4)
    letters = []
    for _ in range(int(rng.integers(3, 9))):
        some = VOWELS if vowel else CONSONANTS
        letters.append(some[int(rng.integers(len(some)))])
        vowel = vowel != (rng.random() < 0.8)
    return "".join(letters)


@cache
def _held_out_names() -> frozenset[str]:
    return frozenset(first_names("held_out"))


def records(
    kind: Kind,
    count: int,
    seed: int,
    split: Split = "train",
    concepts: int | None = None,
    *,
    absent: float = 0.0,
    strangers: float = STRANGERS,
) -> list[Record]:
    """`count` records of one kind. See `record_stream`."""
    stream = record_stream(kind, seed, split, concepts, absent=absent, strangers=strangers)
    return [next(stream) for _ in range(count)]


def record_stream(
    kind: Kind,
    seed: int | tuple[int, ...],
    split: Split = "train",
    concepts: int | None = None,
    *,
    absent: float = 0.0,
    strangers: float = STRANGERS,
) -> Iterator[Record]:
    """Records without end.

    Of ict records, `concepts` fixes the number of references that are in the picture (1 to 7), `absent` is the share
    that show one more, which is not, and `strangers` the share with an object in the picture that nothing names.
    """
    makers: dict[str, Callable[[np.random.Generator, Split, str], Record]] = {
        "oct": _oct,
        "vlt": _vlt,
        "ict": partial(_ict, concepts=concepts, absent=absent, strangers=strangers),
        "caption": _caption,
        "where": _where,
    }
    seeds = (seed,) if isinstance(seed, int) else seed
    rng = np.random.default_rng([*seeds, list(makers).index(kind), concepts or 0, int(split == "train")])
    index = 0
    while True:
        suffix = f"{kind}{concepts or ''}-{'-'.join(map(str, seeds))}-{index}"
        yield makers[kind](rng, split, f"{split}-{suffix}")
        index += 1


def _image(pixels: Picture, key: str) -> MemoryImage:
    return MemoryImage(pixels, key=key)


def _meta(scene: Scene, names: dict[Identity, str] | None = None) -> dict[str, Any]:
    """What is truly in the scene: the measure of attributes and binding."""
    return {
        "objects": tuple(
            {
                "phrase": placed.identity.phrase,
                "position": placed.position,
                "box": placed.box,
                "name": (names or {}).get(placed.identity),
            }
            for placed in scene.objects
        ),
        "background": scene.background,
        "light": scene.light,
    }


def _reference(rng: np.random.Generator, identity: Identity, name: str, key: str, *, told: float = 0.4) -> Reference:
    """A demonstration; with probability `told` its text tells the looks, and in a third of the rest there is none."""
    info = ""
    if rng.random() < told:
        info = with_article(identity.phrase) + "."
    elif rng.random() < 2 / 3:
        info = INFOS[int(rng.integers(len(INFOS)))] + "."
    return Reference(name, _image(render_reference(rng, identity), f"{key}-{name}"), info)


def _count(rng: np.random.Generator, shares: dict[int, float]) -> int:
    return int(rng.choice(list(shares), p=list(shares.values())))


def _shuffled(rng: np.random.Generator, members: list[Identity]) -> list[Identity]:
    return [members[int(index)] for index in rng.permutation(len(members))]


def _company(rng: np.random.Generator, target: Identity, count: int, pool: tuple[Identity, ...]) -> list[Identity]:
    """Distractors of the target, some of them hard."""
    company: list[Identity] = []
    while len(company) < count:
        hard = rng.random() < LOOKALIKE_SHARE
        other = lookalike(rng, target, pool) if hard else pick(rng, pool, 1, without=(target,))[0]
        if other not in company:
            company.append(other)
    return company


def _oct(rng: np.random.Generator, split: Split, key: str) -> Record:
    pool = identities(split)
    target = pick(rng, pool, 1)[0]
    present = bool(rng.random() < 0.5)
    count = _count(rng, {1: 0.4, 2: 0.35, 3: 0.25})
    members = _company(rng, target, count - present, pool) + [target] * present
    scene = render_scene(rng, _shuffled(rng, members))
    (name,) = draw_names(rng, 1, split)
    reference = _reference(rng, target, name, key, told=0.0)
    return Record(key, "oct", _image(scene.image, key), (reference,), YesNo(present), meta=_meta(scene, {target: name}))


def _where(rng: np.random.Generator, split: Split, key: str) -> Record:
    pool = identities(split)
    target = pick(rng, pool, 1)[0]
    company = _company(rng, target, _count(rng, {1: 0.5, 2: 0.3, 3: 0.2}), pool)
    scene = render_scene(rng, _shuffled(rng, [target, *company]))
    (name,) = draw_names(rng, 1, split)
    reference = _reference(rng, target, name, key, told=0.0)
    return Record(key, "where", _image(scene.image, key), (reference,), meta=_meta(scene, {target: name}))


def _vlt(rng: np.random.Generator, split: Split, key: str) -> Record:
    members = pick(rng, identities(split), _count(rng, {1: 0.25, 2: 0.35, 3: 0.25, 4: 0.15}))
    scene = render_scene(rng, members)
    placed = scene.objects[int(rng.integers(len(scene.objects)))]
    box = Box(*map(float, placed.box))
    return Record(
        key, "vlt", _image(scene.image, key), answer=box, phrase=f"the {placed.identity.phrase}", meta=_meta(scene)
    )


def _caption(rng: np.random.Generator, split: Split, key: str) -> Record:
    members = pick(rng, identities(split), _count(rng, {1: 0.35, 2: 0.35, 3: 0.2, 4: 0.1}))
    scene = render_scene(rng, members)
    return Record(key, "caption", _image(scene.image, key), meta=_meta(scene))


def _ict(
    rng: np.random.Generator, split: Split, key: str, concepts: int | None, absent: float, strangers: float
) -> Record:
    """References that are in the picture, at times one that is not, at times a stranger in the picture."""
    pool = identities(split)
    count = concepts or _count(rng, TRAIN_REFERENCES)
    members = pick(rng, pool, count)
    unknown = pick(rng, pool, 1, without=members) if rng.random() < strangers and count < 4 else []
    missing = []
    if absent and rng.random() < absent:
        missing = pick(rng, pool, 1, without=[*members, *unknown])
    shown = _shuffled(rng, [*members, *missing])
    names = dict(zip(shown, draw_names(rng, len(shown), split), strict=True))
    scene = render_scene(rng, _shuffled(rng, [*members, *unknown]))
    references = tuple(_reference(rng, identity, names[identity], key) for identity in shown)
    # Required names follow the order of the references, not that of the scene.
    required = tuple(names[identity] for identity in shown if identity not in missing)
    answer = Names(required, tuple(names[identity] for identity in missing))
    return Record(key, "ict", _image(scene.image, key), references, answer, meta=_meta(scene, names))
