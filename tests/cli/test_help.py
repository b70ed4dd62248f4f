"""Every command explains itself: its first line stands in the root help, and its help has an example."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import typer

from repic_cli.app import COMMANDS, app


def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A command and all below it."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, (*path, name))


def load(name: str) -> Any:
    return typer.main.get_command(import_module(f"repic_cli.commands.{name}").app)


def help_text(command: Any, path: tuple[str, ...]) -> str:
    with command.make_context(" ".join(("repic", *path)), [], resilient_parsing=True) as ctx:
        return command.get_help(ctx)


@pytest.mark.parametrize("name", COMMANDS)
def test_line_in_the_root_help_is_the_commands_own(name: str) -> None:
    assert (load(name).help or "").strip().splitlines()[0] == COMMANDS[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(name: str) -> None:
    for path, command in walk(load(name), (name,)):
        text = help_text(command, path)
        assert "Example" in text, f"repic {' '.join(path)} --help shows no example"
        assert f"repic {path[0]}" in text.split("Example", 1)[1], f"the example of {path} does not call it"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_and_argument_is_explained(name: str) -> None:
    for path, command in walk(load(name), (name,)):
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"repic {' '.join(path)}: {parameter.name} has no help"


def test_root_help_has_an_example() -> None:
    assert "Example: repic" in help_text(typer.main.get_command(app), ())
