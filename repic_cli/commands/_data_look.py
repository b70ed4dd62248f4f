"""`repic data check|show`: what is wrong with records, and what they look like."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repic_cli.commands import _show
from repic_cli.commands._data import Data, Json, Workers, app, progress
from repic_plugins.errors import DataError, OptionError

if TYPE_CHECKING:
    from repic_cli.data.checking import Report

_SHOWN = 5
"""Findings of each kind that are shown; `--json` has more."""


@app.command(epilog="Examples: repic data check data/ | repic data check data/ --against evaluation/ --json")
def check(
    ctx: typer.Context,
    data: Data,
    against: Annotated[
        Path | None, typer.Option(help="Records, or a folder of pictures, that must have nothing in common with DATA.")
    ] = None,
    workers: Workers = 4,
    as_json: Json = False,
) -> None:
    """Find what is wrong with records and their pictures.

    What is missing, corrupt, twice, out of its picture, or in an evaluation set too. The exit code is then 5.
    """
    from repic_cli.config_sections import DataSection
    from repic_cli.data.checking import check_data
    from repic_cli.training.plan import Requires, Tasks

    requires = Requires(Tasks(_show.load(ctx), DataSection()))
    with progress() as tell:
        report = check_data(data, requires, against, workers, tell)
    if as_json:
        _show.print_json(report.as_json())
    else:
        _print(report)
    if not report.clean:
        raise typer.Exit(DataError.exit_code)


def _print(report: Report) -> None:
    verdict = "nothing is wrong" if report.clean else f"{sum(report.counts.values()):,} findings"
    against = f" against {report.against}" if report.against else ""
    typer.echo(f"{report.path}{against}: {report.records:,} records, {report.pictures:,} pictures: {verdict}")
    for code, count in report.counts.items():
        lines = [finding for finding in report.findings if finding.code == code]
        typer.echo(f"{'warning ' if lines[0].level == 'warning' else ''}{code}: {count:,}", err=True)
        for finding in lines[:_SHOWN]:
            typer.echo(f"  {finding.text}", err=True)
        if count > _SHOWN:
            typer.echo(f"  and {count - _SHOWN:,} more", err=True)


@app.command(epilog="Example: repic data show data/ --out gallery.html --limit 40")
def show(
    ctx: typer.Context,
    data: Data,
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("gallery.html"),
    limit: Annotated[int, typer.Option(min=1, max=2000, help="Records to show.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw, and of the wording of the prompts.")] = 0,
    as_json: Json = False,
) -> None:
    """Write a page of records to look at.

    Pictures, boxes, prompts and answers of some of them, in one HTML file that needs no other.
    """
    if out.suffix.lower() not in (".html", ".htm"):  # `--out data/records.jsonl` would be the end of the records
        raise OptionError(f"--out {out}: the name has to end in .html")
    from repic_cli.config_sections import DataSection
    from repic_cli.data.checking import record_file
    from repic_cli.data.gallery import write_gallery
    from repic_cli.data.records import read_records
    from repic_cli.training.plan import Requires, Tasks

    tasks = Tasks(_show.load(ctx), DataSection())
    records = read_records(record_file(data), Requires(tasks))
    count = write_gallery(records, tasks, out, f"Records of {data}", limit, seed)
    if as_json:
        _show.print_json({"out": str(out), "shown": count, "records": len(records)})
    else:
        typer.echo(f"{out}: {count} of {len(records):,} records")
