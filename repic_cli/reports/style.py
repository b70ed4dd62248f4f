"""The look that plots and reports share. Colours after Okabe and Ito: told apart with any kind of colour vision."""

from __future__ import annotations

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#B8A200")
INK, MUTED, GRID = "#1f2933", "#66727f", "#e3e8ee"
BEFORE, AFTER = "#8a97a5", "#0072B2"


def color_of(index: int) -> str:
    """The colour of the line or concept number `index`; starts again after the last."""
    return COLORS[index % len(COLORS)]
