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
)
from repic_rewards.tokens import KIND, START, STOP, extend, fold_ascii, hash_bytes, hash_token, room_for, tokenise
from repic_rewards.unicode_tables import ANGLE, UNDERSCORE, WORD, tables

TEXT, PLACE, COUNT, BRACKETS, CLOSED = 0, 1, 2, 3, 4
"""The columns of the rows that are found."""

_EMPTY = np.uint64(0)
_LT, _GT, _SLASH = 60, 62, 47
_BLOCK = 64


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
        offsets, sets, names, lambda text, work: _strict(buffer, offsets, text, room, *sets, *work, *index, *unicode)
    )


def search_paper(buffer: np.ndarray, offsets: np.ndarray, sets: Sets, names: int, index: Index) -> Work:
    """All `<name>` and `</name>`, byte for byte."""
    return _search(offsets, sets, names, lambda text, work: _paper(buffer, offsets, text, *sets, *work, *index[:-1]))


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
    if old >= 0:
        for k in range(at[old], at[old + 1]):
            place[names[k]] = -1
    for k in range(at[new], at[new + 1]):
        place[names[k]] = k


@kernel
def _initials_of(at: np.ndarray, names: np.ndarray, wanted: int, initials: np.ndarray) -> tuple[np.uint64, np.uint64]:
    """The bytes below 64, and those from 64 to 127, that names of a set start with, as bits."""
    low, high = _EMPTY, _EMPTY
    for k in range(at[wanted], at[wanted + 1]):
        low |= initials[names[k], 0]
        high |= initials[names[k], 1]
    return low, high


@kernel
def _may_start(byte: int, low: np.uint64, high: np.uint64) -> bool:
    """Whether a token with this first byte can start a name: most tokens cannot, and are not looked at closer."""
    if byte >= 0x80:  # its folding may start with any byte
        return True
    byte = fold_ascii(byte)
    bits = high if byte >= 64 else low
    return (bits >> np.uint64(byte & 63)) & np.uint64(1) != _EMPTY


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
    initials: np.ndarray,
    chars: np.ndarray,
    folds: np.ndarray,
) -> tuple[int, int]:
    """Search from a text on; returns the first text that was not searched, and the rows used."""
    used, current = 0, -1
    low = high = _EMPTY
    while text < len(offsets) - 1:
        wanted = set_of[text]
        most = min(set_at[wanted + 1] - set_at[wanted], offsets[text + 1] - offsets[text])
        if used + most > len(rows):
            break
        if wanted != current:
            _enter(set_at, set_names, current, wanted, place)
            low, high = _initials_of(set_at, set_names, wanted, initials)
        current = wanted
        first, opened, behind = used, -1, 0
        said, naming = 0, 0
        for i in range(tokenise(buffer, offsets[text], offsets[text + 1], chars, tokens)):
            kind = tokens[i, KIND]
            if kind & ANGLE:
                opened = i if buffer[tokens[i, START]] == _LT else -1
            slot = -1
            if i >= behind and _may_start(buffer[tokens[i, START]], low, high):
                token = hash_token(buffer, tokens[i, START], tokens[i, STOP], chars, folds)
                slot = lookup(keys, extend(_EMPTY, token, False))
            if slot >= 0:
                last, name, frame = mention_at(
                    buffer, tokens, i, slot, opened, place, keys, ends, phrases, spellings, forms, chars, folds
                )
                if last >= 0:
                    behind = last + 1
                    column = CLOSED if frame == CLOSING else COUNT
                    used = _add(rows, row_of, used, first, text, place[name], column)
                    rows[row_of[place[name]], BRACKETS] += frame == BRACKETED
            if kind & (WORD | UNDERSCORE) == WORD:
                said += 1
                naming += i < behind
        words[text, 0], words[text, 1] = said, naming
        text += 1
    return text, used


@kernel
def _next_bracket(buffer: np.ndarray, i: int, end: int) -> int:
    """The first `<` from byte `i` on, or `end`; in blocks, since most of a text is passed over."""
    while i + _BLOCK <= end:
        some = False
        for k in range(i, i + _BLOCK):
            some |= buffer[k] == _LT
        if some:
            break
        i += _BLOCK
    while i < end and buffer[i] != _LT:
        i += 1
    return i


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
        if wanted != current:
            _enter(set_at, set_names, current, wanted, place)
        current = wanted
        first = used
        while i < end:
            i = _next_bracket(buffer, i, end) + 1
            begin = i
            while i < end and buffer[i] != _GT and buffer[i] != _LT:
                i += 1
            if i >= end or buffer[i] == _LT or i == begin:
                continue
            at = _named(buffer, begin, i, place, keys, ends, phrases, spellings, forms)
            if at >= 0:
                used = _add(rows, row_of, used, first, text, at, COUNT)
                rows[row_of[at], BRACKETS] += 1
            if buffer[begin] == _SLASH:
                at = _named(buffer, begin + 1, i, place, keys, ends, phrases, spellings, forms)
                if at >= 0:
                    used = _add(rows, row_of, used, first, text, at, CLOSED)
        text += 1
    return text, used
