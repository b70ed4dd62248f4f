"""`repic tasks`: list and show the training tasks."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Annotated, Any

import typer

from repic_cli.commands import _show
from repic_plugins.errors import OptionError
from repic_plugins.options import parse_options

app = _show.group("List and show the training tasks.", "repic tasks list")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@app.command("list", epilog="Example: repic tasks list")
def list_tasks(ctx: typer.Context, as_json: Json = False) -> None:
    """List the tasks that are installed, and the rewards that score them."""
    registry = _show.load(ctx)
    entries = list(registry.tasks.values())
    scored = {
        e.name: [r.name for r in registry.rewards.values() if r.tasks is None or e.name in r.tasks] for e in entries
    }
    if as_json:
        _show.print_json([{**_show.entry_json(entry), "rewards": scored[entry.name]} for entry in entries])
        return
    rows = [(e.name, e.help, ", ".join(scored[e.name]), _show.signature(e.factory), e.origin) for e in entries]
    _show.print_table(("task", "what it asks", "rewards", "options", "from"), rows)
    _show.print_problems(registry)


@app.command(epilog="Example: repic tasks show ict --option reasoning=think")
def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of a task.")],
    option: Annotated[
        list[str] | None, typer.Option(metavar="OPTION=VALUE", help="An option of the task; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the drawn wording.")] = 0,
    as_json: Json = False,
) -> None:
    """Show what one task needs, its options, and an example of its prompt."""
    registry = _show.load(ctx)
    entry = registry.select("task", name)
    bad = next((item for item in option or () if "=" not in item), None)
    if bad is not None:
        raise OptionError(f"--option {bad!r}: write OPTION=VALUE, as in reasoning=think")
    options = parse_options((f"{name}.{item}" for item in option or ()), "--option").get(name, {})
    task = registry.build_task(name, **options)
    prompt = _example_prompt(task, name, seed)
    if as_json:
        _show.print_json({**_show.entry_json(entry), "requires": list(task.requires), "prompt": prompt})
        return
    _show.print_description(entry)
    typer.echo(f"a record needs: {', '.join(task.requires) or 'only a picture'}")
    _show.print_options(entry.factory)
    if prompt is not None:
        typer.echo("\nan example prompt:")
        for line in prompt:
            typer.echo(f"  {line}")


def _example_prompt(task: Any, name: str, seed: int) -> list[str] | None:
    """The lines of a prompt built from an example record; None when the task takes none of the examples."""
    from repic_plugins.examples import example_records

    for record in example_records(name):
        try:
            sample = task.build(record, Random(seed))
        # A task says by an exception that it does not take this kind of answer or number of references.
        except Exception:
            continue
        return [line for message in sample.messages for line in _lines(message)]
    return None


def _lines(message: Mapping[str, Any]) -> list[str]:
    from repic_plugins.text import clean

    content = message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    texts = ["[picture]" if part["type"] == "image" else clean(part.get("text", ""), 2000) for part in parts]
    return [f"{clean(message['role'], 20)}: {texts[0]}", *texts[1:]] if texts else []
