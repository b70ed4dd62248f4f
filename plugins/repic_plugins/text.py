"""Text from plugins, made safe to print: their metadata and messages were written by strangers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
NAME_RULE = "a lower-case letter, then up to 63 of a-z, 0-9, _ and -"

# CSI and OSC sequences as a whole, so that their parameters do not stay behind as litter.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.?")


def is_name(text: object) -> bool:
    """Whether `text` may name a reward, task or other part that a plugin registers."""
    return isinstance(text, str) and NAME.fullmatch(text) is not None


def clean(text: object, limit: int = 300) -> str:
    """One printable line: without escape sequences, control or bidirectional characters, at most `limit` long."""
    plain = _ESCAPES.sub("", str(text)[: 20 * limit])
    kept = "".join(" " if ch.isspace() else ch for ch in plain if ch.isspace() or unicodedata.category(ch)[0] != "C")
    line = " ".join(kept.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def reason(error: BaseException) -> str:
    """An exception as one line: its type and message."""
    message = clean(error)
    kind = type(error).__name__
    return f"{kind}: {message}" if message else kind


def suggest(name: str, known: Iterable[str]) -> str:
    """`; did you mean a or b?`, or what there is when nothing is close; empty when there is nothing."""
    names = sorted(known)
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; there are {', '.join(names)}" if names else ""
