"""`repic rewards`: list and show rewards, and score saved completions with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repic_cli.commands import _show
from repic_plugins.errors import OptionError
from repic_plugins.options import parse_options, parse_rewards, with_options
from repic_plugins.scoring import TIMEOUT, OnError

if TYPE_CHECKING:
    from repic_plugins.replay import Summary
    from repic_plugins.scoring import BatchScores
    from repic_plugins.types import Rollout

app = _show.group("List, show and replay rewards.", "repic rewards list")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@app.command("list", epilog="Example: repic rewards list --json")
def list_rewards(ctx: typer.Context, as_json: Json = False) -> None:
    """List the rewards that are installed."""
    registry = _show.load(ctx)
    entries = list(registry.rewards.values())
    if as_json:
        _show.print_json([_show.entry_json(entry) for entry in entries])
        return
    rows = [(e.name, _show.tasks_of(e), e.help, _show.signature(e.factory), e.origin) for e in entries]
    _show.print_table(("reward", "tasks", "what it rewards", "options", "from"), rows)
    _show.print_problems(registry)


@app.command(epilog="Example: repic rewards show ict")
def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of a reward.")],
    as_json: Json = False,
) -> None:
    """Show what one reward does and its options."""
    entry = _show.load(ctx).select("reward", name)
    if as_json:
        _show.print_json(_show.entry_json(entry))
        return
    _show.print_description(entry)
    typer.echo(f"tasks: {_show.tasks_of(entry)}")
    _show.print_options(entry.factory)
    typer.echo(f"\nuse: repic train --rewards {entry.name}=1.0{_option_example(entry.factory, entry.name)}")


def _option_example(factory: Any, name: str) -> str:
    options = _show.options_json(factory)
    return f" --reward-option {name}.{options[0]['name']}={options[0]['default']}" if options else ""


@app.command(epilog="Example: repic rewards score run/samples.jsonl --rewards oct,vlt,ict,length=0.2")
def score(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="Saved completions: a run's samples.jsonl, or your own JSON lines.")],
    rewards: Annotated[str, typer.Option(help="Rewards and weights, as in oct,vlt,ict,length=0.2.")],
    reward_option: Annotated[
        list[str] | None, typer.Option(metavar="REWARD.OPTION=VALUE", help="An option of a reward; may be repeated.")
    ] = None,
    on_reward_error: Annotated[
        str, typer.Option(metavar="stop|skip", help="Stop at a failing reward, or drop the group and count it.")
    ] = "stop",
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds that an async reward has.")] = TIMEOUT,
    output: Annotated[Path | None, typer.Option(help="Write each rollout's scores here, as JSON lines.")] = None,
    as_json: Json = False,
) -> None:
    """Replay: score saved completions with rewards, without any model.

    Each line of FILE is an object with sample_id, task, prompt and completion, and as far as there are any
    completion_tokens, answer, frame, images and meta. Rollouts with one sample_id are a group.
    """
    from repic_plugins.scoring import close_rewards, score_batch
    from repic_plugins.serial import read_rollouts

    selection = with_options(parse_rewards(rewards), parse_options(reward_option or ()))
    registry = _show.load(ctx)
    registry.check_rewards(selection)
    rollouts = read_rollouts(file, _opener(file))
    bound = registry.build_rewards(selection)
    try:
        scores = score_batch(bound, rollouts, on_error=_on_error(on_reward_error), timeout=timeout)
    finally:
        close_rewards(bound)
    _report(scores, rollouts, output, as_json)


def _on_error(text: str) -> OnError:
    if text not in ("stop", "skip"):
        raise OptionError(f"--on-reward-error {text!r}: write stop or skip")
    return "skip" if text == "skip" else "stop"


def _opener(file: Path) -> Any:
    """Pictures that the file names are looked for beside it; they are opened only if a reward looks at them."""
    from repic_cli.data.images import FileImage

    return lambda path: FileImage(file.parent / path)


def _report(scores: BatchScores, rollouts: Sequence[Rollout], output: Path | None, as_json: bool) -> None:
    from repic_plugins.replay import scored_rows, summarise

    summaries = summarise(scores, rollouts)
    if output is not None:
        _write(output, scored_rows(scores, rollouts))
    dropped = int(scores.dropped.sum())
    if as_json:
        errors = [str(error) for error in scores.errors]
        rows = [summary.to_json() for summary in summaries]
        _show.print_json({"rollouts": len(rollouts), "dropped": dropped, "errors": errors, "summary": rows})
        return
    columns = ("reward", "task", "rollouts", "mean", "std", "min", "max", "flat groups")
    _show.print_table(columns, map(_row, summaries), title=f"{len(rollouts)} rollouts")
    if scores.errors:
        names = ", ".join(f"{name} {count}" for name, count in scores.failures.items())
        typer.echo(f"dropped {dropped} rollouts; failures: {names}; the first: {scores.errors[0]}", err=True)


def _row(summary: Summary) -> tuple[object, ...]:
    numbers = (f"{number:.3f}" for number in (summary.mean, summary.std, summary.min, summary.max))
    flat = "-" if summary.flat_groups is None else f"{summary.flat_groups:.0%}"
    return (summary.reward, summary.task, summary.count, *numbers, flat)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    """All lines or none: a full disk leaves no half file."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
