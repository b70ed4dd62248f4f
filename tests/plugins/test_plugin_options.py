"""Reward selections and options as users write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Optional

import pytest

from repic_plugins.errors import OptionError
from repic_plugins.options import (
    RewardSpec,
    convert,
    convert_options,
    describe_type,
    factory_options,
    parse_options,
    parse_rewards,
    with_options,
)


def test_a_selection_keeps_its_order_and_weights():
    assert parse_rewards("oct, vlt,ict,length=0.2,no-emoji=-1e-2,x=0") == [
        RewardSpec("oct"),
        RewardSpec("vlt"),
        RewardSpec("ict"),
        RewardSpec("length", 0.2),
        RewardSpec("no-emoji", -0.01),
        RewardSpec("x", 0.0),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a name"),
        ("oct,,ict", "is not a name"),
        ("OCT", "'OCT' is not a name"),
        ("oct;rm", "is not a name"),
        ("a" * 65, "is not a name"),
        ("oct,oct=2", "oct is given twice"),
        ("oct=", "weight of oct must be a number"),
        ("oct=high", "weight of oct must be a number, not 'high'"),
        ("oct=nan", "weight of oct must be a number"),
        ("oct=inf", "weight of oct must be a number"),
    ],
)
def test_bad_selections(text, message):
    with pytest.raises(OptionError, match=message):
        parse_rewards(text)


def test_options_go_to_their_rewards():
    options = parse_options(["ict.min_chars=100", "ict.absent-penalty=0.5", "x.text=a=b.c"])
    assert options == {"ict": {"min_chars": "100", "absent_penalty": "0.5"}, "x": {"text": "a=b.c"}}
    specs = with_options([RewardSpec("ict", 2.0, {"mode": "paper"}), RewardSpec("oct")], {"ict": {"min_chars": 1}})
    assert specs == [RewardSpec("ict", 2.0, {"mode": "paper", "min_chars": 1}), RewardSpec("oct")]
    with pytest.raises(OptionError, match=r"reward 'itc' is not selected; selected: .*ict"):
        with_options([RewardSpec("ict")], {"itc": {"min_chars": "1"}})


@pytest.mark.parametrize("item", ["ict", "ict.min_chars", "ict=3", ".x=3", "ict.=3", "ict.a b=3", "ICT.x=3"])
def test_bad_options(item):
    with pytest.raises(OptionError, match=r"write NAME\.OPTION=VALUE"):
        parse_options([item])


def test_an_option_is_given_once():
    with pytest.raises(OptionError, match=r"ict\.min_chars is given twice"):
        parse_options(["ict.min_chars=1", "ict.min-chars=2"])


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("3", int, 3),
        (3.0, int, 3),
        ("-2", int, -2),
        ("0.5", float, 0.5),
        ("inf", float, float("inf")),
        (2, float, 2.0),
        ("true", bool, True),
        ("Off", bool, False),
        (True, bool, True),
        (0, bool, False),
        ("paper", Literal["strict", "paper"], "paper"),
        ("2", Literal[1, 2], 2),
        ("none", int | None, None),
        (None, Optional[int], None),  # noqa: UP045
        ("7", int | None, 7),
        ("none", str | None, None),
        ("7", str | int, 7),
        ("seven", str | int, "seven"),
        ("text", str, "text"),
        (5, str, "5"),
        ("~/x", Path, Path("~/x").expanduser()),
        ("1,2, 3", list[int], [1, 2, 3]),
        ("", list[str], []),
        (["a"], list[str], ["a"]),
        ("a,b", tuple[str, ...], ("a", "b")),
        ("1,x", tuple[int, str], (1, "x")),
        ("a,a", set[str], {"a"}),
        ("a,b", Sequence[str], ("a", "b")),
        ("a,b", list, ["a", "b"]),
        ("anything", Any, "anything"),
        ({"a": 1}, dict[str, int], {"a": 1}),
    ],
)
def test_values_become_what_the_annotation_says(text, annotation, value):
    converted = convert(text, annotation)
    assert converted == value and type(converted) is type(value)


@pytest.mark.parametrize(
    ("value", "annotation", "message"),
    [
        ("1.5", int, "not a whole number"),
        (1.5, int, "not a whole number"),
        (True, int, "not a whole number"),
        (None, int, "not a whole number"),
        ("nan", float, "not a number"),
        (True, float, "not a number"),
        ([], float, "not a number"),
        ("maybe", bool, "not true or false"),
        ("fast", Literal["strict", "paper"], "not one of strict, paper"),
        ("x", int | None, "not whole number or none"),
        (["a"], str, "not text"),
        ("", Path, "not a path"),
        (3, Path, "not a path"),
        ("1,x", list[int], "'x' is not a whole number"),
        (3, list[int], "not a list"),
        ("1,2,3", tuple[int, int], "has 3 items, not 2"),
        ("{}", dict[str, int], "is not dict"),
    ],
)
def test_values_that_do_not_fit(value, annotation, message):
    with pytest.raises(ValueError, match=message):
        convert(value, annotation)


def test_types_are_described_in_words():
    assert describe_type(int | None) == "whole number or none"
    assert describe_type(Literal["a", "b"]) == "a|b"
    assert describe_type(list[Path]) == "list of path"
    assert describe_type(list) == "list"
    assert describe_type(Any) == "anything"


def test_factories_are_read_by_their_signature():
    def typed(*, count: int = 3, name: str, other=0.5): ...

    options, open_ended = factory_options(typed)
    assert list(options) == ["count", "name", "other"] and not open_ended
    assert options["name"].required and options["other"].annotation is float
    assert convert_options(typed, {"count": "4", "name": "x", "other": "1"}, "reward typed") == {
        "count": 4,
        "name": "x",
        "other": 1.0,
    }
    with pytest.raises(OptionError, match="reward typed needs the option name"):
        convert_options(typed, {"count": "4"}, "reward typed")

    def free(**options: int): ...

    assert convert_options(free, {"x": "1"}, "reward free") == {"x": "1"}
    with pytest.raises(OptionError, match="has no option 'x'; it has no options"):
        convert_options(lambda: None, {"x": "1"}, "reward none")

    class Factory:
        def __init__(self, *, depth: int = 1) -> None: ...

    assert convert_options(Factory, {"depth": "2"}, "reward class") == {"depth": 2}


def test_one_annotation_that_cannot_be_resolved_leaves_the_others_alone():
    """As when the type of what a factory returns is imported for type checkers only."""

    def factory(*, limit: int | None = None, kind: NotImported = "a", mode: Literal["x", "y"] = "x") -> NotImported: ...  # type: ignore[name-defined]  # noqa: F821

    options, _ = factory_options(factory)
    assert options["limit"].annotation == int | None and options["kind"].annotation is str
    assert convert_options(factory, {"limit": "3"}, "reward r") == {"limit": 3}
    with pytest.raises(OptionError, match="'z' is not one of x, y"):
        convert_options(factory, {"mode": "z"}, "reward r")


def test_annotations_that_cannot_be_resolved_fall_back_on_the_default():
    def lazy(*, count: NotImported = 3, name: NotImported = None): ...  # type: ignore[name-defined]  # noqa: F821

    assert convert_options(lazy, {"count": "4", "name": "x"}, "reward lazy") == {"count": 4, "name": "x"}


def test_callables_without_a_signature_take_anything():
    assert factory_options(range) == ({}, True)
    assert convert_options(range, {"x": "1"}, "reward range") == {"x": "1"}
