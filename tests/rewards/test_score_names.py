"""The identity score (ICT, paper Eq. 4 and 5), strict and as the paper's code gives it."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

REST = " lies on a green sofa beside a tall lamp while the evening light falls through the window onto the old floor"


def score(rewards: SimpleNamespace, text: str, required: tuple[str, ...] = ("bo",), **options: object) -> float:
    lists = {key: [options.pop(key)] for key in ("absent", "aliases") if key in options}
    return rewards.ict.score_names([text], [required], **lists, **options)[0]


def both(rewards: SimpleNamespace, text: str, required: tuple[str, ...] = ("bo",)) -> tuple[float, float]:
    return score(rewards, text, required), score(rewards, text, required, mode="paper")


def test_single(rewards: SimpleNamespace) -> None:
    assert both(rewards, "<bo>" + REST) == (1.0, 1.0)
    assert both(rewards, "A dog" + REST) == (0.0, 0.0)
    assert both(rewards, "<Bo>" + REST) == (1.0, 0.0)  # the paper's code minds the case
    assert both(rewards, "bo" + REST) == (1.0, 0.0)
    assert both(rewards, "Bo’s ball" + REST) == (1.0, 0.0)
    assert both(rewards, "**Bo**" + REST) == (1.0, 0.0)
    assert both(rewards, "A bond" + REST) == (0.0, 0.0)
    assert both(rewards, "<bo's ball>" + REST) == (0.0, 0.0)


def test_multi(rewards: SimpleNamespace) -> None:
    names = ("bo", "gus", "Iron Man")
    assert both(rewards, "<bo>, <gus> and <Iron Man>" + REST, names) == (1.0, 1.0)
    assert both(rewards, "<bo> and Gus" + REST, names) == pytest.approx((2 / 3, 1 / 3))
    assert both(rewards, "Nobody" + REST, names) == (0.0, 0.0)


def test_closing_tags_are_refused_for_one_name_and_for_many(rewards: SimpleNamespace) -> None:
    assert both(rewards, "<bo></bo>" + REST) == (0.0, 0.0)
    # The paper's code has no such guard where there are several names.
    assert both(rewards, "<bo></bo> <gus>" + REST, ("bo", "gus")) == (0.0, 1.0)
    assert both(rewards, "<bo> </gus>" + REST) == (1.0, 1.0)  # gus is nobody here


def test_short_captions(rewards: SimpleNamespace) -> None:
    short = "This is <bo>."
    assert both(rewards, short) == (0.0, 0.0)
    assert score(rewards, short, min_chars=0) == score(rewards, short, min_chars=0, mode="paper") == 1.0
    edge = "<bo>" + "x" * 96
    assert both(rewards, edge) == (1.0, 1.0)
    assert both(rewards, edge[:-1]) == (0.0, 0.0)
    assert both(rewards, "<bo> " + "é" * 95) == (1.0, 1.0)  # characters, not bytes
    assert score(rewards, "", min_chars=0) == score(rewards, "", min_chars=0, mode="paper") == 0.0


def test_stuffing(rewards: SimpleNamespace) -> None:
    assert both(rewards, "<bo> " * 30) == (0.0, 1.0)
    assert score(rewards, "<bo> and Bo and BO and bo's" + REST) == 1.0
    assert score(rewards, "<bo> and Bo and BO and bo's, bo" + REST) == 0.0
    assert score(rewards, "<bo> " * 5 + REST, max_repeats=5) == 1.0
    assert score(rewards, "<bo> and <bo> and <gus>" + REST, ("bo", "gus"), max_repeats=1) == 0.5
    assert score(rewards, "<bo> and <thao> and <gus>" + REST, ("bo", "gus"), max_repeats=1) == 1.0
    assert score(rewards, "<bo> " * 5 + REST, max_repeats=None) == 1.0
    # More than half of the words are names; without a lower limit of the length that would be a way to score.
    names = ("bo peep", "gus")
    assert score(rewards, "<bo peep>, <gus>: nice day", names, min_chars=0) == 0.0
    assert score(rewards, "<bo peep>, <gus>: a nice day", names, min_chars=0) == 1.0
    assert both(rewards, "<bo peep> <gus>" + " -" * 60, names) == (0.0, 1.0)


def test_absent_names(rewards: SimpleNamespace) -> None:
    text = "<bo> and <max>, but not <tim>" + REST
    assert score(rewards, text, absent=("max", "tim", "eve")) == 1.0
    assert score(rewards, text, absent=("max", "tim", "eve"), absent_penalty=0.25) == 0.5
    assert score(rewards, text, absent=("max", "tim"), absent_penalty=0.75) == 0.0
    assert score(rewards, text, absent=("bo",), absent_penalty=0.5) == 1.0  # what is required is not absent
    assert score(rewards, text + "</max>", absent=("max",)) == 0.0
    assert score(rewards, text, absent=("max",), absent_penalty=0.5, mode="paper") == 1.0


def test_nothing_required(rewards: SimpleNamespace) -> None:
    absent = ("bo", "max", "tim", "eve")
    assert score(rewards, "A dog" + REST, (), absent=absent) == 1.0
    assert score(rewards, "<bo>" + REST, (), absent=absent) == 0.75
    assert score(rewards, "A dog" + REST, (), absent=absent, mode="paper") == 0.0


def test_aliases(rewards: SimpleNamespace) -> None:
    names, aliases = ("mr.krab", "ironman"), (("Mr.Krabs",), ("Iron Man", "Tony"))
    assert score(rewards, "<Mr.Krabs> and Iron Man" + REST, names, aliases=aliases) == 1.0
    assert score(rewards, "<Mr.Krabs> and Iron Man" + REST, names) == 0.0
    assert score(rewards, "<mr.krab>" + REST, names, aliases=((), ())) == 0.5


def test_the_answer_is_scored_where_there_is_one(rewards: SimpleNamespace) -> None:
    assert score(rewards, f"<think><bo> is here{REST}</think><answer>A dog{REST}</answer>") == 0.0
    assert score(rewards, f"<think>bo </bo> {'bo ' * 9}</think><answer><bo>{REST}</answer>") == 1.0
    assert score(rewards, f"<think>{REST}</think><answer><bo> sits</answer>") == 0.0  # its length counts


def test_each_completion_has_its_own_names(rewards: SimpleNamespace) -> None:
    texts = ["<Bo Peep>" + REST, "Bo Peep" + REST, "<Bo Peep>" + REST, "<BO>" + REST, "<bo>" + REST]
    required = [["bo peep"], ["bo"], ["bo"], ["bo"], ["Bo"]]
    # A name of another sample does not hide the name of this one, nor does its case matter here.
    assert rewards.ict.score_names(texts, required) == [1.0, 1.0, 0.0, 1.0, 1.0]


def test_a_batch_scores_as_its_parts(rewards: SimpleNamespace) -> None:
    rng = random.Random(4)
    names = ["bo", "Bo Peep", "gus", "Iron Man", "max", "zoë", "T"]
    words = [*names, *(f"<{name}>" for name in names), "</gus>", "sits", "on", "the", "sofa", "and", "looks"]
    texts = [" ".join(rng.choices(words, k=30)) for _ in range(60)]
    required = [tuple(rng.sample(names, rng.randint(1, 3))) for _ in texts]
    absent = [tuple(rng.sample(names, rng.randint(0, 2))) for _ in texts]
    for mode in ("strict", "paper"):
        options = {"mode": mode, "absent_penalty": 0.25, "max_repeats": 6}
        alone = [
            rewards.ict.score_names([text], [names], [others], **options)[0]
            for text, names, others in zip(texts, required, absent, strict=True)
        ]
        assert rewards.ict.score_names(texts, required, absent, **options) == alone
        assert len(set(alone)) > 3


def test_paper_mode_counts_a_name_that_is_required_twice(rewards: SimpleNamespace) -> None:
    assert score(rewards, "<bo>" + REST, ("bo", "bo", "gus"), mode="paper") == pytest.approx(2 / 3)
    assert score(rewards, "<bo>" + REST, ("bo", "bo", "gus")) == 0.5


def test_empty_batch(rewards: SimpleNamespace) -> None:
    assert rewards.ict.score_names([], []) == rewards.ict.score_names([], [], mode="paper") == []


def test_bad_arguments(compiled: SimpleNamespace) -> None:
    score_names = compiled.ict.score_names
    with pytest.raises(ValueError, match="completion 1: no name is required or absent"):
        score_names(["a", "b"], [["bo"], []])
    with pytest.raises(ValueError, match="2 completions, but names for 1, 2 and 2"):
        score_names(["a", "b"], [["bo"]])
    with pytest.raises(ValueError, match="completion 0: 2 lists of aliases for 1 names"):
        score_names(["a"], [["bo"]], aliases=[[["x"], ["y"]]])
    with pytest.raises(ValueError, match="unknown mode"):
        score_names(["a"], [["bo"]], mode="loose")
