"""Two systems on the same queries: paired bootstrap intervals of each change, and McNemar's test."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from repic_cli.evaluation.captioned.identity import identities
from repic_cli.evaluation.captioned.scores import PROTOCOLS, SCORES, Counts, Protocol, Scores
from repic_cli.evaluation.statistics import Estimate, Tally, paired_change
from repic_plugins.errors import DataError


@dataclass(frozen=True)
class McNemar:
    """Queries of which only the first system names all concepts, and only the second; the two-sided exact p."""

    only_first: int
    only_second: int
    p: float


@dataclass(frozen=True)
class Comparison:
    """The second system against the first on their common queries; `alone` are those of one of them, left out."""

    first: str
    second: str
    queries: int
    alone: tuple[int, int]
    changes: dict[tuple[Protocol, str], Estimate]
    mcnemar: dict[Protocol, McNemar]
    beyond: dict[str, Estimate]


def compare(first: Scores, second: Scores) -> Comparison:
    """Pair the rows by picture and the names that count, and compare. Raises `DataError` without a common query."""
    a, b = _pairs(first, second)
    if not len(a):
        raise DataError(
            f"{first.label} and {second.label} have no query in common (the same picture with the same names to count)"
        )
    changes, tests = {}, {}
    for protocol in PROTOCOLS:
        one, two = first.counts(protocol)[a], second.counts(protocol)[b]
        if first.unit == "picture":
            groups = np.unique(first.pictures[a], return_inverse=True)[1]
            changed = one.pooled(groups), two.pooled(groups)
        else:
            changed = one, two
        for score in SCORES:
            changes[protocol, score] = paired_change(changed[0].tally(score), changed[1].tally(score))
        tests[protocol] = mcnemar(_all_named(one), _all_named(two))
    beyond = {
        name: paired_change(_chosen(first.beyond[name], a), _chosen(second.beyond[name], b))
        for name in first.beyond
        if name in second.beyond
    }
    alone = (len(first.rows) - len(a), len(second.rows) - len(b))
    return Comparison(first.label, second.label, len(a), alone, changes, tests, beyond)


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """The exact test (binomial on the pairs that differ) for two boolean arrays (N,)."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    return McNemar(only_first, only_second, _sign_test(only_first, only_first + only_second))


def _sign_test(hits: int, n: int) -> float:
    """Two-sided exact p of so many hits in n tosses of a coin; 1 for none."""
    terms = (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(min(hits, n - hits) + 1))
    return min(1.0, 2 * math.fsum(math.exp(term - n * math.log(2)) for term in terms))


def _all_named(counts: Counts) -> np.ndarray:
    return (counts.slots > 0) & (counts.hits == counts.slots)


def _pairs(first: Scores, second: Scores) -> tuple[np.ndarray, np.ndarray]:
    """The row numbers of the common queries in both; the k-th of equal queries goes with the k-th."""
    ours, theirs = (identities(one.rows, lambda row: row.targets) for one in (first, second))
    pairs = [(number, theirs[query]) for query, number in ours.items() if query in theirs]
    found = np.array(pairs, np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _chosen(tally: Tally, rows: np.ndarray) -> Tally:
    hits, chances = np.asarray(tally.hits)[rows], np.asarray(tally.chances)[rows]
    return replace(tally, hits=tuple(hits.tolist()), chances=tuple(chances.tolist()))
