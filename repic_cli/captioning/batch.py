"""Caption many picture files: done ones are passed over, results go to a file, to sidecars and to drawings at once."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repic_cli.captioning.captioner import Captioner
from repic_cli.captioning.drawing import draw_boxes, drawing_names
from repic_cli.captioning.output import CaptionFile, Marks, content_hash
from repic_cli.captioning.results import CaptionResult, Failure
from repic_cli.captioning.sidecars import Kind, write_sidecar
from repic_cli.data.images import open_picture, picture_size
from repic_cli.files import write_file
from repic_cli.models.fingerprint import identity
from repic_plugins.errors import DataError

if TYPE_CHECKING:
    from repic_cli.concepts.store import ConceptDatabase


@dataclass
class Batch:
    """One run over many pictures; `kept` counts those that were done before.

    `concepts` names those to show (None: they are retrieved). `out`, `sidecar` and `draw` say what is written beside
    the results that `run` gives; `warn` is told of sidecars that were not.
    """

    captioner: Captioner
    concepts: Sequence[str] | None = None
    out: CaptionFile | None = None
    sidecar: Kind | None = None
    draw: Path | None = None
    warn: Callable[[str], None] = print
    kept: int = 0

    def run(self, pictures: Sequence[Path]) -> Iterator[CaptionResult | Failure]:
        """Results in order, without pictures that are done. Only a batch of pictures is in memory."""
        drawings = dict(zip(pictures, drawing_names(pictures), strict=True)) if self.draw else {}
        waiting = self._waiting(pictures)
        while part := list(islice(waiting, self.captioner.batch_size)):
            results = self.captioner.caption_many([path for path, _ in part], self.concepts)
            for (path, content), result in zip(part, results, strict=True):
                if isinstance(result, CaptionResult):
                    self._write_beside(path, result, drawings.get(path, ""))
                # Last, so that a picture whose line is there has everything.
                if self.out is not None:
                    self.out.write(result.to_dict(), content)
                yield result

    def _waiting(self, pictures: Sequence[Path]) -> Iterator[tuple[Path, str]]:
        """Pictures that are not done, with the hash of their content."""
        for path in pictures:
            content = ""
            if self.out is not None:
                with suppress(DataError):  # reading it will fail again, and be reported
                    content = content_hash(path)
                if content and self.out.has(path, content):
                    self.kept += 1
                    continue
            yield path, content

    def _write_beside(self, path: Path, result: CaptionResult, drawing: str) -> None:
        if self.sidecar is not None:
            try:
                write_sidecar(result, picture_size(path), self.sidecar)
            except DataError as error:
                self.warn(str(error))
        if self.draw is not None:
            buffer = io.BytesIO()
            draw_boxes(open_picture(path), (*result.concepts, *result.rejected)).save(buffer, "PNG")
            write_file(self.draw / drawing, buffer.getvalue())


def marks_of(captioner: Captioner, concepts: Sequence[str] | None = None, **more: Any) -> Marks:
    """What the captions of this captioner depend on; `more` are options of the caller's."""
    backbone, database = captioner.backbone, captioner.database
    retriever, verifier = captioner.retriever, captioner.verifier
    options: dict[str, Any] = {
        "concepts": concepts,
        "question": captioner.question,
        "max_concepts": captioner.max_concepts,
        "max_new_tokens": captioner.max_new_tokens,
        "verify": None if verifier is None else (verifier.threshold, verifier.look),
        **({} if captioner.top_k is None else {"top_k": captioner.top_k}),
        **more,
    }
    if retriever is not None:
        options |= {
            "threshold": retriever.threshold,
            "encoder": retriever.encoder.id,
            "detector": _detector_mark(retriever.detector),
        }
    return Marks.of(identity(backbone), None if database is None else _database_mark(database), options)


def _detector_mark(detector: object) -> dict[str, object]:
    """A detector's kind and its plain settings."""
    plain = {
        k: v for k, v in getattr(detector, "__dict__", {}).items() if isinstance(v, str | int | float | tuple | None)
    }
    return {"kind": f"{type(detector).__module__}.{type(detector).__qualname__}", **plain}


def _database_mark(database: ConceptDatabase) -> str:
    """All of a database that a caption can depend on: texts, and pictures by the hash that names their file."""
    digest = hashlib.blake2b(digest_size=16)
    with database.reading() as connection:
        for query in (
            "SELECT id, name, info, category FROM concepts ORDER BY id",
            "SELECT concept_id, file, x1, y1, x2, y2 FROM pictures ORDER BY id",
        ):
            for row in connection.execute(query):
                digest.update(repr(tuple(row)).encode())
    return digest.hexdigest()
