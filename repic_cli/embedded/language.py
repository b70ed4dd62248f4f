"""How the embedded world is put into words, and read back.

Two caption forms, each brief or detailed:

    At the top left is a red striped star, called <luna>. At the right is a blue plain moon. ...
    This image shows a red striped star, called <luna>, at the top left and a blue plain moon at the right ...

A brief caption uses the bare name where it has one; a detailed one gives appearance and name. `parse_caption`
reads any such caption back, so that binding (is the name at the right object?) can be measured.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from repic_cli.embedded.world import ACCESSORIES, COLORS, PATTERNS, SHAPES

INFOS = (
    "a gift from a friend",
    "my favourite toy",
    "bought on a trip to the sea",
    "it lives on my desk",
    "found at the flea market",
    "the oldest thing in the room",
    "we have had it for years",
    "it came with the house",
    "my sister made it",
    "nobody may touch it",
)
"""What is known about a concept when the text does not tell its looks."""

POSITIONS = ("top left", "top right", "bottom left", "bottom right", "top", "bottom", "left", "right", "center")
FORMS = ("listing", "showing")
BOX_STEP = 4
"""The model is taught to write boxes on a grid of this many pixels: a tenth of an object, and a quarter of the
numbers to learn."""


@dataclass(frozen=True, slots=True)
class Item:
    """An object to be mentioned: its looks, its place, and its name when the caption is to use it."""

    phrase: str
    position: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Mention:
    """An object found in a caption; what the caption leaves out is None. Names are bare."""

    name: str | None
    phrase: str | None
    position: str | None


def with_article(phrase: str) -> str:
    """`red star` -> `a red star`."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def place(position: str) -> str:
    """`top left` -> `at the top left`; the center is `in the center`."""
    return f"{'in' if position == 'center' else 'at'} the {position}"


def caption(items: Sequence[Item], background: str, light: str, *, form: str, detailed: bool) -> str:
    """A caption of the items in the given order; `form` is one of FORMS."""
    labels = [_label(item, detailed) for item in items]
    if form == "listing":
        sentences = [
            f"{place(item.position).capitalize()} is {label}." for item, label in zip(items, labels, strict=True)
        ]
        ending = f"The background is {background}."
        if detailed:
            ending = f"The background of the picture is {background} and the light is {light}."
        return " ".join([*sentences, ending])
    parts = [
        f"{label}{',' if 'called' in label else ''} {place(item.position)}"
        for item, label in zip(items, labels, strict=True)
    ]
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    text = f"This image shows {listed} on {with_article(background)} background."
    return f"{text} The light in the picture is {light}." if detailed else text


def _label(item: Item, detailed: bool) -> str:
    if item.name is None:
        return with_article(item.phrase)
    return f"{with_article(item.phrase)}, called <{item.name}>" if detailed else f"<{item.name}>"


def box_text(box: tuple[int, int, int, int]) -> str:
    """A box as Qwen2.5-VL writes it, rounded to BOX_STEP pixels."""
    return '{{"bbox_2d": [{}, {}, {}, {}]}}'.format(*(round(value / BOX_STEP) * BOX_STEP for value in box))


def where_question(name: str) -> str:
    return f"Where is <{name}>?"


def where_answer(name: str, position: str | None, phrase: str = "") -> str:
    """`<luna> is a red striped star at the top left.`: looks first, so that the place can be told from them."""
    if position is None:
        return f"<{name}> is not in the image."
    return f"<{name}> is {with_article(phrase)} {place(position)}."


def is_where_answer(text: str, name: str, position: str) -> bool:
    """Whether the text says that the name is at this place, whatever it says of its looks."""
    said = text.strip().casefold()
    return said.startswith(f"<{name.casefold()}> is ") and said.endswith(f" {place(position)}.")


def _any(words: Sequence[str]) -> str:
    return "(?:" + "|".join(words) + ")"


_PHRASE = (
    rf"an? (?P<phrase>{_any(list(COLORS))} {_any(PATTERNS)} {_any(SHAPES)}"
    rf"(?: with an? {_any([word for word in ACCESSORIES if word])})?)"
)
_LABEL = rf"(?:{_PHRASE}(?:, called <(?P<called>[^<>]+)>)?|<(?P<name>[^<>]+)>)"
_POSITION = rf"(?P<position>{_any(POSITIONS)})"
_LISTING = re.compile(rf"(?:At|In) the {_POSITION} is {_LABEL}")
_SHOWING = re.compile(rf"{_LABEL},? (?:at|in) the {_POSITION}")


def parse_caption(text: str) -> list[Mention]:
    """The objects that a caption mentions together with a place, in order of appearance."""
    found = [*_LISTING.finditer(text), *_SHOWING.finditer(text)]
    return [
        Mention(match["called"] or match["name"], match["phrase"], match["position"])
        for match in sorted(found, key=lambda match: match.start())
    ]
