"""Rewards in the forms that TRL, verl and ms-swift call them in."""

from __future__ import annotations

import inspect
import json

import numpy as np
import pytest

from repic_plugins.adapters import as_answer, bind, text_of, to_swift, to_trl, to_verl
from repic_plugins.errors import DataError, PluginError, RewardError
from repic_plugins.scoring import BoundReward
from repic_plugins.serial import answer_to_json
from repic_plugins.testing import PlainImage
from repic_plugins.types import Box, BoxFrame, Names, YesNo

CHAT = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is <bo> there?"}]}]


def spy(seen):
    def reward(rollouts):
        seen.extend(rollouts)
        return [None if rollout.answer is None else 1.0 for rollout in rollouts]

    return reward


def test_trl_calls_with_columns_and_conversations():
    seen = []
    reward = to_trl(spy(seen), tasks=["oct"])
    scores = reward(
        prompts=[CHAT, CHAT, CHAT],
        completions=[[{"role": "assistant", "content": "yes"}], [{"role": "assistant", "content": None}], "no"],
        completion_ids=[[1, 2, 3], [], [4]],
        sample_id=["a", "b", "c"],
        task=["oct", "oct", "vlt"],
        answer=[YesNo(True), None, YesNo(False)],
        frame=[BoxFrame("pixels", (1, 1), (2, 2)), None, None],
        meta=[{"k": 1}, None, '{"k": 2}'],
        images=[[PlainImage()], [], None],
        trainer_state=object(),
        log_extra=print,
    )
    assert scores == [1.0, None, None]
    first, second = seen
    assert (first.sample_id, first.task, first.completion, first.completion_tokens) == ("a", "oct", "yes", 3)
    assert first.prompt == "Is <bo> there?" and first.meta == {"k": 1} and first.images == (PlainImage(),)
    assert second.completion == "" and second.answer is None


def test_pictures_are_handed_on_unopened():
    class Unread:
        key = "a.png"

        @property
        def size(self):
            raise AssertionError("nobody asked for the picture")

        def open(self):
            raise AssertionError("nobody asked for the picture")

    seen, picture = [], Unread()
    to_trl(spy(seen))(["p"], ["c"], images=[[picture, "b.png", {"path": "c.png"}, PlainImage().open()]])
    assert seen[0].images == (picture,)


def test_trl_logs_under_the_name_of_the_reward():
    assert to_trl("ict").__name__ == "ict"
    assert not inspect.iscoroutinefunction(to_trl("ict"))


def test_trl_without_columns_scores_every_completion():
    reward = to_trl(lambda rollouts: [float(len(r.completion)) for r in rollouts], tasks=["ict"])
    assert reward(["p", "p"], ["a", "bc"]) == [1.0, 2.0]


def test_built_in_rewards_score_what_other_trainers_send():
    names = json.dumps(answer_to_json(Names(("bo",))))
    caption = "<bo> sleeps on the sofa, and a cat sits beside it."
    assert to_trl("ict", min_chars=20)(["p"], [caption], answer=[names]) == [1.0]
    assert to_verl("oct")("oct", "Yes, it is.", "yes") == 1.0
    assert to_swift("oct")()(["no", "yes"], solution=["no", "no"]) == [1.0, 0.0]


def test_verl_scores_one_at_a_time():
    seen = []
    score = to_verl(spy(seen), tasks=["vlt"], missing=-1.0)
    extra = {
        "task": "vlt",
        "index": 7,
        "prompt": CHAT,
        "frame": {"convention": "pixels", "seen": np.array([10, 10]), "original": (20, 20)},
    }
    value = score(
        data_source="somewhere",
        solution_str="[1, 2, 3, 4]",
        ground_truth=np.array([1.0, 2.0, 3.0, 4.0]),
        extra_info=extra,
        reward_router_address=None,
    )
    assert value == 1.0 and isinstance(value, float)
    assert seen[0].sample_id == "7" and seen[0].answer == Box(1, 2, 3, 4)
    assert seen[0].frame == BoxFrame("pixels", (10, 10), (20, 20))
    assert score("vlt", "x", None) == -1.0
    assert score("ict", "x", "yes") == -1.0
    assert list(inspect.signature(score).parameters)[:4] == [
        "data_source",
        "solution_str",
        "ground_truth",
        "extra_info",
    ]


def test_swift_gets_a_class_named_like_the_reward():
    seen = []
    swift = to_swift(BoundReward("mine", 1.0, spy(seen)))
    assert swift.__name__ == "mine"
    reward = swift(args=object())
    assert reward(["yes", "no"], messages=[CHAT, CHAT], solution=["yes", None], response_token_ids=[[1], [1, 2]]) == [
        1.0,
        None,
    ]
    assert [r.completion_tokens for r in seen] == [1, 2] and seen[0].prompt == "Is <bo> there?"


def test_errors_are_those_of_repic():
    with pytest.raises(RewardError, match="returned 1 scores for 2 rollouts"):
        to_trl(lambda rollouts: [1.0])(["p", "p"], ["a", "b"])
    with pytest.raises(PluginError, match="unknown reward"):
        to_verl("itc")
    with pytest.raises(DataError, match="column task has 1 values for 2 completions"):
        to_trl(lambda rollouts: [1.0, 1.0])(["p", "p"], ["a", "b"], task=["ict"])
    with pytest.raises(DataError, match="neither text nor a chat message"):
        text_of(3)
    with pytest.raises(DataError, match="meta must be an object"):
        to_trl(lambda rollouts: [1.0])(["p"], ["a"], meta=["[1]"])
    with pytest.raises(DataError, match="cannot read a frame"):
        to_trl(lambda rollouts: [1.0])(["p"], ["a"], frame=[{"convention": "miles"}])


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (None, None),
        (YesNo(True), YesNo(True)),
        (True, YesNo(True)),
        ("No ", YesNo(False)),
        ("true", YesNo(True)),
        ([1, 2, 3, 4], Box(1, 2, 3, 4)),
        ("[1, 2, 3, 4]", Box(1, 2, 3, 4)),
        (np.array([1.0, 2.0, 3.0, 4.0]), Box(1, 2, 3, 4)),
        (("bo", "thao"), Names(("bo", "thao"))),
        (np.array(["bo"]), Names(("bo",))),
        ({"names": np.array(["bo"]), "aliases": [["bobo"]], "box": None}, Names(("bo",), (), (("bobo",),))),
        ('{"yes": false}', YesNo(False)),
    ],
)
def test_answers_in_every_form(value, answer):
    assert as_answer(value) == answer


@pytest.mark.parametrize("value", ["bo", [1, 2], {"poem": "x"}, 3, "[1, 2, 3, NaN]", [True] * 4, "{}"])
def test_answers_that_are_none(value):
    with pytest.raises(DataError, match=r"cannot read (an|the) answer"):
        as_answer(value)


def test_bind_takes_names_callables_and_bound_rewards():
    reward = bind("length", min=3)
    assert reward.name == "length" and reward.options["min"] == 3 and bind(reward) is reward
    assert bind(len).name == "len"
