"""Some completions of each logged step, with their rewards, and the pictures of a few of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from repic_cli.training.run_folder import RunFolder, append_rows
from repic_plugins.serial import rollout_to_json
from repic_plugins.types import ImageRef, Rollout

if TYPE_CHECKING:
    from repic_plugins.scoring import BatchScores

PICTURE_STEPS = 12
"""About so many steps of a run keep pictures."""
PICTURE_SIDE = 512
"""Longest side of a kept picture, in pixels."""

Latest = Callable[[], "tuple[list[Rollout], BatchScores] | None"]


class SampleWriter:
    """Appends to `samples.jsonl`: `count` completions a step, of different prompts as far as there are so many."""

    def __init__(self, folder: RunFolder, latest: Latest, count: int, steps: int) -> None:
        self.folder, self.latest, self.count = folder, latest, count
        self.every = max(1, steps // PICTURE_STEPS)

    def write(self, step: int) -> None:
        """Write the samples of a step from the batch that was scored last."""
        latest = self.latest()
        if latest is None or not self.count:
            return
        rollouts, scores = latest
        with_pictures = (step - 1) % self.every == 0
        rows = [self._row(step, rollouts[i], scores, i, with_pictures) for i in choose(rollouts, self.count)]
        append_rows(self.folder.samples, rows)

    def _row(self, step: int, rollout: Rollout, scores: BatchScores, index: int, with_pictures: bool) -> dict[str, Any]:
        pairs = zip(scores.names, scores.values[index], strict=True)
        total = float(scores.totals[index])
        return {
            "step": step,
            **rollout_to_json(rollout),
            "rewards": {name: float(value) for name, value in pairs if not math.isnan(value)},
            "total": None if math.isnan(total) else total,
            "images": [self._keep(image) for image in rollout.images] if with_pictures else [],
        }

    def _keep(self, image: ImageRef) -> str:
        """Save a picture, small, unless it is there already; its path in the run folder."""
        name = hashlib.blake2b(image.key.encode(), digest_size=8).hexdigest() + ".jpg"
        path = self.folder.pictures / name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            picture = image.open()
            picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
            picture.save(path, quality=90)
        return f"{self.folder.pictures.name}/{name}"


def choose(rollouts: Sequence[Rollout], count: int) -> list[int]:
    """Indices of `count` rollouts: the first of each prompt, the tasks in turn, then the second of each, and so on."""
    seen: dict[str, int] = {}
    turns: dict[str, int] = {}
    keys = []
    for index, rollout in enumerate(rollouts):
        rank = seen.get(rollout.sample_id, 0)
        seen[rollout.sample_id] = rank + 1
        if rank == 0:
            turns[rollout.task] = turns.get(rollout.task, 0) + 1
        keys.append((rank, turns[rollout.task], rollout.task, index))
    return [key[-1] for key in sorted(keys)[:count]]
