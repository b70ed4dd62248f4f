"""Building the index of spellings that the kernels search with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from repic_rewards._jit import kernel
from repic_rewards.matching import lookup
from repic_rewards.tokens import GAP, KIND, START, STOP, extend, hash_bytes, hash_token, room_for, tokenise
from repic_rewards.unicode_tables import fold, plain, tables

Spelling = tuple[str, int, int]
"""A spelling in NFC, the index of its name, and its bits (see `matching`)."""


class Index(NamedTuple):
    """The spellings of all names: P distinct phrases, and E spellings that fold to them (see `matching`)."""

    keys: np.ndarray  # (C,) uint64: hashes of all beginnings of phrases, open addressing, 0 is empty
    ends: np.ndarray  # (C,) int32: the phrase that ends there, or -1
    phrases: np.ndarray  # (P + 1, 2) int64
    spellings: np.ndarray  # (E, 3) int64
    forms: np.ndarray  # (B,) uint8
    initials: np.ndarray  # (M, 2) uint64: a bit for each ASCII byte that a folded spelling of the name starts with


def join_utf8(texts: Sequence[str], end: str = "") -> tuple[np.ndarray, np.ndarray]:
    """One UTF-8 buffer (B,) uint8, with `end` behind each text, and byte offsets (N + 1,) int64."""
    whole = end.join([*texts, ""]) if end else "".join(texts)
    sizes: Iterable[int] = map(len, texts)
    if not whole.isascii():
        parts = [text.encode("utf-8", "surrogatepass") for text in texts]
        whole_bytes = end.encode().join([*parts, b""])
        sizes = map(len, parts)
    else:
        whole_bytes = whole.encode()
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.fromiter(sizes, np.int64, len(texts)) + len(end), out=offsets[1:])
    return np.frombuffer(whole_bytes, np.uint8), offsets


def strict_index(spellings: Sequence[Spelling]) -> Index:
    """Spellings by their case-folded phrases; every beginning of a phrase can be looked up."""
    ordered = sorted((fold(text), name, bits, text) for text, name, bits in spellings)
    numbers, starts, folded = _group([entry[0] for entry in ordered])
    buffer, offsets = join_utf8([text for _, _, _, text in ordered])
    keys, ends = _table(len(buffer))
    _index_phrases(buffer, offsets, numbers, keys, ends, room_for(offsets), *tables())
    keys, ends = _shrunk(keys, ends)
    exact = [plain(text) for _, _, _, text in ordered]
    owners = [(name, bits) for _, name, bits, _ in ordered]
    return _assemble(keys, ends, starts, owners, folded, exact, _initials([entry[0] for entry in ordered], owners))


def paper_index(names: Sequence[str]) -> Index:
    """Names byte for byte; a name may be given several times."""
    ordered = sorted((text, name) for name, text in enumerate(names))
    _, starts, distinct = _group([text for text, _ in ordered])
    keys, ends = _table(len(distinct))
    hashes = np.zeros(len(distinct), np.uint64)
    _hash_all(*join_utf8(distinct), hashes)
    _enter_all(hashes, np.arange(len(distinct), dtype=np.int32), keys, ends)
    return _assemble(keys, ends, starts, [(name, 0) for _, name in ordered], distinct, [], np.zeros((0, 2), np.uint64))


def _assemble(
    keys: np.ndarray,
    ends: np.ndarray,
    starts: np.ndarray,
    owners: Sequence[tuple[int, int]],
    folded: Sequence[str],
    exact: Sequence[str],
    initials: np.ndarray,
) -> Index:
    forms, at = join_utf8([*folded, *exact], "\0")
    spellings = np.zeros((len(owners), 3), np.int64)
    spellings[:, :2] = np.array(owners, np.int64).reshape(-1, 2)
    spellings[: len(exact), 2] = at[len(folded) : -1]
    return Index(keys, ends, np.stack([starts, at[: len(folded) + 1]], axis=1), spellings, forms, initials)


def _initials(folded: Sequence[str], owners: Sequence[tuple[int, int]]) -> np.ndarray:
    masks = [0] * (1 + max((name for name, _ in owners), default=-1))
    for text, (name, _) in zip(folded, owners, strict=True):
        masks[name] |= 1 << ord(text[0]) if text[0].isascii() else 0
    return np.array([(mask & (1 << 64) - 1, mask >> 64) for mask in masks], np.uint64).reshape(-1, 2)


def _group(forms: Sequence[str]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """For sorted forms: the number of each among the distinct ones, where each run starts, and the distinct ones."""
    new = [i == 0 or form != forms[i - 1] for i, form in enumerate(forms)]
    numbers = np.cumsum(new, dtype=np.int32) - np.int32(1)
    starts = np.append(np.flatnonzero(new), len(forms)).astype(np.int64)
    return numbers, starts, [form for form, first in zip(forms, new, strict=True) if first]


def _table(entries: int) -> tuple[np.ndarray, np.ndarray]:
    """An empty hash table, at most half full in the end."""
    size = 1 << max(4, (2 * entries).bit_length())
    return np.zeros(size, np.uint64), np.full(size, -1, np.int32)


def _shrunk(keys: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same table with room for what it holds and not for one entry a byte: look-ups then stay in the cache."""
    used = np.flatnonzero(keys)
    smaller = _table(len(used))
    _enter_all(keys[used], ends[used], *smaller)
    return smaller


@kernel
def _enter_all(values: np.ndarray, phrases: np.ndarray, keys: np.ndarray, ends: np.ndarray) -> None:
    """Enter distinct hashes."""
    for i in range(len(values)):
        slot = -1 - lookup(keys, values[i])
        keys[slot] = values[i]
        ends[slot] = phrases[i]


@kernel
def _index_phrases(
    buffer: np.ndarray,
    offsets: np.ndarray,
    phrases: np.ndarray,
    keys: np.ndarray,
    ends: np.ndarray,
    tokens: np.ndarray,
    chars: np.ndarray,
    folds: np.ndarray,
) -> None:
    """Enter every beginning of every spelling; spelling `i` of the buffer belongs to `phrases[i]`."""
    for i in range(len(phrases)):
        count = tokenise(buffer, offsets[i], offsets[i + 1], chars, tokens)
        value = np.uint64(0)
        slot = 0
        for k in range(count):
            token = hash_token(buffer, tokens[k, START], tokens[k, STOP], chars, folds)
            value = extend(value, token, k > 0 and tokens[k, KIND] & GAP != 0)
            slot = lookup(keys, value)
            if slot < 0:
                slot = -1 - slot
                keys[slot] = value
        ends[slot] = phrases[i]


@kernel
def _hash_all(buffer: np.ndarray, offsets: np.ndarray, hashes: np.ndarray) -> None:
    """The hash of each name of the buffer as a whole."""
    for i in range(len(offsets) - 1):
        hashes[i] = hash_bytes(buffer, offsets[i], offsets[i + 1])
