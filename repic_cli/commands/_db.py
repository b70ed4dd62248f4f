"""What the commands of `repic db` have in common: the group, arguments, and how concepts and reports are printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repic_cli.commands import _show

if TYPE_CHECKING:
    from repic_cli.concepts.concept import Concept
    from repic_cli.concepts.drafts import Report

app = _show.group("Keep the database of your personal concepts.", "repic db add mydb/ --name bo photo.jpg")

Folder = Annotated[Path, typer.Argument(metavar="DB", help="Folder of the database.")]
NewFolder = Annotated[Path, typer.Argument(metavar="DB", help="Folder of the database; made if it is not there.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a concept, or another name it has.")]
Encoder = Annotated[
    str | None,
    typer.Option(help="Encoder of a new database: embedded, a plugin's, or one of open_clip as MODEL:WEIGHTS."),
]
Device = Annotated[str | None, typer.Option(help="Where the encoder runs: cpu, cuda ... Default: as available.")]
Pictures = Annotated[
    list[Path] | None,
    typer.Option(
        "--pictures", help="Another folder that the source's pictures may lie in; may be given several times."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]

_SHOWN = 4
"""Lines of each part of a report that are shown; `--json` has all."""


def concept_json(concept: Concept) -> dict[str, Any]:
    """A concept for scripts."""
    return {
        "name": concept.name,
        "key": concept.key,
        "aliases": list(concept.aliases),
        "info": concept.info,
        "category": concept.category,
        "created": concept.created,
        "pictures": [
            {
                "id": picture.id,
                "path": None if picture.never_there else str(picture.path),
                "width": picture.size[0],
                "height": picture.size[1],
                "box": None if picture.box is None else [round(value, 1) for value in picture.box],
                "source": picture.source,
                "missing": not picture.path.is_file(),
            }
            for picture in concept.pictures
        ],
    }


def print_report(report: Report) -> None:
    """What was done on stdout, what was repaired and left out on stderr."""
    parts = [f"{report.rows} concepts read", f"{report.added} added"]
    parts += [f"{report.extended} extended"] if report.extended else []
    parts += [f"{report.without_picture} of them without a picture"] if report.without_picture else []
    parts += [f"{report.pictures} pictures"]
    parts += [f"{report.reused} of {report.vectors} vectors taken over"] if report.vectors else []
    parts += [f"{report.encoded} encoded"]
    typer.echo(f"{report.source}: {', '.join(parts)}")
    for label, lines in (
        ("note", report.notes),
        ("found elsewhere", report.moved),
        ("repaired", report.repaired),
        ("no picture", report.unread),
        ("left out", report.skipped),
    ):
        for line in lines[:_SHOWN]:
            typer.echo(f"  {label}: {line}", err=True)
        if len(lines) > _SHOWN:
            typer.echo(f"  {label}: and {len(lines) - _SHOWN} more; --json lists all", err=True)


def warn_of_embedded(encoder: str | None, chosen: bool) -> None:
    """The encoder that ships is of no use for photographs, which has to be said when it was not asked for."""
    from repic_cli.concepts.encoders import EMBEDDED

    if encoder == EMBEDDED and not chosen:
        _show.note(
            "this database uses the embedded encoder, which knows repic's toy world only; "
            "for photographs begin one with --encoder ViT-L-14-336:openai"
        )


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, where somebody looks at it; gives what to tell it: done, total."""
    import sys

    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:-1], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        row = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(row, completed=done, total=total)
