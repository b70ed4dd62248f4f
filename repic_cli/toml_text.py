"""Writing TOML: the standard library only reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
NONE = "none"
"""How a missing value is written, since TOML has no null. `repic_cli.config` reads it back as None."""


def to_toml(tables: Mapping[str, Any]) -> str:
    """TOML text of nested mappings whose leaves are text, numbers, booleans, None, paths or lists of these."""
    return "\n".join(_table(tables, ())).strip() + "\n"


def _table(values: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    """The lines of one table: its own values first, then the tables in it."""
    own = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
    lines = ["", f"[{'.'.join(map(_key, path))}]"] if path and (own or not values) else []
    lines += [f"{_key(key)} = {_value(value)}" for key, value in own.items()]
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += _table(value, (*path, str(key)))
    return lines


def _key(key: object) -> str:
    text = str(key)
    return text if _BARE_KEY.fullmatch(text) else _text(text)


def _value(value: object) -> str:
    if value is None:
        return _text(NONE)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | PurePath):
        return _text(str(value))
    if isinstance(value, Sequence):
        return f"[{', '.join(map(_value, value))}]"
    raise TypeError(f"cannot write {type(value).__name__} as TOML")


def _text(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which TOML wants escaped as well.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
