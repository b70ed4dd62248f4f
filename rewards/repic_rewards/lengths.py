"""Length of completions, and whether it lies in a range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Unit = Literal["chars", "words"]


def count_length(text: str, unit: Unit = "chars") -> int:
    """Characters (Unicode code points) or words (parts between white space) of a text.

    Tokens depend on a tokenizer: whoever counts them passes the counts to `score_lengths`. The paper's text says
    tokens; its code counts characters. Raises `ValueError` for an unknown unit.
    """
    if unit == "chars":
        return len(text)
    if unit == "words":
        return len(text.split())
    raise ValueError(f"unknown unit {unit!r}; there are chars, words (and tokens, counted by the caller)")


def score_lengths(counts: Sequence[int], minimum: int = 0, maximum: int | None = None) -> list[float]:
    """1.0 for each count in minimum <= count <= maximum, else 0.0 (paper appendix C.2). None: no maximum.

    Raises `ValueError` when no length could pass.
    """
    if minimum < 0 or (maximum is not None and maximum < minimum):
        raise ValueError(f"no length lies between min={minimum} and max={maximum}")
    return [float(count >= minimum and (maximum is None or count <= maximum)) for count in counts]
