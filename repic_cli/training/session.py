"""One process's part in a run whose folder is there: trainer, training, and what is left behind."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repic_cli.files import write_file
from repic_cli.models.adapters import describe_adapter
from repic_cli.training.card import model_card
from repic_cli.training.failures import explained, quiet
from repic_cli.training.phases import Phases
from repic_cli.training.plan import Plan
from repic_cli.training.progress import Display, reward_means
from repic_cli.training.run_folder import Checkpoint, RunFolder
from repic_cli.training.samples import SampleWriter
from repic_cli.training.scorer import Scorer
from repic_plugins.errors import Interrupted, RepicError

if TYPE_CHECKING:
    from repic_cli.models import Backbone
    from repic_cli.training.callbacks import StopRequest
    from repic_cli.training.trainer import RepicTrainer

Trend = dict[str, tuple[float, float]]
EDGE = 10
"""Steps at each end of a run whose means are compared."""


@dataclass(frozen=True)
class Summary:
    """What a run came to. `rewards`: reward -> its mean in the first and in the last steps. `failures`: reward -> how
    often it failed (with `on_error = "skip"`)."""

    run: Path
    adapter: Path
    steps: int
    seconds: float
    rewards: Trend = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "run": str(self.run),
            "adapter": str(self.adapter),
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
            "rewards": {name: {"first": first, "last": last} for name, (first, last) in self.rewards.items()},
            "failures": self.failures,
        }

    def lines(self) -> list[str]:
        """For people."""
        minutes, seconds = divmod(round(self.seconds), 60)
        lines = [f"{self.steps} steps in {minutes} min {seconds} s; mean reward in the first and the last steps:"]
        lines += [f"  {name:<12} {first:.3f} -> {last:.3f}" for name, (first, last) in self.rewards.items()]
        lines += [f"  {name} failed {number} times; the groups were left out" for name, number in self.failures.items()]
        lines.append(f"adapter  {self.adapter}")
        lines.append(f"curves   {self.run / 'curves.png'}")
        return lines


@dataclass
class Session:
    """One process's part in a run. `processes`: how many there are; `first`: whether this is the one that writes."""

    plan: Plan
    backbone: Backbone
    folder: RunFolder
    checkpoint: Checkpoint | None
    show: Display
    processes: int = 1
    first: bool = True

    def run(self) -> Summary:
        """Train to the end, or to the step at which somebody asks to stop: then `Interrupted`, with all saved."""
        from repic_cli.training.callbacks import StopRequest

        begin, planned = time.perf_counter(), self.plan.schedule.steps
        stop = StopRequest(self.plan.schedule, self.show.say_now)
        with quiet(), explained(self.folder):
            phases = Phases()
            scorer = self._scorer(phases)
            trainer = self._trainer(scorer, phases, stop)
            self.show.start(self.checkpoint.step if self.checkpoint else 0, planned)
            try:
                with stop:
                    trainer.train(resume_from_checkpoint=str(self.checkpoint.path) if self.checkpoint else None)
            finally:
                self.show.stop()
            steps = trainer.state.global_step
            trend = self._finish(trainer, steps)
        if stop.stopped and steps < planned:
            again = f"go on with: repic train --resume {self.folder.path}"
            raise Interrupted(f"stopped after step {steps} of {planned}, all saved; {again}")
        seconds = time.perf_counter() - begin
        return Summary(self.folder.path, self.folder.adapter, steps, seconds, trend, dict(scorer.failures))

    def _scorer(self, phases: Phases) -> Scorer:
        from accelerate.utils import gather_object

        config = self.plan.config.rewards
        return Scorer(
            self.plan.rewards,
            self.plan.prompts,
            self.backbone.frame,
            special=self.backbone.processor.tokenizer.all_special_ids,
            on_error=config.on_error,
            timeout=config.timeout,
            phases=phases,
            gather=gather_object if self.processes > 1 else None,
        )

    def _trainer(self, scorer: Scorer, phases: Phases, stop: StopRequest) -> RepicTrainer:
        from repic_cli.training.callbacks import MetricsWriter
        from repic_cli.training.trainer import ADAPTER, RepicTrainer

        kept = self.plan.config.train.log_completions
        writer = SampleWriter(self.folder, lambda: scorer.last, kept, self.plan.schedule.steps)
        metrics = MetricsWriter(self.folder.metrics, [lambda row: writer.write(row["step"]), self.show.row])
        hooks = [metrics, stop]
        trainer = RepicTrainer(self.plan, self.backbone, scorer, phases, self.folder, hooks, self.show.warn)
        # A name that holds on other machines too, in place of the folder that the weights were read from.
        trainer.model.peft_config[ADAPTER].base_model_name_or_path = self.backbone.name
        return trainer

    def _finish(self, trainer: RepicTrainer, steps: int) -> Trend:
        """Write adapter, card and curves; how the rewards went. All processes take part in gathering the weights."""
        part = self.folder.path / ".adapter.part"
        try:
            trainer.save_model(str(part), _internal_call=True)
            if not self.first:
                return {}
            trend = reward_trend(self.folder.metrics)
            describe_adapter(part, base=self.backbone.name, fingerprint=self.backbone.fingerprint)
            write_file(part / "README.md", model_card(self.plan, self.backbone, steps, trend, str(self.folder.adapter)))
            shutil.rmtree(self.folder.adapter, ignore_errors=True)
            part.rename(self.folder.adapter)
        finally:
            if self.first:
                shutil.rmtree(part, ignore_errors=True)
        self._plot()
        return trend

    def _plot(self) -> None:
        from repic_cli.reports.curves import plot_curves

        try:
            plot_curves(self.folder.metrics, self.folder.curves)
        except RepicError as error:
            self.show.warn(f"no curves: {error}")


def reward_trend(metrics: Path) -> Trend:
    """Reward -> its mean over the first and over the last steps of `metrics.jsonl`."""
    if not metrics.is_file():  # stopped before the first logged step
        return {}
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    names = {name: None for row in rows for name in reward_means(row)}
    values = {name: [means[name] for row in rows if name in (means := reward_means(row))] for name in names}
    return {name: (_mean(found[:EDGE]), _mean(found[-EDGE:])) for name, found in values.items()}


def _mean(values: list[float]) -> float:
    return round(sum(values) / len(values), 6)
