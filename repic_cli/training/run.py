"""A training run from its configuration to its adapter."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repic_cli.training.environment import environment
from repic_cli.training.plan import Plan, make_plan
from repic_cli.training.progress import Display, reward_means
from repic_cli.training.run_folder import Checkpoint, RunFolder, write_json, write_text
from repic_plugins.errors import Interrupted, OptionError, RepicError
from repic_plugins.scoring import close_rewards

if TYPE_CHECKING:
    from repic_cli.config_sections import RunConfig
    from repic_cli.models import Backbone
    from repic_cli.training.trainer import RepicTrainer
    from repic_plugins.registry import PluginRegistry

Trend = dict[str, tuple[float, float]]
EDGE = 10
"""Steps at each end of a run whose means are compared."""


@dataclass(frozen=True)
class Summary:
    """What a run came to. `rewards`: reward -> its mean in the first and in the last steps."""

    run: Path
    adapter: Path
    steps: int
    seconds: float
    rewards: Trend = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        rewards = {name: {"first": first, "last": last} for name, (first, last) in self.rewards.items()}
        return {
            "run": str(self.run),
            "adapter": str(self.adapter),
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
            "rewards": rewards,
            "failures": self.failures,
        }


@dataclass(frozen=True)
class World:
    """This process among those of the run."""

    rank: int
    size: int

    @property
    def first(self) -> bool:
        return self.rank == 0


def world() -> World:
    """Rank and number of processes as `accelerate launch` and `torchrun` tell them."""
    return World(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def train(
    config: RunConfig, registry: PluginRegistry, *, resume: RunFolder | None = None, display: Display | None = None
) -> Summary:
    """Train, and leave a run folder with the adapter. `resume`: the folder of the run to go on with.

    Nothing is written before all of rewards, data, model and prompts have been checked. Raises the `RepicError` of
    whatever does not fit, `Interrupted` after Ctrl-C with everything saved.
    """
    me, show = world(), display or Display()
    plan = make_plan(config, registry, me.size)
    try:
        return _train(plan, registry, resume, show, me)
    finally:
        close_rewards(plan.rewards)


def _train(plan: Plan, registry: PluginRegistry, resume: RunFolder | None, show: Display, me: World) -> Summary:
    from repic_cli.training.prepare import check_prompts

    folder = resume or RunFolder(output_folder(plan.config, me))
    checkpoint = check_resume(plan, folder, me) if resume else None
    if checkpoint is None:
        folder.check_free()
    backbone = load_backbone(plan.config, registry)
    plan = check_prompts(plan, backbone.processor)
    if checkpoint is not None and checkpoint.data != plan.digest:
        raise OptionError(f"{folder.path}: the data has changed since the run began, so it cannot go on")
    for note in plan.notes:
        show.warn(note)
    if backbone.embedded and plan.loaded.kind != "embedded":
        show.warn(
            "the embedded model knows only its toy world of coloured shapes; on real photographs this run shows that "
            "the pipeline works, not that the model learns. Give --model for one that knows photographs"
        )
    with _begun(folder, plan, backbone, checkpoint, me):
        return _Session(plan, backbone, folder, checkpoint, show, me).run()


def output_folder(config: RunConfig, me: World) -> Path:
    """`--output`, or a new folder under `runs/` that all processes agree on."""
    if config.output is not None:
        return Path(config.output)
    name = f"{config.preset}-{time.strftime('%Y%m%d-%H%M%S')}"
    if me.size > 1:
        from accelerate.utils import broadcast_object_list

        _join_processes(config)
        name = broadcast_object_list([name])[0]
    return Path("runs") / name


def check_resume(plan: Plan, folder: RunFolder, me: World) -> Checkpoint:
    """The checkpoint to go on from. Raises `OptionError` if there is none, or if the run would not be the same."""
    checkpoint = folder.check_run()
    if checkpoint.processes != me.size:
        raise OptionError(
            f"{folder.path}: the run was started with {checkpoint.processes} processes and cannot go on with {me.size}"
        )
    if checkpoint.step >= plan.schedule.steps:
        raise OptionError(
            f"{folder.path}: the run is complete ({checkpoint.step} steps); give more --max-steps to go on with it"
        )
    return checkpoint


def load_backbone(config: RunConfig, registry: PluginRegistry) -> Backbone:
    """The model of a run, with a trainable adapter if it starts from one."""
    from repic_cli.models import load
    from repic_cli.models.adapters import attach

    model = config.model
    backbone = load(
        model.name,
        dtype=model.dtype,
        device=model.device,
        attn_implementation=model.attn_implementation,
        min_pixels=model.min_pixels,
        max_pixels=model.max_pixels,
        registry=registry,
    )
    if model.adapter is not None:
        attach(backbone, model.adapter, trainable=True)
    return backbone


@dataclass
class _Session:
    """One process's part in a run whose folder is there."""

    plan: Plan
    backbone: Backbone
    folder: RunFolder
    checkpoint: Checkpoint | None
    show: Display
    me: World

    def run(self) -> Summary:
        from repic_cli.training.callbacks import StopRequest
        from repic_cli.training.scorer import Scorer

        begin = time.perf_counter()
        stop = StopRequest(self.plan.schedule, self.show.say)
        with _quiet(), _explained(self.folder):
            trainer, scorer = self._trainer(stop)
            assert isinstance(scorer, Scorer)
            self.show.start(self.checkpoint.step if self.checkpoint else 0, self.plan.schedule.steps)
            try:
                with stop:
                    trainer.train(resume_from_checkpoint=str(self.checkpoint.path) if self.checkpoint else None)
            finally:
                self.show.stop()
            steps = trainer.state.global_step
            trend = self._finish(trainer, steps)
        if stop.stopped and steps < self.plan.schedule.steps:
            raise Interrupted(
                f"stopped after step {steps} of {self.plan.schedule.steps}, all saved; "
                f"go on with: repic train --resume {self.folder.path}"
            )
        seconds = time.perf_counter() - begin
        return Summary(self.folder.path, self.folder.adapter, steps, seconds, trend, dict(scorer.failures))

    def _trainer(self, stop: Any) -> tuple[RepicTrainer, Any]:
        from accelerate.utils import gather_object

        from repic_cli.training.callbacks import MetricsWriter, SampleRecorder
        from repic_cli.training.phases import Phases
        from repic_cli.training.samples import SampleWriter
        from repic_cli.training.scorer import Scorer
        from repic_cli.training.trainer import ADAPTER, RepicTrainer

        config, phases = self.plan.config, Phases()
        scorer = Scorer(
            self.plan.rewards,
            self.plan.prompts,
            self.backbone.frame,
            special=self.backbone.processor.tokenizer.all_special_ids,
            on_error=config.rewards.on_error,
            timeout=config.rewards.timeout,
            phases=phases,
            gather=gather_object if self.me.size > 1 else None,
        )
        writer = SampleWriter(self.folder, lambda: scorer.last, config.train.log_completions, self.plan.schedule.steps)
        metrics = MetricsWriter(self.folder.metrics, [SampleRecorder(writer), self.show.row])
        trainer = RepicTrainer(self.plan, self.backbone, scorer, phases, self.folder, [metrics, stop])
        trainer.model.peft_config[ADAPTER].base_model_name_or_path = self.backbone.name
        return trainer, scorer

    def _finish(self, trainer: RepicTrainer, steps: int) -> Trend:
        """Write adapter, card and curves; how the rewards went."""
        from repic_cli.models.adapters import describe_adapter
        from repic_cli.training.card import model_card

        part = self.folder.path / ".adapter.part"
        trainer.save_model(str(part), _internal_call=True)
        if not self.me.first:
            return {}
        trend = reward_trend(self.folder.metrics)
        describe_adapter(part, base=self.backbone.name, fingerprint=self.backbone.fingerprint)
        card = model_card(self.plan, self.backbone, steps, trend, str(self.folder.adapter))
        write_text(part / "README.md", card)
        shutil.rmtree(self.folder.adapter, ignore_errors=True)
        part.rename(self.folder.adapter)
        try:
            from repic_cli.reports.curves import plot_curves

            plot_curves(self.folder.metrics, self.folder.curves)
        except RepicError as error:
            self.show.warn(f"no curves: {error}")
        return trend


def reward_trend(metrics: Path) -> Trend:
    """Reward -> its mean over the first and over the last steps of `metrics.jsonl`."""
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    names = {name: None for row in rows for name in reward_means(row)}
    values = {name: [means[name] for row in rows if name in (means := reward_means(row))] for name in names}
    return {name: (_mean(found[:EDGE]), _mean(found[-EDGE:])) for name, found in values.items()}


def _mean(values: list[float]) -> float:
    return round(sum(values) / len(values), 6)


@contextmanager
def _begun(
    folder: RunFolder, plan: Plan, backbone: Backbone, checkpoint: Checkpoint | None, me: World
) -> Iterator[None]:
    """The run's folder, written by the first process. A new one that never got to a step is taken away again."""
    if not me.first:
        yield
        return
    about = environment(plan.config.train.seed, plan.rewards, me.size, str(backbone.device))
    about["model"] = {"name": backbone.name, "fingerprint": backbone.fingerprint}
    about["data"] = {"source": plan.config.data.source, "records": dict(plan.loaded.tasks), "digest": plan.digest}
    if checkpoint is None:
        folder.checkpoints.mkdir(parents=True)
    else:
        folder.drop_torsos()
        folder.rewind(checkpoint.step)
        about = _resumed(folder, about, checkpoint)
    try:
        write_json(folder.environment, about)
        write_text(folder.config, replace_output(plan.config, folder).to_toml())
        yield
    except BaseException:
        if checkpoint is None and not folder.metrics.exists() and folder.last_checkpoint() is None:
            shutil.rmtree(folder.path, ignore_errors=True)
        raise


def replace_output(config: RunConfig, folder: RunFolder) -> RunConfig:
    """The configuration with the folder it runs in."""
    return config.model_copy(update={"output": folder.path})


def _resumed(folder: RunFolder, about: dict[str, Any], checkpoint: Checkpoint) -> dict[str, Any]:
    """The environment of the run's start, with this one added to its list of resumptions."""
    try:
        first = json.loads(folder.environment.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        first = {}
    return first | {"resumed": [*first.get("resumed", []), about | {"step": checkpoint.step}]}


def _join_processes(config: RunConfig) -> None:
    """Set up communication, on the CPU if the run is there."""
    from accelerate import PartialState

    from repic_cli.models.load import default_device

    device = config.model.device if config.model.device != "auto" else default_device()
    PartialState(cpu=device == "cpu")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' advice to themselves; errors still come as exceptions."""
    from transformers.utils import logging as chatter

    level = chatter.get_verbosity()
    chatter.set_verbosity_error()
    trl = logging.getLogger("trl")
    before, trl.level = trl.level, logging.ERROR
    try:
        with warnings.catch_warnings():
            for module in ("transformers", "trl", "peft", "accelerate", "torch"):
                warnings.filterwarnings("ignore", module=rf"{module}\b")
            yield
    finally:
        chatter.set_verbosity(level)
        trl.level = before


@contextmanager
def _explained(folder: RunFolder) -> Iterator[None]:
    """Errors of writing and of memory as one line each."""
    try:
        yield
    except RepicError:
        raise
    except (RuntimeError, OSError) as error:
        raise _translate(error, folder) from error


def _translate(error: Exception, folder: RunFolder) -> Exception:
    text = str(error)
    checkpoint = folder.last_checkpoint()
    hint = f"; go on with: repic train --resume {folder.path}" if checkpoint else ""
    # torch's and safetensors' writers report a full disk in words of their own.
    if isinstance(error, OSError) or any(sign in text for sign in ("No space left", "PytorchStreamWriter", "File too")):
        what = "the disk is full" if _is_full(error, text) else text.splitlines()[0]
        return RepicError(f"{folder.path}: cannot write the run: {what}{hint}")
    if "out of memory" in text.lower():
        return RepicError(
            "out of memory: give a smaller train.per_device_batch_size with more train.gradient_accumulation, "
            f"train.gradient_checkpointing=true, or a smaller model.max_pixels{hint}"
        )
    return error


def _is_full(error: Exception, text: str) -> bool:
    import errno

    number = getattr(error, "errno", None)
    return number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "No space left" in text or "StreamWriter" in text


__all__ = ["Summary", "World", "check_resume", "load_backbone", "train", "world"]
