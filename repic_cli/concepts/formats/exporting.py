"""Export in the format of RePIC and RAP, which `repic db import` reads back without loss.

What that format does not know stands in fields of its own: `aliases`, and `boxes` by the path of the picture. Vectors
are those of the database's encoder that most pictures have; readers of the format take them for CLIP ViT-L/14-336.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repic_cli.concepts.formats.named_vectors import ENCODER, IDS, INDEX
from repic_plugins.errors import DataError

if TYPE_CHECKING:
    from repic_cli.concepts.concept import Concept, StoredPicture
    from repic_cli.concepts.store import ConceptDatabase

DATABASE = "database.json"


@dataclass
class Exported:
    """What was written, and what could not be."""

    folder: str
    concepts: int = 0
    pictures: int = 0
    vectors: int = 0
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def export_repic(database: ConceptDatabase, target: str | Path) -> Exported:
    """Write the database into the new folder `target`, which appears when it is complete.

    Raises `DataError` if `target` is there and not empty.
    """
    target = Path(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target}: is there already; give a new folder")
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        (partial / "pictures").mkdir(parents=True)
        done = _write(database, partial, Exported(str(target)))
        partial.replace(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return done


def _write(database: ConceptDatabase, folder: Path, done: Exported) -> Exported:
    rows: dict[str, Any] = {}
    paths: dict[str, str] = {}
    by_picture: dict[int, str] = {}
    for concept in database.concepts():
        written = [(picture, _copy(picture, concept, folder, done)) for picture in concept.pictures]
        shown = [path for picture, path in written if not picture.never_there] or [path for _, path in written]
        row: dict[str, Any] = {
            "name": concept.name,
            "image": shown[0] if shown else "",
            "info": concept.info,
            "category": concept.category,
        }
        if concept.aliases:
            row["aliases"] = list(concept.aliases)
        boxes = {path: list(picture.box) for picture, path in written if picture.box is not None}
        if boxes:
            row["boxes"] = boxes
        rows[f"<{concept.key}>"] = row
        paths |= {path: f"<{concept.key}>" for _, path in written}
        by_picture |= {picture.id: path for picture, path in written}
        done.concepts += 1
    _dump(folder / DATABASE, {"concept_dict": rows, "path_to_concept": paths})
    _write_vectors(database, folder, by_picture, done)
    return done


def _copy(picture: StoredPicture, concept: Concept, folder: Path, done: Exported) -> str:
    """The path in the export. Each concept has files of its own: the format has one concept per path."""
    name = f"pictures/{concept.id}-{picture.id}{picture.path.suffix if not picture.never_there else '.jpg'}"
    if picture.path.is_file():
        shutil.copyfile(picture.path, folder / name)
        done.pictures += 1
    else:
        done.notes.append(f"concept {concept.name!r}: no file of the picture from {picture.source}")
    return name


def _write_vectors(database: ConceptDatabase, folder: Path, paths: dict[int, str], done: Exported) -> None:
    import faiss
    import numpy as np

    from repic_cli.concepts.vectors import StoredVectors

    best = (
        "SELECT encoder, dimension FROM embeddings GROUP BY encoder, dimension ORDER BY count(*) DESC, encoder LIMIT 1"
    )
    with database.reading() as connection:
        row = connection.execute(best).fetchone()
    if row is None:
        return
    encoder, dimension = str(row[0]), int(row[1])
    index = faiss.IndexFlatL2(dimension)
    names: list[str] = []
    for ids, vectors in StoredVectors(database, encoder, dimension).blocks():
        kept = np.array([int(picture) in paths for picture in ids[:, 0]], bool)  # a concept may have come meanwhile
        index.add(np.ascontiguousarray(vectors[kept]))
        names += [paths[int(picture)] for picture in ids[kept, 0]]
    faiss.write_index(index, str(folder / INDEX))
    _dump(folder / IDS, {str(number): name for number, name in enumerate(names)})
    done.vectors = len(names)
    if encoder != ENCODER:
        done.notes.append(
            f"the vectors are of {encoder}; programs that expect CLIP ViT-L/14-336 have to make their own"
        )


def _dump(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
