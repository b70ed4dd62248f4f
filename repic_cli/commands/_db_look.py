"""`repic db list|show|verify|stats`: look at a database without changing it."""

from __future__ import annotations

from typing import Annotated

import typer

from repic_cli.commands import _show
from repic_cli.commands._db import Folder, Json, Name, app, concept_json, progress


@app.command("list", epilog="Example: repic db list mydb/ --category dog --json")
def list_concepts(
    folder: Folder,
    category: Annotated[str | None, typer.Option(help="Those of this category only.")] = None,
    as_json: Json = False,
) -> None:
    """List the concepts."""
    from repic_cli.concepts.store import ConceptDatabase
    from repic_cli.concepts.text import fold

    with ConceptDatabase(folder) as database:
        concepts, encoder = database.concepts(), database.encoder
    if category is not None:
        concepts = [concept for concept in concepts if fold(concept.category) == fold(category)]
    if as_json:
        _show.print_json({"encoder": encoder, "concepts": [concept_json(concept) for concept in concepts]})
        return
    if not concepts:
        of = "" if category is None else f" of category {category}"
        typer.echo(f"{folder} has no concepts{of}; add one: repic db add {folder} --name bo photo.jpg", err=True)
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
    key = concept.key if concept.key != concept.name else ""
    facts = (("key", key), ("also", ", ".join(concept.aliases)), ("category", concept.category), ("info", concept.info))
    typer.echo(concept.name)
    for label, value in (*facts, ("added", concept.created)):
        if value:
            typer.echo(f"  {label}: {value}")
    for picture in concept.pictures:
        if picture.never_there:
            typer.echo(f"  picture {picture.id}: none, only a vector (of {picture.source})")
            continue
        width, height = picture.size
        box = "" if picture.box is None else f", box {','.join(f'{value:.0f}' for value in picture.box)}"
        gone = "" if picture.path.is_file() else " (missing)"
        typer.echo(f"  picture {picture.id}: {picture.path} ({width} x {height}{box}, from {picture.source}){gone}")


@app.command(epilog="Example: repic db verify mydb/")
def verify(
    folder: Folder,
    quick: Annotated[bool, typer.Option("--quick", help="Do not read the picture files.")] = False,
    as_json: Json = False,
) -> None:
    """Check that nothing is lost, half there or damaged. Exit code 6 if something is."""
    from repic_cli.concepts.store import ConceptDatabase
    from repic_cli.concepts.verify import verify as check
    from repic_plugins.errors import DatabaseError

    with ConceptDatabase(folder) as database, progress("verifying") as tell:
        found = check(database, files=not quick, tell=tell)
    if as_json:
        _show.print_json(found.to_dict())
    else:
        for line in found.problems:
            typer.echo(f"problem: {line}")
        for line in found.notes:
            _show.note(line)
    counts = f"{found.concepts} concepts, {found.pictures} pictures, {found.vectors} vectors"
    if found.problems:
        raise DatabaseError(f"{folder}: {len(found.problems)} problems in {counts}")
    if not as_json:
        typer.echo(f"{folder} is sound: {counts}")


@app.command(epilog="Example: repic db stats mydb/ --json")
def stats(folder: Folder, as_json: Json = False) -> None:
    """Count concepts, pictures, categories and vectors, and what room they take."""
    from repic_cli.concepts.statistics import statistics
    from repic_cli.concepts.store import ConceptDatabase

    with ConceptDatabase(folder) as database:
        found = statistics(database)
    if as_json:
        _show.print_json(found)
        return
    categories = found.pop("categories")
    vectors = found.pop("vectors")
    for label, value in found.items():
        typer.echo(f"{label.replace('_', ' ')}: {value}")
    for row in vectors:
        typer.echo(f"vectors of {row['encoder']}: {row['count']} of {row['dimension']} numbers")
    if categories:
        typer.echo(f"categories: {', '.join(f'{name} {count}' for name, count in categories.items())}")
