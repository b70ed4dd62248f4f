"""`repic db`: keep the database of personal concepts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repic_cli.commands import _show

if TYPE_CHECKING:
    from repic_cli.concepts.concept import Concept

app = _show.group("Keep the database of your personal concepts.", "repic db add mydb/ --name bo photo.jpg")

Folder = Annotated[Path, typer.Argument(metavar="DB", help="Folder of the database.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a concept, or another name it has.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@app.command(epilog='Example: repic db add mydb/ --name bo --info "A brown dog." --category dog photo.jpg more.jpg')
def add(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DB", help="Folder of the database; made if it is not there.")],
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURE", help="Pictures that show the concept.")],
    name: Annotated[str, typer.Option(help="Name that captions use.")],
    info: Annotated[str, typer.Option(help="What is known about it, in a sentence or two.")] = "",
    category: Annotated[str, typer.Option(help="What it is: dog, person, bag ...")] = "",
    alias: Annotated[list[str] | None, typer.Option(help="Another name; may be given several times.")] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="Encoder of a new database: embedded, a plugin's, or one of open_clip as MODEL:WEIGHTS."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where the encoder runs: cpu, cuda ... Default: as available.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a concept with its reference pictures, which are copied in."""
    from repic_cli.concepts.adding import add_concept
    from repic_cli.concepts.encoders import EMBEDDED
    from repic_cli.concepts.store import ConceptDatabase

    concept = add_concept(
        folder,
        _show.load(ctx),
        name,
        pictures,
        info=info,
        category=category,
        aliases=alias or [],
        encoder=encoder,
        device=device,
    )
    with ConceptDatabase(folder) as database:
        count, kept = len(database), database.encoder
    if count == 1 and kept == EMBEDDED and encoder is None:
        typer.echo(
            "note: this database uses the embedded encoder, which knows repic's toy world only; "
            "for photographs begin one with --encoder ViT-L-14-336:openai",
            err=True,
        )
    if as_json:
        _show.print_json(concept_json(concept))
    else:
        many = "picture" if len(concept.pictures) == 1 else "pictures"
        typer.echo(f"added {concept.name} with {len(concept.pictures)} {many}; {folder} has {count} in all")


@app.command("list", epilog="Example: repic db list mydb/ --json")
def list_concepts(folder: Folder, as_json: Json = False) -> None:
    """List the concepts."""
    from repic_cli.concepts.store import ConceptDatabase

    with ConceptDatabase(folder) as database:
        concepts, encoder = database.concepts(), database.encoder
    if as_json:
        _show.print_json({"encoder": encoder, "concepts": [concept_json(concept) for concept in concepts]})
        return
    if not concepts:
        typer.echo(f"{folder} has no concepts; add one: repic db add {folder} --name bo photo.jpg", err=True)
        return
    rows = [(c.name, ", ".join(c.aliases), c.category, len(c.pictures), c.info) for c in concepts]
    _show.print_table(("name", "also", "category", "pictures", "info"), rows)


@app.command(epilog="Example: repic db show mydb/ bo")
def show(folder: Folder, name: Name, as_json: Json = False) -> None:
    """Show one concept with its pictures."""
    from repic_cli.concepts.store import ConceptDatabase

    with ConceptDatabase(folder) as database:
        concept = database.find(name)
    if as_json:
        _show.print_json(concept_json(concept))
        return
    facts = (("also", ", ".join(concept.aliases)), ("category", concept.category), ("info", concept.info))
    typer.echo(concept.name)
    for label, value in (*facts, ("added", concept.created)):
        if value:
            typer.echo(f"  {label}: {value}")
    for picture in concept.pictures:
        width, height = picture.size
        gone = "" if picture.path.is_file() else " (missing)"
        typer.echo(f"  picture: {picture.path} ({width} x {height}, from {picture.source}){gone}")


@app.command(epilog="Example: repic db remove mydb/ bo")
def remove(folder: Folder, name: Name, as_json: Json = False) -> None:
    """Remove a concept and its pictures."""
    from repic_cli.concepts.store import ConceptDatabase

    with ConceptDatabase(folder) as database:
        concept = database.remove(name)
        count = len(database)
    if as_json:
        _show.print_json({"removed": concept_json(concept), "left": count})
    else:
        typer.echo(f"removed {concept.name}; {folder} has {count} left")


def concept_json(concept: Concept) -> dict[str, Any]:
    """A concept for scripts."""
    return {
        "name": concept.name,
        "aliases": list(concept.aliases),
        "info": concept.info,
        "category": concept.category,
        "created": concept.created,
        "pictures": [
            {
                "path": str(picture.path),
                "width": picture.size[0],
                "height": picture.size[1],
                "source": picture.source,
                "missing": not picture.path.is_file(),
            }
            for picture in concept.pictures
        ],
    }
