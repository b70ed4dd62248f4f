"""`repic db import|export`: exchange concepts with the databases of RePIC and RAP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repic_cli.commands import _show
from repic_cli.commands._db import Device, Folder, Json, NewFolder, Pictures, app
from repic_cli.commands._db_change import Existing, IfThere, fill_all
from repic_plugins.errors import DataError


@app.command(
    "import",
    epilog="Example: repic db import mydb/ RePIC/data/database_tot/database_dreambooth",
)
def import_database(
    ctx: typer.Context,
    folder: NewFolder,
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="Folder of a RePIC or RAP database, or its database.json.")
    ],
    pictures: Pictures = None,
    keep_without_pictures: Annotated[
        bool,
        typer.Option(
            "--keep-without-pictures",
            help="Keep concepts whose picture files are not there. With a vector they are found by search, but there "
            "is nothing to show to a model; add pictures later with `repic db update`.",
        ),
    ] = False,
    existing: IfThere = Existing.skip,
    encoder: Annotated[
        str | None,
        typer.Option(help="Encoder of a new database. Default: that of the vectors (ViT-L-14-336:openai), if any."),
    ] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Import a database of RePIC or RAP, and report what was repaired and left out.

    Only pictures in the source's folder (and in --pictures) are read, wherever its paths lead.
    """
    from repic_cli.concepts.filling import Existing as Kept
    from repic_cli.concepts.filling import Options
    from repic_cli.concepts.formats.repic import read_repic

    drafts, report = read_repic(source, pictures or ())
    options = Options(encoder, device, Kept(existing.value), keep_without_pictures)
    try:
        fill_all(folder, _show.load(ctx), [(drafts, report)], options, as_json)
    except DataError as error:
        lost = sum(not any(picture.path for picture in draft.pictures) for draft in drafts)
        if not lost:
            raise
        raise DataError(
            f"{error}. {lost} of {report.rows} concepts have no picture here: --pictures FOLDER says where they are, "
            "--keep-without-pictures takes the rest of them"
        ) from error


@app.command(epilog="Example: repic db export mydb/ exported/")
def export(
    folder: Folder,
    target: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder for the exported files.")],
    as_json: Json = False,
) -> None:
    """Export in the format of RePIC and RAP: database.json, id2filename.json, image.faiss, pictures."""
    from repic_cli.concepts.formats.exporting import export_repic
    from repic_cli.concepts.store import ConceptDatabase

    with ConceptDatabase(folder) as database:
        done = export_repic(database, target)
    if as_json:
        _show.print_json(done.to_dict())
        return
    typer.echo(f"exported {done.concepts} concepts, {done.pictures} pictures and {done.vectors} vectors to {target}")
    for line in done.notes:
        typer.echo(f"  note: {line}", err=True)
