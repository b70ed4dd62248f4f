"""`repic db search|reindex|calibrate`: find concepts in pictures, and how that is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repic_cli.commands import _show
from repic_cli.commands._db import Device, Folder, Json, app, progress
from repic_plugins.text import clean

if TYPE_CHECKING:
    from repic_cli.concepts.search import Hit, Retrieval, Retriever
    from repic_cli.concepts.store import ConceptDatabase
    from repic_cli.concepts.vector_index import IndexState, Progress

DetectorOption = Annotated[
    str | None,
    typer.Option(
        help="What proposes places: grid, whole, owlv2, grounding-dino, mm-grounding-dino, a plugin's, or a model's "
        "folder. Default: what is available."
    ),
]
_BATCH = 8


@app.command(epilog="Example: repic db search mydb/ photo.jpg --category dog --json")
def search(
    ctx: typer.Context,
    folder: Folder,
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURE", help="Pictures, or folders of pictures.")],
    top: Annotated[int, typer.Option(min=1, max=100, help="Most concepts for each picture.")] = 5,
    category: Annotated[str | None, typer.Option(help="Look for concepts of this category only.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Least cosine at which a concept counts as found. Default: as calibrated.")
    ] = None,
    detector: DetectorOption = None,
    device: Device = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Folders in folders too.")] = False,
    as_json: Json = False,
) -> None:
    """Find the concepts in pictures; nothing is captioned. What is near but not near enough is shown too."""
    from repic_cli.concepts.store import ConceptDatabase
    from repic_cli.data.images import open_picture
    from repic_cli.data.pictures import gather
    from repic_plugins.errors import DataError

    paths = gather(pictures, recursive)
    with ConceptDatabase(folder) as database:
        _check_category(database, category)
        retriever = make_retriever(ctx, database, detector, device, threshold=threshold, most=top, category=category)
        shown: list[dict[str, Any]] = []
        failed = 0
        for start in range(0, len(paths), _BATCH):
            opened = {}
            for path in paths[start : start + _BATCH]:
                try:
                    opened[path] = open_picture(path)
                except DataError as error:
                    if len(paths) == 1:
                        raise
                    failed += 1
                    typer.echo(f"skipped: {error}", err=True)
            for path, found in zip(opened, retriever.find_many(list(opened.values())), strict=True):
                if as_json:
                    shown.append(_retrieval_json(path, found))
                else:
                    _print_retrieval(path, found)
        if failed == len(paths):
            raise DataError(f"none of the {len(paths)} pictures could be read")
    if as_json:
        _show.print_json(
            {
                "threshold": retriever.threshold,
                "threshold_from": retriever.threshold_from,
                "index": _state_json(retriever.index.state),
                "pictures": shown,
            }
        )


@app.command(epilog="Example: repic db reindex mydb/ --kind hnsw")
def reindex(
    ctx: typer.Context,
    folder: Folder,
    kind: Annotated[
        str | None,
        typer.Option(
            help="auto (by size and memory), flat (compares with all), hnsw, ivf, or ivfpq (least memory). It is kept "
            "with the database. Default: as before."
        ),
    ] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Make the search index anew and measure it. Never needed for right answers: they always are those of today."""
    from repic_cli.concepts.encoders import EMBEDDED, build_encoder
    from repic_cli.concepts.index_kinds import KINDS
    from repic_cli.concepts.search import fill_vectors
    from repic_cli.concepts.store import ConceptDatabase
    from repic_cli.concepts.vector_index import KIND_SETTING, VectorIndex
    from repic_plugins.errors import OptionError

    if kind is not None and kind not in KINDS:
        raise OptionError(f"--kind {clean(kind, 40)}: there are {', '.join(KINDS)}")
    with ConceptDatabase(folder) as database:
        encoder = build_encoder(_show.load(ctx), database.encoder or EMBEDDED, device)
        encoded = fill_vectors(database, encoder)
        with _progress() as tell:
            index = VectorIndex(database, encoder.id, encoder.dimension, kind, renew=True, progress=tell)
        if kind is not None:
            database.put_setting(KIND_SETTING, kind)
        state = index.state
    if as_json:
        _show.print_json({"encoder": encoder.id, "encoded": encoded, **_state_json(state)})
        return
    if encoded:
        typer.echo(f"encoded {encoded} pictures that {encoder.id} had not seen")
    if state.kind == "flat":
        typer.echo(f"{folder}: {state.vectors} vectors, each search compares with all of them (flat): there is no file")
    else:
        typer.echo(
            f"{folder}: {state.kind} index of {state.vectors} vectors, {state.bytes / 1e6:.1f} MB, made in "
            f"{state.seconds:.1f} s; finds {100 * state.recall:.1f} % of the 5 nearest"
        )
    if state.note:
        _show.note(state.note)


@app.command(epilog="Example: repic db calibrate mydb/ --strangers 0.01")
def calibrate(
    ctx: typer.Context,
    folder: Folder,
    validation: Annotated[
        Path | None,
        typer.Option(
            help="Folder of other pictures: subfolders called as the concepts they show, strangers in unknown/. "
            "Default: the database's own pictures."
        ),
    ] = None,
    strangers: Annotated[float, typer.Option(help="Share of strangers that may be taken for a concept.")] = 0.02,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the threshold, do not keep it.")] = False,
    detector: DetectorOption = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Fit the threshold below which what is found counts as a stranger, and keep it with the database."""
    from repic_cli.concepts.calibrating import calibrate as fit
    from repic_cli.concepts.store import ConceptDatabase

    with ConceptDatabase(folder) as database:
        # Without a validation folder no picture is searched for places.
        retriever = make_retriever(ctx, database, detector if validation is not None else "whole", device)
        before = retriever.threshold
        with progress("calibrating") as tell:
            found = fit(retriever, validation, strangers, tell, save=not dry_run)
    if as_json:
        _show.print_json({**asdict(found), "before": before, "kept": not dry_run})
        return
    typer.echo(
        f"{folder}: threshold {found.threshold:.3f} for {clean(found.encoder, 80)} (was {before:.3f}, "
        f"{retriever.threshold_from})"
    )
    typer.echo(
        f"  of {found.strangers} views of strangers it names {100 * found.named:.1f} %, "
        f"of {found.same} views of concepts it misses {100 * found.missed:.1f} %"
    )
    if dry_run:
        typer.echo("  not kept (--dry-run)")


def make_retriever(
    ctx: typer.Context, database: ConceptDatabase, detector: str | None, device: str | None, **options: Any
) -> Retriever:
    """The retriever of a database; says on stderr which detector it is when none was asked for."""
    from repic_cli.concepts.choosing import open_retriever

    with _progress() as progress:
        return open_retriever(
            database,
            detector=detector,
            registry=_show.load(ctx),
            device=device,
            tell=_show.note,
            progress=progress,
            **options,
        )


@contextmanager
def _progress() -> Iterator[Progress]:
    """The bar of work that tells what it is doing."""
    with progress("making the search index") as tell:
        yield lambda what, done, total: tell(done, total)


def _check_category(database: ConceptDatabase, category: str | None) -> None:
    from repic_cli.concepts.text import fold
    from repic_plugins.errors import DatabaseError
    from repic_plugins.text import suggest

    known = database.categories() if category is not None else {}
    if category is not None and fold(category) not in map(fold, known):
        raise DatabaseError(
            f"{database.folder}: no concept of category {clean(category, 60)!r}{suggest(category, known)}"
        )


def _print_retrieval(path: Path, found: Retrieval) -> None:
    typer.echo(f"{clean(path, 500)}: {len(found.hits) or 'no'} {'concept' if len(found.hits) == 1 else 'concepts'}")
    rows = [(hit, "found") for hit in found.hits] + [(near.hit, near.reason) for near in found.rejected]
    for hit, verdict in rows:
        box = ", ".join(f"{value:.0f}" for value in hit.box)
        typer.echo(f"  {hit.score:.3f}  {hit.concept.name}  [{box}]  {verdict}")


def _retrieval_json(path: Path, found: Retrieval) -> dict[str, Any]:
    return {
        "image": str(path),
        "places": found.places,
        "found": [_hit_json(hit) for hit in found.hits],
        "rejected": [{**_hit_json(near.hit), "reason": near.reason} for near in found.rejected],
    }


def _hit_json(hit: Hit) -> dict[str, Any]:
    return {
        "name": hit.concept.name,
        "category": hit.concept.category,
        "score": round(hit.score, 4),
        "box": [round(value, 1) for value in hit.box],
        "label": clean(hit.label, 60),
        "picture": hit.picture.id,
    }


def _state_json(state: IndexState) -> dict[str, Any]:
    return {**asdict(state), "file": None if state.file is None else str(state.file)}
