"""`repic train`: post-train a model with the selected rewards."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from repic_cli.commands import _show
from repic_plugins.errors import OptionError

if TYPE_CHECKING:
    from repic_cli.config_sections import RunConfig
    from repic_cli.training.run_folder import RunFolder

LAST = "last"
"""What `--resume` without a folder means: the newest run."""

app = typer.Typer(rich_markup_mode=None, add_completion=False, context_settings=_show.HELP)


class OnError(StrEnum):
    """What to do when a reward fails."""

    stop = "stop"
    skip = "skip"


class SharedPrefix(StrEnum):
    """Whether completions share their prompt."""

    auto = "auto"
    on = "on"
    off = "off"


class Vllm(StrEnum):
    """How vLLM samples completions."""

    off = "off"
    colocate = "colocate"
    server = "server"


class TrainCommand(TyperCommand):
    """Lets `--resume` stand alone: Typer has no options whose value may be left out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, complete_resume(args))


def complete_resume(args: Sequence[str]) -> list[str]:
    """`--resume` without a folder becomes `--resume=last`."""
    completed = []
    for index, arg in enumerate(args):
        alone = arg == "--resume" and (index + 1 == len(args) or args[index + 1].startswith("-"))
        completed.append(f"--resume={LAST}" if alone else arg)
    return completed


@app.command(
    cls=TrainCommand,
    context_settings=_show.HELP,
    epilog="Examples: repic train --rewards oct,vlt,ict | "
    "repic train --data photos/ --model Qwen/Qwen2.5-VL-3B-Instruct --rewards oct,ict,length=0.2 --output runs/mine | "
    "repic train --resume runs/mine",
)
def train(
    ctx: typer.Context,
    rewards: Annotated[str | None, typer.Option(help="Rewards and weights, as in oct,vlt,ict,length=0.2.")] = None,
    reward_option: Annotated[
        list[str] | None, typer.Option(help="Option of a reward, as in ict.min_chars=100.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Where settings start from: tiny (default) or paper.")] = None,
    model: Annotated[str | None, typer.Option(help="embedded, a folder, or a Hugging Face id.")] = None,
    adapter: Annotated[str | None, typer.Option(help="Start from this LoRA adapter.")] = None,
    data: Annotated[
        str | None,
        typer.Option(help="embedded, a record file, a built folder, or a folder with one sub-folder per concept."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings from a TOML or YAML file.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="One setting, as in train.beta=0.1.")] = None,
    templates: Annotated[Path | None, typer.Option(help="TOML file with instruction templates.")] = None,
    output: Annotated[Path | None, typer.Option(help="Run folder (default: a new one under runs/).")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of sampling and of the order of the data.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    on_reward_error: Annotated[
        OnError | None, typer.Option(help="When a reward fails: stop, or skip the group and count it.")
    ] = None,
    shared_prefix: Annotated[
        SharedPrefix | None,
        typer.Option(help="Compute each prompt once for all its completions: where it can be (auto), on, or off."),
    ] = None,
    vllm: Annotated[
        Vllm | None,
        typer.Option(help="Sample with vLLM: colocate (on the GPUs that train) or server (vllm.server)."),
    ] = None,
    report_to: Annotated[
        str | None, typer.Option(help="Also log to wandb, tensorboard, ... (comma-separated).")
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="[RUN]", help="Go on with a run from its last checkpoint (alone: the newest run)."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, score a few samples, print the plan; train nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary on stdout.")] = False,
) -> None:
    """Post-train a model with verifiable rewards (GRPO).

    Without options it trains the embedded toy model, in minutes and on a CPU.
    """
    given = {
        "rewards.selection": rewards,
        "model.name": model,
        "model.adapter": adapter,
        "data.source": data,
        "data.templates": templates,
        "output": output,
        "train.seed": seed,
        "data.seed": seed,
        "train.max_steps": max_steps,
        "rewards.on_error": on_reward_error.value if on_reward_error else None,
        "train.report_to": report_to,
        "train.shared_prefix": shared_prefix.value if shared_prefix else None,
        "vllm.mode": vllm.value if vllm else None,
        **_reward_options(reward_option or ()),
    }
    folder = None
    if resume is None:
        from repic_cli.config import resolve

        settings = resolve(preset, config, set_ or (), given)
    else:
        fixed = {"--preset": preset, "--config": config, "--set": set_}
        folder, settings = resumed(resume, {**given, **{k: v for k, v in fixed.items() if v}})
    _run(ctx, settings, folder, dry=dry_run, as_json=as_json)


def _reward_options(items: Sequence[str]) -> dict[str, Any]:
    from repic_plugins.options import parse_options

    return {
        f"rewards.options.{reward}.{option}": value
        for reward, options in parse_options(items).items()
        for option, value in options.items()
    }


def resumed(resume: str, given: dict[str, Any]) -> tuple[RunFolder, RunConfig]:
    """The folder to go on with and its settings. Only the number of steps and the reporting may be changed.

    Raises `OptionError` if another option is given or there is no run to go on with.
    """
    from repic_cli.config import load_config
    from repic_cli.training.run_folder import RunFolder

    place = given.pop("output", None)
    changes = {key: given.pop(key) for key in ("train.max_steps", "train.report_to")}
    others = [key for key, value in given.items() if value not in (None, ())]
    if others:
        raise OptionError(
            f"--resume takes all settings from the run; leave out {others[0]} "
            "(only --max-steps and --report-to may be given anew)"
        )
    folder = RunFolder(Path(place) if place and resume == LAST else newest_run() if resume == LAST else Path(resume))
    folder.check_run()
    settings = load_config(folder.config)
    update = {key.split(".")[1]: value for key, value in changes.items() if value is not None}
    if update.get("max_steps", 1) < 1:
        raise OptionError("--max-steps must be 1 or more")
    section = type(settings.train).model_validate(settings.train.model_dump() | update)
    return folder, settings.model_copy(update={"train": section, "output": folder.path})


def newest_run() -> Path:
    """The run under `runs/` that was written to last. Raises `OptionError` if there is none."""
    runs = [path.parent for path in Path("runs").glob("*/config.toml")]
    if not runs:
        raise OptionError("--resume: there is no run under runs/; give the run's folder")
    return max(runs, key=lambda path: max(item.stat().st_mtime for item in path.iterdir()))


def _run(ctx: typer.Context, settings: RunConfig, folder: RunFolder | None, *, dry: bool, as_json: bool) -> None:
    registry = _show.load(ctx)
    if dry:
        from repic_cli.training.dry_run import dry_run

        plan = dry_run(settings, registry)
        if as_json:
            _show.print_json(plan.as_json())
        else:
            typer.echo("\n".join(plan.lines()))
        return
    from repic_cli.training.progress import Display
    from repic_cli.training.run import train as start
    from repic_cli.training.run import world

    me = world()
    summary = start(settings, registry, resume=folder, display=Display(quiet=not me.first))
    if not me.first:
        return
    if as_json:
        _show.print_json(summary.as_json())
        return
    typer.echo("\n".join(summary.lines()))
