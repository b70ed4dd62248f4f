"""Texts of imported concepts, brought into the shape that the database asks for; each repair is told."""

from __future__ import annotations

from collections.abc import Callable

from repic_cli.concepts.text import MAX_CATEGORY, MAX_INFO, safe_category, safe_info, without_tokens
from repic_cli.data.names import safe_name
from repic_plugins.errors import DataError
from repic_plugins.text import clean

Tell = Callable[[str], None]


def usable_info(value: object, tell: Tell) -> str:
    """The info as the database can hold it; `tell` hears what had to be changed."""
    return _usable(value, "info", MAX_INFO, safe_info, tell)


def usable_category(value: object, tell: Tell) -> str:
    """The same for the category."""
    return _usable(value, "category", MAX_CATEGORY, safe_category, tell)


def usable_names(key: object, name: object, tell: Tell) -> tuple[str, str]:
    """Name and key, each made of the other if it cannot be used. Raises `DataError` if neither can."""
    try:
        bare = safe_name(key)  # type: ignore[arg-type]
    except DataError as error:
        if not isinstance(name, str) or not name.strip():
            raise
        shown = safe_name(name)
        tell(f"{error}; its name stands for the key")
        return shown, shown
    if name is None or (isinstance(name, str) and not name.strip()):
        tell("has no name; its key is taken for it")
        return bare, bare
    try:
        return safe_name(name), bare  # type: ignore[arg-type]
    except DataError as error:
        tell(f"{error}; its key is taken for it")
        return bare, bare


def _usable(value: object, what: str, most: int, check: Callable[[str], str], tell: Tell) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        tell(f"the {what} is a {type(value).__name__}, not text: left out")
        return ""
    try:
        return check(value)
    except DataError as error:
        # A megabyte of it is not worth looking through.
        text = without_tokens(clean(value[: 4 * most], 4 * most))
        kept = text if len(text) <= most else text[: most - 1].rsplit(" ", 1)[0] + "…"
        try:
            usable = check(kept)
        except DataError:
            usable = ""
        done = "left out" if not usable else "cut" if len(value) > most else "taken without it"
        tell(f"{_cause(error)}: {done}")
        return usable


def _cause(error: DataError) -> str:
    """The message without its advice."""
    return str(error).rsplit("; ", 1)[0]
