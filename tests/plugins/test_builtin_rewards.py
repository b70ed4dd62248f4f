"""The built-in rewards as trainers call them: the traps of the paper's code, options, and what has no score.

The rules themselves are tested in tests/rewards; here it is that the rewards apply them to rollouts.
"""

from __future__ import annotations

import pytest

from repic_plugins.builtin import rewards
from repic_plugins.errors import OptionError
from repic_plugins.manager import load_plugins
from repic_plugins.options import RewardSpec
from repic_plugins.types import Answer, Box, BoxFrame, Names, Rollout, YesNo

LONG = " The light falls on the grey carpet, where two slippers and a ball lie beside the old green sofa."


def rollout(completion: str, answer: Answer, task: str = "ict", frame: BoxFrame | None = None) -> Rollout:
    return Rollout("s1", task, "prompt", completion, len(completion.split()), answer, frame=frame)


def score(reward, completion, answer, **fields):
    (value,) = reward([rollout(completion, answer, **fields)])
    return value


@pytest.mark.parametrize(
    ("completion", "truth", "strict", "paper"),
    [
        ("Yes.", True, 1.0, 1.0),
        ("no", True, 0.0, 0.0),
        ("Not sure, but yes", True, 1.0, 0.0),
        ("I know they are the same: yes", True, 1.0, 0.0),
        ("The eyes match: no", False, 1.0, 0.0),
        ("<think>no, wait</think><answer>yes</answer>", True, 1.0, 0.0),
        ("yes and no", True, 0.0, 1.0),
        ("", False, 0.0, 0.0),
        ("", True, 0.0, 0.0),
    ],
)
def test_oct(completion, truth, strict, paper):
    assert score(rewards.oct(), completion, YesNo(truth)) == strict
    assert score(rewards.oct(mode="paper"), completion, YesNo(truth)) == paper


@pytest.mark.parametrize(
    ("completion", "strict", "paper"),
    [
        ("[10, 20, 110, 220]", 1.0, 1.0),
        ("[10.0, 20.0, 110.0, 220.0]", 1.0, 0.0),
        ('```json\n[{"bbox_2d": [10, 20, 110, 220], "label": "dog"}]\n```', 1.0, 1.0),
        ("[10, 20, 110, 220] or [300, 300, 400, 400]", 0.0, 1.0),
        ("I see no dog", 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_vlt(completion, strict, paper):
    truth = Box(10, 20, 110, 220)
    assert score(rewards.vlt(), completion, truth, task="vlt") == strict
    assert score(rewards.vlt(mode="paper"), completion, truth, task="vlt") == paper


def test_vlt_reads_boxes_in_the_models_own_coordinates():
    truth = Box(100, 100, 300, 200)
    resized = BoxFrame("pixels", (500, 250), (1000, 500))
    assert score(rewards.vlt(), "[50, 50, 150, 100]", truth, frame=resized) == 1.0
    assert score(rewards.vlt(), "[100, 100, 300, 200]", truth, frame=resized) == 0.0
    per_mille = BoxFrame("per_mille", (999, 999), (1000, 500))
    assert score(rewards.vlt(), "<|box_start|>(100,200),(300,400)<|box_end|>", truth, frame=per_mille) == 1.0
    # Frames may differ within a batch.
    batch = [
        rollout("[50, 50, 150, 100]", truth, frame=resized),
        rollout("[100, 200, 300, 400]", truth, frame=per_mille),
    ]
    assert rewards.vlt()(batch) == [1.0, 1.0]


def test_vlt_takes_the_first_of_several_boxes_when_asked_to():
    text = "[10, 20, 110, 220] or [300, 300, 400, 400]"
    assert score(rewards.vlt(allow_many=True), text, Box(10, 20, 110, 220)) == 1.0


def test_vlt_has_a_threshold():
    assert score(rewards.vlt(), "[0, 0, 10, 10]", Box(0, 0, 10, 20)) == 1.0
    assert score(rewards.vlt(threshold=0.51), "[0, 0, 10, 10]", Box(0, 0, 10, 20)) == 0.0
    for threshold in (0.0, 1.5):
        with pytest.raises(ValueError, match="threshold"):
            rewards.vlt(threshold=threshold)


@pytest.mark.parametrize(
    ("completion", "names", "strict", "paper"),
    [
        ("<bo> sleeps." + LONG, ("bo",), 1.0, 1.0),
        ("<Bo> sleeps." + LONG, ("bo",), 1.0, 0.0),
        ("Zorbi's bowl is empty." + LONG, ("zorbi",), 1.0, 0.0),
        ("The bonds are gone." + LONG, ("bo",), 0.0, 0.0),
        ("<bo> sleeps.", ("bo",), 0.0, 0.0),
        ("<bo> " * 30, ("bo",), 0.0, 1.0),
        ("<bo></bo>" + LONG, ("bo",), 0.0, 0.0),
        ("<bo> and a cat sit." + LONG, ("bo", "thao"), 0.5, 0.5),
        ("<bo> and <thao> sit." + LONG, ("bo", "thao"), 1.0, 1.0),
    ],
)
def test_ict(completion, names, strict, paper):
    assert score(rewards.ict(), completion, Names(names)) == strict
    assert score(rewards.ict(mode="paper"), completion, Names(names)) == paper


def test_ict_options():
    assert score(rewards.ict(min_chars=10), "<bo> sleeps.", Names(("bo",))) == 1.0
    both = "<bo> sits with <gus>." + LONG
    assert score(rewards.ict(), both, Names(("bo",), ("gus",))) == 1.0
    assert score(rewards.ict(absent_penalty=0.25), both, Names(("bo",), ("gus",))) == 0.75
    assert score(rewards.ict(absent_penalty=3), both, Names(("bo",), ("gus",))) == 0.0
    aliases = Names(("zorbi",), (), (("The Great Zorb",),))
    assert score(rewards.ict(), "There is the great zorb." + LONG, aliases) == 1.0
    often = "<bo> sits. <bo> eats. <bo> sleeps." + LONG
    assert score(rewards.ict(max_repeats=2), often, Names(("bo",))) == 0.0
    for options in ({"min_chars": -1}, {"max_repeats": 0}, {"absent_penalty": -0.1}):
        with pytest.raises(ValueError, match="must not be negative"):
            rewards.ict(**options)


def test_ict_batches_mix_names():
    batch = [rollout(f"<{name}> sleeps." + LONG, Names((name,))) for name in ("bo", "thao", "Mr. Krab")]
    batch += [rollout("A dog sleeps." + LONG, Names(("bo", "thao", "gus")))]
    assert rewards.ict()(batch) == [1.0, 1.0, 1.0, 0.0]


def test_length():
    text = "one two three"
    assert score(rewards.length(), text, None) == 0.0 and score(rewards.length(), "x" * 100, None) == 1.0
    assert score(rewards.length(min=13, max=13), text, None) == 1.0
    assert score(rewards.length(min=3, max=3, unit="words"), text, None) == 1.0
    tokens = Rollout("s", "ict", "p", text, 7)
    assert rewards.length(min=7, max=7, unit="tokens")([tokens]) == [1.0]
    with pytest.raises(ValueError, match="no length"):
        rewards.length(min=5, max=4)


def test_format():
    good = "<think>It has a crown.</think>\n<answer>yes</answer>"
    assert score(rewards.format(), good, None) == 1.0
    assert score(rewards.format(template="observe"), good, None) == 0.0
    assert score(rewards.format(), "yes", None) == 0.0


def test_without_an_answer_of_its_type_there_is_no_score():
    batch = [
        rollout("yes [1, 2, 3, 4] <bo>", answer) for answer in (None, YesNo(True), Box(1, 2, 3, 4), Names(("bo",)))
    ]
    assert [value is not None for value in rewards.oct()(batch)] == [False, True, False, False]
    assert [value is not None for value in rewards.vlt()(batch)] == [False, False, True, False]
    assert [value is not None for value in rewards.ict()(batch)] == [False, False, False, True]
    assert rewards.ict()([batch[0]]) == [None]


def test_bad_options_are_errors_before_any_model_is_loaded():
    registry = load_plugins(False)
    for name, options, message in (
        ("ict", {"mode": "loose"}, "not one of strict, paper"),
        ("length", {"unit": "lines"}, "not one of chars, words, tokens"),
        ("format", {"template": "feel"}, "not one of think, observe"),
    ):
        with pytest.raises(OptionError, match=message):
            registry.check_rewards([RewardSpec(name, options=options)])
    with pytest.raises(OptionError, match=r"reward length of repic-cli .*no length lies between"):
        registry.build_rewards([RewardSpec("length", options={"max": "3"})])
