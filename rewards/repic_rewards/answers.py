"""Reading a yes or no out of a completion (OCT, paper Eq. 2)."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from repic_rewards.formats import answer_of

Mode = Literal["strict", "paper"]

# A letter or digit on either side, or one behind a hyphen or apostrophe, makes it another word (eyes, know,
# no-one); quotation marks and markdown do not.
_WORD = re.compile(r"(?<![^\W_])(?<![^\W_][-'’])(yes|no)(?![^\W_])(?![-'’][^\W_])", re.IGNORECASE)
_SUBSTRING = re.compile(r"yes|no")


def read_yes_no(text: str, mode: Mode = "strict") -> bool | None:
    """True for yes, False for no, None when the text says neither or, in strict mode, both.

    - strict: whole words, in `<answer>` tags where there are any. "Not sure, but yes" is a yes, "eyes match: no"
      a no, "yes and no" neither.
    - paper: the first "yes" or "no" anywhere, inside other words too, as the paper's code reads it.
    """
    if mode == "paper":
        first = _SUBSTRING.search(text.lower())
        return None if first is None else first[0] == "yes"
    if mode != "strict":
        raise ValueError(f"unknown mode {mode!r}; there are strict, paper")
    said = {word.lower() for word in _WORD.findall(unicodedata.normalize("NFC", answer_of(text)))}
    return said == {"yes"} if len(said) == 1 else None
