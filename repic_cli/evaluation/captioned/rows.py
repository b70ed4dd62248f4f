"""Reading saved captions: RePIC's JSON rows `[image, [keys], caption, prompt]`, and JSON lines of objects (ours).

    {"image": "park.jpg", "keys": ["<bo>"], "caption": "<bo> naps.", "prompt": "...", "setting": "skip-retrieval"}

`keys` are the concepts that are in the picture; an empty list says that none is (open set). Rows that `repic eval run`
wrote have more: `id`, `shown`, `retrieved`, and `error` in place of a caption for a picture that failed; a row of its
own has the names of the whole database.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repic_cli.concepts.formats.files import read_bytes
from repic_cli.evaluation.captioned.known import KnownConcept
from repic_plugins.errors import DataError
from repic_plugins.text import clean

WRONG = "wrong-demonstrations"
"""The setting whose prompts show concepts that are not in the picture: to name them is the mistake."""
GENERAL = "general"
"""The setting whose prompts show no concept."""
DATABASE = "#database"
"""The `id` of the row that has the names of the database."""
_SHOWN_BAD = 3
_UNDECODED = re.compile("[\ud800-\udfff]")
_BLANKS = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class CaptionRow:
    """A caption and what it should name; `number` counts rows of its file from 1.

    `keys` are bare and as they are written. `shown` (what the prompt showed) and `retrieved` are None where the file
    does not say.
    """

    number: int
    image: str
    keys: tuple[str, ...]
    caption: str
    prompt: str = ""
    setting: str = ""
    shown: tuple[str, ...] | None = None
    retrieved: tuple[str, ...] | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """The names that are counted: those in the picture; with wrong demonstrations, those that were shown."""
        if self.setting == WRONG:
            return self.shown or ()
        return () if self.setting == GENERAL else self.keys


@dataclass(frozen=True)
class CaptionSet:
    """The captions of one file. `skipped` tells of rows that could not be read, `failed` of pictures that could not.

    `database` are the concepts of the database that the captions were made with, if the file has them.
    """

    path: Path
    rows: tuple[CaptionRow, ...]
    skipped: tuple[str, ...] = ()
    failed: int = 0
    database: tuple[KnownConcept, ...] = ()


def read_captions(path: str | Path, skip_bad: bool = False) -> CaptionSet:
    """Read a file of captions.

    Raises `DataError` that names file and row for what cannot be read; with `skip_bad` such rows are told in `skipped`.
    A file of which nothing can be used is an error all the same.
    """
    path = Path(path)
    rows: list[CaptionRow] = []
    skipped: list[str] = []
    failed = 0
    database: tuple[KnownConcept, ...] = ()
    for number, value in values_of(path):
        try:
            if isinstance(value, DataError):
                raise value
            if isinstance(value, dict) and "error" in value and "caption" not in value:
                failed += 1
                continue
            if isinstance(value, dict) and value.get("id") == DATABASE:
                database = _concepts(value.get("concepts"))
                continue
            rows.append(_row(number, value))
        except DataError as error:
            message = f"{path}: row {number}: {error}"
            if not skip_bad:
                raise DataError(f"{message}; --skip-bad leaves such rows out") from None
            skipped.append(message)
    if not rows:
        why = f" ({skipped[0]})" if skipped else ""
        raise DataError(f"{path}: no captions in it{why}")
    return CaptionSet(path, tuple(rows), tuple(skipped), failed, database)


def values_of(path: Path) -> Iterator[tuple[int, Any]]:
    """The rows of a JSON array or of JSON lines with their numbers from 1; a `DataError` for one that is broken.

    Behind a broken row of an array nothing more is read: where the next one would begin cannot be told.
    """
    data = read_bytes(path)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}: text in UTF-16; save it as UTF-8")
    # Bytes that are no UTF-8 become lone surrogates, so that one bad row does not make the others unreadable.
    text = data.decode("utf-8-sig", "surrogateescape")
    start = _after_blanks(text, 0)
    # `[["a.jpg", ...` is an array of rows, `["a.jpg", ...` is a row, with the others on the lines behind it.
    if text.startswith("[", start) and not text.startswith('"', _after_blanks(text, start + 1)):
        yield from _array(text, start)
    else:
        yield from _lines(text)


def _lines(text: str) -> Iterator[tuple[int, Any]]:
    number = 0
    for line in text.split("\n"):
        if line.strip():
            number += 1
            yield number, _parsed(line)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        return DataError(f"not JSON ({_json_problem(error)})")
    except RecursionError:
        return DataError("nested too deeply")


def _array(text: str, start: int) -> Iterator[tuple[int, Any]]:
    whole = _parsed(text)
    if isinstance(whole, list):
        yield from enumerate(whole, 1)
        return
    decode = json.JSONDecoder().raw_decode
    at, number = _after_blanks(text, start + 1), 1
    while not text.startswith("]", at):
        try:
            value, at = decode(text, at)
        except (ValueError, RecursionError) as error:
            what = "the file ends in the middle of it" if _is_cut(text, error) else f"not JSON ({_json_problem(error)})"
            yield number, _lost(text, at, what)
            return
        yield number, value
        at = _after_blanks(text, at)
        number += 1
        if text.startswith(",", at):
            at = _after_blanks(text, at + 1)
        elif not text.startswith("]", at):
            yield (
                number,
                _lost(text, at, "the file ends before it" if at >= len(text) else "there is no comma before it"),
            )
            return
    if _after_blanks(text, at + 1) < len(text):
        yield number, DataError("there is something behind the end of the array")


def _lost(text: str, at: int, what: str) -> DataError:
    return DataError(f"{what} (line {text.count(chr(10), 0, at) + 1}), and nothing behind it can be read")


def _is_cut(text: str, error: BaseException) -> bool:
    """Whether what is wrong is that the text ends."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")


def _json_problem(error: BaseException) -> str:
    return clean(error.msg if isinstance(error, json.JSONDecodeError) else error, 120)


def _after_blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found else at


def _row(number: int, value: Any) -> CaptionRow:
    """A row from what JSON gave. Raises `DataError` without file and number."""
    if isinstance(value, list):
        return _of_list(number, value)
    if isinstance(value, dict):
        return _of_object(number, value)
    raise DataError(f"a row is [image, [keys], caption, prompt] or an object, not {_kind(value)}")


def _of_list(number: int, value: Sequence[Any]) -> CaptionRow:
    if len(value) not in (3, 4):
        raise DataError(f"a row is [image, [keys], caption, prompt], but it has {len(value)} entries")
    prompt = text_of(value[3], "prompt") if len(value) == 4 and value[3] is not None else ""
    return CaptionRow(
        number, text_of(value[0], "image"), keys_of(value[1], "keys"), text_of(value[2], "caption"), prompt
    )


def _of_object(number: int, value: Mapping[str, Any]) -> CaptionRow:
    for name in ("image", "keys", "caption"):
        if name not in value:
            there = ", ".join(clean(key, 40) for key in list(value)[:8])
            raise DataError(f"the field {name!r} is missing (there are {there})")
    return CaptionRow(
        number,
        text_of(value["image"], "image"),
        keys_of(value["keys"], "keys"),
        text_of(value["caption"], "caption"),
        text_of(value.get("prompt") or "", "prompt"),
        text_of(value.get("setting") or "", "setting"),
        None if value.get("shown") is None else keys_of(value["shown"], "shown"),
        None if value.get("retrieved") is None else keys_of(value["retrieved"], "retrieved"),
    )


def text_of(value: Any, what: str) -> str:
    """A text. Raises `DataError` for another value, or one of bytes that were no UTF-8."""
    if not isinstance(value, str):
        raise DataError(f"{what} is {_kind(value)}, not text")
    if not value.isascii() and _UNDECODED.search(value):
        raise DataError(f"{what} is not text in UTF-8")
    return value


def keys_of(value: Any, what: str) -> tuple[str, ...]:
    """Bare keys from a list of them, or from one. Raises `DataError`."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise DataError(f"{what} is {_kind(value)}, not a list of names")
    keys = tuple(bare_key(text_of(key, what)) for key in value)
    if len(set(keys)) < len(keys):
        raise DataError(f"{what} has one name twice ({', '.join(clean(key, 60) for key in keys)})")
    return keys


def bare_key(text: str) -> str:
    """A key without its angle brackets. Raises `DataError` for one that is empty or has more of them."""
    key = text.strip()
    if key.startswith("<") and key.endswith(">"):
        key = key[1:-1].strip()
    if not key:
        raise DataError("a key is empty")
    if "<" in key or ">" in key:
        raise DataError(f"the key {clean(text, 60)!r} has angle brackets within")
    return key


def _concepts(value: Any) -> tuple[KnownConcept, ...]:
    """The concepts of a database, each as key, name, other names and info. Raises `DataError`."""
    found = []
    for entry in value if isinstance(value, list) else [None]:
        if not isinstance(entry, list) or len(entry) != 4:
            raise DataError("the concepts of the database are lists of key, name, other names and info")
        key, name, aliases, info = entry
        others = keys_of(aliases, "other names")
        found.append(
            KnownConcept(bare_key(text_of(key, "key")), bare_key(text_of(name, "name")), others, text_of(info, "info"))
        )
    return tuple(found)


def _kind(value: Any) -> str:
    kinds: dict[type, str] = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    if value is None:
        return "null"
    return kinds.get(type(value), "a number")


def shown_skips(skipped: Sequence[str]) -> list[str]:
    """The first few of the rows that were left out, for a person."""
    more = [f"and {len(skipped) - _SHOWN_BAD} more"] if len(skipped) > _SHOWN_BAD else []
    return [*skipped[:_SHOWN_BAD], *more]
