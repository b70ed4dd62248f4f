"""`repic plugins`: list, write and check plugins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from repic_cli.commands import _show
from repic_plugins.errors import PluginError, RewardError
from repic_plugins.registry import KINDS, Entry, PluginRegistry
from repic_plugins.text import suggest

app = _show.group("List, check and write plugins.", "repic plugins list")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@app.command("list", epilog="Example: repic plugins list --hooks")
def list_plugins(
    ctx: typer.Context,
    hooks: Annotated[bool, typer.Option("--hooks", help="List the hooks a plugin may implement instead.")] = False,
    as_json: Json = False,
) -> None:
    """List the plugins that are installed, what they register, and what is wrong with them."""
    registry = _show.load(ctx)
    if hooks:
        _print_hooks(registry, as_json)
        return
    _show.print_unmatched(registry)
    rows = [*_loaded(registry), *_problems(registry)]
    if as_json:
        _show.print_json(rows)
        return
    columns = ("distribution", "version", "entry point", "status", "registers", "reason")
    cells = (
        (r["distribution"], r["version"], r["entry_point"], r["status"], ", ".join(r["registers"]), r["reason"])
        for r in rows
    )
    _show.print_table(columns, cells)


def _entries(registry: PluginRegistry) -> Iterator[Entry]:
    """All entries, those whose name is taken twice too."""
    for kind in KINDS:
        entries = registry.of_kind(kind)
        yield from entries.values()
        for same in entries.duplicates.values():
            yield from same


def _loaded(registry: PluginRegistry) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for found in registry.plugins:
        key = (found.distribution, found.name)
        names = [f"{e.kind} {e.name}" for e in _entries(registry) if (e.distribution, e.entry_point) == key]
        rows.append(_plugin_row(found.distribution, found.version, found.name, "ok", names, ""))
    return rows


def _problems(registry: PluginRegistry) -> list[dict[str, Any]]:
    return [
        _plugin_row(p.distribution, p.version, p.entry_point, p.kind, list(p.names), p.reason)
        for p in registry.problems
    ]


def _plugin_row(
    distribution: str, version: str, entry_point: str, status: str, registers: list[str], reason: str
) -> dict[str, Any]:
    return {
        "distribution": distribution,
        "version": version,
        "entry_point": entry_point,
        "status": status,
        "registers": registers,
        "reason": reason,
    }


def _print_hooks(registry: PluginRegistry, as_json: bool) -> None:
    from repic_plugins import hookspecs

    rows: list[dict[str, Any]] = []
    for kind in KINDS:
        hook = f"repic_register_{kind}s"
        about = " ".join((getattr(hookspecs, hook).__doc__ or "").split())
        users = sorted({entry.distribution for entry in _entries(registry) if entry.kind == kind})
        rows.append({"hook": hook, "help": about, "used_by": users})
    if as_json:
        _show.print_json(rows)
    else:
        _show.print_table(
            ("hook", "what it registers", "used by"), [(r["hook"], r["help"], ", ".join(r["used_by"])) for r in rows]
        )


@app.command(epilog="Example: repic plugins new haiku")
def new(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the new reward: lower case, digits, _ and -.")],
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="Where to write; default repic-NAME.")] = None,
    as_json: Json = False,
) -> None:
    """Write a package with a reward, its entry point and a test, ready to change and install."""
    from repic_plugins.scaffold import write_plugin

    taken = _show.load(ctx).rewards.get(name)
    if taken is not None:
        raise PluginError(f"reward {name} is already registered by {taken.origin}; choose another name")
    target = write_plugin(name, folder)
    if as_json:
        _show.print_json({"name": name, "folder": str(target)})
        return
    typer.echo(f"wrote {target}")
    typer.echo(f"next: pip install -e {target} && repic plugins check {name}")


@app.command(epilog="Example: repic plugins check haiku --option haiku.lines=3")
def check(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of a reward, a task, or a distribution with plugins.")],
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME.OPTION=VALUE", help="An option to build it with; may be repeated.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds that an async reward has for one batch.")] = 20.0,
    as_json: Json = False,
) -> None:
    """Build what a plugin registers, and check that rewards keep their promises.

    A reward gives one finite number or None per rollout, the same whatever else is in the batch.
    """
    from repic_plugins.options import parse_options

    registry = _show.load(ctx)
    options = parse_options(option or (), "--option")
    rows: list[dict[str, Any]] = []
    for entry in _chosen(registry, name):
        rows += _check(registry, entry, options.get(entry.name, {}), timeout)
    if as_json:
        _show.print_json(rows)
    else:
        cells = ((r["kind"], r["name"], r["check"], "ok" if r["passed"] else "FAILED", r["fault"]) for r in rows)
        _show.print_table(("kind", "name", "check", "result", "why"), cells)
    failed = [row for row in rows if not row["passed"]]
    if failed:
        first = failed[0]
        raise RewardError(f"{first['kind']} {first['name']} fails the check {first['check']!r}: {first['fault']}")


def _chosen(registry: PluginRegistry, name: str) -> list[Entry]:
    """What NAME stands for: one reward or other part, or all that a distribution registers."""
    named = [entry for kind in KINDS for entry in registry.of_kind(kind).values() if entry.name == name]
    entries = named or [entry for entry in _entries(registry) if name in (entry.distribution, entry.entry_point)]
    if entries:
        return entries
    for problem in registry.problems:
        if name in (problem.distribution, problem.entry_point, *(n.partition(" ")[2] for n in problem.names)):
            raise PluginError(f"{name} cannot be checked: {problem}")
    known = {text for entry in _entries(registry) for text in (entry.name, entry.distribution)}
    raise PluginError(f"no plugin or reward is called {name!r}{suggest(name, known)}")


def _check(registry: PluginRegistry, entry: Entry, options: dict[str, str], timeout: float) -> Iterator[dict[str, Any]]:
    from repic_plugins.examples import example_rollouts
    from repic_plugins.options import RewardSpec
    from repic_plugins.testing import run_checks

    def row(check: str, fault: str = "") -> dict[str, Any]:
        return {"kind": entry.kind, "name": entry.name, "check": check, "passed": not fault, "fault": fault}

    if entry.kind != "reward":
        registry.build(entry.kind, entry.name, **options)
        yield row("builds")
        return
    (reward,) = registry.build_rewards([RewardSpec(entry.name, options=options)])
    yield row("builds")
    try:
        for result in run_checks(reward, example_rollouts(sorted(entry.tasks or ())), timeout=timeout):
            yield row(result.name, result.fault)
    finally:
        reward.close()
