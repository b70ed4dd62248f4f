"""From TRL's completions to rollouts, rewards and metrics.

TRL calls one function per reward and logs each by its name. Ours are columns of one batch: the first call scores the
whole batch with all rewards through `repic_plugins.scoring`, the others read their values.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from repic_cli.training.phases import Phases
from repic_plugins.scoring import BatchScores, BoundReward, OnError, score_batch, weighted_totals
from repic_plugins.types import BoxFrame, ImageRef, Rollout, Sample

LogMetric = Callable[[str, float], None]
Gather = Callable[[list[str]], list[str]]


def prompt_text(sample: Sample) -> str:
    """The words of a prompt, with `[image]` where a picture stands."""
    parts = []
    for message in sample.messages:
        content = message["content"]
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            parts.append("[image]\n" if part["type"] == "image" else part["text"])
    return "".join(parts)


class Scorer:
    """Scores each batch of completions once.

    `prompts[row]` is the sample of a dataset row. `frame` tells how boxes of a picture are written. `special` are the
    token ids that do not count as length. `gather` joins lists of all processes; None: there is one process.
    """

    def __init__(
        self,
        rewards: Sequence[BoundReward],
        prompts: Sequence[Sample],
        frame: Callable[[ImageRef], BoxFrame],
        *,
        special: Collection[int] = (),
        on_error: OnError = "stop",
        timeout: float = 60.0,
        phases: Phases | None = None,
        gather: Gather | None = None,
    ) -> None:
        self.rewards, self.prompts, self.frame = rewards, prompts, frame
        self.special, self.on_error, self.timeout = frozenset(special), on_error, timeout
        self.phases, self.gather = phases or Phases(), gather
        self.failures: Counter[str] = Counter()
        self.last: tuple[list[Rollout], BatchScores] | None = None
        self._ids: object = None

    def columns(self) -> list[Column]:
        """One reward function for TRL per reward, in order."""
        return [Column(self, index, reward.name) for index, reward in enumerate(self.rewards)]

    def batch(
        self, completions: Sequence[Any], ids: Sequence[Sequence[int]], rows: Sequence[int], log: LogMetric
    ) -> BatchScores:
        """The scores of a batch; computed when it is first asked for."""
        if self._ids is not ids or self.last is None:
            with self.phases.measure("score"):
                rollouts = [self._rollout(*row) for row in zip(completions, ids, rows, strict=True)]
                scores = score_batch(self.rewards, rollouts, on_error=self.on_error, timeout=self.timeout)
                scores = self._drop_elsewhere(rollouts, scores)
            self.failures += scores.failures
            # `ids` is kept, so that no other list can get its identity.
            self._ids, self.last = ids, (rollouts, scores)
            log_scores(rollouts, scores, log, dropped=self.on_error == "skip")
        return self.last[1]

    def _rollout(self, completion: Any, ids: Sequence[int], row: int) -> Rollout:
        sample = self.prompts[row]
        text = completion if isinstance(completion, str) else completion[0]["content"]
        return Rollout(
            sample_id=sample.id,
            task=sample.task,
            prompt=prompt_text(sample),
            completion=text,
            completion_tokens=sum(token not in self.special for token in ids),
            answer=sample.answer,
            images=sample.images,
            frame=self.frame(sample.images[-1]) if sample.images else None,
            meta=sample.meta,
        )

    def _drop_elsewhere(self, rollouts: Sequence[Rollout], scores: BatchScores) -> BatchScores:
        """A group that a reward failed on in another process is dropped here too: it may be spread over several."""
        if self.gather is None or self.on_error != "skip":
            return scores
        mine = sorted({rollout.sample_id for rollout, gone in zip(rollouts, scores.dropped, strict=True) if gone})
        everywhere = set(self.gather(mine))
        if everywhere == set(mine):
            return scores
        dropped, values = scores.dropped.copy(), scores.values.copy()
        for index, rollout in enumerate(rollouts):
            dropped[index] |= rollout.sample_id in everywhere
        values[dropped] = math.nan
        totals = weighted_totals(values, [reward.weight for reward in self.rewards])
        return BatchScores(scores.names, values, totals, dropped, scores.errors)


class Column:
    """The reward function that TRL calls for one reward; TRL logs it by `__name__`."""

    def __init__(self, scorer: Scorer, index: int, name: str) -> None:
        self.scorer, self.index = scorer, index
        self.__name__ = name

    def __call__(
        self,
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        row: Sequence[int],
        log_metric: LogMetric,
        **_: object,
    ) -> list[float | None]:
        """One value per completion; None where the reward does not apply."""
        scores = self.scorer.batch(completions, completion_ids, row, log_metric)
        return [None if math.isnan(value) else float(value) for value in scores.values[:, self.index]]


def log_scores(rollouts: Sequence[Rollout], scores: BatchScores, log: LogMetric, *, dropped: bool) -> None:
    """Log the mean total of each task, the mean of each reward on each task, and the share of dropped rollouts.

    Each value is logged by itself: TRL averages over values and processes, so that the mean is exact also when
    processes hold different numbers of a task.
    """
    for index, rollout in enumerate(rollouts):
        for key, value in task_values(rollout.task, scores, index).items():
            log(key, value)
        if dropped:
            log("groups/dropped", float(scores.dropped[index]))


def task_values(task: str, scores: BatchScores, index: int) -> Mapping[str, float]:
    """`tasks/<task>/mean` and `tasks/<task>/rewards/<reward>` of one rollout, without those that do not apply."""
    values = {f"tasks/{task}/mean": float(scores.totals[index])}
    for name, value in zip(scores.names, scores.values[index], strict=True):
        values[f"tasks/{task}/rewards/{name}"] = float(value)
    return {key: value for key, value in values.items() if not math.isnan(value)}
