"""Scores as tables for the terminal and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from repic_cli.evaluation.scores import KINDS, Kind, WorldScores, change
from repic_cli.evaluation.statistics import Estimate, shown, shown_change

if TYPE_CHECKING:
    from rich.table import Table


ROOMY = 108
"""Columns of a terminal from which a table shows all intervals."""


def show(estimate: Estimate, kind: Kind) -> str:
    """`91.4 [88.0, 94.1]` for a share (in per cent); one decimal for others; a dash without any chance."""
    return shown(estimate, 1 if kind.unit else 100)


def show_change(estimate: Estimate, kind: Kind) -> str:
    """`+48.2 [+40.1, +56.0]`, in points for a share."""
    return shown_change(estimate, 1 if kind.unit else 100)


def verdict(estimate: Estimate, kind: Kind) -> str:
    """`better` or `worse` when the interval of a change leaves out 0, else an empty string."""
    if kind.better == "neither" or math.isnan(estimate.value) or estimate.low <= 0 <= estimate.high:
        return ""
    return "better" if (estimate.value > 0) == (kind.better == "higher") else "worse"


def names_of(scores: Sequence[WorldScores], *, headline: bool = False) -> list[str]:
    """The measures that all scores have, in table order."""
    return [
        name
        for name, kind in KINDS.items()
        if all(name in one.measures for one in scores) and (kind.headline or not headline)
    ]


def rich_table(
    before: WorldScores, after: WorldScores | None = None, *, headline: bool = False, width: int = 120
) -> Table:
    """A table for the terminal: one row a measure; with `after`, both and the change.

    In less than ROOMY columns the intervals of before and after are left out, that of the change stays.
    """
    from rich import box
    from rich.table import Table

    both = [before] if after is None else [before, after]
    short = after is not None and width < ROOMY
    table = Table(title="Held-out identities, greedy; per cent with 95 % interval", title_justify="left")
    table.box = box.SIMPLE_HEAD
    table.add_column("measure")
    headings = ("score",) if after is None else ("before", "after", "change")
    for heading in (*headings, "guess", "N"):
        table.add_column(heading, justify="right", no_wrap=True)
    group = ""
    for name in names_of(both, headline=headline):
        kind = KINDS[name]
        if kind.group != group:
            table.add_section()
            group = kind.group
        cells = [show(one[name], kind) for one in both]
        if short:
            cells = [cell.split(" ")[0] for cell in cells]
        if after is not None:
            moved = change(before, after, name)
            color = {"better": "green", "worse": "red", "": ""}[verdict(moved, kind)]
            text = show_change(moved, kind)
            cells.append(f"[{color}]{text}[/{color}]" if color else text)
        label = kind.label + (f" ({kind.unit})" if kind.unit else "")
        table.add_row(label.replace("[", r"\["), *cells, _chance(name, both[-1]), str(both[-1][name].n))
    return table


def markdown_table(before: WorldScores, after: WorldScores | None = None, *, headline: bool = False) -> str:
    """The same as a Markdown table."""
    both = [before] if after is None else [before, after]
    heads = ["score"] if after is None else ["before", "after", "change"]
    lines = [f"| measure | {' | '.join([*heads, 'guess', 'N'])} |", f"|---|{'---:|' * (len(heads) + 2)}"]
    for name in names_of(both, headline=headline):
        kind = KINDS[name]
        cells = [show(one[name], kind) for one in both]
        if after is not None:
            cells.append(show_change(change(before, after, name), kind))
        cells += [_chance(name, both[-1]), str(both[-1][name].n)]
        label = kind.label.replace("<", "&lt;") + (f" ({kind.unit})" if kind.unit else "")
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _chance(name: str, scores: WorldScores) -> str:
    """What guessing would get, in per cent, where that is known."""
    chance = scores.measures[name].chance
    return "" if chance is None else f"{100 * chance:.0f}"
