"""The study of retrieval: do captions name the right things when nobody says who is in the picture?

    nox -s retrieval        or        python -m repic_cli.evaluation.retrieval_study --adapter runs/tiny

Databases of several sizes, scenes of known things and strangers, and four ways to come by the concepts (see
`retrieval_rows`). Each cell is kept in the work folder, so a study that was stopped goes on with the same command.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repic_cli.captioning.verification import LOOK, Look
from repic_cli.evaluation.results import ResultFolder
from repic_cli.evaluation.retrieval_table import table

if TYPE_CHECKING:
    from repic_cli.captioning.verification import Verifier
    from repic_cli.concepts.search import Retriever
    from repic_cli.concepts.store import ConceptDatabase
    from repic_cli.models import Backbone
    from repic_plugins.types import Encoder

KNOWN = (0, 1, 2, 4)


@dataclass(frozen=True)
class Cell:
    """Scenes of `known` things before database number `seed` of `size` concepts."""

    size: int
    seed: int
    known: int

    @property
    def file(self) -> str:
        return f"size{self.size}-database{self.seed}-known{self.known}.json"


def main(
    sizes: Annotated[str, typer.Option(help="Concepts in the databases, with commas.")] = "10,50,200",
    databases: Annotated[int, typer.Option(min=1, help="Databases of each size, with other concepts each.")] = 3,
    count: Annotated[int, typer.Option(min=1, help="Scenes for each database and number of known things.")] = 64,
    model: Annotated[str, typer.Option(help="Model: embedded, or a folder.")] = "embedded",
    adapter: Annotated[str | None, typer.Option(help="Adapter, or the folder of the run that trained it.")] = None,
    detector: Annotated[str, typer.Option(help="Detector of `repic caption`.")] = "grid",
    verify_threshold: Annotated[float | None, typer.Option(help="As of `repic caption`.")] = None,
    verify_on: Annotated[Look, typer.Option(help="As of `repic caption`: crop or picture.")] = LOOK,
    work: Annotated[Path, typer.Option(help="Folder for databases and partial results.")] = Path("runs/retrieval"),
    output: Annotated[Path, typer.Option(help="JSON file; the Markdown table goes beside it.")] = Path(
        "docs/retrieval.json"
    ),
) -> None:
    """Measure names in captions with concepts given and retrieved, and write the table."""
    from repic_cli.concepts.encoders import embedded_encoder
    from repic_cli.files import write_file
    from repic_cli.models import load
    from repic_cli.models.fingerprint import identity

    backbone = load(model, adapter=adapter)
    encoder = embedded_encoder()
    settings = {
        "count": count,
        "model": identity(backbone),
        "encoder": encoder.id,
        "detector": detector,
        "threshold": "calibrated",
        "verify_threshold": verify_threshold,
        "verify_on": verify_on,
    }
    backbone.merge()  # after its identity was taken, which the adapter is part of
    folder = ResultFolder(work)
    folder.open(settings)
    study = Study(folder, backbone, encoder, detector, verify_threshold, verify_on, count)
    cells = [Cell(int(size), seed, known) for size in sizes.split(",") for seed in range(databases) for known in KNOWN]
    results = list(study.run(cells))
    settings |= {"sizes": sizes, "databases": databases}
    write_file(output, json.dumps({"settings": settings, "cells": results}, indent=1) + "\n")
    text = table(results)
    write_file(output.with_suffix(".md"), text)
    typer.echo(text)
    typer.echo(f"written to {output} and {output.with_suffix('.md')}")


@dataclass(frozen=True)
class Study:
    """What all cells have in common. `verify_threshold` None: as `repic caption` measures it for each database."""

    folder: ResultFolder
    backbone: Backbone
    encoder: Encoder
    detector: str
    verify_threshold: float | None
    verify_on: Look
    count: int

    def run(self, cells: Sequence[Cell]) -> Iterator[dict[str, Any]]:
        """The result of each cell, measured now or kept from before."""
        for number, cell in enumerate(cells, 1):
            kept = self.folder.load(cell.file)
            if kept is None:
                typer.echo(f"{number}/{len(cells)}: {cell.file.removesuffix('.json')}", err=True)
                kept = self.measure(cell)
                self.folder.save(cell.file, kept)
            yield kept

    def measure(self, cell: Cell) -> dict[str, Any]:
        """All rows of a cell: counts of names by scene, in captions and of what was shown, and the model's answers."""
        from repic_cli.concepts.store import ConceptDatabase
        from repic_cli.evaluation.retrieval_rows import caption_rows, find_rows, name_counts, shown_counts
        from repic_cli.evaluation.retrieval_world import fill_database, make_scenes, make_world

        world = make_world(cell.size, cell.seed)
        scenes = make_scenes(world, cell.known, self.count, cell.seed)
        with ConceptDatabase(self.folder.path / "databases" / f"size{cell.size}-{cell.seed}", create=True) as database:
            if not len(database):
                fill_database(database, world, self.encoder, cell.seed)
            retriever, verifier = self._parts(database)
            with self.backbone.sharing_pictures():
                rows = find_rows(scenes, retriever, verifier, cell.known)
                texts = caption_rows(self.backbone, scenes, rows)
        names = list(world.names.values())
        return {
            **asdict(cell),
            "threshold": retriever.threshold,
            "verify_threshold": verifier.threshold,
            "captions": {row: name_counts(texts[row], scenes, names).to_dict() for row in rows},
            "shown": {row: shown_counts(found, scenes).to_dict() for row, found in rows.items()},
            "answers": [
                {"true": used.name in scene.names, "score": used.score, "probability": used.probability}
                for scene, found in zip(scenes, rows["verified"], strict=True)
                for used in found
                if used.probability is not None
            ],
        }

    def _parts(self, database: ConceptDatabase) -> tuple[Retriever, Verifier]:
        """Retriever and verifier as `repic caption` has them after `repic db calibrate`."""
        from repic_cli.captioning.calibration import calibrated
        from repic_cli.captioning.captioner import MAX_CONCEPTS
        from repic_cli.captioning.verification import Verifier
        from repic_cli.concepts.calibrating import calibrate
        from repic_cli.concepts.search import Retriever
        from repic_plugins.manager import load_plugins

        proposer = load_plugins(enabled=False).build("detector", self.detector)
        retriever = Retriever(database, self.encoder, proposer, most=2 * MAX_CONCEPTS)
        if retriever.calibration is None:
            calibrate(retriever)
            retriever = Retriever(database, self.encoder, proposer, most=2 * MAX_CONCEPTS)
        verifier = Verifier(self.backbone, self.verify_threshold, look=self.verify_on)
        if self.verify_threshold is None:
            verifier.threshold = calibrated(database, verifier, self.encoder).threshold
        return retriever, verifier


if __name__ == "__main__":
    from repic_cli.app import run_module

    run_module(main)
