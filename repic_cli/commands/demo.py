"""`repic demo`: the whole loop on the embedded model in a few minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repic_cli.commands import _show

app = typer.Typer(rich_markup_mode=None, add_completion=False, context_settings=_show.HELP)


@app.command(epilog="Example: repic demo --output my-demo --minutes 4")
def demo(
    ctx: typer.Context,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for everything; an interrupted demo goes on in it.")
    ] = Path("repic-demo"),
    seed: Annotated[int, typer.Option(min=0, max=2**31, help="Seed of things, pictures, samples and training.")] = 0,
    count: Annotated[int, typer.Option(min=4, help="Samples of each of the seven kinds that are measured.")] = 128,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps at most; default: those of the preset `tiny`.")
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0.5, help="Time for the whole; training is cut short to keep to it.")
    ] = 5.5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Show the whole loop on the embedded model: measure, train, measure again, caption, report.

    A small Qwen2.5-VL model that ships with repic is measured on things that it never saw, trained by GRPO with the
    rewards oct, vlt and ict, measured again, and captions pictures with the names of a concept database.
    No GPU and no download; about five minutes on two CPU cores.
    """
    from rich.console import Console

    from repic_cli.demo.engine import DemoOptions, run_demo

    options = DemoOptions(output, seed, count, max_steps, minutes)
    result = run_demo(options, _show.load(ctx), Console(stderr=True, highlight=False, soft_wrap=True))
    if as_json:
        _show.print_json(result.as_json())
        return

    from repic_cli.demo.summary import print_summary

    print_summary(result)
