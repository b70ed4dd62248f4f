"""`repic eval run`: make captions for queries, or answers to records, and score them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from repic_cli.commands import _show
from repic_cli.commands._db import progress
from repic_cli.commands._eval import app
from repic_plugins.errors import DataError, OptionError
from repic_plugins.text import clean

if TYPE_CHECKING:
    from repic_cli.captioning.captioner import Captioner
    from repic_cli.evaluation.captioned.queries import Query
    from repic_cli.evaluation.captioned.running import Run, Setting
    from repic_cli.models import Backbone

EXAMPLES = """Examples:

\b
  repic eval run --db mydb/ --queries q.json --setting skip-retrieval --out skip.jsonl
  repic eval run --db mydb/ --queries q.json --setting retrieval --top-k 2 --out found.jsonl
  repic eval run --db mydb/ --queries q.json --setting wrong-demonstrations --out wrong.jsonl
  repic eval run --queries q.json --setting general --adapter runs/tiny --out general.jsonl
  repic eval run --queries records.jsonl --setting recognition --out oct.jsonl

A run that was stopped goes on with the same command.
"""


class Settings(StrEnum):
    skip_retrieval = "skip-retrieval"
    retrieval = "retrieval"
    wrong_demonstrations = "wrong-demonstrations"
    general = "general"
    recognition = "recognition"
    grounding = "grounding"


_CAPTIONED: dict[Settings, Setting] = {
    Settings.skip_retrieval: "skip-retrieval",
    Settings.retrieval: "retrieval",
    Settings.wrong_demonstrations: "wrong-demonstrations",
    Settings.general: "general",
}
_SKILLS: dict[Settings, Literal["recognition", "grounding"]] = {
    Settings.recognition: "recognition",
    Settings.grounding: "grounding",
}

_OF_RETRIEVAL = ("top_k", "detector", "threshold", "verify")
"""Options of the setting `retrieval` alone."""
_OF_CAPTIONS = (*_OF_RETRIEVAL, "db", "pictures", "concepts_per_image", "prompt", "max_new_tokens", "skip_bad")
"""Options of all settings that make captions."""


@dataclass(frozen=True)
class Ask:
    """What was asked for, apart from the model."""

    queries: Path
    out: Path
    seed: int
    batch_size: int
    redo: bool
    skip_bad: bool
    as_json: bool


@app.command(epilog=EXAMPLES)
def run(
    ctx: typer.Context,
    queries: Annotated[
        Path,
        typer.Option(help="Pictures and the keys of what is in them (RePIC's template, JSON lines, CSV); or records."),
    ],
    setting: Annotated[Settings, typer.Option(help="What the prompt shows; or which skill is asked about.")],
    out: Annotated[Path, typer.Option(help="A line of JSON for each answer; the run goes on where it stops.")],
    db: Annotated[Path | None, typer.Option(help="Database of the concepts.")] = None,
    pictures: Annotated[
        list[Path] | None, typer.Option(help="Another folder that pictures may lie in; may be repeated.")
    ] = None,
    concepts_per_image: Annotated[
        int | None, typer.Option(min=1, help="Only queries of so many concepts: 1, 2, 4. Default: all.")
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(min=1, help="Retrieval as in the paper: show the K nearest, without threshold and questions."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model: embedded, a folder or a Hub id.")] = None,
    adapter: Annotated[str | None, typer.Option(help="Adapter, or the folder of the run that trained it.")] = None,
    preset: Annotated[str | None, typer.Option(help="Preset that says which model, and how it is loaded.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Your own instruction, in place of `write a caption`.")] = None,
    detector: Annotated[str | None, typer.Option(help="What proposes places: owlv2, grid ...")] = None,
    threshold: Annotated[float | None, typer.Option(help="Least cosine at which a concept counts as found.")] = None,
    verify: Annotated[bool, typer.Option(help="Ask the model about each concept that was found.")] = True,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest caption, in tokens.")] = 256,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures captioned at a time.")] = 8,
    device: Annotated[str | None, typer.Option(help="cpu, cuda ... Default: as available.")] = None,
    seed: Annotated[int, typer.Option(help="Draws wrong demonstrations and the wording of questions.")] = 0,
    redo: Annotated[bool, typer.Option("--redo", help="Replace answers of another model, database or option.")] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out and count queries that cannot be used.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON for scripts.")] = False,
) -> None:
    """Make captions for queries (greedy), keep them, and score them.

    The file has all that `repic eval score` needs. Settings recognition and grounding ask the questions of record files
    (tasks oct and vlt) instead.
    """
    ask = Ask(queries, out, seed, batch_size, redo, skip_bad, as_json)
    about = {"model": model, "adapter": adapter, "preset": preset, "seed": seed, "setting": setting.value}
    _check_given(ctx, setting)
    skill = _SKILLS.get(setting)
    if skill is not None:
        _run_skill(ctx, ask, skill, about, device)
        return

    from repic_cli.captioning.opening import open_captioner, open_database
    from repic_cli.evaluation.captioned.queries import read_queries
    from repic_cli.evaluation.captioned.running import Names, chosen_concepts

    chosen = _CAPTIONED[setting]
    found = read_queries(queries, pictures or (), concepts_per_image, skip_bad)
    with ExitStack() as stack:
        database = None if db is None else stack.enter_context(open_database(db))
        names = None if database is None else Names(database)
        wanted, shown, wrong = chosen_concepts(found, chosen, names, seed)
        if wrong and not (skip_bad and wanted):
            raise DataError(f"{wrong[0]}; --skip-bad leaves such queries out")
        _tell_left_out([*found.skipped, *wrong])
        captioner = open_captioner(
            database,
            model=model,
            adapter=adapter,
            preset=preset,
            device=device,
            search=setting is Settings.retrieval,
            detector=detector,
            threshold=threshold,
            verify=verify,
            prompt=prompt,
            top_k=top_k,
            max_concepts=concepts_per_image or max((len(query.keys) for query in wanted), default=1) or 1,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            registry=_show.load(ctx),
            tell=_show.note,
        )
        about |= {"model": captioner.backbone.name, "adapter": captioner.backbone.adapter}
        _run_captions(ask, captioner, chosen, names, about, wanted, shown)


def _check_given(ctx: typer.Context, setting: Settings) -> None:
    """Raises `OptionError` for an option that was given and would change nothing."""
    asked = setting in _SKILLS
    why = "the records say what is asked" if asked else "nothing is retrieved"
    for name in _OF_CAPTIONS if asked else () if setting is Settings.retrieval else _OF_RETRIEVAL:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise OptionError(f"--{name.replace('_', '-')} does not go with --setting {setting.value}: {why}")


def _run_captions(
    ask: Ask,
    captioner: Captioner,
    setting: Setting,
    names: Any,
    about: Mapping[str, Any],
    wanted: list[Query],
    shown: Any,
) -> None:
    from repic_cli.captioning.output import CaptionFile
    from repic_cli.commands._eval_report import Report
    from repic_cli.evaluation.captioned.running import Run, run_marks
    from repic_cli.evaluation.captioned.scoring import score_files

    with CaptionFile(ask.out, run_marks(captioner, about), ask.redo, identity="id") as file:
        running = Run(captioner, setting, names, about, file)
        made, failed = _count(running, wanted, shown)
    typer.echo(f"captioned {made} queries, {running.kept} were there already; written to {ask.out}", err=True)
    if failed:
        typer.echo(f"warning: {failed} pictures could not be read", err=True)
    report = Report(score_files([ask.out]))
    if ask.as_json:
        typer.echo(report.text(".json"), nl=False)
    else:
        report.show()
    report.tell()


def _count(running: Run, wanted: list[Query], shown: Any) -> tuple[int, int]:
    """Captions made, and pictures that could not be read."""
    counts = {True: 0, False: 0}
    with progress("captioning") as tell:
        for good in running.run(wanted, shown):
            counts[good] += 1
            tell(running.kept + sum(counts.values()), len(wanted))
    return counts[True], counts[False]


def _run_skill(
    ctx: typer.Context,
    ask: Ask,
    skill: Literal["recognition", "grounding"],
    about: Mapping[str, Any],
    device: str | None,
) -> None:
    from repic_cli.captioning.opening import choose_model, load_backbone
    from repic_cli.captioning.output import CaptionFile, Marks
    from repic_cli.commands._eval_report import show_skills
    from repic_cli.evaluation.skills import SkillRun, skill_records
    from repic_cli.models.fingerprint import identity

    records = skill_records(ask.queries, skill)
    config = choose_model(about["model"], about["adapter"], about["preset"])
    backbone: Backbone = load_backbone(config, about["adapter"], device, _show.load(ctx))
    about = {**about, "model": backbone.name, "adapter": backbone.adapter}
    marks = Marks.of(identity(backbone), None, {"setting": skill, "seed": ask.seed})
    with CaptionFile(ask.out, marks, ask.redo, identity="id") as file:
        running, done, kept = SkillRun(backbone, skill, file, about, ask.seed, ask.batch_size), 0, 0
        kept = len(file)
        with progress("answering") as tell:
            for count in running.run(records):
                done += count
                tell(kept + done, len(records))
    typer.echo(f"answered {done} questions, {kept} were there already; written to {ask.out}", err=True)
    show_skills([ask.out], ask.as_json)


def _tell_left_out(lines: list[str]) -> None:
    if lines:
        typer.echo(f"warning: {len(lines)} queries left out", err=True)
        for line in lines[:3]:
            typer.echo(f"  {clean(line, 300)}", err=True)
