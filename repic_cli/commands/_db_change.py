"""`repic db create|add|update|remove`: change a database."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repic_cli.commands import _show
from repic_cli.commands._db import (
    Device,
    Encoder,
    Folder,
    Json,
    Name,
    NewFolder,
    Pictures,
    app,
    concept_json,
    print_report,
    progress,
    warn_of_embedded,
)
from repic_plugins.errors import DataError, Interrupted, OptionError

if TYPE_CHECKING:
    from repic_cli.concepts.drafts import Draft, Report
    from repic_cli.concepts.filling import Options
    from repic_cli.concepts.geometry import PixelBox
    from repic_plugins.registry import PluginRegistry


class Existing(StrEnum):
    """What becomes of a concept that the database knows already (see `repic_cli.concepts.filling`)."""

    skip = "skip"
    merge = "merge"


IfThere = Annotated[
    Existing, typer.Option("--existing", help="A concept that is there already: skip it, or merge the pictures in.")
]


@app.command(epilog="Example: repic db create mydb/ --encoder ViT-L-14-336:openai")
def create(folder: NewFolder, encoder: Encoder = None, as_json: Json = False) -> None:
    """Make an empty database, and choose its encoder."""
    from repic_cli.concepts.adding import create_database

    chosen = create_database(folder, encoder)
    if as_json:
        _show.print_json({"database": str(folder), "encoder": chosen})
        return
    typer.echo(f"made {folder} with the encoder {chosen}")
    warn_of_embedded(chosen, encoder is not None)


@app.command(
    epilog='Examples: repic db add mydb/ --name bo --info "A brown dog." --category dog photo.jpg more.jpg | '
    "repic db add mydb/ things/ (a sub-folder per concept) | repic db add mydb/ concepts.csv"
)
def add(
    ctx: typer.Context,
    folder: NewFolder,
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE",
            help="With --name: pictures that show the concept, or a folder of them. Without: a folder with a "
            "sub-folder per concept, or a .csv or .json file.",
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Name that captions use.")] = None,
    info: Annotated[str, typer.Option(help="What is known about it, in a sentence or two.")] = "",
    category: Annotated[str, typer.Option(help="What it is: dog, person, bag ...")] = "",
    alias: Annotated[list[str] | None, typer.Option(help="Another name; may be given several times.")] = None,
    box: Annotated[
        str | None, typer.Option(help="Where it is in the picture: x1,y1,x2,y2 in pixels of the upright picture.")
    ] = None,
    pictures: Pictures = None,
    existing: IfThere = Existing.skip,
    encoder: Encoder = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Add concepts with their reference pictures, which are copied in."""
    registry = _show.load(ctx)
    if name is not None:
        if pictures:
            raise OptionError("--pictures is for sources of many concepts; with --name give the pictures themselves")
        given = {"info": info, "category": category, "aliases": alias or []}
        _add_one(folder, registry, name, sources, box, as_json, encoder=encoder, device=device, **given)
        return
    if info or category or alias or box:
        raise OptionError("--info, --category, --alias and --box tell about one concept; give its --name")
    from repic_cli.concepts.filling import Existing as Kept
    from repic_cli.concepts.filling import Options
    from repic_cli.concepts.formats.sources import read_source

    read = [read_source(source, pictures or ()) for source in sources]
    options = Options(encoder, device, Kept(existing.value))
    fill_all(folder, registry, read, options, as_json)


def fill_all(
    folder: Path,
    registry: PluginRegistry,
    read: Sequence[tuple[list[Draft], Report]],
    options: Options,
    as_json: bool,
) -> None:
    """Store what was read from each source, print the reports. Raises `DataError` if nothing at all could be used."""
    from repic_cli.concepts.filling import fill
    from repic_cli.concepts.store import ConceptDatabase

    reports = []
    for drafts, report in read:
        try:
            with progress("storing") as tell:
                reports.append(fill(folder, registry, drafts, report, options, tell))
        except KeyboardInterrupt as error:
            raise Interrupted(
                f"stopped by Ctrl-C; {report.added} concepts of {report.source} are in, the same command goes on"
            ) from error
    if as_json:
        _show.print_json([report.to_dict() for report in reports])
    else:
        for report in reports:
            print_report(report)
    there = sum("already" in line for report in reports for line in report.skipped)
    if not any(report.added or report.extended for report in reports) and not there:
        raise DataError(f"{reports[0].source}: nothing could be added; the lines above say why")
    with ConceptDatabase(folder) as database:
        count, kept = len(database), database.encoder
    if not as_json:
        typer.echo(f"{folder} has {count} concepts")
    if sum(report.added for report in reports) == count:
        warn_of_embedded(kept, options.encoder is not None)


def _add_one(
    folder: Path,
    registry: PluginRegistry,
    name: str,
    sources: Sequence[Path],
    box: str | None,
    as_json: bool,
    *,
    encoder: str | None,
    **options: Any,
) -> None:
    from repic_cli.concepts.adding import add_concept
    from repic_cli.concepts.store import ConceptDatabase

    paths = picture_files(sources)
    concept = add_concept(folder, registry, name, paths, box=one_box(box, paths), encoder=encoder, **options)
    with ConceptDatabase(folder) as database:
        count, kept = len(database), database.encoder
    if count == 1:
        warn_of_embedded(kept, encoder is not None)
    if as_json:
        _show.print_json(concept_json(concept))
    else:
        typer.echo(f"added {concept.name} with {_many(len(concept.pictures))}; {folder} has {count} in all")


@app.command(
    epilog='Example: repic db update mydb/ bo --info "A brown dog with a red collar." --alias Bobby --picture new.jpg'
)
def update(
    ctx: typer.Context,
    folder: Folder,
    name: Name,
    new_name: Annotated[str | None, typer.Option("--name", help="Name that captions use from now on.")] = None,
    info: Annotated[str | None, typer.Option(help="What is known about it; an empty text takes it away.")] = None,
    category: Annotated[str | None, typer.Option(help="What it is; an empty text takes it away.")] = None,
    alias: Annotated[list[str] | None, typer.Option(help="One more name; may be given several times.")] = None,
    drop_alias: Annotated[
        list[str] | None, typer.Option(help="Another name to take away; may be given several times.")
    ] = None,
    picture: Annotated[
        list[Path] | None, typer.Option(help="One more reference picture; may be given several times.")
    ] = None,
    box: Annotated[str | None, typer.Option(help="Where it is in the one new picture: x1,y1,x2,y2 in pixels.")] = None,
    drop_picture: Annotated[
        list[int] | None,
        typer.Option(help="Number of a picture to take away, as `repic db show` tells it; may be given several times."),
    ] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Change the texts or the pictures of a concept, in one step."""
    from repic_cli.concepts.adding import update_concept
    from repic_cli.concepts.concept import Update

    change = Update(
        new_name,
        info,
        category,
        tuple(alias or ()),
        tuple(drop_alias or ()),
        drop=tuple(dict.fromkeys(drop_picture or ())),
    )
    if change == Update() and not picture:
        raise OptionError("nothing to change; give --info, --picture ... (see repic db update --help)")
    paths = picture_files(picture or [])
    concept = update_concept(folder, _show.load(ctx), name, change, paths, one_box(box, paths), device)
    if as_json:
        _show.print_json(concept_json(concept))
    else:
        typer.echo(f"updated {concept.name}, which has {_many(len(concept.pictures))}")


@app.command(epilog="Example: repic db remove mydb/ bo")
def remove(
    folder: Folder,
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Names of concepts, or other names they have.")],
    as_json: Json = False,
) -> None:
    """Remove concepts and their pictures: all that are named, or none if one is not there."""
    from repic_cli.concepts.store import ConceptDatabase

    with ConceptDatabase(folder) as database:
        gone = database.remove_many(names)
        count = len(database)
    if as_json:
        _show.print_json({"removed": [concept_json(concept) for concept in gone], "left": count})
    else:
        typer.echo(f"removed {', '.join(concept.name for concept in gone)}; {folder} has {count} left")


def picture_files(sources: Sequence[Path]) -> list[Path]:
    """The pictures, folders opened. Raises `DataError` for a folder without any."""
    from repic_cli.data.images import find_pictures

    paths: list[Path] = []
    for source in sources:
        found = find_pictures(source) if source.is_dir() else [source]
        if not found:
            raise DataError(f"{source}: there is no picture in this folder")
        paths += found
    return paths


def one_box(text: str | None, paths: Sequence[Path]) -> PixelBox | None:
    """The value of `--box`, which can be about one picture only."""
    from repic_cli.concepts.formats.rows import box_of

    if text is None:
        return None
    if len(paths) != 1:
        raise OptionError(f"--box is about one picture, not {len(paths)}")
    try:
        return box_of(text)
    except DataError as error:
        raise OptionError(f"--box: {error}") from error


def _many(count: int) -> str:
    return f"{count} picture" if count == 1 else f"{count} pictures"
