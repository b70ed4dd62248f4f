"""How many records of which kind each source gives, and the records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

from repic_cli.data.building.making import Maker
from repic_cli.data.building.options import BuildOptions
from repic_cli.data.building.pictures import Pictures
from repic_cli.data.mixing import apportion
from repic_cli.data.sources.pool import Pool
from repic_plugins.errors import DataError
from repic_plugins.types import Record

T = TypeVar("T")
Shares = dict[str, dict[str, int]]
"""Kind -> source -> number of records."""

KINDS = ("oct", "ict-1", "ict-2", "ict-3", "vlt")
"""What is shared out: a task, with the number of names for ict."""
_EXAMPLES = 20


@dataclass
class Refused:
    """Pictures that could not be used: source -> how many, and the first of them in one line each."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, source: str, problem: str, skip_bad: bool) -> None:
        """Count a picture. Raises `DataError` unless such pictures are skipped."""
        if not skip_bad:
            raise DataError(f"{problem} (--skip-bad counts such pictures and goes on)")
        self.counts[source] += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(problem)


def shares(pools: Sequence[Pool], options: BuildOptions) -> Shares:
    """What each source is to give. The weights are followed as far as the sources reach."""
    limits = {kind: {pool.source: _capacity(pool, kind, options) for pool in pools} for kind in KINDS}
    most = {kind: sum(limits[kind].values()) for kind in KINDS}
    sizes = {size: weight for size, weight in options.references.items() if most[f"ict-{size}"]}
    tasks = {"oct": most["oct"], "vlt": most["vlt"], "ict": sum(most[f"ict-{size}"] for size in sizes)}
    by_kind = apportion(options.count, {task: weight for task, weight in options.mix.items() if tasks[task]}, tasks)
    names = apportion(by_kind.pop("ict", 0), sizes, {size: most[f"ict-{size}"] for size in sizes})
    by_kind |= {f"ict-{size}": count for size, count in names.items()}
    weights = {pool.source: options.share.get(pool.source, 1.0) for pool in pools}
    return {kind: apportion(by_kind.get(kind, 0), weights, limits[kind]) for kind in KINDS}


def _capacity(pool: Pool, kind: str, options: BuildOptions) -> int:
    if kind == "oct":  # each pair at most once for yes and once for no
        comparable = len({pair.identity for pair in pool.pairs}) > 1 or options.positives == 1
        return int(len(pool.pairs) / max(options.positives, 1 - options.positives)) if comparable else 0
    if kind == "ict-1":
        return len(pool.pairs)
    if kind == "vlt":
        return len(pool.regions)
    return sum(len(group.parts) >= int(kind[-1]) for group in pool.groups)


def compose(
    pools: Sequence[Pool],
    wanted: Mapping[str, Mapping[str, int]],
    options: BuildOptions,
    pictures: Pictures,
    refused: Refused,
) -> Iterator[Record]:
    """The records of `wanted` (see `shares`), source by source.

    Raises the `DataError` of a picture that cannot be used; with `skip_bad` it is put into `refused`, and another takes
    its place as long as there are.
    """
    for pool in pools:
        yield from _compose(
            pool, {kind: wanted[kind].get(pool.source, 0) for kind in KINDS}, options, pictures, refused
        )


def _compose(
    pool: Pool, counts: Mapping[str, int], options: BuildOptions, pictures: Pictures, refused: Refused
) -> Iterator[Record]:
    def bad(error: DataError) -> None:
        refused.add(pool.source, str(error), options.skip_bad)

    maker = Maker(pool, options, pictures, bad)
    yes = round(counts["oct"] * options.positives)
    # Each kind begins where the one before it ended, so that a picture comes again only when all have been used.
    return chain(
        maker.same(pool.pairs, yes),
        maker.other(_from(pool.pairs, yes), counts["oct"] - yes),
        maker.single(_from(pool.pairs, counts["oct"]), counts["ict-1"]),
        maker.multi(pool.groups, 3, counts["ict-3"]),
        maker.multi(_from(pool.groups, counts["ict-3"]), 2, counts["ict-2"]),
        maker.region(pool.regions, counts["vlt"]),
    )


def _from(items: Sequence[T], start: int) -> list[T]:
    """All items, beginning at `start` and going round."""
    start %= max(1, len(items))
    return [*items[start:], *items[:start]]
