"""Cutting UTF-8 text into words and signs, and hashes of their case-folded forms.

A token is a run of word characters, or one character of any other kind (an underscore and a character of a
script without spaces too), with the marks that follow it. White space makes no token, but the next one has a gap.

Tokens are rows of START, STOP (bytes of the buffer) and KIND: the flags of the first character (see
`unicode_tables`), with GAP after white space and at the start of the text. A closing row has the kind GAP | END, so
that looking at neighbours never leaves the text.
"""

from __future__ import annotations

import numpy as np

from repic_rewards._jit import kernel
from repic_rewards.unicode_tables import (
    APOSTROPHE,
    ASCII_AT,
    FLAG_BITS,
    HYPHEN,
    MARK,
    SOLO,
    SPACE,
    UNDERSCORE,
    WORD,
)

GAP, END = 256, 512
START, STOP, KIND = 0, 1, 2
_LETTER = WORD | SOLO | UNDERSCORE  # a character of a run has WORD alone of these
_FNV_START = np.uint64(0xCBF29CE484222325)
_FNV_PRIME = np.uint64(0x100000001B3)
_MIX_PRIME = np.uint64(0x9E3779B97F4A7C15)
_MIX_SHIFT = np.uint64(29)
_GAP_SALT = np.uint64(0x2545F4914F6CDD1D)
_REPLACEMENT = 0xFFFD


def room_for(offsets: np.ndarray) -> np.ndarray:
    """Room for the tokens of any text between these offsets, (T, 3) int64."""
    return np.zeros((int(np.diff(offsets).max(initial=0)) + 1, 3), np.int64)


@kernel
def decode(buffer: np.ndarray, i: int, end: int) -> tuple[int, int]:
    """The code point at byte `i`, and the byte after it. A broken sequence is one replacement character a byte."""
    first = int(buffer[i])
    if first < 0x80:
        return first, i + 1
    size = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if first < 0xC2 or first > 0xF4 or i + size > end:
        return _REPLACEMENT, i + 1
    code = first & (0x7F >> size)
    for k in range(i + 1, i + size):
        byte = int(buffer[k])
        if byte & 0xC0 != 0x80:
            return _REPLACEMENT, i + 1
        code = code << 6 | byte & 0x3F
    return (code, i + size) if code < 0x110000 else (_REPLACEMENT, i + 1)


@kernel
def record_of(code: int, chars: np.ndarray) -> int:
    """Flags and folding of a code point, packed as in `Tables`."""
    return int(chars[int(chars[code >> 8]) + (code & 255)])


@kernel
def tokenise(buffer: np.ndarray, begin: int, end: int, chars: np.ndarray, tokens: np.ndarray) -> int:
    """Write the tokens of the text in bytes [begin, end) and return their number."""
    count = 0
    gap = GAP
    i = begin
    while i < end:
        byte = int(buffer[i])
        after = i + 1
        record = int(chars[ASCII_AT + byte]) if byte < 0x80 else 0
        if byte >= 0x80:
            code, after = decode(buffer, i, end)
            record = record_of(code, chars)
        if record & SPACE:
            gap = GAP
            i = after
            continue
        tokens[count, START] = i
        tokens[count, KIND] = record & 0xFF | gap
        is_word = record & _LETTER == WORD
        i = after
        while i < end:
            byte = int(buffer[i])
            if byte < 0x80:  # most of all bytes come by here
                if not is_word or chars[ASCII_AT + byte] & _LETTER != WORD:
                    break
                i += 1
                continue
            code, after = decode(buffer, i, end)
            record = record_of(code, chars)
            if not (is_word and record & _LETTER == WORD) and not record & MARK:
                break
            i = after
        tokens[count, STOP] = i
        count += 1
        gap = 0
    tokens[count, KIND] = GAP | END
    return count


@kernel
def fold_ascii(byte: int) -> int:
    """The case folding of a byte below 128; a backtick is an apostrophe."""
    if 65 <= byte <= 90:
        return byte + 32
    return 39 if byte == 96 else byte


@kernel
def hash_token(buffer: np.ndarray, begin: int, end: int, chars: np.ndarray, folds: np.ndarray) -> np.uint64:
    """The hash (FNV-1a) of the case-folded bytes of a token."""
    value = _FNV_START
    i = begin
    while i < end:
        byte = int(buffer[i])
        if byte < 0x80:
            value = (value ^ np.uint64(fold_ascii(byte))) * _FNV_PRIME
            i += 1
            continue
        code, after = decode(buffer, i, end)
        at = record_of(code, chars) >> FLAG_BITS
        source, low, high = buffer, i, after
        if at != 0:
            source, low, high = folds, at + 1, at + 1 + int(folds[at])
        for k in range(low, high):
            value = (value ^ np.uint64(source[k])) * _FNV_PRIME
        i = after
    return value


@kernel
def extend(value: np.uint64, token: np.uint64, gap: bool) -> np.uint64:
    """The hash of a phrase that goes on with a token, after white space or not. An empty phrase is 0."""
    if gap:
        value = value ^ _GAP_SALT
    value = (value ^ token) * _MIX_PRIME
    return value ^ (value >> _MIX_SHIFT)


@kernel
def hash_bytes(buffer: np.ndarray, begin: int, end: int) -> np.uint64:
    """The hash of bytes as they are, spread like that of a phrase."""
    value = _FNV_START
    for k in range(begin, end):
        value = (value ^ np.uint64(buffer[k])) * _FNV_PRIME
    return extend(np.uint64(0), value, False)


@kernel
def same_text(
    buffer: np.ndarray,
    begin: int,
    end: int,
    forms: np.ndarray,
    at: int,
    folded: bool,
    chars: np.ndarray,
    folds: np.ndarray,
) -> bool:
    """Whether a text that `fold` (or else `plain`, see `unicode_tables`) makes of bytes [begin, end) stands at `at`.

    Forms end with a zero byte, which is in no name.
    """
    i = begin
    while i < end:
        code, after = decode(buffer, i, end)
        record = record_of(code, chars)
        if record & SPACE:
            while after < end and record_of(decode(buffer, after, end)[0], chars) & SPACE:
                after = decode(buffer, after, end)[1]
        fold_at = record >> FLAG_BITS
        source, low, high = buffer, i, after
        if fold_at != 0 and (folded or record & (SPACE | APOSTROPHE | HYPHEN)):
            source, low, high = folds, fold_at + 1, fold_at + 1 + int(folds[fold_at])
        for k in range(low, high):
            if source[k] != forms[at]:
                return False
            at += 1
        i = after
    return forms[at] == 0
