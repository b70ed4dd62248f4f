"""`repic data import|export`: exchange training lists with RePIC and VLM-R1."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from repic_cli.commands import _show
from repic_cli.commands._data import Data, Json, SkipBad, Workers, app, progress


class ListFormat(StrEnum):
    """How a training list is written."""

    json = "json"
    jsonl = "jsonl"


@app.command(
    "import",
    epilog="Examples: repic data import personalize_ft.yaml --images RePIC/images --out data/ | "
    "repic data import train.json --out data/ --skip-bad",
)
def import_list(
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="A training list: .json, .jsonl, or a .yaml that names such files.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write; made if it is not there.")],
    images: Annotated[
        Path | None, typer.Option(help="The folder that the rows' paths are relative to (default: that of each file).")
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the pictures, so that the folder can be moved.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of names for pictures that have none.")] = 2024,
    skip_bad: SkipBad = False,
    workers: Workers = 4,
    as_json: Json = False,
) -> None:
    """Read a training list of RePIC or VLM-R1 into records.

    Its rows have image, problem, solution and accu_reward_method, or conversations.
    """
    from repic_cli.data.formats.reading_in import import_file

    with progress() as tell:
        done = import_file(
            source, out, images=images, copy=copy, skip_bad=skip_bad, seed=seed, workers=workers, tell=tell
        )
    if as_json:
        _show.print_json({**done.manifest, "folder": str(done.folder)})
        return
    counts = done.manifest["counts"]
    kinds = ", ".join(f"{name} {count}" for name, count in counts["kinds"].items())
    typer.echo(f"{out}: {counts['records']:,} records of {done.rows:,} rows ({kinds})")
    for what, count in done.notes.items():
        _show.note(f"{what} ({count:,} rows)")
    if done.bad:
        _show.note(f"{done.bad:,} rows could not be used, as {done.examples[0]}")


@app.command(epilog="Example: repic data export data/ --out exported/ --format jsonl")
def export(
    ctx: typer.Context,
    data: Data,
    out: Annotated[Path, typer.Option(help="New folder for the list, its pictures, and a YAML file that names it.")],
    form: Annotated[ListFormat, typer.Option("--format", help="One JSON list, or one row a line.")] = ListFormat.json,
    as_json: Json = False,
) -> None:
    """Write records as a training list of RePIC and VLM-R1.

    With its pictures; `repic data import` reads the same records back.
    """
    from repic_cli.config_sections import DataSection
    from repic_cli.data.checking import record_file
    from repic_cli.data.formats.exporting import export_records
    from repic_cli.data.records import read_records
    from repic_cli.training.plan import Requires, Tasks

    tasks = Tasks(_show.load(ctx), DataSection())
    records = read_records(record_file(data), Requires(tasks))
    done = export_records(records, tasks, out, form.value)
    if as_json:
        about = {"rows": done.rows, "pictures": done.pictures, "left_out": done.left_out}
        _show.print_json({"file": str(done.file), **about})
        return
    typer.echo(f"{done.file}: {done.rows:,} rows, {done.pictures:,} pictures")
    if done.left_out:
        _show.note(f"{len(done.left_out):,} records have no place in this format, as {done.left_out[0]}")
