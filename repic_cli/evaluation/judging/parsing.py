"""Reading what a judge replied. What is not plainly a verdict counts as none: nothing is guessed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

Choice = Literal["first", "second", "tie"]
Reading = Literal["first", "second", "tie", "refused", "unreadable"]
"""A choice by place, or why there is none."""

VERDICT = "verdict"
_CHOICES: dict[str, Choice] = {"a": "first", "b": "second", "tie": "tie"}
_LONGEST = 20_000
_MARKUP = re.compile(r"[*_`\"'\[\](){}.!,\s]+")
_ANSWER = re.compile(r"(?:caption )?(a|b|tie)")
_LABELLED = re.compile(
    r"(?:the |my )?(?:final )?(?:verdict|answer|winner|choice) ?(?:is )?[:=]? ?(?:caption )?(a|b|tie)"
)
_REFUSAL = re.compile(
    r"\b(?:i\W?m sorry|i am sorry|i apologi[sz]e|sorry,)"
    r"|\bi (?:can\W?t|cannot|can not|am unable to|won\W?t|will not|must decline|am not able to|\W?m not able to)\b"
    r"|\bi\W?m (?:unable|not able) to\b|\b(?:unable|decline) to (?:help|assist|comply|judge|compare)\b",
    re.IGNORECASE,
)


def read_reply(text: str, refusal: str = "", finish: str = "") -> Reading:
    """The choice in a reply: the `verdict` of its JSON, or a reply (or last line) that is nothing but the choice.

    `refusal` and `finish` are what the endpoint says of it. Two objects or lines that differ are unreadable.
    """
    if refusal or finish == "content_filter":
        return "refused"
    body = text[:_LONGEST].rpartition("</think>")[2].strip()
    if "<think>" in body:  # cut off while it was weighing this against that
        return "unreadable"
    verdicts = list(_verdicts(body))
    # A reply that was cut off after `A` may have gone on with ` tie`.
    choice = _agreed(verdicts) if verdicts else _bare(body) if finish != "length" else None
    return choice or ("refused" if _REFUSAL.search(body[:400]) else "unreadable")


def _verdicts(body: str) -> Iterator[Any]:
    """The `verdict` of each JSON object of the text; one that stands twice in an object is two.

    Ends at what begins like an object and is none: what is within could be a caption that the judge repeats.
    """
    # Not strict: models write line breaks into their reasons.
    decode = json.JSONDecoder(object_pairs_hook=_Pairs, strict=False).raw_decode
    at = body.find("{")
    while at >= 0:
        try:
            value, end = decode(body, at)
        except (ValueError, RecursionError):
            return
        yield from (held for name, held in value if name.casefold() == VERDICT)
        at = body.find("{", end)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it was written: a name may stand in it twice."""


def _agreed(verdicts: Sequence[Any]) -> Choice | None:
    """The choice that all verdicts are."""
    found = {_ANSWER.fullmatch(_plain(verdict)) if isinstance(verdict, str) else None for verdict in verdicts}
    choices = {_CHOICES[match[1]] if match else None for match in found}
    return choices.pop() if len(choices) == 1 else None


def _bare(body: str) -> Choice | None:
    """The choice when the reply is nothing else, or when its last line says so and no other says otherwise."""
    lines = [plain for line in body.splitlines() if (plain := _plain(line))]
    if len(lines) == 1 and (match := _ANSWER.fullmatch(lines[0])):
        return _CHOICES[match[1]]
    said = [match[1] if (match := _LABELLED.fullmatch(line)) else "" for line in lines]
    return _CHOICES[said[-1]] if said and said[-1] and len(set(said) - {""}) == 1 else None


def _plain(text: str) -> str:
    """Lower case, without markup and quotes: `**[[A]]**.` is `a`."""
    return _MARKUP.sub(" ", text).strip().casefold()
