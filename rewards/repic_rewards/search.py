"""Going through a buffer of texts, counting who is named where: the outer loops around `matching.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from repic_rewards._jit import kernel
from repic_rewards.indexing import Index
from repic_rewards.matching import (
    BRACKETED,
    CLOSING,
    FOLDED_AT,
    NAME,
    SPELLINGS_AT,
    lookup,
    mention_at,
    sign_of,
)
from repic_rewards.tokens import KIND, extend, hash_bytes, room_for, tokenise
from repic_rewards.unicode_tables import UNDERSCORE, WORD, tables

TEXT, PLACE, COUNT, BRACKETS, CLOSED = 0, 1, 2, 3, 4
"""The columns of the rows that are found."""

_EMPTY = np.uint64(0)
_LT, _GT, _SLASH = 60, 62, 47


class Sets(NamedTuple):
    """Which names count in which text: text `t` looks for `names[at[s]:at[s + 1]]` with `s = of_text[t]`."""

    of_text: np.ndarray  # (N,) int32
    at: np.ndarray  # (S + 1,) int64
    names: np.ndarray  # (K,) int32


class Work(NamedTuple):
    """What a search writes to."""

    rows: np.ndarray  # (R, 5) int32
    place: np.ndarray  # (M,) int64: the position in `Sets.names` of the names of the current set, else -1
    row_of: np.ndarray  # (K,) int64: the row of that position in the current text, if not before its first
    words: np.ndarray  # (N, 2) int32: words of each text, and those in mentions


def search_strict(buffer: np.ndarray, offsets: np.ndarray, sets: Sets, names: int, index: Index) -> Work:
    """All mentions by the strict rules; the rows of the result are those found."""
    room, unicode = room_for(offsets), tables()
    return _search(
        offsets, sets, names, lambda text, work: _strict(buffer, offsets, text, *room, *sets, *work, *index, *unicode)
    )


def search_paper(buffer: np.ndarray, offsets: np.ndarray, sets: Sets, names: int, index: Index) -> Work:
    """All `<name>` and `</name>`, byte for byte."""
    return _search(offsets, sets, names, lambda text, work: _paper(buffer, offsets, text, *sets, *work, *index))


def _search(offsets: np.ndarray, sets: Sets, names: int, step: Callable[[int, Work], tuple[int, int]]) -> Work:
    """Run a kernel with more and more room for rows. Numba's own growing of arrays takes seconds to compile."""
    texts = len(offsets) - 1
    most = int(min(np.diff(sets.at).max(initial=0), np.diff(offsets).max(initial=0)))
    place, row_of = np.full(names, -1, np.int64), np.zeros(len(sets.names), np.int64)
    work = Work(np.zeros((texts + most, 5), np.int32), place, row_of, np.zeros((texts, 2), np.int32))
    parts, text = [], 0
    while text < texts:
        place.fill(-1)
        row_of.fill(-1)
        text, used = step(text, work)
        parts.append(work.rows[:used].copy())
        work.rows.fill(0)
    return work._replace(rows=np.concatenate(parts) if parts else work.rows)


@kernel
def _enter(at: np.ndarray, names: np.ndarray, old: int, new: int, place: np.ndarray) -> None:
    """Change `place` from the names of one set to those of another."""
    if old == new:
        return
    if old >= 0:
        for k in range(at[old], at[old + 1]):
            place[names[k]] = -1
    for k in range(at[new], at[new + 1]):
        place[names[k]] = k


@kernel
def _add(rows: np.ndarray, row_of: np.ndarray, used: int, first: int, text: int, at: int, column: int) -> int:
    """Count a mention of the name at a place, in a new row if it is the first in its text. The rows used then."""
    row = row_of[at]
    if row < first:
        row = used
        row_of[at] = row
        rows[row, TEXT] = text
        rows[row, PLACE] = at
        used += 1
    rows[row, column] += 1
    return used


@kernel
def _strict(
    buffer: np.ndarray,
    offsets: np.ndarray,
    text: int,
    tokens: np.ndarray,
    hashes: np.ndarray,
    set_of: np.ndarray,
    set_at: np.ndarray,
    set_names: np.ndarray,
    rows: np.ndarray,
    place: np.ndarray,
    row_of: np.ndarray,
    words: np.ndarray,
    keys: np.ndarray,
    ends: np.ndarray,
    phrases: np.ndarray,
    spellings: np.ndarray,
    forms: np.ndarray,
    chars: np.ndarray,
    folds: np.ndarray,
) -> tuple[int, int]:
    """Search from a text on; returns the first text that was not searched, and the rows used."""
    used, current = 0, -1
    while text < len(offsets) - 1:
        wanted = set_of[text]
        most = min(set_at[wanted + 1] - set_at[wanted], offsets[text + 1] - offsets[text])
        if used + most > len(rows):
            break
        _enter(set_at, set_names, current, wanted, place)
        current = wanted
        first, opened, behind = used, -1, 0
        count = tokenise(buffer, offsets[text], offsets[text + 1], chars, folds, tokens, hashes)
        for i in range(count):
            sign = sign_of(buffer, tokens, i)
            if sign == _LT:
                opened = i
            elif sign == _GT:
                opened = -1
            slot = lookup(keys, extend(_EMPTY, hashes[i], False)) if i >= behind else -1
            if slot >= 0:
                last, name, frame = mention_at(
                    buffer, tokens, hashes, i, slot, opened, place, keys, ends, phrases, spellings, forms, chars, folds
                )
                if last >= 0:
                    behind = last + 1
                    column = CLOSED if frame == CLOSING else COUNT
                    used = _add(rows, row_of, used, first, text, place[name], column)
                    rows[row_of[place[name]], BRACKETS] += frame == BRACKETED
            if tokens[i, KIND] & (WORD | UNDERSCORE) == WORD:
                words[text, 0] += 1
                words[text, 1] += i < behind
        text += 1
    return text, used


@kernel
def _named(
    buffer: np.ndarray,
    begin: int,
    end: int,
    place: np.ndarray,
    keys: np.ndarray,
    ends: np.ndarray,
    phrases: np.ndarray,
    spellings: np.ndarray,
    forms: np.ndarray,
) -> int:
    """The place of the name that is written in bytes [begin, end), or -1."""
    slot = lookup(keys, hash_bytes(buffer, begin, end))
    if slot < 0:
        return -1
    phrase = ends[slot]
    at = phrases[phrase, FOLDED_AT]
    for k in range(begin, end):
        if buffer[k] != forms[at + k - begin]:
            return -1
    if forms[at + end - begin] != 0:
        return -1
    # A name can be given several times; one of its places at most is in the set.
    for k in range(phrases[phrase, SPELLINGS_AT], phrases[phrase + 1, SPELLINGS_AT]):
        if place[spellings[k, NAME]] >= 0:
            return place[spellings[k, NAME]]
    return -1


@kernel
def _paper(
    buffer: np.ndarray,
    offsets: np.ndarray,
    text: int,
    set_of: np.ndarray,
    set_at: np.ndarray,
    set_names: np.ndarray,
    rows: np.ndarray,
    place: np.ndarray,
    row_of: np.ndarray,
    words: np.ndarray,
    keys: np.ndarray,
    ends: np.ndarray,
    phrases: np.ndarray,
    spellings: np.ndarray,
    forms: np.ndarray,
) -> tuple[int, int]:
    """As `_strict`, for all that stands between `<` or `</` and `>`; `words` stay 0."""
    used, current = 0, -1
    while text < len(offsets) - 1:
        wanted = set_of[text]
        i, end = offsets[text], offsets[text + 1]
        if used + min(set_at[wanted + 1] - set_at[wanted], end - i) > len(rows):
            break
        _enter(set_at, set_names, current, wanted, place)
        current = wanted
        first = used
        begin = end
        while i < end:
            if buffer[i] == _LT:
                begin = i + 1
            elif buffer[i] == _GT and begin < i:
                at = _named(buffer, begin, i, place, keys, ends, phrases, spellings, forms)
                if at >= 0:
                    used = _add(rows, row_of, used, first, text, at, COUNT)
                    rows[row_of[at], BRACKETS] += 1
                if buffer[begin] == _SLASH:
                    at = _named(buffer, begin + 1, i, place, keys, ends, phrases, spellings, forms)
                    if at >= 0:
                        used = _add(rows, row_of, used, first, text, at, CLOSED)
                begin = end
            i += 1
        text += 1
    return text, used
