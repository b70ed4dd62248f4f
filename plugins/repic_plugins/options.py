"""Reward selections and plugin options as users write them, checked against the factories' signatures.

Values arrive as text from the command line or typed from a configuration file; both become what the annotation
of the option says, before any model is loaded.
"""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from repic_plugins.errors import OptionError
from repic_plugins.text import clean, is_name, suggest
from repic_plugins.types import EMPTY


@dataclass(frozen=True)
class RewardSpec:
    """One selected reward: `length=0.2` and its options. Weight 0: logged, but not part of the total."""

    name: str
    weight: float = 1.0
    options: Mapping[str, Any] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True)
class Option:
    """One option of a factory. `annotation` is `Any` when the author gave none."""

    name: str
    annotation: Any
    default: Any
    required: bool

    @property
    def type_name(self) -> str:
        """The annotation as a user may read it: `int`, `strict|paper`, `number or none`."""
        return describe_type(self.annotation)


def parse_rewards(text: str) -> list[RewardSpec]:
    """`oct,vlt,ict,length=0.2` as specs, in order. Raises `OptionError` on a bad or repeated name or weight."""
    specs: list[RewardSpec] = []
    for item in text.split(","):
        name, equals, weight = (part.strip() for part in item.partition("="))
        if not is_name(name):
            raise OptionError(
                f"--rewards {clean(text, 80)!r}: {clean(name, 80)!r} is not a name; write oct,vlt,length=0.2"
            )
        if any(spec.name == name for spec in specs):
            raise OptionError(f"--rewards: {name} is given twice")
        specs.append(RewardSpec(name, _weight(name, weight) if equals else 1.0))
    return specs


def _weight(name: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise OptionError(f"--rewards: the weight of {name} must be a number, not {clean(text, 40)!r}")
    return weight


def parse_options(items: Iterable[str], flag: str = "--reward-option") -> dict[str, dict[str, str]]:
    """`["ict.min_chars=100"]` as `{"ict": {"min_chars": "100"}}`. Dashes in option names count as underscores.

    `flag` is what errors call the option of the command line that they came by.
    """
    parsed: dict[str, dict[str, str]] = {}
    for item in items:
        path, equals, value = item.partition("=")
        reward, dot, option = (part.strip() for part in path.partition("."))
        option = option.replace("-", "_")
        if not (equals and dot and is_name(reward) and option.isidentifier()):
            raise OptionError(f"{flag} {clean(item, 80)!r}: write NAME.OPTION=VALUE, as in ict.min_chars=100")
        if option in parsed.setdefault(reward, {}):
            raise OptionError(f"{flag}: {reward}.{option} is given twice")
        parsed[reward][option] = value.strip()
    return parsed


def with_options(specs: Sequence[RewardSpec], options: Mapping[str, Mapping[str, Any]]) -> list[RewardSpec]:
    """The specs with their options. Options for a reward that is not selected are an error."""
    selected = [spec.name for spec in specs]
    for name in options:
        if name not in selected:
            raise OptionError(
                f"--reward-option: reward {clean(name, 80)!r} is not selected; selected: {', '.join(selected)}"
            )
    return [replace(spec, options={**spec.options, **options.get(spec.name, {})}) for spec in specs]


def factory_options(factory: Callable[..., Any]) -> tuple[dict[str, Option], bool]:
    """The options of a factory by name, and whether it takes any others (`**options`)."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return {}, True
    hints = _hints(factory)
    options: dict[str, Option] = {}
    open_ended = False
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            open_ended = True
        elif parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            required = parameter.default is parameter.empty
            default = None if required else parameter.default
            annotation = hints.get(parameter.name, Any if default is None else type(default))
            options[parameter.name] = Option(parameter.name, annotation, default, required)
    return options, open_ended


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a factory's parameters, each read by itself.

    One may name what is only imported for type checkers, as that of `return` often does: its own default's type then
    has to do, and the others keep theirs.
    """
    target = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]
    scope = getattr(inspect.unwrap(target), "__globals__", {})
    hints: dict[str, Any] = {}
    for name, annotation in getattr(target, "__annotations__", {}).items():
        holder = types.SimpleNamespace(__annotations__={name: annotation})
        with suppress(Exception):
            hints |= get_type_hints(holder, scope)
    return hints


def convert_options(factory: Callable[..., Any], values: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """The options as the factory's annotations want them. `owner` (`reward ict`) is named in errors.

    Raises `OptionError` for an unknown or missing option and for a value of the wrong type.
    """
    options, open_ended = factory_options(factory)
    for name in values:
        if name not in options and not open_ended:
            there = suggest(name, options) or "; it has no options"
            raise OptionError(f"{owner} has no option {clean(name, 80)!r}{there}")
    missing = [option.name for option in options.values() if option.required and option.name not in values]
    if missing:
        raise OptionError(f"{owner} needs the option {', '.join(missing)}")
    converted = {}
    for name, value in values.items():
        annotation = options[name].annotation if name in options else Any
        try:
            converted[name] = convert(value, annotation)
        except ValueError as error:
            raise OptionError(f"{owner}: option {name}: {error}") from error
    return converted


def convert(value: Any, annotation: Any) -> Any:
    """One value, text or typed, as the annotation says; `ValueError` in words when it does not fit."""
    origin = get_origin(annotation)
    if origin is Literal:
        return _convert_literal(value, get_args(annotation))
    if origin in (Union, types.UnionType):
        return _convert_union(value, get_args(annotation))
    if (origin or annotation) in _COLLECTIONS:
        return _convert_collection(value, annotation)
    if annotation in _SCALARS:
        return _SCALARS[annotation](value)
    kind = origin or annotation
    if kind is Any or (isinstance(kind, type) and isinstance(value, kind)):
        return value
    raise ValueError(f"{_show(value)} is not {describe_type(annotation)}")


def _show(value: Any) -> str:
    return clean(repr(value), 80)


def _bool(value: Any) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    key = str(value).strip().lower()
    if key not in words:
        raise ValueError(f"{_show(value)} is not true or false")
    return words[key]


def _int(value: Any) -> int:
    try:
        if isinstance(value, (bool, float)) and (isinstance(value, bool) or not value.is_integer()):
            raise ValueError
        return int(value)
    except (TypeError, ValueError):
        raise ValueError(f"{_show(value)} is not a whole number") from None


def _float(value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise ValueError(f"{_show(value)} is not a number")
    return number


def _str(value: Any) -> str:
    if isinstance(value, (str, int, float, Path)):
        return str(value)
    raise ValueError(f"{_show(value)} is not text")


def _path(value: Any) -> Path:
    if isinstance(value, (str, Path)) and str(value):
        return Path(value).expanduser()
    raise ValueError(f"{_show(value)} is not a path")


def _none(value: Any) -> None:
    if value is None or str(value).strip().lower() in ("none", "null", ""):
        return
    raise ValueError(f"{_show(value)} is not none")


_SCALARS: dict[Any, Callable[[Any], Any]] = {
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    Path: _path,
    types.NoneType: _none,
}
_COLLECTIONS: dict[Any, Callable[[Iterable[Any]], Any]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    Sequence: tuple,
    Iterable: tuple,
}


def _convert_literal(value: Any, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if value == choice or str(value) == str(choice):
            return choice
    raise ValueError(f"{_show(value)} is not one of {', '.join(map(str, choices))}")


def _convert_union(value: Any, members: tuple[Any, ...]) -> Any:
    # None first and str last: `none` must not become the text "none", nor "3" stay a text in `str | int`.
    for member in sorted(members, key=lambda member: (member is not types.NoneType, member is str)):
        try:
            return convert(value, member)
        except ValueError:
            continue
    raise ValueError(f"{_show(value)} is not {' or '.join(map(describe_type, members))}")


def _convert_collection(value: Any, annotation: Any) -> Any:
    kind = get_origin(annotation) or annotation
    members = [member for member in get_args(annotation) if member is not Ellipsis] or [Any]
    if isinstance(value, str):
        items: list[Any] = [item.strip() for item in value.split(",")] if value.strip() else []
    elif isinstance(value, Iterable) and not isinstance(value, Mapping):
        items = list(value)
    else:
        raise ValueError(f"{_show(value)} is not a list")
    fixed = kind is tuple and len(get_args(annotation)) == len(members) and get_args(annotation)
    if fixed and len(items) != len(members):
        raise ValueError(f"{_show(value)} has {len(items)} items, not {len(members)}")
    wanted = members if fixed else [members[0]] * len(items)
    return _COLLECTIONS[kind](convert(item, member) for item, member in zip(items, wanted, strict=True))


_WORDS: dict[Any, str] = {
    Any: "anything",
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    types.NoneType: "none",
}


def describe_type(annotation: Any) -> str:
    """An annotation in words: `whole number`, `strict|paper`, `list of text`, `number or none`."""
    origin, members = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "|".join(map(str, members))
    if origin in (Union, types.UnionType):
        return " or ".join(map(describe_type, members))
    if (origin or annotation) in _COLLECTIONS:
        return f"list of {describe_type(members[0])}" if members else "list"
    return _WORDS.get(annotation, getattr(annotation, "__name__", clean(annotation, 60)))
