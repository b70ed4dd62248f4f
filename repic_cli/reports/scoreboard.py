"""Scores laid out for the HTML report: cards for the headline, rows with a small drawing for the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from repic_cli.evaluation.scores import KINDS, Measure, WorldScores, change
from repic_cli.evaluation.statistics import Estimate
from repic_cli.evaluation.tables import names_of, show, show_change, verdict

CARDS = ("recall_1", "recall_2", "recall_4")


@dataclass(frozen=True, slots=True)
class Card:
    """A headline figure."""

    label: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A value with its interval, in per cent of the drawing's width."""

    value: float
    low: float
    high: float
    kind: str


@dataclass(frozen=True, slots=True)
class Row:
    """One measure as text and as marks. `chance` is where guessing would be, or None."""

    label: str
    cells: tuple[str, ...]
    change: str
    verdict: str
    n: int
    marks: tuple[Mark, ...]
    chance: float | None


@dataclass(frozen=True, slots=True)
class Group:
    """Rows under one heading."""

    title: str
    rows: tuple[Row, ...]


def cards(before: WorldScores | None, after: WorldScores | None) -> list[Card]:
    """Name recall before and after in whole per cent."""
    if before is None:
        return []
    names = [name for name in CARDS if name in before.measures]
    return [Card(KINDS[name].label, _percent(before[name]), _percent(after[name]) if after else "") for name in names]


def scoreboard(before: WorldScores | None, after: WorldScores | None) -> list[Group]:
    """All measures by group."""
    if before is None:
        return []
    both = [before] if after is None else [before, after]
    groups: dict[str, list[Row]] = {}
    for name in names_of(both):
        groups.setdefault(KINDS[name].group, []).append(_row(name, both))
    return [Group(title, tuple(rows)) for title, rows in groups.items()]


def _row(name: str, both: Sequence[WorldScores]) -> Row:
    kind = KINDS[name]
    estimates = [one[name] for one in both]
    moved = change(both[0], both[1], name) if len(both) == 2 else None
    chances = [measure.chance for measure in _measures(name, both) if measure.chance is not None]
    marks = () if kind.unit else tuple(_marks(estimates))
    return Row(
        label=kind.label + (f" ({kind.unit})" if kind.unit else ""),
        cells=tuple(show(one, kind) for one in estimates),
        change=show_change(moved, kind) if moved else "",
        verdict=verdict(moved, kind) if moved else "",
        n=estimates[-1].n,
        marks=marks,
        chance=100 * chances[-1] if chances else None,
    )


def _measures(name: str, both: Sequence[WorldScores]) -> list[Measure]:
    return [one.measures[name] for one in both]


def _marks(estimates: Sequence[Estimate]) -> list[Mark]:
    names = ("before", "after") if len(estimates) == 2 else ("after",)
    return [
        Mark(100 * one.value, 100 * one.low, 100 * one.high, which)
        for one, which in zip(estimates, names, strict=True)
        if not math.isnan(one.value)
    ]


def _percent(estimate: Estimate) -> str:
    return "-" if math.isnan(estimate.value) else f"{100 * estimate.value:.0f}"
