"""What the commands of `repic data` have in common: the group and its options."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from repic_cli.commands import _show

app = _show.group(
    "Build, import, export, check and show training records.",
    "repic data build paper --coco coco/ --objects365 o365/ --celeba celeba/ --subjects200k s200k/ --refcoco refer/ "
    "--out data/",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Workers = Annotated[int, typer.Option(min=1, max=64, help="Threads that open pictures.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Count rows and pictures that cannot be used, and go on.")]
Data = Annotated[Path, typer.Argument(metavar="DATA", help="A built folder, or a record file.")]


@contextmanager
def progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar on stderr, where somebody looks at it; gives what to tell it: what is being done, how much, of how much."""
    import sys

    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:-1], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        row = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(row, description=what, completed=done, total=total)
