"""What the texts of a concept may hold, and when two names are the same."""

from __future__ import annotations

import re
import unicodedata

from repic_cli.data.names import safe_name
from repic_plugins.errors import DataError

MAX_INFO = 2000
MAX_CATEGORY = 60
MAX_ALIASES = 20
# `<|image_pad|>` and its like in any spelling, and the angle-bracket tokens of other families' templates.
_TOKEN = re.compile(
    r"<\s*\|.*?\|\s*>|<(?:/?s|/?pad|/?eos|/?bos|/?unk|/?image|/?img|/?video|/?(?:start|end)_of_\w+|/?im_\w+)>"
    r"|\[/?(?:INST|IMG\w*)\]",
    re.IGNORECASE,
)


def fold(name: str) -> str:
    """The form in which two spellings of a name are equal: compatibility characters and case folded."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def safe_info(text: str) -> str:
    """The info of a concept as one line of plain text.

    Raises `DataError` if it is longer than `MAX_INFO`, or holds control characters or a model's special token. Line
    breaks and tabs become blanks.
    """
    return _plain(text, "info", MAX_INFO)


def safe_category(text: str) -> str:
    """The category of a concept (`dog`); the same rules as for the info, and shorter."""
    return _plain(text, "category", MAX_CATEGORY)


def safe_aliases(aliases: list[str] | tuple[str, ...], name: str) -> tuple[str, ...]:
    """Other names of a concept, each by the rules of names, without repetitions. Raises `DataError`."""
    if len(aliases) > MAX_ALIASES:
        raise DataError(f"concept {name!r} has {len(aliases)} aliases; the most is {MAX_ALIASES}")
    kept: dict[str, str] = {}
    for alias in map(safe_name, aliases):
        if fold(alias) != fold(name):
            kept.setdefault(fold(alias), alias)
    return tuple(kept.values())


def without_tokens(text: str) -> str:
    """The text, where it holds what would read as a special token or as a turn of direction, without that."""
    plain = "".join(char for char in unicodedata.normalize("NFKC", text) if char not in _BIDI)
    if not _TOKEN.search(plain):
        return text
    while _TOKEN.search(plain):  # what is left over may make a new one
        plain = _TOKEN.sub(" ", plain)
    return " ".join(plain.split())


def _plain(text: str, what: str, most: int) -> str:
    if len(text) > most:
        raise DataError(f"the {what} has {len(text)} characters; the most is {most}")
    line = " ".join(unicodedata.normalize("NFC", text).split())
    bad = next((char for char in line if unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp")), None)
    bad = bad or next((char for char in line if char in _BIDI), None)
    if bad is not None:
        raise DataError(f"the {what} holds the control character U+{ord(bad):04X}; leave it out")
    # Full-width brackets and bars too: some models' tokens are written with them.
    token = _TOKEN.search(unicodedata.normalize("NFKC", line))
    if token is not None:
        raise DataError(
            f"the {what} holds {token.group()[:40]!r}, which would read as a model's special token; leave it out"
        )
    return line


# Characters that turn the direction of the text around them: a line of the list could be made to read otherwise.
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
