"""What the two orders of a pair say together, and what all pairs say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from repic_cli.evaluation.judging.parsing import Reading
from repic_cli.evaluation.statistics import Estimate, Tally, estimate

Outcome = Reading | Literal["failed"]
"""What became of one request; `failed`: no reply came."""
Verdict = Literal["a", "b", "tie", "refused", "unreadable", "failed"]


@dataclass(frozen=True)
class Judged:
    """A pair: `ab` is what came of the order in which A stood first, `ba` of the other. `same`: equal captions."""

    ab: Outcome
    ba: Outcome
    length_a: int
    length_b: int
    same: bool = False

    @property
    def choices(self) -> tuple[str, str]:
        """Both outcomes with the systems in place of the places."""
        return (
            {"first": "a", "second": "b"}.get(self.ab, self.ab),
            {"first": "b", "second": "a"}.get(self.ba, self.ba),
        )

    @property
    def verdict(self) -> Verdict:
        """The choice of both orders; a tie when they differ; else why there is none."""
        for reason in ("failed", "refused", "unreadable"):
            if reason in self.choices:
                return reason
        first, second = self.choices
        return first if first == second else "tie"  # type: ignore[return-value]

    @property
    def order_dependent(self) -> bool:
        """Whether both orders gave a choice, and not the same."""
        return self.verdict == "tie" and self.choices[0] != self.choices[1]


@dataclass(frozen=True)
class Summary:
    """All pairs. Shares are 0 to 1 with 95 % intervals, NaN where nothing can be said."""

    verdicts: dict[str, int]
    """a, b, tie, refused, unreadable, failed"""
    order_dependent: int
    """of the ties"""
    same: int
    """of the ties: equal captions, which nobody was asked about"""
    win_rate_a: Estimate
    """(pairs for A + half of the ties) / pairs with a verdict"""
    win_rate_b: Estimate
    decided_a: Estimate
    """pairs for A / pairs for A or B"""
    replies: dict[str, int]
    """first, second, tie, refused, unreadable, failed: replies by the place that they chose"""
    first_chosen: Estimate
    """replies for the caption that stood first / replies for either: one half without position bias"""
    longer_chosen: Estimate
    """pairs for the longer caption / pairs for A or B, of those that differ in length"""

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with null for NaN."""
        return {n: v.to_json() if isinstance(v, Estimate) else v for n, v in vars(self).items()}


def summarise(pairs: Sequence[Judged], seed: int = 0) -> Summary:
    """Count. See `estimate` for the intervals."""
    found = Counter(pair.verdict for pair in pairs)
    points = [{"a": 1.0, "tie": 0.5, "b": 0.0}[p.verdict] for p in pairs if p.verdict in ("a", "b", "tie")]
    asked = [(pair.ab, pair.ba) for pair in pairs if not pair.same]
    outcomes = Counter(outcome for both in asked for outcome in both)
    first = [both.count("first") for both in asked]
    either = [both.count("first") + both.count("second") for both in asked]
    won = [pair for pair in pairs if pair.verdict in ("a", "b")]
    uneven = [pair for pair in won if pair.length_a != pair.length_b]
    longer = [(pair.length_a > pair.length_b) == (pair.verdict == "a") for pair in uneven]
    return Summary(
        {name: found[name] for name in ("a", "b", "tie", "refused", "unreadable", "failed")},
        sum(pair.order_dependent for pair in pairs),
        sum(pair.same for pair in pairs),
        _mean(points, seed),
        _mean([1 - point for point in points], seed),
        _mean([float(pair.verdict == "a") for pair in won], seed),
        {name: outcomes[name] for name in ("first", "second", "tie", "refused", "unreadable", "failed")},
        estimate(Tally(tuple(first), tuple(either)), seed=seed),
        _mean([float(one) for one in longer], seed),
    )


def _mean(points: Sequence[float], seed: int) -> Estimate:
    """The mean of points from 0 to 1, one a pair."""
    return estimate(Tally(tuple(points), (1.0,) * len(points)), seed=seed)
