"""Scores as tables for the terminal and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from repic_cli.evaluation.scores import KINDS, Kind, WorldScores, change
from repic_cli.evaluation.statistics import Estimate

if TYPE_CHECKING:
    from rich.table import Table


def show(estimate: Estimate, kind: Kind) -> str:
    """`91.4 [88.0, 94.1]` for a share (in per cent); one decimal for others; a dash without any chance."""
    if math.isnan(estimate.value):
        return "-"
    scale = 1 if kind.unit else 100
    value = f"{estimate.value * scale:.1f}"
    if math.isnan(estimate.low):
        return value
    return f"{value} [{estimate.low * scale:.1f}, {estimate.high * scale:.1f}]"


def show_change(estimate: Estimate, kind: Kind) -> str:
    """`+48.2 [+40.1, +56.0]`, in points for a share."""
    if math.isnan(estimate.value):
        return "-"
    scale = 1 if kind.unit else 100
    return f"{estimate.value * scale:+.1f} [{estimate.low * scale:+.1f}, {estimate.high * scale:+.1f}]"


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


def rich_table(before: WorldScores, after: WorldScores | None = None, *, headline: bool = False) -> Table:
    """A table for the terminal: one row a measure; with `after`, both and the change."""
    from rich.table import Table

    both = [before] if after is None else [before, after]
    table = Table(title="Held-out identities, greedy; per cent with 95 % interval", title_justify="left")
    table.add_column("measure")
    for heading in ("score",) if after is None else ("before", "after", "change"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("N", justify="right")
    group = ""
    for name in names_of(both, headline=headline):
        kind = KINDS[name]
        if kind.group != group:
            table.add_section()
            group = kind.group
        cells = [show(one[name], kind) for one in both]
        if after is not None:
            moved = change(before, after, name)
            color = {"better": "green", "worse": "red", "": ""}[verdict(moved, kind)]
            text = show_change(moved, kind)
            cells.append(f"[{color}]{text}[/{color}]" if color else text)
        table.add_row(_label(name, both[-1]).replace("[", r"\["), *cells, str(both[-1][name].n))
    return table


def markdown_table(before: WorldScores, after: WorldScores | None = None, *, headline: bool = False) -> str:
    """The same as a Markdown table."""
    both = [before] if after is None else [before, after]
    heads = ["score"] if after is None else ["before", "after", "change"]
    lines = [f"| measure | {' | '.join(heads)} | N |", f"|---|{'---:|' * (len(heads) + 1)}"]
    for name in names_of(both, headline=headline):
        kind = KINDS[name]
        cells = [show(one[name], kind) for one in both]
        if after is not None:
            cells.append(show_change(change(before, after, name), kind))
        label = _label(name, both[-1]).replace("<", "&lt;")
        lines.append(f"| {label} | {' | '.join(cells)} | {both[-1][name].n} |")
    return "\n".join(lines) + "\n"


def _label(name: str, scores: WorldScores) -> str:
    """The measure with its unit, or with what guessing would get."""
    kind, chance = KINDS[name], scores.measures[name].chance
    extra = kind.unit or (f"guessing: {100 * chance:.0f}" if chance is not None else "")
    return f"{kind.label} ({extra})" if extra else kind.label
