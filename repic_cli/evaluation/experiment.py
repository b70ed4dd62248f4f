"""Measure, train, measure again: the experiment behind `repic demo` and the study of several seeds.

Each part is kept in a folder, so that it is not done twice.
"""

from __future__ import annotations

import hashlib
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repic_cli.evaluation.results import ResultFolder
from repic_cli.evaluation.scores import WorldScores
from repic_cli.reports.metrics import read_rows
from repic_cli.training.progress import Display
from repic_plugins.errors import Interrupted

if TYPE_CHECKING:
    from repic_cli.config_sections import RunConfig
    from repic_cli.evaluation.world import Progress
    from repic_cli.models import Backbone
    from repic_plugins.registry import PluginRegistry

BEFORE, AFTER, TRAIN, RUN = "before.json", "after.json", "train.json", "run"


@dataclass(frozen=True)
class Experiment:
    """What is measured and trained. `folder` keeps the parts; `config` names the model and says how to train it.

    `count` and `seed` choose the samples of the measurement (see `world.measure`).
    """

    folder: ResultFolder
    config: RunConfig
    registry: PluginRegistry
    count: int
    seed: int

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.folder.path / RUN

    def load(self, *, trained: bool) -> Backbone:
        """The base model, or the trained one with its adapter put into the weights (which answers faster)."""
        from repic_cli.models import load

        model = self.config.model
        backbone = load(
            model.name,
            adapter=self.run / "adapter" if trained else model.adapter,
            dtype=model.dtype,
            device=model.device,
            registry=self.registry,
        )
        backbone.merge()
        return backbone

    def scores(self, name: str) -> WorldScores | None:
        """The kept scores BEFORE or AFTER."""
        kept = self.folder.load(name)
        return None if kept is None else WorldScores.from_dict(kept)

    def measure(self, name: str, backbone: Backbone, progress: Progress | None = None) -> WorldScores:
        """Measure and keep the scores as `name`."""
        from repic_cli.evaluation.world import measure

        scores = measure(backbone, count=self.count, seed=self.seed, progress=progress)
        self.folder.save(name, scores.to_dict())
        return scores

    def train(self, display: Display | None = None, seconds: float | None = None) -> dict[str, Any]:
        """Train, or go on with an interrupted run; gives and keeps steps, seconds and reward trends.

        `seconds`: stop after the step in which so much time has gone by. Raises `Interrupted` on Ctrl-C.
        """
        kept = self.folder.load(TRAIN)
        if kept is not None:
            return kept
        result = train_until(self.config, self.registry, self.run, display, seconds)
        self.folder.save(TRAIN, result)
        return result


class Limited(Display):
    """A display that asks the run for its orderly end, with everything saved, when its time is up."""

    def __init__(self, inner: Display | None, seconds: float | None) -> None:
        super().__init__(quiet=inner.quiet if inner else False, console=inner.console if inner else None)
        self.seconds, self.begin = seconds, time.monotonic()
        self.expired = False

    def row(self, row: Mapping[str, Any]) -> None:
        super().row(row)
        if self.seconds is None or self.expired:
            return
        spent = time.monotonic() - self.begin
        # A stop is heeded at a step's end, of which this is already told: one more step runs in any case.
        if spent + 2 * float(row.get("seconds/step") or 0) > self.seconds:
            self.expired = True
            self.quiet_stop()

    def quiet_stop(self) -> None:
        """The run's own orderly end, as on Ctrl-C, without the line that tells of it."""
        quiet, self.quiet = self.quiet, True
        signal.raise_signal(signal.SIGINT)
        self.quiet = quiet


def train_until(
    config: RunConfig, registry: PluginRegistry, run: Path, display: Display | None, seconds: float | None
) -> dict[str, Any]:
    """Train into the folder `run`, from its last checkpoint if there is one."""
    from repic_cli.training.run import train
    from repic_cli.training.run_folder import RunFolder
    from repic_cli.training.session import reward_trend

    folder, planned = RunFolder(run), config.train.max_steps
    checkpoint = folder.last_checkpoint() if folder.config.is_file() else None
    complete = checkpoint is not None and planned is not None and checkpoint.step >= planned
    if checkpoint is None or (complete and not folder.adapter.is_dir()):
        # What a killed run left before its first checkpoint, or between the last and its end, is of no use.
        shutil.rmtree(run, ignore_errors=True)
        checkpoint, complete = None, False
    limited = Limited(display, seconds)
    try:
        if not complete:
            resume = folder if checkpoint else None
            train(config.model_copy(update={"output": run}), registry, resume=resume, display=limited)
    except Interrupted:
        if not limited.expired:
            raise
    rows = read_rows(folder.metrics)
    steps = int(rows[-1]["step"])
    return {
        "steps": steps,
        "seconds": round(sum(row.get("seconds/step") or 0.0 for row in rows), 1),
        "out_of_time": planned is not None and steps < planned,
        "rewards": {name: list(ends) for name, ends in reward_trend(folder.metrics).items()},
    }


def weights_digest(model: str) -> str:
    """Recognises the weights of the embedded model or a local folder; other names stand for themselves."""
    from repic_cli.models.load import locate

    source = locate(model)
    if source.folder is None:
        return source.place
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(source.folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()
