"""The identity score of captions: which of the wanted names a completion uses (paper Eq. 4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import NamedTuple

import numpy as np

from repic_rewards.formats import answer_of
from repic_rewards.names import Mode, NameMatcher, encode
from repic_rewards.search import Sets

STUFFED = 0.5
"""A caption of which more than this share of the words are the wanted names says nothing else."""

Names = tuple[str, ...]
Wish = tuple[Names, Names, tuple[Names, ...]]
"""Required names, absent names, and the aliases of the required ones."""


def score_names(
    completions: Sequence[str],
    required: Sequence[Sequence[str]],
    absent: Sequence[Sequence[str]] = (),
    aliases: Sequence[Sequence[Sequence[str]]] = (),
    *,
    mode: Mode = "strict",
    min_chars: int = 100,
    absent_penalty: float = 0.0,
    max_repeats: int | None = 4,
) -> list[float]:
    """The share of `required[i]` that completion i names: 1.0 or 0.0 for one name, n/m for m names; N values.

    A completion of fewer than `min_chars` characters scores 0.0 (the paper's text says tokens, its code characters).

    - strict: names as `NameMatcher` finds them among those of this completion, in the `<answer>` where there is one,
      with `aliases[i][j]` as other spellings of `required[i][j]`. `absent_penalty` is taken off for each name of
      `absent[i]` that is used, down to 0.0. Closing tags (`</bo>`), more than `max_repeats` mentions of a required
      name (None: no limit), or names for more than half of the words score 0.0. Where nothing is required, the share
      of `absent[i]` that is not used.
    - paper: the exact text `<bo>`; with one name, `</bo>` scores 0.0. `absent` and `aliases` are not looked at.

    Raises `ValueError` where neither a required nor an absent name is given, lists do not fit, or the mode is unknown.
    """
    if mode not in ("strict", "paper"):
        raise ValueError(f"unknown mode {mode!r}; there are strict, paper")
    wishes = _wishes(len(completions), required, absent, aliases)
    numbers: dict[Wish, int] = {}
    of_text = np.fromiter((numbers.setdefault(wish, len(numbers)) for wish in wishes), np.int32, len(wishes))
    if mode == "paper":
        return _paper(completions, of_text, list(numbers), min_chars)
    texts = [answer_of(text) for text in completions]
    plan = _plan(list(numbers))
    found = plan.matcher.find_in(*encode(texts), Sets(of_text, plan.at, plan.names))
    needed, named = plan.needed[found.place], found.count > 0
    hits = _per_text(found.text[needed & named], len(texts))
    wrong = _per_text(found.text[~needed & named], len(texts))
    wanted, unwanted = plan.wanted[of_text], np.diff(plan.at)[of_text] - plan.wanted[of_text]
    share = np.where(
        wanted > 0, hits / np.maximum(wanted, 1) - absent_penalty * wrong, 1 - wrong / np.maximum(unwanted, 1)
    )
    cheats = found.closed > 0
    if max_repeats is not None:
        cheats |= needed & (found.count > max_repeats)
    refused = _per_text(found.text[cheats], len(texts)) > 0
    refused |= found.name_words > STUFFED * found.words
    refused |= np.fromiter(map(len, texts), np.int64, len(texts)) < min_chars
    return np.where(refused, 0.0, np.maximum(share, 0.0)).tolist()


def _paper(completions: Sequence[str], of_text: np.ndarray, wishes: Sequence[Wish], min_chars: int) -> list[float]:
    """By the paper's code, which counts a name that is required twice as two names."""
    everyone = sorted({name for required, _, _ in wishes for name in required})
    matcher = NameMatcher(everyone, mode="paper")
    index = {name: number for number, name in enumerate(everyone)}
    sets = [list(dict.fromkeys(index[name] for name in required)) for required, _, _ in wishes]
    times = np.array([w[0].count(everyone[name]) for w, part in zip(wishes, sets, strict=True) for name in part], float)
    at = np.cumsum([0, *map(len, sets)], dtype=np.int64)
    names = np.array([name for part in sets for name in part], np.int32)
    found = matcher.find_in(*encode(completions, nfc=False), Sets(of_text, at, names))
    texts = len(completions)
    wanted = np.array([len(required) for required, _, _ in wishes])[of_text]
    hits = np.bincount(found.text, times[found.place] * (found.count > 0), minlength=texts)
    refused = (wanted == 1) & (_per_text(found.text[found.closed > 0], texts) > 0)
    refused |= np.fromiter(map(len, completions), np.int64, texts) < min_chars
    return np.where(refused, 0.0, hits / np.maximum(wanted, 1)).tolist()


class _Plan(NamedTuple):
    """What to look for: the names of each distinct wish, required ones first, as `Sets` wants them."""

    matcher: NameMatcher
    at: np.ndarray  # (S + 1,) int64
    names: np.ndarray  # (K,) int32
    needed: np.ndarray  # (K,) bool
    wanted: np.ndarray  # (S,) int64: required names of each wish


def _plan(wishes: Sequence[Wish]) -> _Plan:
    index: dict[tuple[str, Names], int] = {}
    sets, needed = [], []
    for required, absent, aliases in wishes:
        own = dict(zip(required, aliases or repeat(()), strict=False))
        others = [name for name in dict.fromkeys(absent) if name not in own]
        forms = [*own.items(), *((name, ()) for name in others)]
        sets.append([index.setdefault(form, len(index)) for form in forms])
        needed.append([True] * len(own) + [False] * len(others))
    return _Plan(
        NameMatcher([name for name, _ in index], [others for _, others in index], allow_duplicates=True),
        np.cumsum([0, *map(len, sets)], dtype=np.int64),
        np.array([name for part in sets for name in part], np.int32),
        np.array([flag for part in needed for flag in part], bool),
        np.array([sum(part) for part in needed], np.int64),
    )


def _wishes(
    texts: int,
    required: Sequence[Sequence[str]],
    absent: Sequence[Sequence[str]],
    aliases: Sequence[Sequence[Sequence[str]]],
) -> list[Wish]:
    """One wish for each text, as tuples, so that the texts of a group share one."""
    absent, aliases = absent or [()] * texts, aliases or [()] * texts
    if not texts == len(required) == len(absent) == len(aliases):
        raise ValueError(f"{texts} completions, but names for {len(required)}, {len(absent)} and {len(aliases)}")
    wishes = []
    for row, (names, others, spelt) in enumerate(zip(required, absent, aliases, strict=True)):
        if not names and not others:
            raise ValueError(f"completion {row}: no name is required or absent")
        if spelt and len(spelt) != len(names):
            raise ValueError(f"completion {row}: {len(spelt)} lists of aliases for {len(names)} names")
        wishes.append((tuple(names), tuple(others), tuple(map(tuple, spelt))))
    return wishes


def _per_text(texts: np.ndarray, count: int) -> np.ndarray:
    """How often each text number appears, (count,)."""
    return np.bincount(texts, minlength=count)
