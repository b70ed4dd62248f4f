"""The look that plots and reports share. Colours after Okabe and Ito: told apart with any kind of colour vision."""

from __future__ import annotations

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#B8A200")
CHIPS = ("#0072B2", "#B84A00", "#007A5A", "#A8437F", "#8A6100", "#2B7399", "#5F6B76", "#6F6200")
"""Darker, for white letters on them: contrast of 4.5 or more."""
INK, MUTED, GRID = "#1f2933", "#66727f", "#e3e8ee"


def color_of(index: int) -> str:
    """The colour of line number `index`; starts again after the last."""
    return COLORS[index % len(COLORS)]


def chip_of(index: int) -> str:
    """The colour of concept number `index`, behind white letters."""
    return CHIPS[index % len(CHIPS)]
