"""`repic eval score`: score the saved captions of any tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repic_cli.commands._eval import app


@app.command(epilog="Example: repic eval score captions.json --protocol both")
def score(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Captions: JSON rows of RePIC, or JSON lines.")],
) -> None:
    """Score the saved captions of any tool."""
