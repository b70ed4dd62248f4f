"""Kernels that decide whether the tokens of a text name somebody. `names.py` is their face; it tells the rules.

At each token a phrase grows token by token for as long as its hash is that of the beginning of some name; the
longest phrase that is a permitted mention wins. Arrays that appear everywhere:

- `tokens` as in `tokens.py`, `chars` and `folds` as in `unicode_tables.py`;
- `phrases` (P + 1, 2) int64: SPELLINGS_AT and FOLDED_AT of each distinct folded spelling;
- `spellings` (E, 3) int64: NAME, BITS and EXACT_AT of each spelling; those of one name stand together;
- `forms` uint8: folded and exact texts, each with a zero byte behind it;
- `place` (M,) int64: where a name stands in the set that is looked for, -1 if it does not.
"""

from __future__ import annotations

import numpy as np

from repic_rewards._jit import kernel
from repic_rewards.tokens import END, GAP, KIND, START, STOP, extend, hash_token, same_text
from repic_rewards.unicode_tables import ANGLE, APOSTROPHE, HYPHEN, SOLO, UNDERSCORE, WORD

SPELLINGS_AT, FOLDED_AT = 0, 1
NAME, BITS, EXACT_AT = 0, 1, 2

ALIAS, EXACT, BARE_EXACT, BARE_NEVER, UNJOINED = 1, 2, 4, 8, 16
"""Bits of a spelling: not the name itself; exact case everywhere; exact case without brackets; brackets only; not
beside a hyphen or dot that joins it to a word (T-shirt, J.K.)."""

BARE, BRACKETED, CLOSING, INSIDE = 0, 1, 2, 3
"""How a phrase stands: `bo`, `<bo>`, `</bo>`, or within brackets that hold more than it."""

_EMPTY = np.uint64(0)
_REACH = 16  # tokens between brackets
_LT, _GT, _SLASH, _BACKSLASH, _DOT = 60, 62, 47, 92, 46


@kernel
def lookup(keys: np.ndarray, value: np.uint64) -> int:
    """The slot that holds a hash, or -1 - (the free slot where it belongs)."""
    mask = len(keys) - 1
    slot = int(np.int64(value & np.uint64(mask)))  # int of a uint64 would stay unsigned
    while keys[slot] != _EMPTY:
        if keys[slot] == value:
            return slot
        slot = (slot + 1) & mask
    return -1 - slot


@kernel
def sign_of(buffer: np.ndarray, tokens: np.ndarray, i: int) -> int:
    """The first byte of a token that is a sign, whatever marks it carries; 0 for words, apostrophes and hyphens."""
    return int(buffer[tokens[i, START]]) if tokens[i, KIND] & ~(GAP | ANGLE) == 0 else 0


@kernel
def _are_letters(left: int, right: int) -> bool:
    """Whether two kinds belong to one word when nothing but underscores is between them."""
    return left & WORD != 0 and right & WORD != 0 and (left | right) & SOLO == 0


@kernel
def _starts(tokens: np.ndarray, i: int) -> bool:
    """Whether a mention may start at token `i`: not the t of can't, not the pic of my_pic."""
    kind = tokens[i, KIND]
    if kind & GAP:
        return True
    before = i - 1
    if tokens[before, KIND] & APOSTROPHE:
        return tokens[before, KIND] & GAP != 0 or tokens[before - 1, KIND] & WORD == 0
    while tokens[before, KIND] & UNDERSCORE:
        if tokens[before, KIND] & GAP:
            return True
        before -= 1
    return before == i - 1 or not _are_letters(tokens[before, KIND], kind)


@kernel
def _is_clitic(buffer: np.ndarray, tokens: np.ndarray, i: int) -> bool:
    """Whether a token is what may follow a name and an apostrophe: s, d, m, ll, re, ve."""
    at = tokens[i, START]
    size = tokens[i, STOP] - at
    if tokens[i, KIND] & (WORD | END) != WORD or size > 2:
        return False
    first = int(buffer[at]) | 32
    if size == 1:
        return first == 115 or first == 100 or first == 109
    second = int(buffer[at + 1]) | 32
    return (first == 108 and second == 108) or (second == 101 and (first == 114 or first == 118))


@kernel
def _ends(buffer: np.ndarray, tokens: np.ndarray, last: int) -> bool:
    """Whether a mention may end with token `last`: not the can of can't, not the my of my_pic."""
    after = last + 1
    while tokens[after, KIND] & (GAP | UNDERSCORE) == UNDERSCORE:
        after += 1
    kind = tokens[after, KIND]
    if kind & GAP:
        return True
    if after > last + 1:
        return not _are_letters(tokens[last, KIND], kind)
    if not kind & APOSTROPHE or tokens[after + 1, KIND] & (GAP | WORD) != WORD:
        return True
    return _is_clitic(buffer, tokens, after + 1)


@kernel
def _joins(buffer: np.ndarray, tokens: np.ndarray, low: int, word: int) -> bool:
    """Whether tokens low, low + 1 and low + 2 touch, the middle one being a hyphen or dot, and `word` a word."""
    if (tokens[low + 1, KIND] | tokens[low + 2, KIND]) & GAP or not tokens[word, KIND] & WORD:
        return False
    return tokens[low + 1, KIND] & HYPHEN != 0 or sign_of(buffer, tokens, low + 1) == _DOT


@kernel
def _is_joined(buffer: np.ndarray, tokens: np.ndarray, i: int, last: int) -> bool:
    """Whether a hyphen or dot joins the phrase to a word before or behind it."""
    if i > 1 and _joins(buffer, tokens, i - 2, i - 2):
        return True
    return not tokens[last + 1, KIND] & END and _joins(buffer, tokens, last, last + 2)


@kernel
def _frame(buffer: np.ndarray, tokens: np.ndarray, i: int, last: int, opened: int) -> int:
    """BARE, BRACKETED, CLOSING or INSIDE; `opened` is the token of the last `<` that is still open, or -1."""
    if opened < 0 or i - opened > _REACH:
        return BARE
    closing = i - opened == 2 and sign_of(buffer, tokens, i - 1) == _SLASH
    after = last + 1
    if tokens[after, KIND] & APOSTROPHE and _is_clitic(buffer, tokens, after + 1):
        after += 2
    if sign_of(buffer, tokens, after) == _BACKSLASH:
        after += 1
    if (closing or i - opened == 1) and sign_of(buffer, tokens, after) == _GT:
        return CLOSING if closing else BRACKETED
    after = last + 1
    while after <= last + _REACH and not tokens[after, KIND] & END:
        sign = sign_of(buffer, tokens, after)
        if sign in (_GT, _LT):
            return INSIDE if sign == _GT else BARE
        after += 1
    return BARE


@kernel
def _whose(
    buffer: np.ndarray,
    begin: int,
    end: int,
    low: int,
    high: int,
    place: np.ndarray,
    spellings: np.ndarray,
    forms: np.ndarray,
    chars: np.ndarray,
    folds: np.ndarray,
) -> int:
    """The one name that spellings [low, high) stand for, or -1: names beat aliases, then exact case beats others."""
    alias = ALIAS
    for k in range(low, high):
        if place[spellings[k, NAME]] >= 0 and not spellings[k, BITS] & ALIAS:
            alias = 0
    only = exact = -1
    several = several_exact = False
    for k in range(low, high):
        name = spellings[k, NAME]
        if place[name] < 0 or spellings[k, BITS] & ALIAS != alias:
            continue
        several |= only >= 0 and only != name
        only = name
        if high - low > 1 and same_text(buffer, begin, end, forms, spellings[k, EXACT_AT], False, chars, folds):
            several_exact |= exact >= 0 and exact != name
            exact = name
    if not several:
        return only
    return -1 if several_exact else exact


@kernel
def _is_permitted(
    buffer: np.ndarray,
    begin: int,
    end: int,
    bare: bool,
    joined: bool,
    name: int,
    low: int,
    high: int,
    spellings: np.ndarray,
    forms: np.ndarray,
    chars: np.ndarray,
    folds: np.ndarray,
) -> bool:
    """Whether the case and the brackets suit one of the spellings [low, high) that the name has."""
    for k in range(low, high):
        bits = spellings[k, BITS]
        if spellings[k, NAME] != name or (bare and bits & BARE_NEVER) or (joined and bits & UNJOINED):
            continue
        exact = bits & EXACT or (bare and bits & BARE_EXACT)
        if not exact or same_text(buffer, begin, end, forms, spellings[k, EXACT_AT], False, chars, folds):
            return True
    return False


@kernel
def mention_at(
    buffer: np.ndarray,
    tokens: np.ndarray,
    i: int,
    slot: int,
    opened: int,
    place: np.ndarray,
    keys: np.ndarray,
    ends: np.ndarray,
    phrases: np.ndarray,
    spellings: np.ndarray,
    forms: np.ndarray,
    chars: np.ndarray,
    folds: np.ndarray,
) -> tuple[int, int, int]:
    """The longest mention that starts at token `i`, found in `slot`: last token (-1: none), name, frame."""
    found, whose, framed = -1, -1, BARE
    if not _starts(tokens, i):
        return found, whose, framed
    begin = tokens[i, START]
    value, last = keys[slot], i
    while slot >= 0:
        end = tokens[last, STOP]
        phrase = ends[slot]
        if (
            phrase >= 0
            and _ends(buffer, tokens, last)
            and same_text(buffer, begin, end, forms, phrases[phrase, FOLDED_AT], True, chars, folds)
        ):
            low, high = phrases[phrase, SPELLINGS_AT], phrases[phrase + 1, SPELLINGS_AT]
            name = _whose(buffer, begin, end, low, high, place, spellings, forms, chars, folds)
            frame = _frame(buffer, tokens, i, last, opened)
            bare = frame == BARE
            joined = bare and _is_joined(buffer, tokens, i, last)
            permitted = frame == CLOSING or _is_permitted(
                buffer, begin, end, bare, joined, name, low, high, spellings, forms, chars, folds
            )
            if name >= 0 and frame != INSIDE and permitted:
                found, whose, framed = last, name, frame
        last += 1
        if tokens[last, KIND] & END:
            break
        token = hash_token(buffer, tokens[last, START], tokens[last, STOP], chars, folds)
        value = extend(value, token, tokens[last, KIND] & GAP != 0)
        slot = lookup(keys, value)
    return found, whose, framed
