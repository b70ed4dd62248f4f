"""`repic embedded`: build, measure and show the tiny model that ships inside the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from repic_cli.commands import _show

app = _show.group("Build, measure and show the embedded tiny model.", "repic embedded evaluate --count 64")


@app.command(epilog="Example: repic embedded build my-base/ --workers 2")
def build(
    out: Annotated[Path, typer.Argument(help="Folder for checkpoints, log.jsonl and the finished model/.")],
    vision_minutes: Annotated[float, typer.Option(min=0.01, help="Budget of the vision stage.")] = 7,
    language_minutes: Annotated[float, typer.Option(min=0.01, help="Budget of the language stage.")] = 71,
    workers: Annotated[int, typer.Option(min=1, help="Processes that train together, one thread each.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and lessons.")] = 0,
) -> None:
    """Train the embedded model from random weights; the same command resumes a stopped build."""
    from repic_cli.embedded.recipe import build_model

    model = build_model(out, vision_minutes, language_minutes, workers, seed)
    typer.echo(f"the model is in {model}; measure it: repic embedded evaluate --model {model}")


@app.command(epilog="Example: repic embedded encoder my-encoder/ --minutes 15")
def encoder(
    out: Annotated[Path, typer.Argument(help="Folder for checkpoint, log.jsonl and the finished encoder/.")],
    minutes: Annotated[float, typer.Option(min=0.01, help="Budget of training.")] = 15,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and pictures.")] = 0,
) -> None:
    """Train the embedded image encoder for retrieval; the same command resumes a stopped build."""
    from repic_cli.embedded.encoder_recipe import train_encoder

    train_encoder(out, minutes=minutes, seed=seed, resume=True)
    typer.echo(f"the encoder is in {out / 'encoder'}")


@app.command(epilog="Example: repic embedded evaluate --adapter runs/tiny --count 256 --json")
def evaluate(
    model: Annotated[str, typer.Option(help="`embedded` or the folder of another model of the world.")] = "embedded",
    adapter: Annotated[Path | None, typer.Option(help="Adapter or run folder to measure on top of it.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Samples of each of the seven kinds.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the samples.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts answered at a time.")] = 64,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Measure a model on held-out identities: names, binding, OCT, VLT, captions."""
    from rich.console import Console
    from rich.progress import Progress

    from repic_cli.evaluation.tables import rich_table
    from repic_cli.evaluation.world import measure
    from repic_cli.models import load

    backbone = load(model, adapter=adapter)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task("measuring", total=None)
        scores = measure(
            backbone,
            count=count,
            seed=seed,
            batch_size=batch_size,
            progress=lambda done, total, what: bar.update(row, completed=done, total=total, description=what),
        )
    if as_json:
        typer.echo(json.dumps(scores.to_dict(), indent=2))
    else:
        Console().print(rich_table(scores))


@app.command(epilog="Example: repic embedded show --json")
def show(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False) -> None:
    """Show where the embedded model lies, its size, and its model card."""
    from repic_cli.models.load import embedded_folder

    folder = embedded_folder()
    sizes = {path.name: path.stat().st_size for path in sorted(folder.glob("*")) if path.is_file()}
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "bytes": sizes}, indent=2))
        return
    typer.echo(f"{folder} ({sum(sizes.values()) / 1e6:.1f} MB)\n")
    card = folder / "README.md"
    typer.echo(card.read_text(encoding="utf-8") if card.is_file() else "there is no model card")
