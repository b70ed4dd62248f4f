"""What the embedded base model is taught: conversations about pictures of the world.

The base is to be like the paper's zero-shot model: good at generic captions, grounding and matching, poor at naming.
So it learns to bind names to objects in side questions ("Where is <luna>?"), while its captions use a name only at
times: often where the instruction asks for a personal caption, seldom elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

import numpy as np

from repic_cli.embedded import language
from repic_cli.embedded.records import Kind, draw_names, record_stream
from repic_cli.embedded.world import Split
from repic_plugins.builtin import tasks
from repic_plugins.types import Box, ImageRef, Record, Sample, YesNo

MIX: Mapping[tuple[Kind | Literal["say"], int | None], float] = {
    ("say", None): 0.20,
    ("caption", None): 0.08,
    ("vlt", None): 0.22,
    ("oct", None): 0.08,
    ("where", None): 0.17,
    ("ict", 1): 0.09,
    ("ict", 2): 0.08,
    ("ict", 3): 0.04,
    ("ict", 4): 0.03,
    ("ict", 6): 0.005,
    ("ict", None): 0.005,
}
"""Share of each kind of record (and number of references) in a batch; "say" is a drill without a picture."""

NAMING = {
    True: {1: 0.85, 2: 0.7, 3: 0.6, 4: 0.45},
    False: {1: 0.3, 2: 0.22, 3: 0.18, 4: 0.15},
}
"""How likely a caption uses a name it could use: by whether names were asked for, and how many there are."""

ANSWER_WEIGHT = 25.0
"""Weight of a yes or no: one token among the sixty that a lesson asks for, and only in every fifth lesson."""


@dataclass(frozen=True)
class Turn:
    """A question in message parts, the answer to learn, and its weight in the loss."""

    parts: tuple[Mapping[str, str], ...]
    answer: str
    weight: float = 1.0


@dataclass(frozen=True)
class Lesson:
    """A conversation; the pictures belong to the first turn.

    `shown` are the boxes (x1, y1, x2, y2 in pixels) of the objects in the last picture, each with the name that a
    reference picture gives it, or None; `names` are those of the reference pictures. Both are empty without any.
    """

    kind: str
    turns: tuple[Turn, ...]
    images: tuple[ImageRef, ...]
    shown: tuple[tuple[tuple[int, int, int, int], str | None], ...] = ()
    names: tuple[str, ...] = ()


def lesson_stream(
    seed: tuple[int, ...], split: Split = "train", mix: Mapping[tuple[Any, int | None], float] = MIX
) -> Iterator[Lesson]:
    """Lessons without end, drawn by the shares of `mix`."""
    rng = np.random.default_rng([*seed, 11])
    words = Random(str(seed))
    builders = {"oct": tasks.oct(), "vlt": tasks.vlt(), "ict": tasks.ict(), "caption": tasks.caption()}
    streams = {
        key: record_stream(key[0], (*seed, index), split, key[1]) for index, key in enumerate(mix) if key[0] != "say"
    }
    keys, shares = list(mix), np.array(list(mix.values()))
    while True:
        key = keys[int(rng.choice(len(keys), p=shares / shares.sum()))]
        yield lesson(next(streams[key]), builders, rng, words) if key in streams else say_lesson(rng, split)


def say_lesson(rng: np.random.Generator, split: Split) -> Lesson:
    """Names to repeat in order. Copying a name piece by piece is learnt in minutes here, and hardly beside pictures."""
    names = tasks.join(draw_names(rng, int(rng.integers(1, 6)), split))
    return Lesson("say", (Turn(({"type": "text", "text": f"Say {names}."},), f"{names}.", 4.0),), ())


def lesson(record: Record, builders: Mapping[str, Any], rng: np.random.Generator, words: Random) -> Lesson:
    """The record's own question, and side questions about the same pictures before or after it."""
    if record.task == "where":
        sample = where_sample(record, words)
    else:
        sample = builders[record.task].build(record, words)
    main = Turn(tuple(sample.messages[0]["content"]), *_answer(record, sample, rng))
    turns = [main, *_side_turns(record, rng)]
    if len(turns) > 1 and rng.random() < 0.5:
        # Side questions first: one takes the place of the instruction after the pictures.
        first = Turn((*main.parts[:-1], *turns[1].parts), turns[1].answer)
        turns = [first, *turns[2:], Turn((main.parts[-1],), main.answer, main.weight)]
    shown = tuple((thing["box"], thing["name"]) for thing in record.meta["objects"]) if record.references else ()
    return Lesson(record.task, tuple(turns), sample.images, shown, tuple(one.name for one in record.references))


def where_sample(record: Record, words: Random) -> Sample:
    """The question where a demonstrated object is, for a record of kind `where`."""
    question = language.where_question(record.references[0].name)
    return tasks.assemble(record, question, tasks.load_templates(), words)


def _answer(record: Record, sample: Sample, rng: np.random.Generator) -> tuple[str, float]:
    if isinstance(record.answer, YesNo):
        return ("yes" if record.answer.value else "no"), ANSWER_WEIGHT
    if isinstance(record.answer, Box):
        box = record.answer
        return language.box_text((int(box.x1), int(box.y1), int(box.x2), int(box.y2))), 1.0
    objects = record.meta["objects"]
    if record.task == "where":
        return _where(objects, record.references[0].name), 1.0
    wording = str(sample.meta["wording"])
    chance = NAMING["personal" in wording][min(4, max(1, len(record.references)))]
    items = [
        language.Item(thing["phrase"], thing["position"], thing["name"] if rng.random() < chance else None)
        for thing in objects
    ]
    form = language.FORMS[int(rng.integers(len(language.FORMS)))]
    text = language.caption(
        items, record.meta["background"], record.meta["light"], form=form, detailed="detail" in wording
    )
    return text, 1.0


def _where(objects: tuple[Mapping[str, Any], ...], name: str) -> str:
    thing = next((thing for thing in objects if thing["name"] == name), None)
    return (
        language.where_answer(name, thing["position"], thing["phrase"]) if thing else language.where_answer(name, None)
    )


def _side_turns(record: Record, rng: np.random.Generator) -> list[Turn]:
    """Up to three side questions in random order."""
    objects = record.meta["objects"]
    pairs: list[tuple[str, str]] = []
    if record.task == "vlt":
        # From looks to place: the step that matching and grounding share, asked of every object.
        pairs = [
            (f"Where is the {thing['phrase']}?", language.place(thing["position"]).capitalize() + ".")
            for thing in objects
            if rng.random() < 0.9
        ]
    # A side question must not give away the answer to a yes or no.
    for reference in record.references if record.task == "ict" else ():
        pairs.append((language.where_question(reference.name), _where(objects, reference.name)))
    if record.task == "ict":
        pairs += _who_is_where(objects, rng)
    chosen = [pairs[int(index)] for index in rng.permutation(len(pairs))[:3]]
    return [Turn(({"type": "text", "text": question},), answer) for question, answer in chosen]


def _who_is_where(objects: tuple[Mapping[str, Any], ...], rng: np.random.Generator) -> list[tuple[str, str]]:
    """Questions for the name at a place, where only one object is there."""
    places = [thing["position"] for thing in objects]
    single = [thing for thing in objects if places.count(thing["position"]) == 1]
    pairs = []
    for thing in single:
        if rng.random() < 0.5:
            answer = f"<{thing['name']}>." if thing["name"] else language.with_article(thing["phrase"]) + "."
            pairs.append((f"What is {language.place(thing['position'])}?", answer))
    return pairs
