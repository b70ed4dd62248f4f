"""`repic caption`: caption pictures with the names of a database's concepts."""

from __future__ import annotations

from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from repic_cli.commands import _show

app = typer.Typer(rich_markup_mode=None, add_completion=False, context_settings=_show.HELP)

EXAMPLES = """Examples:

\b
  repic caption photo.jpg --db mydb/                     find the concepts, then caption
  repic caption photo.jpg --db mydb/ --explain           ... and say what was found, and what left out
  repic caption photo.jpg --db mydb/ --concepts bo,thao  show these (skip-retrieval)
  repic caption holiday/ --db mydb/ --adapter runs/tiny --out captions.jsonl --sidecar xmp

A run with --out that was stopped goes on with the same command.
"""


class Look(StrEnum):
    crop = "crop"
    picture = "picture"


class Sidecar(StrEnum):
    xmp = "xmp"
    json = "json"


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
        float | None, typer.Option(help="Least cosine at which a concept counts as found. Default: the database's.")
    ] = None,
    verify: Annotated[
        bool, typer.Option(help="Ask the model about each concept that was found, and keep those it confirms.")
    ] = True,
    verify_threshold: Annotated[
        float | None, typer.Option(help="Least probability of yes that keeps a concept. Default: as measured.")
    ] = None,
    verify_on: Annotated[
        Look, typer.Option(help="What the model is asked about: the place that was found, or the whole picture.")
    ] = Look.crop,
    max_concepts: Annotated[int, typer.Option(min=1, max=16, help="Most concepts that are shown.")] = 4,
    detector: Annotated[
        str | None, typer.Option(help="What proposes places to look at: owlv2, grid, vlm ... Default: as available.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest caption, in tokens.")] = 256,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures captioned at a time.")] = 8,
    device: Annotated[str | None, typer.Option(help="cpu, cuda ... Default: as available.")] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Folders in folders too.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write a line of JSON for each picture here; go on where it stops.")
    ] = None,
    redo: Annotated[
        bool, typer.Option("--redo", help="With --out: replace captions made with another model or database.")
    ] = False,
    sidecar: Annotated[
        Sidecar | None, typer.Option(help="Write caption and names beside each picture: photo.jpg.xmp or .repic.json.")
    ] = None,
    draw: Annotated[Path | None, typer.Option(help="Folder for pictures with boxes and names drawn in.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Tell of each concept that came near: box, distance, answer, why kept.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for scripts: a line for each picture; with --out, a summary.")
    ] = False,
) -> None:
    """Caption pictures with the names of your own concepts."""
    from repic_cli.captioning.batch import Batch, marks_of
    from repic_cli.captioning.captioner import named_concepts
    from repic_cli.captioning.opening import open_captioner, open_database
    from repic_cli.captioning.output import CaptionFile
    from repic_cli.commands._captions import Report, calibration_note
    from repic_cli.data.images import picture_size
    from repic_cli.data.pictures import gather
    from repic_plugins.errors import OptionError

    names = None if concepts is None else [name.strip() for name in concepts.split(",") if name.strip()]
    if names is not None and db is None:
        raise OptionError("--concepts needs --db: the folder of the database that knows them")
    if redo and out is None:
        raise OptionError("--redo needs --out: the file whose captions are replaced")
    paths = gather(pictures, recursive)
    lone = len(pictures) == 1 and not pictures[0].is_dir()
    if lone:
        picture_size(paths[0])  # an error now, not after a model was loaded
    with ExitStack() as stack:
        database = None if db is None else stack.enter_context(open_database(db))
        if database is not None and names is not None:
            named_concepts(database, names, max_concepts)
        captioner = open_captioner(
            database,
            model=model,
            adapter=adapter,
            preset=preset,
            device=device,
            search=names is None,
            detector=detector,
            threshold=threshold,
            verify=verify,
            verify_threshold=verify_threshold,
            verify_on=verify_on.value,
            prompt=prompt,
            max_concepts=max_concepts,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            registry=_show.load(ctx),
            tell=_show.note,
        )
        if captioner.backbone.embedded:
            _show.note(
                "the embedded model knows repic's toy world of coloured shapes only; for photographs give --model, for "
                "instance Qwen/Qwen2.5-VL-7B-Instruct"
            )
        if explain and captioner.calibration is not None:
            typer.echo(calibration_note(captioner.calibration), err=True)
        file = None
        if out is not None:
            file = stack.enter_context(CaptionFile(out, marks_of(captioner, names), redo))
        report = Report(len(paths), out, as_json=as_json, lone=lone, explain=explain)
        batch = Batch(captioner, names, file, sidecar.value if sidecar else None, draw, report.warn)
        report.show(batch, paths)
