"""Replies of judges, as they come: what is a verdict, what a refusal, and what neither."""

from __future__ import annotations

import pytest

from repic_cli.evaluation.judging.parsing import read_reply

JSON_A = '{"reason": "names bo", "verdict": "A"}'


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        (JSON_A, "first"),
        ('{"reason": "x", "verdict": "B"}', "second"),
        ('{"reason": "x", "verdict": "tie"}', "tie"),
        ('{"verdict": " Tie. "}', "tie"),
        ('{"Verdict": "caption b"}', "second"),
        (f"```json\n{JSON_A}\n```", "first"),
        (f"Here is my verdict:\n{JSON_A}\nI hope that helps.", "first"),
        (f"<think>B? It says {{bo}} ... no.</think>{JSON_A}", "first"),
        ('weighing {"verdict": "B"} against A</think>\n' + JSON_A, "first"),
        ('{\n "reason": "the name "bo" is there",\n "verdict": "A"\n}', "first"),  # no JSON, but plain
        ('{"reason": "first line\nand another", "verdict": "B"}', "second"),
        ("A", "first"),
        (" b.\n", "second"),
        ("**[[B]]**", "second"),
        ("Caption A", "first"),
        ("TIE", "tie"),
        ("Verdict: B", "second"),
        ("A is a poor caption: it calls Bo a cat.\nSo B it is.\n\n**Final verdict: B**", "second"),
        ('{"reason": "B says {\\"verdict\\": \\"B\\"}, which is a fault", "verdict": "A"}', "first"),
    ],
)
def test_verdicts(text: str, choice: str) -> None:
    assert read_reply(text) == choice


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Both are good.",
        "A is better than B",
        "B has the name, A does not. A",
        "It is a tie between A and B",
        "a dog called B",
        "A or B",
        "Verdict: A\nVerdict: B",
        "Verdict: A\nOn second thought I do not know.",
        '{"reason": "x"}',
        '{"verdict": "C"}',
        '{"verdict": null}',
        '{"verdict": ["A"]}',
        '{"verdict": "A" | "B" | "tie"}',  # the form itself, repeated
        '{"verdict": "A", "verdict": "B"}',
        '{"verdict": "A"} {"verdict": "B"}',
        '{"reason": "it says {"verdict": "A"}", "verdict": "B"}',  # no JSON; within is a caption's
        '{reason: the caption says {"verdict": "A"}',
        '<think>first I thought {"verdict": "A"}',  # cut off in its thoughts
        "{" * 5000,
        '{"a":' * 5000,
        '["A"]: B',
    ],
)
def test_what_is_no_verdict_is_not_guessed(text: str) -> None:
    assert read_reply(text) == "unreadable"


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m unable to identify people in pictures.",
        "I cannot compare captions that name real people.",
        '{"reason": "I can\'t judge real persons", "verdict": null}',
    ],
)
def test_refusals(text: str) -> None:
    assert read_reply(text) == "refused"


def test_refusals_that_the_endpoint_tells_of_are_none_of_the_texts() -> None:
    assert read_reply(JSON_A, refusal="no") == "refused"
    assert read_reply(JSON_A, finish="content_filter") == "refused"


def test_a_verdict_that_speaks_of_sorrow_is_a_verdict() -> None:
    assert read_reply('{"reason": "I cannot see bo in A", "verdict": "B"}') == "second"


def test_a_letter_at_which_a_reply_was_cut_off_may_be_the_start_of_a_word() -> None:
    assert read_reply("A", finish="length") == "unreadable"
    assert read_reply(JSON_A, finish="length") == "first"
