"""Scores by concept and by picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from repic_cli.evaluation.captioned.scores import Scores

By = Literal["concept", "picture"]


@dataclass(frozen=True, slots=True)
class Part:
    """The counts of one concept or picture, in `queries` captions.

    `paper_named` and `strict_named` are what precision divides by: for a concept hits and misses of its slots, and its
    mentions in all captions.
    """

    name: str
    queries: int
    slots: int
    paper_hits: int
    paper_named: int
    strict_hits: int
    strict_named: int


def by_concept(scores: Scores) -> list[Part]:
    """A part for each concept that is asked for or named, by its key."""
    mentions = scores.mentions
    total = len(mentions.known)
    concept = mentions.target_concept
    paper = [slot for own in scores.slots for slot in own]
    hit = np.array([slot == "hit" for slot in paper], bool)
    judged = np.array([slot != "none" for slot in paper], bool)
    asked = np.array([len(own) > 0 for own in scores.slots], bool)
    in_asked = asked[mentions.text]  # the open set is counted apart
    columns = (
        np.bincount(concept, minlength=total),
        np.bincount(concept, minlength=total),
        np.bincount(concept[hit], minlength=total),
        np.bincount(concept[judged], minlength=total),
        np.bincount(concept[mentions.hit], minlength=total),
        np.bincount(mentions.concept[in_asked], minlength=total),
    )
    return _parts([one.key for one in mentions.known.concepts], columns)


def by_picture(scores: Scores) -> list[Part]:
    """A part for each picture, by its path, in the order of the file."""
    names = list(dict.fromkeys(row.image for row in scores.rows))
    paper, strict = scores.paper.pooled(scores.pictures), scores.strict.pooled(scores.pictures)
    columns = (np.bincount(scores.pictures), paper.slots, paper.hits, paper.named, strict.hits, strict.named)
    return _parts(names, columns, keep_all=True)


def _parts(names: Sequence[str], columns: Sequence[np.ndarray], keep_all: bool = False) -> list[Part]:
    table = np.stack(columns, axis=1).tolist()
    return [
        Part(name, *(round(value) for value in counts))
        for name, counts in zip(names, table, strict=True)
        if keep_all or counts[1] or counts[5]
    ]
