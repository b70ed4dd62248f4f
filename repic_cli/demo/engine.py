"""The demo from beginning to end: things and pictures, measure, train, measure again, captions, report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repic_cli.demo import scenes
from repic_cli.demo.phases import Phases
from repic_cli.evaluation.experiment import AFTER, BEFORE, TRAIN, Experiment, weights_digest
from repic_cli.evaluation.results import ResultFolder
from repic_plugins.errors import Interrupted

if TYPE_CHECKING:
    from rich.console import Console

    from repic_cli.evaluation.scores import WorldScores
    from repic_plugins.registry import PluginRegistry

REWARDS = "oct,vlt,ict"
PICTURES = "pictures.json"
CAPTIONS = {BEFORE: "captions_before.json", AFTER: "captions_after.json"}
LAST_SECONDS = 25
"""Kept free for loading the trained model, captions and the report."""


@dataclass(frozen=True)
class DemoOptions:
    """What a demo is asked for. `minutes` bounds the whole; training is cut short to keep to it."""

    output: Path
    seed: int = 0
    count: int = 128
    max_steps: int | None = None
    minutes: float = 5.5


@dataclass(frozen=True)
class DemoResult:
    """What a demo came to."""

    folder: Path
    before: WorldScores
    after: WorldScores
    training: dict[str, Any]
    queries: Sequence[dict[str, Any]]
    """per query picture: file, objects, and what `database.caption_queries` gave `before` and `after`"""
    seconds: dict[str, float]
    commands: Sequence[tuple[str, str]]

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "folder": str(self.folder),
            "report": str(self.report),
            "seconds": self.seconds,
            "training": self.training,
            "before": self.before.to_dict(samples=False),
            "after": self.after.to_dict(samples=False),
            "queries": list(self.queries),
            "commands": [command for command, _ in self.commands],
        }


def run_demo(options: DemoOptions, registry: PluginRegistry, console: Console) -> DemoResult:
    """Do what is not done yet in `options.output`, and write the report.

    Raises `Interrupted` on Ctrl-C, with a line that says how to go on; the errors of training and captioning else.
    """
    demo = Demo(options, registry, console)
    try:
        return demo.run()
    except (Interrupted, KeyboardInterrupt) as error:
        raise Interrupted(f"stopped; what is done is kept. Go on with: {again(options)}") from error


def again(options: DemoOptions) -> str:
    """The command that goes on with this demo."""
    import shlex

    command = f"repic demo --output {shlex.quote(str(options.output))}"
    for name, default in (("seed", 0), ("count", 128), ("max_steps", None)):
        value = getattr(options, name)
        if value != default:
            command += f" --{name.replace('_', '-')} {value}"
    return command


class Demo:
    """One demo at work."""

    def __init__(self, options: DemoOptions, registry: PluginRegistry, console: Console) -> None:
        from repic_cli.config import resolve

        self.options, self.registry, self.console = options, registry, console
        self.begin = time.monotonic()
        overrides = {
            "rewards.selection": REWARDS,
            "train.max_steps": options.max_steps,
            "train.seed": options.seed,
        }
        config = resolve("tiny", overrides=overrides)
        self.folder = ResultFolder(options.output)
        self.phases = Phases(console, 5)
        self.experiment = Experiment(self.folder, config, registry, options.count, options.seed)

    def run(self) -> DemoResult:
        """All phases."""
        self.folder.open(
            {
                "seed": self.options.seed,
                "count": self.options.count,
                "max_steps": self.experiment.config.train.max_steps,
                "model": weights_digest(self.experiment.config.model.name),
            }
        )
        queries = self.prepare()
        before, said_before = self.look(BEFORE, "measuring the base model", queries)
        training = self.train()
        after, said_after = self.look(AFTER, "measuring the trained model", queries)
        with self.phases.phase("writing the report", bar=False):
            rows = [
                {"file": query.path.name, "objects": list(query.objects), "before": one, "after": other}
                for query, one, other in zip(queries, said_before, said_after, strict=True)
            ]
            result = DemoResult(self.folder.path, before, after, training, rows, self.seconds(), self.commands(queries))
            self.report(result)
        return result

    def prepare(self) -> list[scenes.Query]:
        """The database of a person's things, and pictures in which they are."""
        from repic_cli.demo.database import fill_database

        what = "a database of eight things, and four pictures with some of them"
        if self.folder.load(PICTURES) is not None:
            self.phases.kept(what)
            return scenes.read_queries(self.queries)
        with self.phases.phase(what) as tell:
            things, members = scenes.make_things(self.options.seed)
            queries = scenes.write_queries(self.queries, self.options.seed, things, members)
            fill_database(self.database, self.registry, things, tell)
            self.folder.save(PICTURES, {"queries": [query.path.name for query in queries]})
        return queries

    def look(self, which: str, what: str, queries: Sequence[scenes.Query]) -> tuple[WorldScores, list[Any]]:
        """Scores and captions of the base (BEFORE) or the trained model (AFTER)."""
        from repic_cli.demo.database import caption_queries

        scores, captions = self.experiment.scores(which), self.folder.load(CAPTIONS[which])
        if scores is not None and captions is not None:
            self.phases.kept(what)
            return scores, captions["captions"]
        with self.phases.phase(what) as tell:
            backbone = self.experiment.load(trained=which == AFTER)
            said = caption_queries(backbone, self.registry, self.database, queries)
            self.folder.save(CAPTIONS[which], {"captions": said})
            if scores is None:
                scores = self.experiment.measure(which, backbone, lambda done, total, _: tell(done, total))
        return scores, said

    def train(self) -> dict[str, Any]:
        """Training, within what is left of the minutes."""
        what = f"reinforcement learning with {REWARDS}"
        kept = self.folder.load(TRAIN)
        if kept is not None:
            self.phases.kept(what)
            return kept
        from repic_cli.training.progress import Display

        with self.phases.phase(what, bar=False):
            return self.experiment.train(Display(console=self.console), self.seconds_for_training())

    def seconds_for_training(self) -> float:
        """What the budget leaves between what is gone and a second measurement."""
        before = self.experiment.scores(BEFORE)
        measuring = float(before.info["seconds"]) if before else 0.0
        left = 60 * self.options.minutes - (time.monotonic() - self.begin) - 1.1 * measuring - LAST_SECONDS
        return max(30.0, left)

    def report(self, result: DemoResult) -> None:
        """The HTML page."""
        from repic_cli.demo.page import make_report
        from repic_cli.reports.html import write_report

        write_report(make_report(result, self.experiment, self.database, self.queries), result.report)

    def seconds(self) -> dict[str, float]:
        """Seconds of each phase, and of all."""
        return {**self.phases.seconds, "all": round(time.monotonic() - self.begin, 1)}

    def commands(self, queries: Sequence[scenes.Query]) -> list[tuple[str, str]]:
        """What to try next."""
        import shlex

        adapter, base = (shlex.quote(str(path)) for path in (self.experiment.run / "adapter", self.database))
        photo = shlex.quote(str(queries[1].path))
        return [
            (f"repic caption {photo} --db {base} --adapter {adapter}", "Caption a picture with the trained model:"),
            (f"repic db list {base}", "See what the database knows:"),
            (
                f"repic train --rewards {REWARDS},length=0.2 --output runs/longer",
                "Train with one more reward (`repic rewards list` shows them all):",
            ),
            (
                "repic plugins new my-reward",
                "Write a reward of your own; once it is pip-installed, `--rewards` knows it:",
            ),
            (
                "repic train --preset paper --data my-photos/ --dry-run",
                "Train a real model on photographs, one sub-folder per thing (needs GPUs; this only shows the plan):",
            ),
        ]

    @property
    def database(self) -> Path:
        return self.folder.path / "mydb"

    @property
    def queries(self) -> Path:
        return self.folder.path / "queries"
