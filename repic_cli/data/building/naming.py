"""Names for things that have none, drawn from Faker's lists as the paper does (appendix B.4): of people, or of objects.

A name of an object is an adjective and a noun (`polite_oven`), like the keys of the DreamBooth set: a lone noun would
turn up in captions by chance, and the reward could not tell.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from random import Random

from repic_cli.data.building.options import Names
from repic_cli.data.names import safe_name

PEOPLE = frozenset({"person", "man", "woman", "boy", "girl", "child", "baby", "people"})
"""Categories that are called by a human name."""


@cache
def human_names() -> tuple[str, ...]:
    """First names of English, in their order."""
    from faker.providers.person.en_US import Provider

    return tuple(sorted({safe_name(name) for name in Provider.first_names}))


@cache
def object_names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Adjectives and nouns."""
    from faker.providers.lorem.en_US import Provider

    return tuple(Provider.parts_of_speech["adjective"]), tuple(Provider.parts_of_speech["noun"])


def draw_name(rng: Random, category: str, kind: Names, taken: Collection[str]) -> str:
    """A name that none of `taken` has, for a thing of a category. `auto`: people get human names, things either."""
    folded = {name.casefold() for name in taken}
    human = kind == "human" or (kind == "auto" and (category.casefold() in PEOPLE or rng.random() < 0.5))
    while True:
        if human:
            name = rng.choice(human_names())
        else:
            adjectives, nouns = object_names()
            name = f"{rng.choice(adjectives)}_{rng.choice(nouns)}"
        if name.casefold() not in folded:
            return name
