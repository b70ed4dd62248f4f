"""Yes or no (OCT): the sentences that the paper's code reads wrongly, and their kind."""

from __future__ import annotations

import pytest

from repic_rewards.answers import read_yes_no

# text, strict reading, the paper's reading
SAID = [
    ("Yes.", True, True),
    ("no", False, False),
    ("**Yes**", True, True),
    ("_yes_, 'YES' and “yes”", True, True),
    ("‘no’", False, False),
    ("NO!", False, False),
    # read as no by the paper's code, for the "no" in other words
    ("I cannot tell now, yes it is the same", True, False),
    ("Not sure, but yes", True, False),
    ("Another view: yes", True, False),
    ("I know they are the same: yes", True, False),
    # read as yes
    ("eyes match: no", False, True),
    ("Yesterday… no", False, True),
    # both or neither
    ("yes and no", None, True),
    ("No, wait: yes", None, False),
    ("", None, None),
    ("   ", None, None),
    ("maybe", None, None),
    ("I know", None, False),
    ("the yes-man and no-one's eyes", None, True),
    ("nö", None, None),
    ("no\u0308", None, False),
    ("yes2", None, True),
    # answer tags
    ("<answer>yes</answer>", True, True),
    ("<think>no, or not?</think><answer> Yes </answer>", True, False),
    ("no <answer>yes", True, False),
    ("<answer>yes</answer><answer>no</answer>", None, True),
    ("<answer></answer> yes", None, True),
    ("<think>yes", True, True),
]


@pytest.mark.parametrize(("text", "strict", "paper"), SAID)
def test_readings(text: str, strict: bool | None, paper: bool | None) -> None:
    assert read_yes_no(text) is strict
    assert read_yes_no(text, "paper") is paper


def test_empty_is_not_equal_to_empty() -> None:
    # An ancestor of the paper's code gave 1 when neither the truth nor the answer held a yes or no.
    assert read_yes_no("") is not True
    assert read_yes_no("") is not False


def test_unknown_mode() -> None:
    with pytest.raises(ValueError, match="unknown mode 'loose'; there are strict, paper"):
        read_yes_no("yes", "loose")  # type: ignore[arg-type]
