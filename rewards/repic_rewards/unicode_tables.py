"""Unicode properties as arrays, for kernels that read UTF-8: word characters, marks, and case folding.

A word boundary lies between two characters unless both are word characters (letters, digits, `_`, marks), as in
`\\b`, with two differences that names need: a mark belongs to the character before it, and scripts that put no
spaces between words (Han, Hiragana, Thai, …) have a boundary at each character, as in Unicode UAX #29.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import numpy as np

WORD, SOLO, MARK, SPACE, APOSTROPHE, HYPHEN, UNDERSCORE, ANGLE = 1, 2, 4, 8, 16, 32, 64, 128
FLAG_BITS = 8

APOSTROPHES = "'’‘ʼ＇`´"
HYPHENS = "-‐‑﹣－"

# Blocks of scripts written without spaces (Thai to Lao, Myanmar, Khmer, Hiragana) and of ideographs.
_SOLO_BLOCKS = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3005, 0x3007),
    (0x3041, 0x309F),
)
_IDEOGRAPHS = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))
# Above these, Unicode 15 has only unassigned and private characters, but for the selectors of E0100.
_LAST_LETTER = 0x1FBFF
_SELECTORS = (0xE0100, 0xE01EF)
_ZWJ = "\u200d"


ASCII_AT = 0x1100  # where the records of the first page stand in `Tables.chars`


class Tables(NamedTuple):
    """Unicode in two arrays, since each array that a kernel is handed costs time to compile and to call.

    `chars[chars[cp >> 8] + (cp & 255)]` is the record of a code point: its flags (low 8 bits) and where its folding
    stands in `folds`: the number of its bytes, then the bytes in UTF-8. At 0: the character stands for itself.
    """

    chars: np.ndarray  # uint32: the starts of 0x1100 pages, then the pages of 256 records
    folds: np.ndarray  # uint8


def unify(char: str) -> str:
    """All apostrophes, all hyphens and all white space become one of each; other characters stay."""
    if char in APOSTROPHES:
        return "'"
    if char in HYPHENS:
        return "-"
    return " " if char.isspace() else char


def fold_char(char: str) -> str:
    """`unify` and full case folding of one character."""
    return unify(char).casefold()


def fold(text: str) -> str:
    """A text without its case; runs of white space become one blank."""
    if text.isascii():  # the same, sooner
        return " ".join(text.casefold().replace("`", "'").split())
    return " ".join("".join(map(fold_char, text)).split())


def plain(text: str) -> str:
    """As `fold`, with the case kept."""
    return " ".join("".join(map(unify, text)).split())


@cache
def tables() -> Tables:
    """Built once in a process (about 50 ms)."""
    letters = "".join(map(chr, range(_LAST_LETTER + 1)))
    marks = [char for char in letters if unicodedata.category(char)[0] == "M"]
    spaces = re.findall(r"\s", letters)
    whole = np.zeros(0x110000, np.uint32)
    whole[_codes(re.findall(r"\w", letters))] = WORD
    whole[_codes([*marks, _ZWJ])] = WORD | MARK
    whole[_SELECTORS[0] : _SELECTORS[1] + 1] = WORD | MARK
    for low, high in _SOLO_BLOCKS:
        whole[low : high + 1] |= np.where(whole[low : high + 1] & WORD, SOLO, 0).astype(np.uint32)
    for low, high in _IDEOGRAPHS:
        whole[low : high + 1] = WORD | SOLO
    signs = ((APOSTROPHES, APOSTROPHE), (HYPHENS, HYPHEN), ("_", WORD | UNDERSCORE), ("<>", ANGLE))
    for chars, flags in ((spaces, SPACE), *signs):
        whole[_codes(chars)] = flags
    folds = bytearray(b"\0")
    cased = [char for char in letters if char.casefold() != char]
    for char in dict.fromkeys((*cased, *spaces, *APOSTROPHES, *HYPHENS)):
        whole[ord(char)] |= len(folds) << FLAG_BITS
        folded = fold_char(char).encode()
        folds += bytes([len(folded)]) + folded
    seen: dict[bytes, int] = {}
    pages = [seen.setdefault(page.tobytes(), ASCII_AT + 256 * len(seen)) for page in whole.reshape(-1, 256)]
    records = np.frombuffer(b"".join(seen), np.uint32)
    return Tables(np.concatenate([np.array(pages, np.uint32), records]), np.frombuffer(bytes(folds), np.uint8))


def _codes(chars: Iterable[str]) -> np.ndarray:
    return np.frombuffer("".join(chars).encode("utf-32-le", "surrogatepass"), np.uint32)
