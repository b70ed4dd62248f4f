"""A training run from its configuration to its adapter: everything is checked before anything is written."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repic_cli.files import write_file
from repic_cli.training.environment import environment
from repic_cli.training.failures import check_reporting, check_vllm
from repic_cli.training.plan import Plan, make_plan
from repic_cli.training.progress import Display
from repic_cli.training.run_folder import Checkpoint, RunFolder, write_json
from repic_plugins.errors import OptionError
from repic_plugins.scoring import close_rewards

if TYPE_CHECKING:
    from repic_cli.config_sections import RunConfig
    from repic_cli.models import Backbone
    from repic_cli.training.session import Summary
    from repic_plugins.registry import PluginRegistry


@dataclass(frozen=True)
class World:
    """This process among those of the run."""

    rank: int = 0
    size: int = 1

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

    Nothing is written before rewards, data, model and prompts have been checked. Raises the `RepicError` of whatever
    does not fit, `Interrupted` after Ctrl-C with everything saved.
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
    if checkpoint is None and me.first:
        folder.check_free()
    check_reporting(plan.config.train.report_to)
    check_vllm(plan.config.vllm.mode, plan.config.model.device)
    backbone = load_backbone(plan.config, registry)
    plan = check_prompts(plan, backbone.processor)
    if checkpoint is not None and checkpoint.data != plan.digest:
        raise OptionError(f"{folder.path}: the data has changed since the run began, so it cannot go on")
    _warn(plan, backbone, show)
    from repic_cli.training.session import Session

    with begun(folder, plan, backbone, checkpoint, me):
        return Session(plan, backbone, folder, checkpoint, show, me.size, me.first).run()


def _warn(plan: Plan, backbone: Backbone, show: Display) -> None:
    for note in plan.notes:
        show.warn(note)
    if backbone.embedded and plan.loaded.kind != "embedded":
        show.warn(
            "the embedded model knows only its toy world of coloured shapes: on real photographs this run shows that "
            "everything works, not that the model learns. Give --model for one that knows photographs"
        )


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


@contextmanager
def begun(
    folder: RunFolder, plan: Plan, backbone: Backbone, checkpoint: Checkpoint | None, me: World
) -> Iterator[None]:
    """The run's folder, written by the first process. A new one that never got to a step is taken away again."""
    if not me.first:
        yield
        return
    about = describe(plan, backbone, me)
    try:
        if checkpoint is None:
            folder.checkpoints.mkdir(parents=True)
        else:
            folder.drop_torsos()
            folder.rewind(checkpoint.step)
            about = _add_resumption(folder, about, checkpoint)
        write_json(folder.environment, about)
        write_file(folder.config, plan.config.model_copy(update={"output": folder.path}).to_toml())
        yield
    except BaseException:
        if checkpoint is None and not folder.metrics.exists() and folder.last_checkpoint() is None:
            shutil.rmtree(folder.path, ignore_errors=True)
        raise


def describe(plan: Plan, backbone: Backbone, me: World) -> dict[str, Any]:
    """What `environment.json` holds."""
    about = environment(plan.config.train.seed, plan.rewards, me.size, str(backbone.device))
    about["model"] = {"name": backbone.name, "fingerprint": backbone.fingerprint}
    about["data"] = {"source": plan.config.data.source, "records": dict(plan.loaded.tasks), "digest": plan.digest}
    about["notes"] = list(plan.notes)
    return about


def _add_resumption(folder: RunFolder, about: dict[str, Any], checkpoint: Checkpoint) -> dict[str, Any]:
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
