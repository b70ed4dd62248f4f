"""Score a batch of rollouts with the selected rewards: the one path of trainer, replay and `check_reward`.

What is promised to everybody: a reward sees only rollouts of its tasks; None means that a rollout has no value
from it, which is not a 0; NaN, a wrong length, an exception or a time-out is a `RewardError` that names reward,
distribution and sample, and never becomes a score.
"""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from repic_plugins.errors import OptionError, RewardError
from repic_plugins.text import clean, reason
from repic_plugins.types import EMPTY, Reward, Rollout

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OnError = Literal["stop", "skip"]
TIMEOUT = 60.0
"""Seconds that an async reward has for one batch, unless the caller says otherwise."""


@dataclass(frozen=True)
class BoundReward:
    """A reward as selected for a run: built, weighted and routed. `tasks` None: it scores all tasks."""

    name: str
    weight: float
    reward: Reward
    tasks: frozenset[str] | None = None
    distribution: str = ""
    version: str = ""
    options: Mapping[str, Any] = field(default_factory=lambda: EMPTY)

    def applies(self, task: str) -> bool:
        """Whether rollouts of this task are routed to the reward."""
        return self.tasks is None or task in self.tasks

    def error(self, what: str, rollout: Rollout) -> RewardError:
        """A `RewardError` about this reward at this rollout."""
        source = f" ({self.distribution} {self.version})".replace(" )", ")") if self.distribution else ""
        sample = clean(rollout.sample_id, 120)
        return RewardError(
            f"reward {self.name}{source} {what} at sample {sample}",
            reward=self.name,
            distribution=self.distribution,
            sample_id=rollout.sample_id,
        )

    def close(self) -> None:
        """Let the reward free what it holds (a model, a connection), if it offers `close()`."""
        close = getattr(self.reward, "close", None)
        if callable(close):
            result = close()
            if inspect.isawaitable(result):
                from repic_plugins.background import start, wait

                wait(start(result, TIMEOUT), TIMEOUT)


@dataclass(frozen=True)
class BatchScores:
    """Scores of N rollouts by R rewards.

    `values` (N, R): NaN where a reward does not apply or its group was dropped. `totals` (N,): weighted sums
    over what applies; NaN where no reward of non-zero weight gave a value. `dropped` (N,): rollouts whose group
    lost a score to a failing reward (`on_error="skip"`); they have no values. `errors`: those failures.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    totals: NDArray[np.float64]
    dropped: NDArray[np.bool_]
    errors: tuple[RewardError, ...] = ()

    @property
    def failures(self) -> Counter[str]:
        """Number of failures by reward name."""
        return Counter(error.reward for error in self.errors)

    def column(self, name: str) -> NDArray[np.float64]:
        """The (N,) values of one reward."""
        return self.values[:, self.names.index(name)]


def score_batch(
    rewards: Sequence[BoundReward],
    rollouts: Sequence[Rollout],
    *,
    on_error: OnError = "stop",
    timeout: float = TIMEOUT,
) -> BatchScores:
    """Score rollouts with all rewards; a group is the rollouts of one `sample_id`.

    `on_error="stop"` raises the first `RewardError`; `"skip"` drops the groups it concerns from every reward,
    because an advantage over part of a group would be wrong, and reports them.
    """
    import numpy as np

    values = np.full((len(rollouts), len(rewards)), np.nan)  # (N, R)
    errors: list[RewardError] = []
    lost: set[str] = set()
    for column, outcome in enumerate(_score_all(rewards, rollouts, timeout)):
        if outcome.errors and on_error == "stop":
            raise outcome.errors[0] from outcome.errors[0].__cause__
        errors += outcome.errors
        lost |= outcome.lost
        for row, value in outcome.values.items():
            values[row, column] = np.nan if value is None else value
    dropped = np.array([rollout.sample_id in lost for rollout in rollouts], dtype=bool)
    values[dropped] = np.nan
    names = tuple(reward.name for reward in rewards)
    return BatchScores(names, values, weighted_totals(values, [r.weight for r in rewards]), dropped, tuple(errors))


def weighted_totals(values: NDArray[np.float64], weights: Sequence[float]) -> NDArray[np.float64]:
    """(N, R) values with NaN for 'not applicable' and R weights -> (N,) sums; NaN where nothing weighted applies."""
    import numpy as np

    weight = np.asarray(weights, dtype=np.float64)
    counted = ~np.isnan(values) & (weight != 0)
    totals = np.where(counted, values * weight, 0.0).sum(axis=1)
    return np.where(counted.any(axis=1), totals, np.nan)


def score_reward(reward: BoundReward, rollouts: Sequence[Rollout], *, timeout: float = TIMEOUT) -> list[float | None]:
    """One reward's checked values, in order; None where it does not apply. Raises `RewardError`."""
    (outcome,) = _score_all([reward], rollouts, timeout)
    if outcome.errors:
        raise outcome.errors[0] from outcome.errors[0].__cause__
    return [outcome.values.get(row) for row in range(len(rollouts))]


def check_routing(rewards: Sequence[BoundReward], tasks: Iterable[str]) -> None:
    """Raise `OptionError` when a task of the data would train on no reward at all."""
    for task in sorted(set(tasks)):
        if not any(reward.applies(task) and reward.weight != 0 for reward in rewards):
            chosen = ", ".join(reward.name for reward in rewards) or "none"
            raise OptionError(
                f"no selected reward of non-zero weight scores task {clean(task, 80)!r} (selected: {chosen}); "
                "add one with --rewards, or leave the task out of the data"
            )


def close_rewards(rewards: Iterable[BoundReward]) -> None:
    """Close all rewards, also when closing one fails; then raise the first failure."""
    first: Exception | None = None
    for reward in rewards:
        try:
            reward.close()
        except Exception as error:
            first = first or error
    if first is not None:
        raise first


@dataclass
class _Outcome:
    """What one reward gave: values by row; errors, and the sample ids that lost their score to them."""

    values: dict[int, float | None] = field(default_factory=dict)
    errors: list[RewardError] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)

    def fail(self, error: RewardError, rollouts: Iterable[Rollout]) -> None:
        self.errors.append(error)
        self.lost |= {rollout.sample_id for rollout in rollouts}


def _score_all(rewards: Sequence[BoundReward], rollouts: Sequence[Rollout], timeout: float) -> list[_Outcome]:
    """Call every reward on its rollouts: async ones run together while the others compute."""
    from repic_plugins.background import OutOfTime, start, wait

    rows = [[row for row, rollout in enumerate(rollouts) if reward.applies(rollout.task)] for reward in rewards]
    outcomes = [_Outcome() for _ in rewards]
    pending: list[tuple[int, Any]] = []
    for index, reward in enumerate(rewards):
        routed = [rollouts[row] for row in rows[index]]
        if not routed:
            continue
        try:
            result = _listed(reward.reward(routed))
        except Exception as error:
            _rescue(reward, rows[index], rollouts, error, outcomes[index])
            continue
        if inspect.isawaitable(result):
            pending.append((index, start(result, timeout)))
        else:
            _take(reward, rows[index], rollouts, result, outcomes[index])
    for index, future in pending:
        reward, routed = rewards[index], [rollouts[row] for row in rows[index]]
        try:
            result = _listed(wait(future, timeout))
        except OutOfTime as error:
            failure = reward.error(f"took longer than {timeout:g} s for {len(routed)} rollouts, the first", routed[0])
            outcomes[index].fail(_caused(failure, error), routed)
        except Exception as error:
            failure = reward.error(f"raised {reason(error)} in a batch of {len(routed)} that starts", routed[0])
            outcomes[index].fail(_caused(failure, error), routed)
        else:
            _take(reward, rows[index], rollouts, result, outcomes[index])
    return outcomes


def _rescue(
    reward: BoundReward, rows: Sequence[int], rollouts: Sequence[Rollout], error: Exception, outcome: _Outcome
) -> None:
    """After an exception: score one by one, to name the sample that raises and to keep the others' values.

    Rewards are pure and score each rollout by itself, so this gives the values the batch would have given.
    """
    for row in rows:
        rollout = rollouts[row]
        try:
            result = _listed(reward.reward([rollout]))
            if inspect.isawaitable(result):
                getattr(result, "close", int)()  # else Python warns that nobody awaited it
                raise TypeError("its result is awaitable for some batches only")
        except Exception as again:
            outcome.fail(_caused(reward.error(f"raised {reason(again)}", rollout), again), [rollout])
        else:
            _take(reward, [row], rollouts, result, outcome)
    if not outcome.errors:
        routed = [rollouts[row] for row in rows]
        what = f"raised {reason(error)} for {len(rows)} rollouts, though not one by one; the first is"
        outcome.fail(_caused(reward.error(what, routed[0]), error), routed)


def _listed(result: Any) -> Any:
    """What a reward returned as a list, if it is a sequence of scores; a generator is used up here."""
    if isinstance(result, (str, bytes, Mapping)) or not isinstance(result, Iterable):
        return result
    return list(result)


def _take(
    reward: BoundReward, rows: Sequence[int], rollouts: Sequence[Rollout], result: object, outcome: _Outcome
) -> None:
    """Check what a reward returned and keep it."""
    routed = [rollouts[row] for row in rows]
    if not isinstance(result, list):
        outcome.fail(reward.error(f"returned {type(result).__name__}, not one number per rollout,", routed[0]), routed)
        return
    if len(result) != len(routed):
        what = f"returned {len(result)} scores for {len(routed)} rollouts, the first"
        outcome.fail(reward.error(what, routed[0]), routed)
        return
    for row, rollout, score in zip(rows, routed, result, strict=True):
        try:
            outcome.values[row] = _number(score)
        except ValueError:
            outcome.fail(
                reward.error(f"returned {clean(repr(score), 60)}, not a finite number or None,", rollout), [rollout]
            )


def _number(score: Any) -> float | None:
    """A finite float from what a reward gave (also a NumPy or torch scalar), or None; else `ValueError`."""
    if score is None:
        return None
    if isinstance(score, (str, bytes)):
        raise ValueError
    try:
        value = float(score)
    except TypeError as error:
        raise ValueError from error
    if not math.isfinite(value):
        raise ValueError
    return value


def _caused(error: RewardError, cause: Exception) -> RewardError:
    error.__cause__ = cause
    return error
