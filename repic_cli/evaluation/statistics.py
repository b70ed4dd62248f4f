"""Estimates with 95 % intervals from few samples.

A measure is a ratio of sums over samples: hits over chances. A picture with four names has four chances, and
its hits depend on each other (one bad picture loses all four), so intervals come from resampling *pictures*,
not names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Z95 = 1.959963984540054
DRAWS = 2000
_ROOM = 1 << 23  # numbers of draws that are in memory at a time


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval; `n` is the number of chances. All NaN when there was no chance."""

    value: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, float | None]:
        """JSON has no NaN: what cannot be told is null."""
        return {key: None if value != value else value for key, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Tally:
    """Hits and chances of one measure, one entry a sample. Samples without a chance count 0 and 0."""

    hits: tuple[float, ...]
    chances: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.hits) != len(self.chances):
            raise ValueError(f"{len(self.hits)} hits but {len(self.chances)} chances")

    @property
    def binary(self) -> bool:
        """Whether each sample is one chance that is hit or missed (or no chance)."""
        return all(c in (0, 1) for c in self.chances) and all(h in (0, 1) for h in self.hits)


def wilson(hits: float, n: float) -> tuple[float, float]:
    """The Wilson score interval of a proportion: sound for small `n` and near 0 and 1."""
    if n <= 0:
        return math.nan, math.nan
    share = hits / n
    square = Z95 * Z95
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = Z95 / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    # At the edges rounding would leave 1 - 1e-16, which reads as "not quite all".
    return (max(0.0, centre - half) if hits else 0.0), (min(1.0, centre + half) if hits < n else 1.0)


def estimate(tally: Tally, *, bounded: bool = True, seed: int = 0) -> Estimate:
    """Hits per chance and its interval: Wilson for yes/no samples, else a bootstrap over samples.

    `bounded` says that the value is a share (0 to 1). A share that is the same in all samples would get a bootstrap
    interval of no width, which claims too much: it gets the Wilson interval of the number of samples.
    """
    chances = sum(tally.chances)
    if not chances:
        return Estimate(math.nan, math.nan, math.nan, 0)
    hits = sum(tally.hits)
    n = round(chances)
    if bounded and tally.binary:
        return Estimate(hits / chances, *wilson(hits, chances), n)
    if bounded and all(hit * chances == chance * hits for hit, chance in zip(tally.hits, tally.chances, strict=True)):
        samples = sum(chance > 0 for chance in tally.chances)
        return Estimate(hits / chances, *wilson(samples * hits / chances, samples), n)
    return Estimate(hits / chances, *_percentiles(_resample([tally], seed)[0]), n)


def paired_change(before: Tally, after: Tally, *, seed: int = 0) -> Estimate:
    """The change between two models on the same samples, with a paired bootstrap interval.

    Raises ValueError when the two tallies are not of the same number of samples.
    """
    if len(before.hits) != len(after.hits):
        raise ValueError(f"not the same samples: {len(before.hits)} before, {len(after.hits)} after")
    if not sum(before.chances) or not sum(after.chances):
        return Estimate(math.nan, math.nan, math.nan, 0)
    change = sum(after.hits) / sum(after.chances) - sum(before.hits) / sum(before.chances)
    first, second = _resample([before, after], seed)
    return Estimate(change, *_percentiles(second - first), len(before.hits))


def shown(found: Estimate, scale: float = 100) -> str:
    """`91.4 [88.0, 94.1]`, in per cent; without an interval the value alone, and a dash without any chance."""
    if math.isnan(found.value):
        return "-"
    value = f"{scale * found.value:.1f}"
    return value if math.isnan(found.low) else f"{value} [{scale * found.low:.1f}, {scale * found.high:.1f}]"


def shown_change(found: Estimate, scale: float = 100) -> str:
    """`+4.2 [+1.0, +7.5]`, in points; a dash without any chance."""
    if math.isnan(found.value):
        return "-"
    # `+ 0.0` makes of a zero below zero one above.
    value, low, high = (round(scale * number, 1) + 0.0 for number in (found.value, found.low, found.high))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def over_seeds(values: Sequence[float]) -> Estimate:
    """The mean of a few runs with its Student t interval; a single run has no interval (NaN)."""
    n = len(values)
    if not n:
        return Estimate(math.nan, math.nan, math.nan, 0)
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, math.nan, math.nan, 1)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = _student95(n - 1) * deviation / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n)


def _student95(freedom: int) -> float:
    table = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
    return table[freedom - 1] if freedom <= len(table) else Z95 * (1 + 1 / freedom)


def _resample(tallies: Sequence[Tally], seed: int) -> list[NDArray[np.float64]]:
    """Ratios of bootstrap draws, the same draws of samples for all tallies: each (DRAWS,).

    Samples that are equal in all tallies are drawn as one with their number, which is the same bootstrap: of 100,000
    captions there are a few dozen kinds.
    """
    import numpy as np

    columns = np.array([column for tally in tallies for column in (tally.hits, tally.chances)], float)
    kinds, counts = np.unique(columns, axis=1, return_counts=True)  # (2 x tallies, K)
    generator = np.random.default_rng(seed)
    samples, part = int(counts.sum()), max(1, _ROOM // len(counts))
    sums = np.concatenate(
        [
            generator.multinomial(samples, counts / samples, size=min(part, DRAWS - start)) @ kinds.T
            for start in range(0, DRAWS, part)
        ]
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return [sums[:, 2 * k] / sums[:, 2 * k + 1] for k in range(len(tallies))]


def _percentiles(draws: NDArray[np.float64]) -> tuple[float, float]:
    import numpy as np

    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return float(low), float(high)
