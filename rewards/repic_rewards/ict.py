"""The identity score of captions: which of the wanted names a completion uses (paper Eq. 4 and 5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from repic_rewards.formats import answer_of
from repic_rewards.names import Mentions, Mode, NameMatcher, encode
from repic_rewards.search import Sets

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
    max_repeats: int | None = 4,
) -> list[float]:
    """The share of `required[i]` that completion i names: 1.0 or 0.0 for one name, n/m for m names; N values.

    A completion of fewer than `min_chars` characters scores 0.0 (the paper's text says tokens, its code characters).

    - strict: names as `NameMatcher` finds them among those of this completion, in the `<answer>` where there is one,
      with `aliases[i][j]` as other spellings of `required[i][j]`. A name with more than `max_repeats` mentions (None:
      no limit) counts as not named. `absent_penalty` is taken off for each name of `absent[i]` that is used, down to
      0.0. Closing tags (`</bo>`) or names for more than half of the words score 0.0. Where nothing is required, the
      share of `absent[i]` that is not used.
    - paper: the exact text `<bo>`; with one name, `</bo>` scores 0.0. `absent` and `aliases` are not looked at.

    Raises `ValueError` where neither a required nor an absent name is given, lists do not fit, or the mode is unknown.
    """
    if mode not in ("strict", "paper"):
        raise ValueError(f"unknown mode {mode!r}; there are strict, paper")
    groups = _group(len(completions), required, absent, aliases)
    if mode == "paper":
        scores = _paper(completions, groups, min_chars)
    else:
        texts = [answer_of(text) if "<answer>" in text else text for text in completions]
        scores = _strict(texts, groups, min_chars, absent_penalty, max_repeats)
    return scores.tolist()


class _Groups(NamedTuple):
    """Completions by what they are asked for: usually the G completions of a prompt share the same objects."""

    of_text: np.ndarray  # (N,) int32
    required: list[Sequence[str]]
    absent: list[Sequence[str]]
    aliases: list[Sequence[Sequence[str]]]


def _group(
    texts: int,
    required: Sequence[Sequence[str]],
    absent: Sequence[Sequence[str]],
    aliases: Sequence[Sequence[Sequence[str]]],
) -> _Groups:
    columns = [list(column or ((),) * texts) for column in (required, absent, aliases)]
    if any(len(column) != texts for column in columns):
        first, second, third = map(len, columns)
        raise ValueError(f"{texts} completions, but names for {first}, {second} and {third}")
    # Objects that the columns hold have distinct ids; equal ones that are not the same only make one group more.
    ids = np.array([np.fromiter(map(id, column), np.int64, texts) for column in columns])
    heads = np.flatnonzero(np.concatenate([[True], (ids[:, 1:] != ids[:, :-1]).any(axis=0)])[:texts])
    numbers: dict[tuple[int, ...], int] = {}
    of_head = [numbers.setdefault(tuple(key), len(numbers)) for key in ids[:, heads].T.tolist()]
    of_text = np.repeat(np.array(of_head, np.int32), np.diff(heads, append=texts))
    first = heads[np.unique(of_head, return_index=True)[1]].tolist()
    wanted, unwanted, spelt = ([column[row] for row in first] for column in columns)
    for row, names, others, forms in zip(first, wanted, unwanted, spelt, strict=True):
        if not names and not others:
            raise ValueError(f"completion {row}: no name is required or absent")
        if forms and len(forms) != len(names):
            raise ValueError(f"completion {row}: {len(forms)} lists of aliases for {len(names)} names")
    return _Groups(of_text, wanted, unwanted, spelt)


class _Plan(NamedTuple):
    """What to look for. Place k of the sets is the name `sets.names[k]` of its group."""

    matcher: NameMatcher
    sets: Sets
    needed: np.ndarray  # (K,) bool: a required name, not an absent one
    times: np.ndarray  # (K,) int64: how often the group gives the name
    wanted: np.ndarray  # (S,) int64: required names of each group
    unwanted: np.ndarray  # (S,) int64


def _plan(groups: _Groups, mode: Mode) -> _Plan:
    """Each name once in a group; one that is required is not absent."""
    absent = groups.absent if mode == "strict" else [()] * len(groups.required)
    names = list(chain.from_iterable(chain.from_iterable(zip(groups.required, absent, strict=True))))
    index: dict[str, int] = {}
    numbers = np.array([index.setdefault(name, len(index)) for name in names], np.int64)
    sizes = np.array([(len(a), len(b)) for a, b in zip(groups.required, absent, strict=True)], np.int64).reshape(-1, 2)
    owner = np.repeat(np.arange(len(sizes)), sizes.sum(axis=1))
    # Required names come first in a group, so the first place of a name is a required one if there is one.
    found = np.unique(owner * max(len(index), 1) + numbers, return_index=True, return_counts=True)
    order = np.argsort(found[1])
    first, times = found[1][order], found[2][order]
    needed = np.repeat(np.tile([True, False], len(sizes)), sizes.reshape(-1))[first]
    total = np.bincount(owner[first], minlength=len(sizes))
    wanted = np.bincount(owner[first], needed, minlength=len(sizes)).astype(np.int64)
    spellings, chosen = _spellings(groups, absent, names, numbers, list(index), mode)
    matcher = NameMatcher(*spellings, mode=mode, allow_duplicates=True)
    at = np.concatenate([[0], np.cumsum(total)]).astype(np.int64)
    sets = Sets(groups.of_text, at, chosen[first].astype(np.int32))
    return _Plan(matcher, sets, needed, times, wanted, total - wanted)


def _spellings(
    groups: _Groups,
    absent: Sequence[Sequence[str]],
    names: Sequence[str],
    numbers: np.ndarray,
    distinct: list[str],
    mode: Mode,
) -> tuple[tuple[list[str], list[tuple[str, ...]] | None], np.ndarray]:
    """Names and aliases for a matcher, and the one for each given name: with other aliases, it is another one."""
    if mode == "paper" or not any(groups.aliases):
        return (distinct, None), numbers
    rows: Iterable[Sequence[str]] = chain.from_iterable(
        chain(forms or ((),) * len(own), ((),) * len(others))
        for own, others, forms in zip(groups.required, absent, groups.aliases, strict=True)
    )
    index: dict[tuple[str, tuple[str, ...]], int] = {}
    pairs = zip(names, map(tuple, rows), strict=True)
    chosen = np.array([index.setdefault(pair, len(index)) for pair in pairs], np.int64)
    return ([name for name, _ in index], [forms for _, forms in index]), chosen


def _strict(
    texts: Sequence[str], groups: _Groups, min_chars: int, absent_penalty: float, max_repeats: int | None
) -> np.ndarray:
    plan = _plan(groups, "strict")
    found, short = _find(plan, texts, min_chars)
    needed, named = plan.needed[found.place], found.count > 0
    # A name for everything in sight names nothing; the names beside it keep what they earned.
    once = named if max_repeats is None else named & (found.count <= max_repeats)
    hits = np.bincount(found.text[needed & once], minlength=len(texts))
    wrong = np.bincount(found.text[~needed & named], minlength=len(texts))
    wanted, unwanted = plan.wanted[groups.of_text], plan.unwanted[groups.of_text]
    share = hits / np.maximum(wanted, 1) - absent_penalty * wrong
    share = np.where(wanted > 0, share, 1 - wrong / np.maximum(unwanted, 1))
    refused = np.bincount(found.text[found.closed > 0], minlength=len(texts)) > 0
    refused |= short | (found.name_words > STUFFED * found.words)
    return np.where(refused, 0.0, np.maximum(share, 0.0))


def _paper(texts: Sequence[str], groups: _Groups, min_chars: int) -> np.ndarray:
    """By the paper's code, which counts a name that is required twice as two names."""
    plan = _plan(groups, "paper")
    found, short = _find(plan, texts, min_chars)
    wanted = np.array([len(names) for names in groups.required], np.int64)[groups.of_text]
    hits = np.bincount(found.text, plan.times[found.place] * (found.count > 0), minlength=len(texts))
    closed = np.bincount(found.text[found.closed > 0], minlength=len(texts)) > 0
    return np.where(short | (closed & (wanted == 1)), 0.0, hits / np.maximum(wanted, 1))


def _find(plan: _Plan, texts: Sequence[str], min_chars: int) -> tuple[Mentions, np.ndarray]:
    """The mentions in all texts, and which texts are shorter than `min_chars`."""
    buffer, offsets = encode(texts, nfc=plan.matcher.mode == "strict")
    # ASCII has a byte a character, and asking each text again takes longer than looking at all bytes.
    ascii_only = not len(buffer) or buffer.max() < 0x80
    sizes = np.diff(offsets) if ascii_only else np.fromiter(map(len, texts), np.int64, len(texts))
    return plan.matcher.find_in(buffer, offsets, plan.sets), sizes < min_chars
