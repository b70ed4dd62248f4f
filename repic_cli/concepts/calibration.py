"""From scores to decisions: the cosine from which a crop counts as a concept, fitted and kept in the database.

A stranger is what no concept of the database shows. How near strangers come to the nearest concept depends on the
encoder, on how alike the concepts are, and on how many there are, so that no fixed number will do.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from repic_plugins.errors import OptionError

if TYPE_CHECKING:
    from repic_cli.concepts.store import ConceptDatabase

STRANGERS = 0.02
"""Share of strangers that may be taken for a concept."""
PRIOR = 30
"""So many things as strangers weigh as much as the encoder's own threshold: a handful says little about the rest."""


@dataclass(frozen=True)
class Calibration:
    """A threshold and what it rests on.

    `named` of the `strangers` scores lie above it, `missed` of the `same` scores below. `slope` and `offset` turn a
    score into the probability that it is of the same thing (`probability`). `source`: `database`, or the folder of the
    validation pictures.
    """

    encoder: str
    threshold: float
    target: float
    strangers: int
    same: int
    named: float
    missed: float
    slope: float
    offset: float
    source: str
    made: str

    def probability(self, score: float) -> float:
        """Probability that a crop with this score shows the concept, when strangers are as frequent as concepts."""
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, self.slope * score + self.offset))))


@dataclass(frozen=True)
class Scores:
    """Best cosines of crops that show a concept, with that concept; and of crops that show none, with any.

    `things` is the number of different strangers: several views of one say less than as many others.
    """

    same: NDArray[np.float64]
    strangers: NDArray[np.float64]
    things: int


def fit(scores: Scores, guess: float, target: float = STRANGERS) -> tuple[float, float, float]:
    """Threshold, slope and offset.

    The threshold is where the share `target` of strangers lies above, drawn to the encoder's `guess` when there are
    few. Where concepts and strangers are apart, it lies between them, nearer to the strangers: scores of one's own
    pictures are better than those of pictures to come. Raises `OptionError` for a target that is no share.
    """
    if not 0 < target < 1:
        raise OptionError(f"--strangers {target:g}: a share between 0 and 1, such as {STRANGERS}")
    limit = float(np.quantile(scores.strangers, 1 - target)) if len(scores.strangers) else guess
    low = float(np.quantile(scores.same, 0.02)) if len(scores.same) else limit
    if low > limit:
        limit += (low - limit) / 4
    weight = scores.things / (scores.things + PRIOR)
    threshold = weight * limit + (1 - weight) * guess
    slope, offset = _logistic(scores, threshold)
    return min(1.0, max(-1.0, threshold)), slope, offset


def _logistic(scores: Scores, threshold: float) -> tuple[float, float]:
    """Platt's scaling: logistic regression of same against stranger, both sides of equal weight, a little damped."""
    values = np.concatenate([scores.same, scores.strangers]) - threshold
    labels = np.concatenate([np.ones(len(scores.same)), np.zeros(len(scores.strangers))])
    if not len(scores.same) or not len(scores.strangers):
        return 20.0, -20.0 * threshold
    weights = np.where(labels > 0, 0.5 / len(scores.same), 0.5 / len(scores.strangers))
    # Platt's targets keep the slope finite when the two sides are apart.
    high, low = (len(scores.same) + 1) / (len(scores.same) + 2), 1 / (len(scores.strangers) + 2)
    aims = np.where(labels > 0, high, low)
    point = np.array([10.0, 0.0])
    for _ in range(100):
        chance = 1 / (1 + np.exp(-np.clip(point[0] * values + point[1], -50, 50)))
        gradient = np.array([(weights * (chance - aims) * values).sum(), (weights * (chance - aims)).sum()])
        curve = weights * chance * (1 - chance)
        hessian = np.array([[(curve * values**2).sum(), (curve * values).sum()], [(curve * values).sum(), curve.sum()]])
        step = np.linalg.solve(hessian + 1e-6 * np.eye(2), gradient)
        point -= step / max(1.0, float(np.abs(step).max()) / 10)
        if np.abs(step).max() < 1e-6:
            break
    return float(point[0]), float(point[1] - point[0] * threshold)


def shares(scores: Scores, threshold: float) -> tuple[float, float]:
    """The share of strangers at or above the threshold, and of concepts below it."""
    named = float((scores.strangers >= threshold).mean()) if len(scores.strangers) else 0.0
    missed = float((scores.same < threshold).mean()) if len(scores.same) else 0.0
    return named, missed


def save_calibration(database: ConceptDatabase, calibration: Calibration) -> None:
    """Keep it with the concepts, for its encoder."""
    database.put_setting(_key(calibration.encoder), json.dumps(asdict(calibration)))


def load_calibration(database: ConceptDatabase, encoder: str) -> Calibration | None:
    """What was kept for this encoder; None if nothing was, or if it makes no sense (the file may be a stranger's)."""
    text = database.setting(_key(encoder))
    try:
        found = None if text is None else Calibration(**json.loads(text))
    except (TypeError, ValueError):
        return None
    if found is None or not _finite((found.threshold, found.slope, found.offset)) or abs(found.threshold) > 1:
        return None
    return found


def _finite(values: Sequence[object]) -> bool:
    return all(isinstance(value, float | int) and math.isfinite(value) for value in values)


def _key(encoder: str) -> str:
    return f"calibration:{encoder}"
