"""`repic caption`: caption pictures with the names of a database's concepts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repic_cli.commands import _show
from repic_plugins.text import clean

if TYPE_CHECKING:
    from repic_cli.captioning.captioner import CaptionResult, Failure
    from repic_cli.concepts.store import ConceptDatabase
    from repic_cli.config import RunConfig
    from repic_cli.models import Backbone
    from repic_plugins.registry import PluginRegistry

app = typer.Typer(rich_markup_mode=None, add_completion=False, context_settings=_show.HELP)

EXAMPLES = """Examples:

\b
  repic caption photo.jpg --db mydb/                     find the concepts, then caption
  repic caption photo.jpg --db mydb/ --concepts bo,thao  show these (skip-retrieval)
  repic caption holiday/ --db mydb/ --adapter runs/tiny --json > captions.jsonl
"""


@app.command(epilog=EXAMPLES)
def caption(
    ctx: typer.Context,
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURE", help="Pictures, or folders of pictures.")],
    db: Annotated[Path | None, typer.Option(help="Database of concepts; without it captions are generic.")] = None,
    concepts: Annotated[
        str | None, typer.Option(help="Names to show to the model, with commas between; nothing is looked for.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model: embedded, a folder or a Hub id. Default: the preset's.")
    ] = None,
    adapter: Annotated[str | None, typer.Option(help="Adapter, or the folder of the run that trained it.")] = None,
    preset: Annotated[str | None, typer.Option(help="Preset that says which model, and how it is loaded.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Your own instruction, in place of `write a caption`.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Least cosine at which a concept counts as found. Default: the encoder's.")
    ] = None,
    max_concepts: Annotated[int, typer.Option(min=1, max=16, help="Most concepts that are shown.")] = 4,
    detector: Annotated[
        str, typer.Option(help="What proposes places to look at: grid, whole, or a plugin's.")
    ] = "grid",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest caption, in tokens.")] = 256,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures captioned at a time.")] = 8,
    device: Annotated[str | None, typer.Option(help="cpu, cuda ... Default: as available.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts, a line for each picture.")] = False,
) -> None:
    """Caption pictures with the names of your own concepts."""
    from repic_cli.captioning.captioner import Captioner, named_concepts
    from repic_plugins.errors import OptionError

    names = None if concepts is None else [name.strip() for name in concepts.split(",") if name.strip()]
    if names is not None and db is None:
        raise OptionError("--concepts needs --db: the folder of the database that knows them")
    config = choose_model(model, adapter, preset)
    paths, lone = collect(pictures)
    with ExitStack() as stack:
        database, retriever = None, None
        if db is not None:
            database = stack.enter_context(open_database(db))
            # Whatever can be wrong with the database is found before the model is loaded.
            if names is not None:
                named_concepts(database, names, max_concepts)
            else:
                retriever = make_retriever(ctx, database, detector, threshold, max_concepts, device)
        backbone = load_backbone(config, adapter, device, _show.load(ctx))
        captioner = Captioner(
            backbone,
            database,
            retriever,
            question=prompt,
            max_concepts=max_concepts,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
        )
        results = captioner.caption_many(paths, names, skip=not lone)
        report(results, len(paths), as_json, lone, searched=retriever is not None)


def choose_model(model: str | None, adapter: str | None, preset: str | None) -> RunConfig:
    """The model's settings: the options, else the configuration of the run that made the adapter, else the preset."""
    from repic_cli.config import load_config, resolve

    file = None if adapter is None or preset is not None else _run_config(Path(adapter).expanduser())
    if file is not None:
        config = load_config(file)
        named = config.model if model is None else config.model.model_copy(update={"name": model})
        return config.model_copy(update={"model": named})
    # The default preset is made for the embedded model: another one comes in the precision it was saved in.
    dtype = "auto" if model is not None and preset is None else None
    return resolve(preset, overrides={"model.name": model, "model.dtype": dtype})


def _run_config(adapter: Path) -> Path | None:
    """The configuration of the run; `--adapter runs/a` and `--adapter runs/a/adapter` are the same adapter."""
    run = adapter.parent if adapter.name == "adapter" else adapter
    file = run / "config.toml"
    return file if adapter.is_dir() and file.is_file() else None


def collect(pictures: Sequence[Path]) -> tuple[list[Path], bool]:
    """All pictures, folders opened, and whether a single file was meant. Raises `DataError` for nothing to do."""
    from repic_cli.data.images import find_pictures, picture_size
    from repic_plugins.errors import DataError

    paths: list[Path] = []
    for given in pictures:
        if not given.exists():
            raise DataError(f"{given}: no such picture or folder")
        found = find_pictures(given) if given.is_dir() else [given]
        if not found:
            raise DataError(f"{given}: there is no picture in this folder")
        paths += found
    lone = len(pictures) == 1 and not pictures[0].is_dir()
    if lone:
        picture_size(paths[0])  # an error now, not after a model was loaded
    return paths, lone


def open_database(folder: Path) -> ConceptDatabase:
    """The database, which must hold a concept."""
    from repic_cli.concepts.store import ConceptDatabase
    from repic_plugins.errors import DatabaseError

    database = ConceptDatabase(folder)
    if not len(database):
        database.close()
        raise DatabaseError(
            f"{folder}: the database is empty; add a concept: repic db add {folder} --name bo photo.jpg"
        )
    return database


def make_retriever(
    ctx: typer.Context,
    database: ConceptDatabase,
    detector: str,
    threshold: float | None,
    most: int,
    device: str | None,
) -> Any:
    """The retriever with the encoder that the database was begun with."""
    from repic_cli.concepts.encoders import EMBEDDED, build_encoder
    from repic_cli.concepts.search import Retriever

    registry = _show.load(ctx)
    proposer = registry.build("detector", detector)
    encoder = build_encoder(registry, database.encoder or EMBEDDED, device)
    return Retriever(database, encoder, proposer, threshold, most)


def load_backbone(config: RunConfig, adapter: str | None, device: str | None, registry: PluginRegistry) -> Backbone:
    """The model with its adapter; says so when it is the embedded one."""
    from repic_cli.models import load

    part = config.model
    backbone = load(
        part.name,
        adapter=adapter or part.adapter,
        dtype=part.dtype,
        device=device or part.device,
        attn_implementation=part.attn_implementation,
        min_pixels=part.min_pixels,
        max_pixels=part.max_pixels,
        registry=registry,
    )
    if backbone.embedded:
        typer.echo(
            "note: the embedded model knows repic's toy world of coloured shapes only; for photographs give --model, "
            "for instance Qwen/Qwen2.5-VL-7B-Instruct",
            err=True,
        )
    return backbone


def report(results: Iterator[CaptionResult | Failure], count: int, as_json: bool, lone: bool, searched: bool) -> None:
    """Print results as they come. Raises `DataError` when no picture at all could be captioned."""
    from repic_cli.captioning.captioner import Failure
    from repic_plugins.errors import DataError

    failed = 0
    for result in _with_progress(results, count):
        if isinstance(result, Failure):
            failed += 1
            typer.echo(f"skipped: {clean(result.reason, 500)}", err=True)
            if as_json:
                typer.echo(json.dumps({"image": result.image, "error": clean(result.reason, 500)}))
        elif as_json:
            typer.echo(json.dumps(result.to_dict()))
        else:
            _print(result, lone, searched)
    if failed == count:
        raise DataError(f"none of the {count} pictures could be read")
    if failed:
        typer.echo(f"warning: {failed} of {count} pictures skipped", err=True)


def _print(result: CaptionResult, lone: bool, searched: bool) -> None:
    """The caption on stdout; what it rests on, on stderr."""
    lines = [clean(line, 10_000) for line in result.caption.splitlines()]
    typer.echo("\n".join(lines) if lone else f"{clean(result.image, 500)}: {' '.join(lines)}")
    if not searched:
        return
    if result.concepts:
        found = ", ".join(f"{used.name} ({used.score or 0:.2f})" for used in result.concepts)
        typer.echo(f"  found: {found}", err=True)
    elif result.nearest is not None:
        near = f"{result.nearest.name} ({result.nearest.score or 0:.2f})"
        typer.echo(f"  found no concept; the nearest is {near}", err=True)


def _with_progress(results: Iterable[Any], count: int) -> Iterator[Any]:
    """A bar on stderr while captions go to a file; on a screen the captions themselves show how far it is."""
    import sys

    if count == 1 or sys.stdout.isatty() or not sys.stderr.isatty():
        yield from results
        return
    from rich.console import Console
    from rich.progress import Progress

    # Rich would send our stdout to its console, which is stderr.
    with Progress(console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        row = bar.add_task("captioning", total=count)
        for result in results:
            yield result
            bar.advance(row)
