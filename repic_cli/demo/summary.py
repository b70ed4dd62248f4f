"""What the demo prints at its end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from repic_cli.demo.engine import DemoResult


def print_summary(result: DemoResult) -> None:
    """The scores, a picture's captions before and after, where the report is, and what to try next."""
    from rich.console import Console

    from repic_cli.evaluation.tables import rich_table

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print()
    console.print(rich_table(result.before, result.after, headline=True, width=console.width))
    row = result.queries[1]
    console.print(f"\n{row['file']} before: {row['before']['caption']}", markup=False)
    console.print(f"{row['file']} after:  {row['after']['caption']}\n", markup=False)
    training = result.training
    if training["out_of_time"]:
        console.print(f"Training stopped after {training['steps']} steps to keep to --minutes.", markup=False)
    console.print(f"The report with pictures and curves: {result.report}", markup=False, soft_wrap=True)
    console.print("\nTry next:")
    for command, what in result.commands:
        console.print(f"  {what}\n    {command}", markup=False, soft_wrap=True)
