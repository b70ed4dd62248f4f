"""`check_reward`: what plugin authors test their rewards with."""

from __future__ import annotations

import pytest

from repic_plugins.errors import OptionError
from repic_plugins.examples import example_records
from repic_plugins.manager import load_plugins
from repic_plugins.options import RewardSpec
from repic_plugins.testing import PlainImage, check_reward, example_rollouts, is_factory, run_checks
from repic_plugins.types import ImageRef


def haiku(*, lines: int = 3):
    return lambda rollouts: [float(len(r.completion.splitlines()) == lines) for r in rollouts]


def test_a_good_reward_passes_as_factory_and_as_reward():
    scores = check_reward(haiku, lines=3)
    assert scores == check_reward(haiku(lines=3)) and 1.0 in scores and 0.0 in scores
    assert len(scores) == len(example_rollouts())
    only = example_rollouts(["caption"])
    assert check_reward(haiku, only, lines=1) == [1.0, 0.0, 0.0]
    assert set(check_reward(haiku, tasks=("ict",))) == {None, 0.0, 1.0}


def test_options_are_those_of_the_factory():
    with pytest.raises(OptionError, match="has no option 'line'"):
        check_reward(haiku, line=3)
    with pytest.raises(OptionError, match="takes no options"):
        check_reward(haiku(), lines=3)


def test_factories_are_told_from_rewards():
    class Reward:
        def __init__(self, *, depth: int = 1): ...

        def __call__(self, rollouts): ...

    assert is_factory(haiku) and is_factory(Reward)
    assert not is_factory(haiku()) and not is_factory(Reward())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("impure", "same scores again: sample .* has 2 in a batch of .*, 1 before"),
        ("relative", "batch does not matter"),
        ("positional", "order does not matter"),
        ("meddles", "leaves rollouts alone: it changed meta"),
        ("wrong_length", "scores: .*returned"),
        ("number", "scores: .*returned float"),
        ("raises_in_batches", "scores: .*one at a time"),
    ],
)
def test_each_broken_promise_is_named(install, name, message):
    entry = install("repic-faulty").rewards[name]
    with pytest.raises(AssertionError, match=message):
        check_reward(entry.factory)


def test_a_reward_that_fails_only_in_small_batches_is_found():
    def score(rollouts):
        return [1.0 / (len(rollouts) > 1)] * len(rollouts)

    with pytest.raises(AssertionError, match=r"batch does not matter: .*ZeroDivisionError"):
        check_reward(score)


def test_a_reward_that_never_scores_is_found():
    with pytest.raises(AssertionError, match="None for every rollout"):
        check_reward(lambda rollouts: [None] * len(rollouts))
    with pytest.raises(AssertionError, match=r"no rollout of its tasks \(oct\)"):
        check_reward(lambda rollouts: [None], example_rollouts(["ict"]), tasks=["oct"])


def test_a_reward_that_always_raises_is_found():
    def score(rollouts):
        raise ValueError("always")

    with pytest.raises(AssertionError, match="scores: reward score raised ValueError: always at sample oct-0"):
        check_reward(score)


def test_none_in_place_of_a_number_is_a_difference():
    with pytest.raises(AssertionError, match="has None in a batch of 1, 1 before"):
        check_reward(lambda rollouts: [1.0 if len(rollouts) > 1 else None] * len(rollouts))


def test_rewards_of_the_fixture_package_and_the_built_ins_keep_their_promises(install):
    registry = install("repic-haiku")
    for name, entry in registry.rewards.items():
        (reward,) = registry.build_rewards([RewardSpec(name)])
        rollouts = example_rollouts(sorted(entry.tasks or ()))
        failed = [check for check in run_checks(reward, rollouts) if not check.passed]
        assert not failed, (name, failed)
        reward.close()


def test_examples_have_pictures_and_cover_the_built_in_tasks():
    image = PlainImage()
    assert isinstance(image, ImageRef) and image.open().size == image.size == (112, 84) and image.key
    assert {rollout.task for rollout in example_rollouts()} == {"oct", "vlt", "ict", "caption"}
    assert {rollout.task for rollout in example_rollouts(["riddle"])} == {"riddle"}
    registry = load_plugins(False)
    for name in registry.tasks:
        task = registry.build_task(name)
        assert any(record.answer is not None or name == "caption" for record in example_records(name)), task
