"""Who is named in which caption: strict phrase matching, or the paper's exact substring.

Strict rules, for N texts and M names at once:

- `<bo>` names bo in any case (`case="exact"`: in its own), also `<Bo>'s`, `< bo >`, `**<bo>**`, `\\<bo\\>`. Brackets
  around more than the name (`<bo peep>`) do not name bo; `</bo>` is no mention but a closing tag, counted apart.
- A bare name must stand as a whole phrase: between Unicode word boundaries, in any case, with any white space,
  hyphen and apostrophe, possessive or not (`Thor's`, `Thor’s`), in markdown (`*Bo*`, `_Bo_`) and in quotes.
- `bare="auto"`: a name that is one letter or made of common words (can, moon, red cup) counts bare only in its exact
  case, if it has a capital ("Bond", not "a sweet bond"; "T", not "t-shirt" or "T-shirt"), and else only in brackets.
  `always` drops this caution, `never` asks for brackets from all names.
- The longest mention wins: in "Bo Peep" there is no Bo if Bo Peep is among the names looked for.
- A spelling of several names stands for the one whose case it has, a name beats an alias, and what is still
  ambiguous names nobody.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from repic_rewards.common_words import COMMON_WORDS
from repic_rewards.indexing import join_utf8, paper_index, strict_index
from repic_rewards.matching import ALIAS, BARE_EXACT, BARE_NEVER, EXACT, UNJOINED
from repic_rewards.search import BRACKETS, CLOSED, COUNT, PLACE, TEXT, Sets, search_paper, search_strict

Mode = Literal["strict", "paper"]
Bare = Literal["auto", "always", "never"]
Case = Literal["fold", "exact"]


@dataclass(frozen=True, slots=True, eq=False)
class Mentions:
    """The names found in N texts, sparse: row k says that text `text[k]` has name `name[k]` `count[k]` times.

    Rows are in the order of the texts and, in a text, of first mention. `bracketed` of the `count` mentions were in
    angle brackets; `closed` counts `</name>`, which is not in `count` (so a row can have a count of 0).
    `words` (N,) are the words of each text and `name_words` (N,) those within mentions (0 in paper mode).
    `place` (K,) is the position of the name in the flattened `only` (see `NameMatcher.find`), or the name.
    """

    texts: int
    names: int
    text: np.ndarray  # (K,) int32
    name: np.ndarray  # (K,) int32
    count: np.ndarray  # (K,) int32
    bracketed: np.ndarray  # (K,) int32
    closed: np.ndarray  # (K,) int32
    place: np.ndarray  # (K,) int32
    words: np.ndarray  # (N,) int32
    name_words: np.ndarray  # (N,) int32

    def counts(self) -> np.ndarray:
        """Mentions of each name in each text, (N, M) int32. Dense: mind N x M."""
        dense = np.zeros((self.texts, self.names), np.int32)
        dense[self.text, self.name] = self.count
        return dense

    def named(self) -> list[list[int]]:
        """For each text the names that it mentions, in order of first mention."""
        found: list[list[int]] = [[] for _ in range(self.texts)]
        for text, name, count in zip(self.text.tolist(), self.name.tolist(), self.count.tolist(), strict=True):
            if count:
                found[text].append(name)
        return found


def encode(texts: Sequence[str], nfc: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """One UTF-8 buffer (B,) uint8 and byte offsets (N + 1,) int64; text `t` is `buffer[offsets[t]:offsets[t + 1]]`."""
    if nfc and not all(map(str.isascii, texts)):
        texts = [text if text.isascii() else unicodedata.normalize("NFC", text) for text in texts]
    return join_utf8(texts)


class NameMatcher:
    """Looks for many names in many texts, in strict or paper mode (see the module's text for the rules).

    `names` are bare, without angle brackets; `aliases[i]` are other spellings of `names[i]` (paper mode has none).
    Raises `ValueError` for names that are empty, hold angle brackets or, without `allow_duplicates`, are given
    twice. Names that differ by case alone must be written in their own case.
    """

    def __init__(
        self,
        names: Sequence[str],
        aliases: Sequence[Sequence[str]] | None = None,
        *,
        mode: Mode = "strict",
        bare: Bare = "auto",
        case: Case = "fold",
        common_words: Collection[str] = COMMON_WORDS,
        allow_duplicates: bool = False,
    ) -> None:
        _check_choice("mode", mode, ("strict", "paper"))
        _check_choice("bare", bare, ("auto", "always", "never"))
        _check_choice("case", case, ("fold", "exact"))
        self.names = tuple(names)
        self.mode = mode
        if aliases and len(aliases) != len(self.names):
            raise ValueError(f"{len(aliases)} lists of aliases for {len(self.names)} names")
        bare_names = [_bare(name) for name in self.names]
        if not allow_duplicates:
            _check_distinct(bare_names)
        if mode == "paper":
            self._index = paper_index(self.names)
            return
        spellings = [(name, i, _bits(name, bare, case, common_words)) for i, name in enumerate(bare_names)]
        for i, others in enumerate(aliases or ()):
            forms = [_bare(other) for other in others]
            spellings += [(form, i, _bits(form, bare, case, common_words) | ALIAS) for form in forms]
        self._index = strict_index(spellings)

    def find(self, texts: Sequence[str], only: Sequence[Sequence[int]] | None = None) -> Mentions:
        """Mentions in each text. `only[t]` are the names (by index) that text `t` is searched for; None: all."""
        if only is None:
            return self.find_in(*encode(texts, self.mode == "strict"))
        if len(only) != len(texts):
            raise ValueError(f"{len(only)} lists of names for {len(texts)} texts")
        at = np.cumsum([0, *map(len, only)], dtype=np.int64)
        chosen = np.array([name for part in only for name in part], np.int32)
        sets = Sets(np.arange(len(texts), dtype=np.int32), at, chosen)
        return self.find_in(*encode(texts, self.mode == "strict"), sets)

    def find_in(self, buffer: np.ndarray, offsets: np.ndarray, sets: Sets | None = None) -> Mentions:
        """The same on a buffer made by `encode` (strict mode expects NFC). The GIL is free while it runs."""
        _check_offsets(buffer, offsets)
        texts, names = len(offsets) - 1, len(self.names)
        if sets is None:
            everyone = np.arange(names, dtype=np.int32)
            sets = Sets(np.zeros(texts, np.int32), np.array([0, names], np.int64), everyone)
        _check_sets(sets, texts, names)
        buffer = buffer.view()
        buffer.flags.writeable = False  # one type for numba, so that there is one compiled version
        search = search_strict if self.mode == "strict" else search_paper
        work = search(buffer, offsets, sets, names, self._index)
        rows, words = work.rows, work.words
        return Mentions(
            texts=texts,
            names=names,
            text=rows[:, TEXT],
            name=sets.names[rows[:, PLACE]],
            count=rows[:, COUNT],
            bracketed=rows[:, BRACKETS],
            closed=rows[:, CLOSED],
            place=rows[:, PLACE],
            words=words[:, 0],
            name_words=words[:, 1],
        )


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"unknown {what} {value!r}; there are {', '.join(choices)}")


def _check_distinct(names: Sequence[str]) -> None:
    seen = set()
    for name in names:
        if name in seen:
            raise ValueError(f"the name {name!r} is given twice")
        seen.add(name)


def _check_offsets(buffer: np.ndarray, offsets: np.ndarray) -> None:
    """Kernels do not check bounds: wrong offsets must not reach them."""
    if not len(offsets) or offsets[0] < 0 or offsets[-1] > len(buffer) or (np.diff(offsets) < 0).any():
        raise ValueError(f"offsets do not ascend within the {len(buffer)} bytes of the buffer")


def _check_sets(sets: Sets, texts: int, names: int) -> None:
    if len(sets.of_text) != texts or (texts and not 0 <= sets.of_text.min() <= sets.of_text.max() < len(sets.at) - 1):
        raise ValueError("each text needs one of the sets of names")
    if sets.at[0] != 0 or sets.at[-1] != len(sets.names) or (np.diff(sets.at) < 0).any():
        raise ValueError(f"the sets do not ascend within the {len(sets.names)} names they hold")
    if len(sets.names) and not 0 <= sets.names.min() <= sets.names.max() < names:
        raise ValueError(f"there is no such name; there are {names}")


def _bare(name: str) -> str:
    """The name in NFC without surrounding white space."""
    text = unicodedata.normalize("NFC", name).strip()
    if not text or "<" in text or ">" in text:
        raise ValueError(f"the name {name!r} is empty or holds angle brackets: give bare names")
    return text


def _bits(text: str, bare: Bare, case: Case, common_words: Collection[str]) -> int:
    """How much caution a spelling needs (see `matching`)."""
    bits = EXACT if case == "exact" else 0
    if bare == "never":
        return bits | BARE_NEVER
    if bare == "always" or (len(text) > 1 and not all(word in common_words for word in text.casefold().split())):
        return bits
    # A and I are words as they stand, and a name without a capital looks like any word.
    if text in ("A", "I") or not any(char.isupper() for char in text):
        return bits | BARE_NEVER
    return bits | BARE_EXACT | UNJOINED
