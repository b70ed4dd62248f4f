"""Lengths, and the reasoning templates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic_rewards.formats import answer_of, extract_answer, follows_format
from repic_rewards.lengths import count_length, score_lengths


def test_counts() -> None:
    assert count_length("Zoë 🐶 sits") == 10
    assert count_length("  two\nwords ", "words") == 2
    assert count_length("", "words") == count_length("") == 0
    with pytest.raises(ValueError, match="unknown unit 'tokens'; there are chars, words"):
        count_length("", "tokens")  # type: ignore[arg-type]


def test_limits_belong_to_the_range() -> None:
    assert score_lengths([99, 100, 101], 100) == [0.0, 1.0, 1.0]
    assert score_lengths([99, 100, 101], 100, 100) == [0.0, 1.0, 0.0]
    assert score_lengths([]) == []
    with pytest.raises(ValueError, match="no length lies between min=5 and max=4"):
        score_lengths([1], 5, 4)
    with pytest.raises(ValueError, match="no length"):
        score_lengths([1], -1)


@pytest.mark.parametrize(
    "text",
    [
        "<think>a red dog</think><answer><bo> sits</answer>",
        "\n <think>\nmany\nlines\n</think>\n\n<answer> x </answer> \n",
        "<think>a < b, <bo></think><answer>y</answer>",
    ],
)
def test_follows_format(text: str) -> None:
    assert follows_format(text)
    observed = text.replace("think>", "observe>")
    assert follows_format(observed, "observe")
    assert not follows_format(text, "observe")
    assert not follows_format(observed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<bo> sits",
        "<answer>x</answer>",
        "<think>x</think>",
        "<think>x</think><answer>y",
        "<answer>y</answer><think>x</think>",
        "<think>x<answer>y</answer></think>",
        "<think></think><answer>y</answer>",
        "<think>x</think><answer>  </answer>",
        "Well, <think>x</think><answer>y</answer>",
        "<think>x</think> so <answer>y</answer>",
        "<think>x</think><answer>y</answer> done",
        "<think>x</think><answer>y</answer><answer>z</answer>",
        "<think>w</think><think>x</think><answer>y</answer>",
        "<think>x</think><observe>o</observe><answer>y</answer>",
        "<Think>x</Think><answer>y</answer>",
        "<think>x</think></answer>y<answer>",
    ],
)
def test_does_not_follow_format(text: str) -> None:
    assert not follows_format(text)


def test_unknown_template() -> None:
    with pytest.raises(ValueError, match="unknown template 'muse'"):
        follows_format("", "muse")  # type: ignore[arg-type]


def test_answer() -> None:
    assert extract_answer("bo sits") is None
    assert extract_answer("<think>x</think><answer> a\nb </answer> c") == "a\nb"
    assert extract_answer("<answer>cut off") == "cut off"
    assert extract_answer("<answer>a</answer><answer>b") == "a\nb"
    assert extract_answer("<answer></answer>") == ""
    assert answer_of("bo sits") == "bo sits"
    assert answer_of("x <answer>y</answer>") == "y"


@given(st.text())
def test_what_follows_the_format_has_the_answer_that_was_put_in(text: str) -> None:
    whole = f"<think>x</think><answer>{text}</answer>"
    if follows_format(whole):
        assert extract_answer(whole) == text.strip()
