"""The identity score of captions: which of the wanted names a completion uses (paper Eq. 4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repic_rewards.names import Mode, NameMatcher

STUFFED = 0.5
"""A caption of which more than this share of the words are the wanted names says nothing else."""


def score_names(
    completions: Sequence[str],
    required: Sequence[Sequence[str]],
    absent: Sequence[Sequence[str]] = (),
    aliases: Sequence[Sequence[Sequence[str]]] = (),
    *,
    mode: Mode = "strict",
    min_chars: int = 100,
    absent_penalty: float = 0.0,
    max_repeats: int = 4,
) -> list[float]:
    """The share of `required[i]` that completion i names: 1.0 or 0.0 for one name, n/m for m names; N values.

    A completion of fewer than `min_chars` characters scores 0.0. strict: names as `NameMatcher` finds them, with
    `aliases[i][j]` as other spellings of `required[i][j]`; `absent_penalty` is taken off for each name of `absent[i]`
    that is used, down to 0.0; closing tags (`</bo>`), more than `max_repeats` mentions of a name, or a caption made of
    names alone score 0.0. paper: the exact text `<bo>`; with one name, `</bo>` scores 0.0. Raises `ValueError` where
    nothing is required, or lists do not fit.
    """
    wanted = [list(names) for names in required]
    others = [list(names) for names in absent] if absent else [[] for _ in wanted]
    spelt = [list(rows) for rows in aliases] if aliases else [[] for _ in wanted]
    _check(len(completions), wanted, others, spelt)
    flat = [name for pair in zip(wanted, others, strict=True) for names in pair for name in names]
    ends = np.cumsum([0, *(len(a) + len(b) for a, b in zip(wanted, others, strict=True))])
    only = [range(ends[row], ends[row + 1]) for row in range(len(wanted))]
    also = [
        forms
        for names, extra, rows in zip(wanted, others, spelt, strict=True)
        for forms in [*(rows or [()] * len(names)), *[()] * len(extra)]
    ]
    matcher = NameMatcher(flat, None if mode == "paper" else also, mode=mode, allow_duplicates=True)
    found = matcher.find(completions, only)
    count, closed = np.zeros(len(flat), np.int64), np.zeros(len(flat), np.int64)
    count[found.name], closed[found.name] = found.count, found.closed
    scores = []
    for row, text in enumerate(completions):
        first, middle, last = ends[row], ends[row] + len(wanted[row]), ends[row + 1]
        hits = int((count[first:middle] > 0).sum())
        penalty = absent_penalty * int((count[middle:last] > 0).sum())
        score = max(0.0, hits / len(wanted[row]) - (penalty if mode == "strict" else 0.0))
        if mode == "strict":
            names_only = found.words[row] > 0 and found.name_words[row] > STUFFED * found.words[row]
            cheated = names_only or closed[first:last].any() or (count[first:middle] > max_repeats).any()
        else:
            cheated = len(wanted[row]) == 1 and bool(closed[first:middle].any())
        scores.append(0.0 if cheated or len(text) < min_chars else score)
    return scores


def _check(
    texts: int, wanted: list[list[str]], others: list[list[str]], spelt: list[list[Sequence[str]]]
) -> None:
    if not texts == len(wanted) == len(others) == len(spelt):
        raise ValueError(f"{texts} completions, but names for {len(wanted)}, {len(others)} and {len(spelt)}")
    for row, names in enumerate(wanted):
        if not names:
            raise ValueError(f"completion {row}: no name is required")
        if spelt[row] and len(spelt[row]) != len(names):
            raise ValueError(f"completion {row}: {len(spelt[row])} lists of aliases for {len(names)} names")
