"""What neither protocol asks about a caption: how long it is, and whether it only repeats what is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from repic_cli.evaluation.captioned.known import Known
from repic_cli.evaluation.captioned.paper import END

if TYPE_CHECKING:
    from repic_cli.evaluation.captioned.rows import CaptionRow

RUN = 8
"""So many words of an info in a row, or a whole info of at least half as many, are no chance."""
QUANTILES = (5, 25, 50, 75, 95)
_SIGNS = [
    chr(code)
    for low, high in ((0x21, 0x7F), (0xA0, 0xC0), (0x2010, 0x2070), (0x3000, 0x3030))
    for code in range(low, high)
]
_BLANKED = str.maketrans({sign: " " for sign in _SIGNS if not (sign.isalnum() or sign == "_")})


@dataclass(frozen=True)
class Lengths:
    """The distribution of lengths: mean, and the values at `QUANTILES` per cent, in characters and in words."""

    mean_chars: float
    mean_words: float
    chars: tuple[float, ...]
    words: tuple[float, ...]
    short: float
    """the share below 100 characters, which is where the paper's reward for names begins"""


def lengths(rows: Sequence[CaptionRow]) -> Lengths:
    """The lengths of the captions without the token that ends them."""
    texts = [row.caption.replace(END, "") for row in rows]
    chars = np.array([len(text) for text in texts])
    words = np.array([len(text.split()) for text in texts])
    return Lengths(
        float(chars.mean()),
        float(words.mean()),
        tuple(np.percentile(chars, QUANTILES).tolist()),
        tuple(np.percentile(words, QUANTILES).tolist()),
        float((chars < 100).mean()),
    )


def info_repeats(rows: Sequence[CaptionRow], known: Known) -> tuple[np.ndarray, np.ndarray]:
    """Which captions repeat the info of a concept that was shown (or, if that is not known, is asked for), and which
    could: (N,) bool each. A repeat is `RUN` words of it in a row, whatever the case and punctuation."""
    repeats, could = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    for i, row in enumerate(rows):
        marks = [mark for info in _infos(row, known) for mark in _runs(info)]
        if marks:
            could[i] = True
            text = _plain(row.caption)
            repeats[i] = any(word in text and any(run in text for run in runs) for word, runs in marks)
    return repeats, could


def _infos(row: CaptionRow, known: Known) -> list[str]:
    keys = row.targets if row.shown is None else row.shown
    return [info for key in keys if (info := known.concepts[known.number(key)].info)]


@lru_cache(maxsize=65536)
def _runs(info: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The runs of words of which one is a repeat, each between blanks, by a word that they have in common.

    Every run has one of the words at a run's distance from each other, so only for those is looked in most captions.
    """
    words = _plain(info).split()
    if len(words) < RUN // 2:
        return ()
    size = min(RUN, len(words))
    runs = [f" {' '.join(words[start : start + size])} " for start in range(len(words) - size + 1)]
    return tuple((f" {words[at]} ", tuple(runs[at - size + 1 : at + 1])) for at in range(size - 1, len(words), size))


def _plain(text: str) -> str:
    """Folded words between single blanks, with one before and one behind."""
    return f" {' '.join(text.casefold().translate(_BLANKED).split())} "
