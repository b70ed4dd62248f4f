"""The one path on which rollouts get scores: routing, None, failures, groups, async rewards."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from repic_plugins import background
from repic_plugins.errors import OptionError, RewardError
from repic_plugins.options import RewardSpec
from repic_plugins.scoring import (
    BoundReward,
    check_routing,
    close_rewards,
    score_batch,
    score_reward,
    weighted_totals,
)
from repic_plugins.types import Rollout


def rollout(sample_id="s1", task="ict", completion="a caption"):
    return Rollout(sample_id, task, "prompt", completion, len(completion.split()))


def lengths(rollouts):
    return [len(rollout.completion) for rollout in rollouts]


def bound(reward, name="r", weight=1.0, tasks=None):
    return BoundReward(name, weight, reward, None if tasks is None else frozenset(tasks), "repic-test", "1.2")


GROUPS = [rollout("a", completion="good"), rollout("a", completion="bad"), rollout("b", completion="fine")]


def test_rollouts_are_routed_by_task_and_order_is_kept():
    seen = []

    def spy(rollouts):
        seen.append([r.completion for r in rollouts])
        return lengths(rollouts)

    batch = [rollout(task="ict", completion="one"), rollout(task="oct", completion="no"), rollout(completion="three")]
    scores = score_batch([bound(spy, "only-ict", tasks=["ict"]), bound(lengths, "all", 0.5)], batch)
    assert seen == [["one", "three"]]
    np.testing.assert_array_equal(scores.values, [[3, 3], [np.nan, 2], [5, 5]])
    np.testing.assert_array_equal(scores.totals, [4.5, 1.0, 7.5])
    assert scores.names == ("only-ict", "all") and not scores.dropped.any() and not scores.errors


def test_a_reward_without_rollouts_is_not_called():
    def never(rollouts):
        raise AssertionError("called")

    scores = score_batch([bound(never, tasks=["vlt"])], [rollout()])
    assert np.isnan(scores.values).all() and np.isnan(scores.totals).all()
    assert score_batch([bound(lengths)], []).values.shape == (0, 1)
    assert score_batch([], [rollout()]).totals.shape == (1,)


def test_none_is_not_zero_and_weight_zero_is_logged_only():
    half = bound(lambda rollouts: [None if "bad" in r.completion else 1.0 for r in rollouts], "half", 2.0)
    logged = bound(lambda rollouts: [7.0] * len(rollouts), "logged", 0.0)
    scores = score_batch([half, logged], GROUPS)
    np.testing.assert_array_equal(scores.values, [[1, 7], [np.nan, 7], [1, 7]])
    np.testing.assert_array_equal(scores.totals, [2, np.nan, 2])
    assert score_reward(half, GROUPS) == [1.0, None, 1.0]


def test_negative_weights_are_penalties():
    np.testing.assert_array_equal(weighted_totals(np.array([[1.0, 3.0]]), [1.0, -0.5]), [-0.5])


@pytest.mark.parametrize(
    "returned",
    [(1.0, 2.0, 3.0), np.array([1, 2, 3]), [True, np.float32(2), 3], (float(k) for k in (1, 2, 3))],
    ids=["tuple", "array", "scalars", "generator"],
)
def test_any_sequence_of_numbers_is_taken(returned):
    assert score_reward(bound(lambda rollouts: returned), GROUPS) == [1.0, 2.0, 3.0]


def test_torch_tensors_are_taken():
    torch = pytest.importorskip("torch")
    assert score_reward(bound(lambda rollouts: torch.ones(len(rollouts))), GROUPS) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("name", "sample", "message"),
    [
        ("nan", "a", "returned nan, not a finite number or None, at sample a"),
        ("infinite", "a", "returned inf, not a finite number"),
        ("words", "a", "returned '0.5', not a finite number"),
        ("listed", "a", r"returned \[1.0\], not a finite number"),
        ("wrong_length", "a", "returned 2 scores for 3 rollouts, the first at sample a"),
        ("number", "a", "returned float, not one number per rollout, at sample a"),
        ("text", "a", "returned str, not one number per rollout"),
        ("raises", "a", "raised ZeroDivisionError: a bad completion at sample a"),
        ("raises_in_batches", "a", "raised RuntimeError: one at a time, please for 3 rollouts, though not one by one"),
        ("async_raises", "a", "raised TimeoutError: the judge does not answer in a batch of 3"),
    ],
)
def test_a_failing_reward_stops_with_reward_distribution_and_sample(install, name, sample, message):
    (reward,) = install("repic-faulty").build_rewards([RewardSpec(name)])
    with pytest.raises(RewardError, match=message) as caught:
        score_batch([bound(lengths), reward], GROUPS)
    error = caught.value
    assert (error.reward, error.distribution, error.sample_id) == (name, "repic-faulty", sample)
    assert str(error).startswith(f"reward {name} (repic-faulty 0.3.0) ") and "\n" not in str(error)
    assert error.exit_code == 4
    with pytest.raises(RewardError):
        score_reward(reward, GROUPS)


@pytest.mark.parametrize("name", ["nan", "infinite", "words", "raises"])
def test_skip_drops_the_whole_group_from_every_reward_and_counts(install, name):
    (reward,) = install("repic-faulty").build_rewards([RewardSpec(name)])
    scores = score_batch([bound(lengths, "kept"), reward], GROUPS, on_error="skip")
    np.testing.assert_array_equal(scores.dropped, [True, True, False])
    np.testing.assert_array_equal(scores.values, [[np.nan] * 2, [np.nan] * 2, [4, 1]])
    np.testing.assert_array_equal(scores.totals, [np.nan, np.nan, 5])
    assert scores.failures == {name: 1} and scores.errors[0].sample_id == "a"


@pytest.mark.parametrize("name", ["wrong_length", "number", "raises_in_batches", "async_raises"])
def test_skip_drops_all_when_no_sample_is_to_blame(install, name):
    (reward,) = install("repic-faulty").build_rewards([RewardSpec(name)])
    scores = score_batch([bound(lengths, "kept"), reward], GROUPS, on_error="skip")
    assert scores.dropped.all() and np.isnan(scores.values).all() and np.isnan(scores.totals).all()
    assert scores.failures == {name: 1}


def test_the_cause_is_kept_for_the_traceback(install):
    (reward,) = install("repic-faulty").build_rewards([RewardSpec("raises")])
    with pytest.raises(RewardError) as caught:
        score_batch([reward], GROUPS)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_generator_that_raises_is_an_exception_of_the_reward():
    def score(rollouts):
        for each in rollouts:
            yield 1 / (each.completion != "bad")

    with pytest.raises(RewardError, match="ZeroDivisionError"):
        score_reward(bound(score), GROUPS)


def test_ctrl_c_in_a_reward_is_not_a_reward_error():
    def score(rollouts):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_batch([bound(score)], GROUPS, on_error="skip")


def test_hostile_ids_and_messages_are_made_printable():
    def score(rollouts):
        raise ValueError("line\n\x1b[31mred")

    with pytest.raises(RewardError) as caught:
        score_reward(bound(score), [rollout("id\x1b[2J\nx")])
    assert str(caught.value) == "reward r (repic-test 1.2) raised ValueError: line red at sample id x"


def test_async_rewards_run_together_and_beside_the_others(install):
    registry = install("repic-haiku")
    pair = registry.build_rewards([RewardSpec("judge", options={"delay": 0.4})])
    pair += [replace(pair[0], name="second")]
    begin = time.perf_counter()
    scores = score_batch([*pair, bound(lengths)], [rollout(completion="A dog."), rollout(completion="A dog")])
    assert time.perf_counter() - begin < 0.75
    np.testing.assert_array_equal(scores.values[:, :2], [[1, 1], [0, 0]])


def test_async_rewards_keep_one_loop_and_work_inside_another(install):
    loops = []

    async def score(rollouts):
        loops.append((asyncio.get_running_loop(), threading.current_thread().name))
        return [1.0] * len(rollouts)

    async def outer():
        return score_reward(bound(score), GROUPS)

    assert score_reward(bound(score), GROUPS) == asyncio.run(outer()) == [1.0, 1.0, 1.0]
    assert loops[0] == loops[1] and loops[0][1] == "repic-async-rewards"


@pytest.mark.parametrize("name", ["slow", "blocking"])
def test_an_async_reward_has_a_time_out(install, monkeypatch, name):
    monkeypatch.setattr(background, "_GRACE", 0.1)
    (reward,) = install("repic-faulty").build_rewards([RewardSpec(name)])
    begin = time.perf_counter()
    with pytest.raises(RewardError, match=r"took longer than 0\.1 s for 3 rollouts, the first at sample a"):
        score_batch([reward], GROUPS, timeout=0.1)
    assert time.perf_counter() - begin < 2
    # A loop that is blocked is left behind; the next batch is served.
    (judge,) = install("repic-haiku").build_rewards([RewardSpec("judge")])
    assert score_reward(judge, GROUPS) == [0.0, 0.0, 0.0]


def test_a_reward_that_is_awaitable_only_sometimes_is_an_error():
    async def later(rollouts):
        return [1.0]

    def score(rollouts):
        if len(rollouts) > 1:
            raise RuntimeError("too many")
        return later(rollouts)

    with pytest.raises(RewardError, match="awaitable for some batches only"):
        score_reward(bound(score), GROUPS)


def test_tasks_that_no_reward_scores_are_an_error():
    rewards = [bound(lengths, "one", tasks=["ict"]), bound(lengths, "logged", 0.0)]
    check_routing(rewards, ["ict"])
    with pytest.raises(OptionError, match=r"scores task 'otc' \(selected: one, logged\)"):
        check_routing(rewards, ["ict", "otc"])
    with pytest.raises(OptionError, match="selected: none"):
        check_routing([], ["ict"])


def test_closing_reaches_every_reward_and_reports_the_first_failure():
    class Holds:
        def __init__(self, error=None):
            self.closed, self.error = False, error

        def __call__(self, rollouts):
            return lengths(rollouts)

        def close(self):
            self.closed = True
            if self.error:
                raise self.error

    class HoldsAsync(Holds):
        async def close(self):
            self.closed = True

    rewards = [Holds(OSError("first")), Holds(), HoldsAsync(), Holds(OSError("second"))]
    with pytest.raises(OSError, match="first"):
        close_rewards([bound(reward) for reward in rewards] + [bound(lengths)])
    assert all(reward.closed for reward in rewards)


def test_values_are_plain_floats():
    (value,) = score_reward(bound(lambda rollouts: np.array([0.25])), [rollout()])
    assert type(value) is float and math.isclose(value, 0.25)
