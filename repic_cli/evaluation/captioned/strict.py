"""The strict rule: who is named, by phrase matching on key, name and other names, out of all names of the database.

Bracket-first, with word boundaries, possessives and markdown; names that are single letters or common words count in
brackets, or in their own case if it has a capital (`repic_rewards.names` has the rules). Recall is hits / slots;
precision is hits / all distinct names that the caption mentions, so that every wrong name costs.

A bracketed name that no concept has (`<Wanda>`) is *invented*: it is counted apart, and not in precision.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from repic_cli.data.names import RESERVED
from repic_cli.evaluation.captioned.known import Known
from repic_cli.evaluation.captioned.paper import END
from repic_rewards.names import Mentions, NameMatcher, encode

if TYPE_CHECKING:
    from repic_cli.evaluation.captioned.rows import CaptionRow

_BRACKETS = re.compile(r"<(?!/)([^<>\n]{1,100})>")
_TAGS = re.compile(r"<\|[^<>\n]{0,60}\|>")


@dataclass(frozen=True)
class StrictScores:
    """What N captions name out of M concepts, and which of the T targets are among them.

    Mentions k are in order of their captions: caption `text[k]` names concept `concept[k]`, which is a target of it or
    not (`right[k]`). Targets too: `target_row`, `target_concept` and whether it is named (`hit`).
    """

    known: Known
    rows: int
    text: np.ndarray  # (K,) int32
    concept: np.ndarray  # (K,) int32
    right: np.ndarray  # (K,) bool
    target_row: np.ndarray  # (T,) int64
    target_concept: np.ndarray  # (T,) int64
    hit: np.ndarray  # (T,) bool
    invented: tuple[tuple[str, ...], ...]

    @property
    def hits(self) -> np.ndarray:
        """Targets that each caption names, (N,)."""
        return np.bincount(self.target_row[self.hit], minlength=self.rows)

    @property
    def slots(self) -> np.ndarray:
        """Targets of each caption, (N,)."""
        return np.bincount(self.target_row, minlength=self.rows)

    @property
    def named(self) -> np.ndarray:
        """Distinct concepts that each caption names, (N,)."""
        return np.bincount(self.text, minlength=self.rows)

    @property
    def wrong(self) -> np.ndarray:
        """Those of them that are no targets, (N,)."""
        return np.bincount(self.text[~self.right], minlength=self.rows)


def strict_scores(rows: Sequence[CaptionRow], known: Known) -> StrictScores:
    """Score the captions of rows, whose keys `known` has (it learns those that it has not)."""
    targets = [[known.number(key) for key in row.targets] for row in rows]
    return judge_strictly(rows, targets, known)


def judge_strictly(rows: Sequence[CaptionRow], targets: Sequence[Sequence[int]], known: Known) -> StrictScores:
    """The same with the numbers of each row's targets."""
    matcher = matcher_of(known)
    texts = [row.caption.replace(END, "") for row in rows]
    found = matcher.find_in(*encode(texts))
    named = found.count > 0
    text, concept = found.text[named], found.name[named]
    return score_mentions(text, concept, targets, known, invented_names(texts, found, matcher))


def score_mentions(
    text: np.ndarray,
    concept: np.ndarray,
    targets: Sequence[Sequence[int]],
    known: Known,
    invented: Sequence[Sequence[str]],
) -> StrictScores:
    """Compare mentions (K,) with targets."""
    rows = len(targets)
    sizes = np.fromiter(map(len, targets), np.int64, rows)
    target_row = np.repeat(np.arange(rows), sizes)
    target_concept = np.array([number for part in targets for number in part], np.int64)
    said = text.astype(np.int64) * len(known) + concept
    wanted = target_row * len(known) + target_concept
    return StrictScores(
        known=known,
        rows=rows,
        text=text,
        concept=concept,
        right=np.isin(said, wanted),
        target_row=target_row,
        target_concept=target_concept,
        hit=np.isin(wanted, said),
        invented=tuple(map(tuple, invented)),
    )


def matcher_of(known: Known) -> NameMatcher:
    """Looks for all known concepts at once."""
    spellings = [concept.spellings for concept in known.concepts]
    return NameMatcher(
        [own[0] for own in spellings], [own[1:] for own in spellings], mode="strict", allow_duplicates=True
    )


def invented_names(texts: Sequence[str], found: Mentions, matcher: NameMatcher) -> list[tuple[str, ...]]:
    """For each text the bracketed names, each once, that no concept has."""
    bracketed = np.bincount(found.text, found.bracketed, minlength=len(texts))
    groups: dict[int, list[str]] = {}
    for number, count in enumerate(bracketed.tolist()):
        text = texts[number]
        if text.count("<") > count:  # else each bracket is one of a mention
            groups[number] = _BRACKETS.findall(_TAGS.sub("", text))
    names = sorted({name for part in groups.values() for name in part})
    mentions = matcher.find([f"<{name}>" for name in names])
    # A longer name in the brackets is a mention of nobody, unless the whole is.
    meant = set(mentions.text[mentions.bracketed > 0].tolist())
    stranger = {name for number, name in enumerate(names) if number not in meant and not _is_tag(name)}
    result: list[tuple[str, ...]] = [()] * len(texts)
    for number, part in groups.items():
        result[number] = tuple(dict.fromkeys(" ".join(name.split()) for name in part if name in stranger))
    return result


def _is_tag(name: str) -> bool:
    """Whether brackets hold a tag of a model's answer format, and not a name."""
    key = name.strip().strip("/\\").casefold()
    return key in RESERVED or not any(char.isalnum() for char in key)
