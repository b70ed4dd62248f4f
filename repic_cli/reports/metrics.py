"""Read `metrics.jsonl` of a run folder into series."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repic_plugins.errors import DataError

REWARD = re.compile(r"rewards?/(?P<name>[^/]+)(?:/mean)?")
TASK = re.compile(r"tasks?/(?P<name>[^/]+)(?:/(?:mean|reward))?")
SINGLE = {
    "kl": ("kl",),
    "length": ("completions/mean_length", "completion_length", "length"),
    "all_equal": ("frac_reward_zero_std", "all_equal", "groups/all_equal"),
    "entropy": ("entropy",),
}


@dataclass(slots=True)
class Series:
    """Values over steps; steps at which the metric has no value are left out."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Metrics:
    """What was found in a file: every series by its key, and those of rewards and tasks by name."""

    all: Mapping[str, Series]
    rewards: Mapping[str, Series]
    tasks: Mapping[str, Series]

    def one(self, what: str) -> dict[str, Series]:
        """The series `kl`, `length`, `all_equal` or `entropy`, or nothing."""
        key = next((key for key in SINGLE[what] if key in self.all), None)
        return {what: self.all[key]} if key else {}

    @staticmethod
    def within_unit(lines: Mapping[str, Series]) -> bool:
        """Whether all values are between 0 and 1."""
        return all(0 <= value <= 1 for series in lines.values() for value in series.values)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file. A last line that a killed run left incomplete is skipped.

    Raises `DataError` when the file is missing or another line is broken.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read the metrics: {error}") from error
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise DataError(f"{path}: line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}: line {number} is not a JSON object")
        rows.append(row)
    return rows


def read_metrics(path: Path) -> Metrics:
    """All number series of a metrics file. Raises `DataError` when it has no step with a number."""
    series: dict[str, Series] = {}
    for row in read_rows(path):
        step = row.get("step")
        if not isinstance(step, int):
            continue
        for key, value in row.items():
            if key != "step" and isinstance(value, int | float) and math.isfinite(value):
                one = series.setdefault(key, Series())
                one.steps.append(step)
                one.values.append(float(value))
    if not series:
        raise DataError(f"{path}: no metrics in it yet (each line needs a step and numbers)")
    return Metrics(series, _named(series, REWARD), _named(series, TASK))


def _named(series: Mapping[str, Series], pattern: re.Pattern[str]) -> dict[str, Series]:
    return {match["name"]: one for key, one in series.items() if (match := pattern.fullmatch(key))}
