"""`repic eval`: score captions, make them for scoring, and let a judge compare them."""

from __future__ import annotations

from repic_cli.commands import _eval_judge, _eval_run, _eval_score
from repic_cli.commands._eval import app

__all__ = ["app"]

_PARTS = (_eval_run, _eval_score, _eval_judge)
"""Each puts its commands into `app` when it is imported; the order of the help is that of the imports."""
