"""What a set of scored rollouts says about its rewards, before any training: `repic rewards score`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from repic_plugins.scoring import BatchScores
from repic_plugins.types import Rollout

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOTAL = "total"
EVERY_TASK = "all"


@dataclass(frozen=True)
class Summary:
    """One reward (or the weighted total) on one task (or on all).

    `count` rollouts have a value. `flat_groups` is the share of groups of two or more rollouts whose values are all
    equal, from which GRPO learns nothing; None where there are no such groups.
    """

    reward: str
    task: str
    count: int
    mean: float
    std: float
    min: float
    max: float
    flat_groups: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def summarise(scores: BatchScores, rollouts: Sequence[Rollout]) -> list[Summary]:
    """Per reward and for the total: over all tasks, and by task where there are several. Nothing without a value."""
    import numpy as np

    tasks = sorted({rollout.task for rollout in rollouts})
    task_of = np.array([rollout.task for rollout in rollouts])
    group_of = np.array([rollout.sample_id for rollout in rollouts])
    columns = {name: scores.values[:, column] for column, name in enumerate(scores.names)}
    summaries = []
    for name, values in {**columns, TOTAL: scores.totals}.items():
        for task in [EVERY_TASK, *tasks] if len(tasks) > 1 else tasks:
            chosen = ~np.isnan(values) & ((task_of == task) | (task == EVERY_TASK))
            if chosen.any():
                summaries.append(_summary(name, task, values[chosen], group_of[chosen]))
    return summaries


def _summary(name: str, task: str, values: NDArray[np.float64], groups: NDArray[np.str_]) -> Summary:
    import numpy as np

    _, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    low = np.full(len(sizes), np.inf)
    high = np.full(len(sizes), -np.inf)
    np.minimum.at(low, index, values)
    np.maximum.at(high, index, values)
    flat = (high - low < 1e-9)[sizes > 1]
    share = float(flat.mean()) if flat.size else None
    mean, std, least, most = map(float, (values.mean(), values.std(), values.min(), values.max()))
    return Summary(name, task, len(values), mean, std, least, most, share)


def scored_rows(scores: BatchScores, rollouts: Sequence[Rollout]) -> list[dict[str, Any]]:
    """One JSON object per rollout: its id and task, each reward's value (None: not applicable) and the total."""
    import numpy as np

    def plain(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    return [
        {
            "sample_id": rollout.sample_id,
            "task": rollout.task,
            "scores": {name: plain(scores.values[row, column]) for column, name in enumerate(scores.names)},
            "total": plain(scores.totals[row]),
            "dropped": bool(scores.dropped[row]),
        }
        for row, rollout in enumerate(rollouts)
    ]
