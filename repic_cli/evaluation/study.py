"""The study behind the README's table: train with several seeds, measure before and after on held-out identities.

    nox -s study        or        python -m repic_cli.evaluation.study --output docs/study.json

Each seed trains on other prompts and is measured on other samples. What is done is kept in the work folder, so a
study that was stopped goes on with the same command.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from repic_cli.evaluation.experiment import AFTER, BEFORE, Experiment, weights_digest
from repic_cli.evaluation.results import ResultFolder
from repic_cli.evaluation.scores import KINDS, Kind, WorldScores
from repic_cli.evaluation.statistics import over_seeds


def main(
    seeds: Annotated[str, typer.Option(help="Seeds, with commas.")] = "0,1,2",
    count: Annotated[int, typer.Option(min=1, help="Samples of each of the seven kinds.")] = 256,
    rewards: Annotated[str, typer.Option(help="Rewards to train with.")] = "oct,vlt,ict",
    max_steps: Annotated[int | None, typer.Option(min=1, help="Steps; default: those of the preset.")] = None,
    work: Annotated[Path, typer.Option(help="Folder for runs and partial results.")] = Path("runs/study"),
    output: Annotated[Path, typer.Option(help="JSON file; the Markdown table goes beside it.")] = Path(
        "docs/study.json"
    ),
) -> None:
    """Train the embedded model with several seeds and write the table of means."""
    numbers = [int(seed) for seed in seeds.split(",")]
    runs = [run_seed(seed, count, rewards, max_steps, work / f"seed-{seed}") for seed in numbers]
    result = summarise(runs)
    write_study(result, output)
    typer.echo(study_table(result))
    typer.echo(f"written to {output} and {output.with_suffix('.md')}")


def run_seed(seed: int, count: int, rewards: str, max_steps: int | None, folder: Path) -> dict[str, Any]:
    """Both measures and the training of one seed, or what is kept of them."""
    from repic_cli.config import resolve
    from repic_plugins.manager import load_plugins

    overrides = {
        "rewards.selection": rewards,
        "train.max_steps": max_steps,
        "train.seed": seed,
        "data.seed": seed + 1000,
    }
    config = resolve("tiny", overrides=overrides)
    settings = {
        "seed": seed,
        "count": count,
        "rewards": rewards,
        "steps": config.train.max_steps,
        "model": weights_digest(config.model.name),
    }
    results = ResultFolder(folder)
    results.open(settings)
    experiment = Experiment(results, config, load_plugins(), count, seed)
    before = experiment.scores(BEFORE) or _measure(experiment, BEFORE)
    training = experiment.train()
    after = experiment.scores(AFTER) or _measure(experiment, AFTER)
    return {"settings": settings, "training": training, "before": before, "after": after}


def _measure(experiment: Experiment, name: str) -> WorldScores:
    typer.echo(f"{experiment.folder.path}: measuring {name.removesuffix('.json')}", err=True)
    return experiment.measure(name, experiment.load(trained=name == AFTER))


def summarise(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each measure's values by seed, and mean and interval over the seeds, before and after and of the change."""
    measures = {}
    for name, kind in KINDS.items():
        before = [run["before"][name].value for run in runs]
        after = [run["after"][name].value for run in runs]
        change = [b - a for a, b in zip(before, after, strict=True)]
        measures[name] = {
            "label": kind.label,
            "unit": kind.unit or "share",
            "n": sum(run["after"][name].n for run in runs),
            "before": _row(before),
            "after": _row(after),
            "change": _row(change),
        }
    settings = [dict(run["settings"]) for run in runs]
    training = [dict(run["training"]) for run in runs]
    return {"seeds": [s["seed"] for s in settings], "settings": settings, "training": training, "measures": measures}


def _row(values: Sequence[float]) -> dict[str, Any]:
    known = [value for value in values if not math.isnan(value)]
    mean = over_seeds(known)
    return {
        "seeds": [None if math.isnan(value) else round(value, 4) for value in values],
        "mean": None if math.isnan(mean.value) else round(mean.value, 4),
        "low": None if math.isnan(mean.low) else round(mean.low, 4),
        "high": None if math.isnan(mean.high) else round(mean.high, 4),
    }


def study_table(result: Mapping[str, Any], *, headline: bool = False) -> str:
    """The Markdown table: means over the seeds, with the range of the seeds after training."""
    lines = [
        "| held-out identities, greedy | before | after | after, by seed | change |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, entry in result["measures"].items():
        kind = KINDS[name]
        if headline and not kind.headline:
            continue
        label = kind.label.replace("<", "&lt;").replace(">", "&gt;") + (f" ({kind.unit})" if kind.unit else "")
        cells = [
            _number(entry["before"]["mean"], kind),
            f"**{_number(entry['after']['mean'], kind)}**",
            " / ".join(_number(value, kind) for value in entry["after"]["seeds"]),
            _number(entry["change"]["mean"], kind, sign=True),
        ]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _number(value: float | None, kind: Kind, *, sign: bool = False) -> str:
    if value is None:
        return "-"
    scaled = value if kind.unit else 100 * value
    return f"{scaled:+.1f}" if sign else f"{scaled:.1f}"


def write_study(result: Mapping[str, Any], output: Path) -> None:
    """The JSON file, and the Markdown table beside it."""
    from repic_cli.files import write_file

    write_file(output, json.dumps(result, indent=1) + "\n")
    settings = result["settings"][0]
    seeds = ", ".join(str(seed) for seed in result["seeds"])
    text = (
        f"Mean of seeds {seeds}; {settings['steps']} steps with rewards `{settings['rewards']}`; N >= "
        f"{settings['count']} per measure and seed; per cent. Made by `nox -s study`.\n\n{study_table(result)}"
    )
    write_file(output.with_suffix(".md"), text)


if __name__ == "__main__":
    from repic_cli.app import run_module

    run_module(main)
