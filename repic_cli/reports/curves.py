"""Training curves: what each reward, each task, the KL divergence and the length did over the steps.

Single GRPO steps swing by 0.15 (64 completions), so each line is a moving average over about a dozen steps
with the raw values faintly behind it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from repic_cli.files import write_file
from repic_cli.reports.metrics import Metrics, Series, read_metrics
from repic_cli.reports.style import COLORS, GRID, INK, MUTED, color_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WINDOW = 12
DASHES = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)))


@dataclass(frozen=True, slots=True)
class Panel:
    """One set of axes. `share`: the values belong between 0 and 1. `zero`: the axis starts at 0. `legend`: the
    lines have names, and keep their colours over the panels."""

    title: str
    lines: Mapping[str, Series]
    share: bool = False
    zero: bool = False
    legend: bool = False


def plot_curves(metrics: Path, output: Path, *, window: int = WINDOW, title: str = "") -> Path:
    """Draw the curves of a `metrics.jsonl` as a PNG; gives the path back.

    Raises `DataError` when the file is missing, broken or has no metric.
    """
    write_file(output, to_png(draw_curves(panels_of(metrics), window=window, title=title)))
    return output


def to_png(figure: Figure, dpi: int = 150) -> bytes:
    """The figure as PNG bytes on white."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
    return buffer.getvalue()


def panels_of(metrics: Path) -> list[Panel]:
    """The panels of a metrics file, in the order they are drawn; empty ones are left out."""
    found = read_metrics(metrics)
    panels = [
        Panel("Rewards (mean)", found.rewards, share=Metrics.within_unit(found.rewards), legend=True),
        Panel("Total reward per task (mean)", found.tasks, share=Metrics.within_unit(found.tasks), legend=True),
        Panel("KL divergence from the base", found.one("kl"), zero=True),
        Panel("Completion length (tokens)", found.one("length")),
        Panel("Groups whose rewards are all equal (share)", found.one("all_equal"), share=True),
        Panel("Entropy (nats per token)", found.one("entropy")),
    ]
    return [panel for panel in panels if panel.lines]


def moving_average(values: Sequence[float], window: int = WINDOW) -> list[float]:
    """The mean over up to `window` values centred on each; at the ends over fewer."""
    half = window // 2
    return [_mean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]


def draw_curves(panels: Sequence[Panel], *, window: int = WINDOW, title: str = "") -> Figure:
    """A figure with two panels a row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    rows = math.ceil(len(panels) / 2)
    figure = Figure(figsize=(10.5, 0.35 + 3.1 * rows), layout=ConstrainedLayoutEngine(w_pad=0.14, h_pad=0.12))
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=13, color=INK, x=0.012, ha="left", parse_math=False)
    grid = figure.subplots(rows, 2, squeeze=False)
    # A reward and the task of the same name have one colour in all panels.
    names = list(dict.fromkeys(name for panel in panels if panel.legend for name in panel.lines))
    for axes, panel in zip(grid.flat, panels, strict=False):
        places = {name: names.index(name) if panel.legend else 0 for name in panel.lines}
        _draw_panel(axes, panel, window, places)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    return figure


def _draw_panel(axes: Axes, panel: Panel, window: int, places: Mapping[str, int]) -> None:
    for label, series in panel.lines.items():
        index = places[label]
        color, dash = color_of(index), DASHES[index // len(COLORS) % len(DASHES)]
        axes.plot(series.steps, series.values, color=color, linewidth=0.8, alpha=0.28)
        # A window as long as a short run would show nothing but its mean.
        mean = moving_average(series.values, min(window, max(1, len(series.values) // 4)))
        # A leading underscore would hide the entry; dollar signs would start a formula.
        shown = "\u200b" + label if label.startswith("_") else label
        marker = "o" if len(mean) == 1 else None
        axes.plot(
            series.steps,
            mean,
            color=color,
            linestyle=dash,
            linewidth=2.0,
            label=shown.replace("$", r"\$"),
            marker=marker,
        )
    _dress(axes, panel)


def _dress(axes: Axes, panel: Panel) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(panel.title, loc="left", fontsize=10.5, color=INK, fontweight="bold", pad=8)
    axes.set_xlabel("step", fontsize=9, color=MUTED)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.tick_params(labelsize=8.5, colors=MUTED, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.margins(x=0.01)
    if panel.share:
        axes.set_ylim(-0.03, 1.03)
    elif panel.zero:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    if panel.legend:
        axes.legend(
            loc="best", fontsize=8.5, frameon=True, framealpha=0.85, edgecolor="none", labelcolor=INK,
            ncol=2 if len(panel.lines) > 5 else 1,
        )  # fmt: skip


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
