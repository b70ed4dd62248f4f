"""Which names a personal concept may have.

A name ends up in prompts as `<name>`, in file paths and in reports, so it must not be able to pass for one of
the model's special tokens, for a path, or for nothing at all.
"""

from __future__ import annotations

import re
import unicodedata

from repic_plugins.errors import DataError

MAX_NAME = 100
"""Longest name, in characters."""

# Prompts show a name in angle brackets; with these names the result is a special token or a tag that tokenizers,
# chat templates or the answer formats of the built-in rewards give a meaning (Qwen, LLaVA, InternVL, Gemma, PaliGemma).
RESERVED = frozenset(
    "s pad eos bos unk mask sep cls img image video audio img_context box ref quad patch think observe answer "
    "tool_call tool_response start_of_turn end_of_turn start_of_image end_of_image start_of_text end_of_text "
    "endoftext im_start im_end fim_prefix fim_middle fim_suffix".split()
)
_RESERVED_PATTERN = re.compile(r"(?:loc|seg|extra_id_|unused|reserved_|special_)_?\d+")
_BRACKET_TOKEN = re.compile(r"\[/?[A-Z][A-Z_]+\]")  # [INST], [/INST], [IMG_BREAK]: Mistral and Pixtral
_TOKEN_START = re.compile(
    rf"<(?=[|\uff5c])|<(?=/?(?i:{'|'.join(sorted(RESERVED))}|{_RESERVED_PATTERN.pattern})\s*>)"
    rf"|(?={_BRACKET_TOKEN.pattern})\["
)
_JOINERS = "\u200c\u200d"  # part of emoji and of several scripts; every other format character is refused


def safe_name(text: str) -> str:
    """Return `text` as a bare concept name: NFC, white space collapsed, one outer pair of `<` `>` removed.

    Raises `DataError` if it is empty, longer than `MAX_NAME` characters, holds control characters, angle brackets,
    `|`, slashes or commas, starts with a dot, or would read as a special token or tag in a prompt.
    """
    if not isinstance(text, str):
        raise DataError(f"a concept name must be text, not {type(text).__name__}")
    shown = _shown(text)
    if not all(_printable(char) for char in text.strip()):
        raise DataError(f"concept name {shown} holds a control character or a line break; leave it out")
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if name.startswith("<") and name.endswith(">"):
        name = name[1:-1].strip()
    if not name:
        raise DataError("a concept name must not be empty")
    if len(name) > MAX_NAME:
        raise DataError(f"concept name {shown} has {len(name)} characters; the most is {MAX_NAME}")
    problem = _problem(name)
    if problem:
        raise DataError(f"concept name {shown} {problem}; choose another name")
    return name


def break_tokens(text: str) -> str:
    """`text` with a blank in what a tokenizer could take for a special token: `< |im_end|>`, `< /s>`, `[ INST]`."""
    return _TOKEN_START.sub(lambda match: f"{match[0]} ", text)


def _problem(name: str) -> str | None:
    """What is wrong with the bare name, or None."""
    # Compatibility forms too: full-width brackets and bars are part of some models' special tokens.
    folded = unicodedata.normalize("NFKC", name)
    for char, what in (("|", "'|'"), ("<", "an angle bracket"), (">", "an angle bracket"), (",", "a comma")):
        if char in folded:
            return f"holds {what}, which prompts and options use"
    if "/" in folded or "\\" in folded or folded.startswith("."):
        return "looks like a path (a slash, or a dot at the start)"
    key = folded.casefold().replace(" ", "_")
    if key in RESERVED or _RESERVED_PATTERN.fullmatch(key) or _BRACKET_TOKEN.search(folded):
        return "would read as a special token or tag in a prompt"
    if not any(char.isalnum() or unicodedata.category(char) == "So" for char in folded):
        return "holds no letter, digit or symbol"
    return None


def _printable(char: str) -> bool:
    if char in _JOINERS:
        return True
    category = unicodedata.category(char)
    return category[0] != "C" and category not in ("Zl", "Zp")


def _shown(text: str) -> str:
    """`text` quoted, escaped and cut, fit for one line of an error message."""
    cut = text if len(text) <= 40 else text[:37] + "..."
    return ascii(cut) if not cut.isprintable() else repr(cut)
