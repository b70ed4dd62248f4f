"""Check that a reward keeps its promises; for the tests of plugin authors and `repic plugins check`.

    from repic_plugins.testing import check_reward

    def test_haiku():
        check_reward(haiku, lines=3)

A reward must give one finite number or None per rollout, the same for the same rollout whatever else is in the batch
and wherever it stands there, and must leave the rollouts as they are. It goes through the same code as in training.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from repic_plugins.errors import OptionError, RewardError
from repic_plugins.examples import PlainImage, example_rollouts
from repic_plugins.options import convert_options
from repic_plugins.scoring import TIMEOUT, BoundReward, score_reward
from repic_plugins.text import clean
from repic_plugins.types import Rollout

__all__ = ["TOLERANCE", "Check", "PlainImage", "check_reward", "example_rollouts", "is_factory", "run_checks"]

TOLERANCE = 1e-6
"""How far two scores of one rollout may differ: a model in float32 may round differently by batch size."""


@dataclass(frozen=True)
class Check:
    """One check of a reward: what was tried, and what went wrong (empty: nothing)."""

    name: str
    fault: str = ""

    @property
    def passed(self) -> bool:
        return not self.fault


def check_reward(
    reward: Callable[..., Any],
    rollouts: Sequence[Rollout] | None = None,
    *,
    tasks: Iterable[str] | None = None,
    timeout: float = TIMEOUT,
    **options: Any,
) -> list[float | None]:
    """Check a reward, or the factory of one with its `options`; the scores of `rollouts`.

    `rollouts` default to `example_rollouts()`; `tasks` is the routing under which it is registered. Raises
    `AssertionError` that says which promise was broken.
    """
    bound = _bind(reward, tasks, options)
    examples = list(example_rollouts() if rollouts is None else rollouts)
    try:
        for check in run_checks(bound, examples, timeout=timeout):
            if not check.passed:
                raise AssertionError(f"{check.name}: {check.fault}")
        return score_reward(bound, examples, timeout=timeout)
    finally:
        bound.close()


def is_factory(reward: Callable[..., Any]) -> bool:
    """Whether this makes a reward (takes options by name) rather than is one (takes rollouts by position)."""
    parameters = inspect.signature(reward).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return not any(p.kind in positional and p.default is p.empty for p in parameters)


def _bind(reward: Callable[..., Any], tasks: Iterable[str] | None, options: Mapping[str, Any]) -> BoundReward:
    name = getattr(reward, "__name__", type(reward).__name__)
    routes = None if tasks is None else frozenset(tasks)
    if not is_factory(reward):
        if options:
            raise OptionError(f"{name} is a reward, not a factory: it takes no options")
        return BoundReward(name, 1.0, reward, routes)
    return BoundReward(name, 1.0, reward(**convert_options(reward, options, f"reward {name}")), routes)


def run_checks(reward: BoundReward, rollouts: Sequence[Rollout], *, timeout: float = TIMEOUT) -> Iterator[Check]:
    """All checks, one after the other; after the first (`scores`) has failed there are no others."""
    routed = [rollout for rollout in rollouts if reward.applies(rollout.task)]
    if not routed:
        tasks = ", ".join(sorted(reward.tasks or ()))
        yield Check("scores", f"there is no rollout of its tasks ({tasks}) to check it with")
        return
    before = copy.deepcopy([(rollout.meta, rollout.answer) for rollout in routed])
    try:
        scores = score_reward(reward, routed, timeout=timeout)
    except RewardError as error:
        yield Check("scores", str(error))
        return
    yield Check("scores", _any_score(scores))
    changed = before != [(rollout.meta, rollout.answer) for rollout in routed]
    yield Check("leaves rollouts alone", "it changed meta or answer of a rollout" if changed else "")
    count = len(routed)
    backwards = list(reversed(range(count)))
    half = list(range(0, count, 2))
    for name, batches in {
        "same scores again": [list(range(count))],
        "order does not matter": [backwards],
        "batch does not matter": [[row] for row in range(count)],
        "neighbours do not matter": [half, [row for row in range(count) if row not in half] or half],
    }.items():
        yield Check(name, _difference(reward, routed, scores, batches, timeout))


def _any_score(scores: Sequence[float | None]) -> str:
    return "" if any(score is not None for score in scores) else "it gave None for every rollout of its tasks"


def _difference(
    reward: BoundReward,
    rollouts: Sequence[Rollout],
    scores: Sequence[float | None],
    batches: Sequence[Sequence[int]],
    timeout: float,
) -> str:
    """What differs from `scores` when the rollouts are scored in these batches of rows; empty when nothing does."""
    for rows in batches:
        batch = [rollouts[row] for row in rows]
        try:
            again = score_reward(reward, batch, timeout=timeout)
        except RewardError as error:
            return str(error)
        for row, score in zip(rows, again, strict=True):
            if not _same(score, scores[row]):
                sample = clean(rollouts[row].sample_id, 60)
                return f"sample {sample} has {_show(score)} in a batch of {len(rows)}, {_show(scores[row])} before"
    return ""


def _same(left: float | None, right: float | None) -> bool:
    if left is None or right is None:
        return left is right
    return abs(left - right) <= TOLERANCE * max(1.0, abs(left), abs(right))


def _show(score: float | None) -> str:
    return "None" if score is None else f"{score:g}"
