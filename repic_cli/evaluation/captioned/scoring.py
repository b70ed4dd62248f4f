"""Score several files at once, and compare them: what `repic eval score` does."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from repic_cli.evaluation.captioned.compare import Comparison, compare
from repic_cli.evaluation.captioned.known import KnownConcept, known_concepts, read_known
from repic_cli.evaluation.captioned.paper import Case
from repic_cli.evaluation.captioned.rows import CaptionSet, read_captions
from repic_cli.evaluation.captioned.scores import Scores, Unit, score_captions, score_retrieval


@dataclass(frozen=True)
class Rules:
    """How files are scored.

    `case` None: as the published script for so many concepts does. `whole_pool`: the paper's rule looks for all keys
    of the databases, not only for those of the file. `unit`: what intervals resample.
    """

    case: Case | None = None
    whole_pool: bool = False
    unit: Unit = "query"


def score_files(
    files: Sequence[Path], databases: Sequence[Path] = (), rules: Rules | None = None, skip_bad: bool = False
) -> list[Scores]:
    """Scores of each file, and behind them those of what was retrieved for it. Raises `DataError`, `DatabaseError`."""
    with _without_collector():
        database = [concept for path in databases for concept in read_known(path)]
        sets = [read_captions(path, skip_bad) for path in files]
        return score_sets(sets, database, rules)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Rows are a million small objects without a cycle: looking for one, again and again, takes a sixth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def score_sets(
    sets: Sequence[CaptionSet], database: Sequence[KnownConcept] = (), rules: Rules | None = None
) -> list[Scores]:
    """The same for captions that were read."""
    rules = rules or Rules()
    pool = {concept.key for concept in database} if rules.whole_pool else None
    scored = []
    for label, captions in zip(labels([one.path for one in sets]), sets, strict=True):
        # Each file has its own names beside those of the database: files of other concepts must not change its score.
        known = known_concepts(captions.rows, [*database, *captions.database])
        scores = score_captions(label, captions, known, case=rules.case, pool=pool, unit=rules.unit)
        retrieved = score_retrieval(scores)
        scored += [scores] if retrieved is None else [scores, retrieved]
    return scored


def compare_files(scored: Iterable[Scores]) -> list[Comparison]:
    """Each file but the first against the first, on their common queries. Raises `DataError` where there is none."""
    first, *others = [scores for scores in scored if scores.what == "captions"]
    return [compare(first, other) for other in others]


def labels(paths: Sequence[Path]) -> list[str]:
    """A short name for each file: its own without the ending, with as many folders as tell the files apart."""
    absolute = [path.absolute().with_suffix("") for path in paths]
    for size in range(1, max(len(path.parts) for path in absolute) + 1):
        names = ["/".join(path.parts[-size:]) for path in absolute]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
