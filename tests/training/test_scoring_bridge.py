"""From completions to rollouts and metrics: what the trainer's reward functions hand to TRL."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import pytest
from PIL import Image

from repic_cli.data.images import MemoryImage
from repic_cli.training.scorer import Scorer, prompt_text
from repic_plugins.errors import RewardError
from repic_plugins.scoring import BoundReward
from repic_plugins.types import BoxFrame, ImageRef, Rollout, Sample, YesNo

CONTENT = ({"type": "image"}, {"type": "text", "text": "Is it?"})
PICTURE = MemoryImage(Image.new("RGB", (8, 4)), key="p")


def sample(name: str, task: str) -> Sample:
    return Sample(name, task, ({"role": "user", "content": CONTENT},), (PICTURE,), YesNo(True), {"a": 1})


PROMPTS = [sample("s0", "red"), sample("s1", "blue")]


def frame(image: ImageRef) -> BoxFrame:
    return BoxFrame("pixels", (80, 40), image.size)


def chat(*texts: str) -> list[list[dict[str, str]]]:
    return [[{"role": "assistant", "content": text}] for text in texts]


class Counting:
    """Length of the completion in words; counts how often it is asked and fails at `bad`."""

    def __init__(self) -> None:
        self.calls = 0
        self.seen: list[Rollout] = []

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        self.calls += 1
        self.seen += rollouts
        if any("bad" in rollout.completion for rollout in rollouts):
            raise ValueError("bad")
        return [float(len(rollout.completion.split())) for rollout in rollouts]


class Log(defaultdict[str, list[float]]):
    def __init__(self) -> None:
        super().__init__(list)

    def __call__(self, name: str, value: float) -> None:
        self[name].append(value)


def test_columns_score_a_batch_once_and_apply_to_their_tasks() -> None:
    everything, red = Counting(), Counting()
    rewards = [BoundReward("words", 1.0, everything), BoundReward("reds", 0.5, red, frozenset({"red"}))]
    scorer = Scorer(rewards, PROMPTS, frame, special=[9])
    ids, log = [[1, 2, 9], [3, 9], [4]], Log()
    inputs = {"completions": chat("a b", "c", ""), "completion_ids": ids, "row": [0, 1, 1], "log_metric": log}
    words, reds = scorer.columns()
    assert (words.__name__, reds.__name__) == ("words", "reds")
    assert words(prompts=None, trainer_state=None, **inputs) == [2.0, 1.0, 0.0]
    assert reds(**inputs) == [2.0, None, None], "None where it does not apply, which is not 0"
    assert everything.calls == red.calls == 1
    assert dict(log) == {
        "tasks/red/mean": [3.0],
        "tasks/red/rewards/words": [2.0],
        "tasks/red/rewards/reds": [2.0],
        "tasks/blue/mean": [1.0, 0.0],
        "tasks/blue/rewards/words": [1.0, 0.0],
    }
    words(**{**inputs, "completion_ids": [list(row) for row in ids]})
    assert everything.calls == 2, "an equal batch is another batch"


def test_rollouts_hold_all_that_a_reward_may_look_at() -> None:
    reward = Counting()
    Scorer([BoundReward("words", 1.0, reward)], PROMPTS, frame, special=[9]).columns()[0](
        completions=chat("a b"), completion_ids=[[1, 2, 9, 9]], row=[1], log_metric=Log()
    )
    (rollout,) = reward.seen
    assert rollout == Rollout(
        sample_id="s1",
        task="blue",
        prompt="[image]\nIs it?",
        completion="a b",
        completion_tokens=2,
        answer=YesNo(True),
        images=(PICTURE,),
        frame=BoxFrame("pixels", (80, 40), (8, 4)),
        meta={"a": 1},
    )


def test_failing_reward_stops_or_drops_the_group() -> None:
    rewards = [BoundReward("words", 1.0, Counting(), distribution="repic-cli", version="1")]
    inputs = {"completion_ids": [[1], [1], [1]], "row": [0, 0, 1], "log_metric": Log()}
    texts = chat("a", "bad", "c d")
    with pytest.raises(RewardError, match=r"reward words \(repic-cli 1\) raised ValueError: bad at sample s0"):
        Scorer(rewards, PROMPTS, frame).columns()[0](completions=texts, **inputs)
    log = inputs["log_metric"] = Log()
    scorer = Scorer(rewards, PROMPTS, frame, on_error="skip")
    assert scorer.columns()[0](completions=texts, **inputs) == [None, None, 2.0]
    assert scorer.failures == {"words": 1}
    assert log["groups/dropped"] == [1.0, 1.0, 0.0]
    assert "tasks/red/mean" not in log


def test_group_that_failed_in_another_process_is_dropped_here() -> None:
    rewards = [BoundReward("words", 1.0, Counting())]
    log = Log()
    scorer = Scorer(rewards, PROMPTS, frame, on_error="skip", gather=lambda mine: [*mine, "s1"])
    column = scorer.columns()[0]
    values = column(completions=chat("a", "b c"), completion_ids=[[1], [1]], row=[0, 1], log_metric=log)
    assert values == [1.0, None]
    assert scorer.last is not None
    assert math.isnan(scorer.last[1].totals[1])
    assert log["groups/dropped"] == [0.0, 1.0]


def test_prompt_text_of_plain_messages() -> None:
    messages = ({"role": "system", "content": "Be brief. "}, {"role": "user", "content": CONTENT})
    assert prompt_text(Sample("s", "t", messages, (PICTURE,))) == "Be brief. [image]\nIs it?"
