"""What a caption of the embedded world says rightly: names, places, looks.

Name recall does not see where a name is put: a model that copies the names of the prompt in any order scores
1. *Binding* asks whether the name stands at the right object, by the place and by the looks that the caption
gives it. All rules are strict: a name said at two places is bound only if both are true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from repic_cli.embedded.language import Mention, parse_caption

ATTRIBUTES = ("color", "pattern", "shape", "accessory")
Object = Mapping[str, Any]
"""An entry of `meta["objects"]`: phrase, position, box and name (or None)."""


@dataclass(frozen=True, slots=True)
class Binding:
    """Counts over the wanted names of one caption."""

    placed: int
    """names said with a place"""
    placed_right: int
    """... whose every place is that of the true object"""
    described: int
    """names said with looks"""
    described_right: int
    """... whose every description is that of the true object"""
    chance: float
    """how many of the placed names would be right if each went to any object of the scene"""


@dataclass(frozen=True, slots=True)
class Looks:
    """Counts over the objects of one scene."""

    phrase: int
    """objects whose full phrase is in the caption"""
    phrase_and_place: int
    """... at their true place"""
    attributes: tuple[int, int, int, int]
    """objects whose colour, pattern, shape, accessory is right in the mention that fits best"""


def binding(text: str, objects: Sequence[Object], wanted: Sequence[str]) -> Binding:
    """Whether each wanted name stands at its object. `wanted` are names of objects of the scene."""
    mentions = parse_caption(text)
    truth = {item["name"]: item for item in objects if item["name"]}
    placed = placed_right = described = described_right = 0
    chance = 0.0
    for name in wanted:
        own = [mention for mention in mentions if mention.name == name]
        places = {mention.position for mention in own if mention.position}
        looks = {mention.phrase for mention in own if mention.phrase}
        if places:
            placed += 1
            placed_right += places == {truth[name]["position"]}
            chance += sum(item["position"] == truth[name]["position"] for item in objects) / len(objects)
        if looks:
            described += 1
            described_right += looks == {truth[name]["phrase"]}
    return Binding(placed, placed_right, described, described_right, chance)


def looks(text: str, objects: Sequence[Object]) -> Looks:
    """How much of the scene's looks the caption gives; a mention counts for one object only."""
    mentions = [mention for mention in parse_caption(text) if mention.phrase]
    pairs = _pair(mentions, objects)
    exact = [(mention, item) for mention, item in pairs if mention.phrase == item["phrase"]]
    hits = [0, 0, 0, 0]
    for mention, item in pairs:
        said, true = attributes(mention.phrase or ""), attributes(item["phrase"])
        for index in range(4):
            hits[index] += said[index] == true[index]
    return Looks(
        len(exact),
        sum(mention.position == item["position"] for mention, item in exact),
        (hits[0], hits[1], hits[2], hits[3]),
    )


def attributes(phrase: str) -> tuple[str, str, str, str]:
    """Colour, pattern, shape and accessory ("" for none) of `red striped star with a crown`."""
    body, _, accessory = phrase.partition(" with ")
    color, pattern, shape = (*body.split(), "", "", "")[:3]
    return color, pattern, shape, accessory.split()[-1] if accessory else ""


def names_said(text: str) -> frozenset[str]:
    """All names in angle brackets, whoever they are."""
    found = set()
    for part in text.split("<")[1:]:
        name, closed, _ = part.partition(">")
        if closed and name.strip() and not name.startswith("/"):
            found.add(name.strip())
    return frozenset(found)


def repeats_a_name(text: str) -> bool:
    """Whether the caption gives one name to two objects: the cheap way to a name without telling things apart."""
    said = [mention.name for mention in parse_caption(text) if mention.name]
    return len(set(said)) < len(said)


def _pair(mentions: Sequence[Mention], objects: Sequence[Object]) -> list[tuple[Mention, Object]]:
    """Mentions and objects one to one, best fit first (attributes in common, the place breaks ties)."""
    fits = []
    for m, mention in enumerate(mentions):
        for o, item in enumerate(objects):
            said, true = attributes(mention.phrase or ""), attributes(item["phrase"])
            common = sum(a == b for a, b in zip(said, true, strict=True))
            fits.append((common + 0.5 * (mention.position == item["position"]), -m, -o))
    pairs: list[tuple[Mention, Object]] = []
    left_mentions, left_objects = set(range(len(mentions))), set(range(len(objects)))
    for _, m, o in sorted(fits, reverse=True):
        if -m in left_mentions and -o in left_objects:
            left_mentions.remove(-m)
            left_objects.remove(-o)
            pairs.append((mentions[-m], objects[-o]))
    return pairs
