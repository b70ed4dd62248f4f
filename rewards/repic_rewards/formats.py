"""The reasoning templates of the paper's ablation (appendix A.4): <think> or <observe>, then <answer>."""

from __future__ import annotations

import re
from typing import Literal

Template = Literal["think", "observe"]

_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL)
_TAG = re.compile(r"</?(?:think|observe|answer)>")


def follows_format(text: str, template: Template = "think") -> bool:
    """Whether the completion is exactly `<think>…</think><answer>…</answer>` (or `<observe>…`).

    Each tag stands once and in this order, both parts say something, and only white space stands between the
    parts and around them. Raises `ValueError` for an unknown template.
    """
    if template not in ("think", "observe"):
        raise ValueError(f"unknown template {template!r}; there are think, observe")
    expected = [f"<{template}>", f"</{template}>", "<answer>", "</answer>"]
    if _TAG.findall(text) != expected:
        return False
    before, thought, between, answer, after = _TAG.split(text)
    outside = before + between + after
    return not outside.strip() and bool(thought.strip()) and bool(answer.strip())


def extract_answer(text: str) -> str | None:
    """What stands in <answer> tags, stripped; None without an <answer> tag.

    An answer that was cut off counts up to the end of the text. Several answers are joined by a line break, so
    that contradictory ones are read as contradictory.
    """
    if "<answer>" not in text:
        return None
    return "\n".join(part.strip() for part in _ANSWER.findall(text))


def answer_of(text: str) -> str:
    """The answer where there are tags, else the whole text."""
    answer = extract_answer(text)
    return text if answer is None else answer
