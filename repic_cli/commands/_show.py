"""How the commands about plugins print: tables, lists of options, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from inspect import cleandoc
from pathlib import Path
from typing import Any

import typer

from repic_plugins.options import Option, factory_options
from repic_plugins.registry import Entry, PluginRegistry
from repic_plugins.text import clean

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def load(ctx: typer.Context) -> PluginRegistry:
    """The plugins, as the root options of this call want them."""
    from repic_cli.app import settings
    from repic_plugins.manager import load_plugins

    return load_plugins(settings(ctx).plugins)


def group(help: str, example: str) -> typer.Typer:
    """The Typer app of a command group."""
    return typer.Typer(
        help=help,
        rich_markup_mode=None,
        no_args_is_help=True,
        add_completion=False,
        context_settings=HELP,
        epilog=f"Example: {example}",
    )


def print_json(value: Any) -> None:
    """JSON on stdout for scripts, non-ASCII escaped, so that it can hold no control characters."""
    typer.echo(json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """A table whose cells are plain text: what plugins say about themselves is neither markup nor escape codes."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Not cut off at 80 columns when a script reads it.
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    table = Table(title=Text(title) if title else None, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", header_style="bold")
    for row in rows:
        table.add_row(*(Text(clean(cell, 400)) for cell in row))
    console.print(table)


def note(text: str) -> None:
    """One line on stderr that the user should know of."""
    typer.echo(f"note: {text}", err=True)


def print_unmatched(registry: PluginRegistry) -> None:
    """One line on stderr when something was to be turned off that is not there: probably it is misspelt."""
    if registry.unmatched:
        from repic_plugins.manager import DISABLE_VARIABLE

        names = ", ".join(clean(name, 80) for name in registry.unmatched)
        note(f"{DISABLE_VARIABLE} turns off nothing by the name of {names}")


def print_problems(registry: PluginRegistry) -> None:
    """Lines on stderr when plugins could not be used, or not be turned off."""
    print_unmatched(registry)
    bad = {problem.distribution for problem in registry.problems if problem.kind != "disabled"}
    if bad:
        names = ", ".join(sorted(bad))
        note(f"there are problems with {names}; see `repic plugins list`")


def options_json(factory: Callable[..., Any]) -> list[dict[str, Any]]:
    """The options of a factory for scripts."""
    options, _ = factory_options(factory)
    return [
        {
            "name": option.name,
            "type": clean(option.type_name),
            "default": _default(option),
            "required": option.required,
        }
        for option in options.values()
    ]


def print_options(factory: Callable[..., Any]) -> None:
    """The options of a factory as a table."""
    rows = [(o["name"], o["type"], "required" if o["required"] else o["default"]) for o in options_json(factory)]
    if rows:
        print_table(("option", "type", "default"), rows)
    else:
        typer.echo("It has no options.")


def _default(option: Option) -> Any:
    value = option.default
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return clean(value)


def signature(factory: Callable[..., Any]) -> str:
    """`mode=strict, min_chars=100`."""
    options, _ = factory_options(factory)
    return ", ".join(o.name if o.required else f"{o.name}={_short(o.default)}" for o in options.values())


def _short(default: object) -> str:
    return clean(default.name if isinstance(default, Path) else default, 40)


def tasks_of(entry: Entry) -> str:
    """`ict, caption`, or `all`."""
    return "all" if entry.tasks is None else ", ".join(sorted(entry.tasks))


def entry_json(entry: Entry) -> dict[str, Any]:
    """A reward or task for scripts."""
    return {
        "name": entry.name,
        "tasks": None if entry.tasks is None else sorted(entry.tasks),
        "help": entry.help,
        "distribution": entry.distribution,
        "version": entry.version,
        "options": options_json(entry.factory),
    }


def print_description(entry: Entry) -> None:
    """Name, help, origin and the factory's docstring."""
    typer.echo(f"{entry.name}: {entry.help}" if entry.help else entry.name)
    typer.echo(f"from {entry.origin}")
    doc = getattr(entry.factory, "__doc__", None)
    if isinstance(doc, str):
        typer.echo()
        for line in cleandoc(doc).splitlines()[:60]:
            indent = len(line) - len(line.lstrip(" "))
            typer.echo(" " * min(indent, 40) + clean(line, 200))
    typer.echo()
