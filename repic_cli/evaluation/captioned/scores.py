"""The scores of one file of captions: both protocols, and what neither of them has."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from repic_cli.evaluation.captioned.beyond import Lengths, info_repeats, lengths
from repic_cli.evaluation.captioned.known import Known
from repic_cli.evaluation.captioned.paper import Case, PaperRule, Slot, paper_rule
from repic_cli.evaluation.captioned.rows import CaptionRow, CaptionSet
from repic_cli.evaluation.captioned.strict import StrictScores, score_mentions, strict_scores
from repic_cli.evaluation.statistics import Estimate, Tally, estimate

Protocol = Literal["paper", "strict"]
Unit = Literal["query", "picture"]
PROTOCOLS: tuple[Protocol, ...] = ("paper", "strict")
SCORES = ("precision", "recall", "f1")
BEYOND: Mapping[str, str] = {
    "exact": "captions with all names and no wrong one",
    "wrong": "captions with a name of the database that is not theirs",
    "invented": "captions with a bracketed name that no concept has",
    "open_set": "captions with a name though no concept is there",
    "info": "captions that repeat the info word for word",
    "empty": "empty captions",
}
"""What neither protocol has, with what it says; each is a share of captions."""


@dataclass(frozen=True)
class Counts:
    """Hits, what precision divides them by, and slots of each caption: (N,) each."""

    hits: np.ndarray
    named: np.ndarray
    slots: np.ndarray

    def tally(self, score: str) -> Tally:
        """The sums whose ratio the score is, caption by caption. F1 is 2 hits / (named + slots)."""
        over = {"precision": self.named, "recall": self.slots, "f1": self.named + self.slots}[score]
        return tally(2 * self.hits if score == "f1" else self.hits, over)

    def __getitem__(self, rows: np.ndarray) -> Counts:
        return Counts(self.hits[rows], self.named[rows], self.slots[rows])

    def pooled(self, groups: np.ndarray) -> Counts:
        """The sums of each group; `groups` (N,) numbers them from 0."""
        return Counts(*(np.bincount(groups, part) for part in (self.hits, self.named, self.slots)))


@dataclass(frozen=True)
class Scores:
    """All scores of one file, or of what was retrieved for its queries (`what` says so).

    `paper` and `strict` have the outcome of each caption; `beyond` the tallies of `BEYOND` that apply.
    """

    label: str
    captions: CaptionSet
    rule: PaperRule
    slots: tuple[tuple[Slot, ...], ...]
    paper: Counts
    strict: Counts
    mentions: StrictScores
    beyond: Mapping[str, Tally]
    lengths: Lengths | None
    pictures: np.ndarray  # (N,) int64: the number of each caption's picture
    unit: Unit = "query"
    what: str = "captions"

    @property
    def rows(self) -> tuple[CaptionRow, ...]:
        return self.captions.rows

    def counts(self, protocol: Protocol) -> Counts:
        """The counts of one protocol, caption by caption."""
        return self.paper if protocol == "paper" else self.strict

    def estimate(self, protocol: Protocol, score: str) -> Estimate:
        """Precision, recall or F1 with its interval, from resampling queries or pictures.

        The paper's scores are 0 where there is nothing to divide by.
        """
        counts = self.counts(protocol)
        found = estimate((counts.pooled(self.pictures) if self.unit == "picture" else counts).tally(score))
        return Estimate(0.0, math.nan, math.nan, 0) if protocol == "paper" and math.isnan(found.value) else found

    def totals(self, protocol: Protocol) -> tuple[int, int, int]:
        """Hits, the denominator of precision, and slots."""
        counts = self.counts(protocol)
        return int(counts.hits.sum()), int(counts.named.sum()), int(counts.slots.sum())


def tally(hits: np.ndarray, chances: np.ndarray) -> Tally:
    """A tally from arrays (N,)."""
    return Tally(tuple(hits.tolist()), tuple(chances.tolist()))


def score_captions(
    label: str,
    captions: CaptionSet,
    known: Known,
    *,
    case: Case | None = None,
    pool: Collection[str] | None = None,
    unit: Unit = "query",
) -> Scores:
    """Score a file by both protocols. `case` and `pool` as for `paper_rule`; `unit` is what intervals resample."""
    rows = captions.rows
    rule = paper_rule(rows, case, pool)
    slots = tuple(rule.slots(row) for row in rows)
    mentions = strict_scores(rows, known)
    strict = Counts(mentions.hits, mentions.named, mentions.slots)
    return Scores(
        label=label,
        captions=captions,
        rule=rule,
        slots=slots,
        paper=paper_counts(slots),
        strict=_targeted(strict),
        mentions=mentions,
        beyond=_beyond(rows, mentions, known),
        lengths=lengths(rows),
        pictures=_numbered([row.image for row in rows]),
        unit=unit,
    )


def score_retrieval(scores: Scores) -> Scores | None:
    """What a captioner would get that named exactly what was retrieved: the paper's row `Retrieval (Top-2)`.

    None unless all rows say what was retrieved.
    """
    rows, known = scores.rows, scores.mentions.known
    if any(row.retrieved is None for row in rows) or not any(row.targets for row in rows):
        return None
    found = [[known.number(key) for key in row.retrieved or ()] for row in rows]
    text = np.repeat(np.arange(len(rows), dtype=np.int32), [len(part) for part in found])
    concept = np.array([number for part in found for number in part], np.int32)
    mentions = score_mentions(
        text, concept, [[known.number(key) for key in row.targets] for row in rows], known, [()] * len(rows)
    )
    rule = scores.rule
    slots = tuple(rule.judge(row.targets, {rule.folded(key) for key in row.retrieved or ()}) for row in rows)
    sizes = {len(part) for part in found}
    return Scores(
        label=scores.label,
        captions=scores.captions,
        rule=rule,
        slots=slots,
        paper=paper_counts(slots),
        strict=_targeted(Counts(mentions.hits, mentions.named, mentions.slots)),
        mentions=mentions,
        beyond={},
        lengths=None,
        pictures=scores.pictures,
        unit=scores.unit,
        what=f"retrieval ({'top' if len(sizes) == 1 else 'up to'} {max(sizes)})",
    )


def paper_counts(slots: Sequence[Sequence[Slot]]) -> Counts:
    """The counts of the paper's rule from the outcomes of slots."""
    hits = np.array([own.count("hit") for own in slots], np.int64)
    missed = np.array([own.count("miss_other") for own in slots], np.int64)
    return Counts(hits, hits + missed, np.array([len(own) for own in slots], np.int64))


def _targeted(counts: Counts) -> Counts:
    """Without the names in captions that should have none: they are the open set, which is counted apart."""
    return Counts(counts.hits, np.where(counts.slots > 0, counts.named, 0), counts.slots)


def _beyond(rows: Sequence[CaptionRow], mentions: StrictScores, known: Known) -> dict[str, Tally]:
    every = np.ones(len(rows), np.int64)
    asked = mentions.slots > 0
    invented = np.array([bool(names) for names in mentions.invented])
    exact = asked & (mentions.hits == mentions.slots) & (mentions.wrong == 0) & ~invented
    repeats, informed = info_repeats(rows, known)
    columns: dict[str, tuple[Any, Any]] = {
        "exact": (exact, asked),
        "wrong": (asked & (mentions.wrong > 0), asked),
        "invented": (invented, every),
        "open_set": (~asked & ((mentions.named > 0) | invented), ~asked),
        "info": (repeats, informed),
        "empty": (np.array([not row.caption.replace("</s>", "").strip() for row in rows]), every),
    }
    return {
        name: tally(np.asarray(hits, np.int64), np.asarray(chances, np.int64))
        for name, (hits, chances) in columns.items()
        if np.any(chances)
    }


def _numbered(values: Sequence[str]) -> np.ndarray:
    """The number of each value among the different ones, in order of appearance."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)
