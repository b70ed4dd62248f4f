"""Pure scoring on plain values: boxes, names, answers, lengths and formats. numpy and numba, no torch.

Importing the package costs nothing; numba is imported with the first module that needs it (`boxes`, `names`, `ict`).
The common functions can be had from here too: `from repic_rewards import score_names`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repic_rewards.answers import read_yes_no
    from repic_rewards.boxes import iou, iou_matrix, iou_paper, score_boxes
    from repic_rewards.formats import extract_answer, follows_format
    from repic_rewards.ict import score_names
    from repic_rewards.lengths import count_length, score_lengths
    from repic_rewards.names import Mentions, NameMatcher
    from repic_rewards.parsing import parse_box_paper, parse_boxes

_HOME = {
    "Mentions": "names",
    "NameMatcher": "names",
    "count_length": "lengths",
    "extract_answer": "formats",
    "follows_format": "formats",
    "iou": "boxes",
    "iou_matrix": "boxes",
    "iou_paper": "boxes",
    "parse_box_paper": "parsing",
    "parse_boxes": "parsing",
    "read_yes_no": "answers",
    "score_boxes": "boxes",
    "score_lengths": "lengths",
    "score_names": "ict",
}

__all__ = [
    "Mentions",
    "NameMatcher",
    "count_length",
    "extract_answer",
    "follows_format",
    "iou",
    "iou_matrix",
    "iou_paper",
    "parse_box_paper",
    "parse_boxes",
    "read_yes_no",
    "score_boxes",
    "score_lengths",
    "score_names",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"repic_rewards.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
