"""Many concepts at once: pictures are read, encoded in batches and stored, and what cannot be used is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from repic_cli.concepts.adding import settle_encoder
from repic_cli.concepts.concept import Concept, NewConcept, Update
from repic_cli.concepts.drafts import Draft, DraftPicture, Piece, Report, in_parts
from repic_cli.concepts.encoders import EMBEDDED, build_encoder
from repic_cli.concepts.formats.named_vectors import DIMENSION, ENCODER
from repic_cli.concepts.geometry import PixelBox
from repic_cli.concepts.pictures import LostPicture, NewPicture, lost_picture, read_picture
from repic_cli.concepts.store import ConceptDatabase
from repic_plugins.errors import DatabaseError, DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from repic_plugins.registry import PluginRegistry
    from repic_plugins.types import Encoder

BATCH = 32
"""Pictures that are in memory, encoded and stored at a time."""
SAME_ENCODER = 0.9
"""Median cosine of given vectors and our own of the same pictures, from which on one encoder made both."""
_SAMPLE = 8
NO_PICTURE = "left out, as there is no picture of it that can be read"

Tell = Callable[[int, int], None]
"""Hears how many of how many concepts are done."""


class Existing(StrEnum):
    """What becomes of a concept that the database knows already."""

    skip = "skip"
    merge = "merge"


@dataclass(frozen=True)
class Options:
    """How drafts are stored. `without_pictures` keeps concepts of which there is no picture file."""

    encoder: str | None = None
    device: str | None = None
    existing: Existing = Existing.skip
    without_pictures: bool = False


def fill(
    folder: str | Path,
    registry: PluginRegistry,
    drafts: Sequence[Draft],
    report: Report,
    options: Options | None = None,
    tell: Tell | None = None,
) -> Report:
    """Store drafts in the database in `folder`, which is made when it is not there; `report` gets the account.

    Vectors of the drafts are taken over when they come from the database's encoder; else pictures are encoded. Raises
    `DatabaseError` or `ModelError` before anything is written; what is written in a batch stays when a later one fails.
    """
    options = options or Options()
    if not options.without_pictures:
        drafts = _with_pictures(drafts, report)
    if not drafts:
        return report
    filler = _Filler(folder, registry, drafts, report, options)
    filler.prepare(drafts)
    done = 0
    with ConceptDatabase(folder, create=True) as database:
        for part in in_parts(drafts, BATCH):
            filler.store(database, part)
            done += sum(piece.first for piece in part)
            if tell is not None:
                tell(done, len(drafts))
    return report


@dataclass
class _Ready:
    """A piece whose pictures are read; `vectors` are None where the encoder has to make them.

    `owner` is the name of the concept that is there already.
    """

    draft: Draft
    owner: str | None
    pictures: list[NewPicture | LostPicture]
    vectors: list[NDArray[np.float32] | None]

    def stacked(self) -> NDArray[np.float32]:
        """The vectors (pictures, D)."""
        import numpy as np

        return np.stack(self.vectors) if self.vectors else np.zeros((0, 0), np.float32)  # type: ignore[arg-type]

    def concept(self) -> NewConcept:
        """For the database. Raises `DataError`."""
        draft = self.draft
        return NewConcept(
            draft.name,
            self.pictures,
            self.stacked(),
            draft.info,
            draft.category,
            draft.aliases,
            draft.key,
            without_pictures=not self.pictures,
        )


class _Filler:
    def __init__(
        self, folder: str | Path, registry: PluginRegistry, drafts: Sequence[Draft], report: Report, options: Options
    ) -> None:
        self.registry, self.report, self.options = registry, report, options
        vectors = [picture.vector for draft in drafts for picture in draft.pictures if picture.vector is not None]
        given = any(len(vector) == DIMENSION for vector in vectors)
        self.choice = settle_encoder(folder, options.encoder, default=ENCODER if given else EMBEDDED)
        self.model: Encoder | None = None
        self.reuse = False
        self._own: set[str] = set()
        """drafts whose concept was not there before"""
        self._left_out: set[str] = set()

    @property
    def vectors_of(self) -> str:
        """The id of the encoder whose vectors are stored: without a model they are those that came along."""
        return self.model.id if self.model is not None else ENCODER

    def prepare(self, drafts: Sequence[Draft]) -> None:
        """Decide whether vectors are taken over, and load the encoder if any picture needs it."""
        pictures = [picture for draft in drafts for picture in draft.pictures]
        given = [picture for picture in pictures if picture.vector is not None]
        names = (ENCODER, "open_clip")  # the registered name stands for the same model
        self.reuse = bool(given) and self.choice in names and all(p.vector.shape == (DIMENSION,) for p in given)  # type: ignore[union-attr]
        if any(p.path is not None and (p.vector is None or not self.reuse) for p in pictures):
            self.model = build_encoder(self.registry, self.choice, self.options.device)
            self.reuse = self.reuse and self._agrees(self.model, given)
        if given and not self.reuse:
            self.report.note(
                f"the {len(given)} vectors that came along are not of the encoder {self.choice}: left aside"
            )

    def _agrees(self, model: Encoder, given: Sequence[DraftPicture]) -> bool:
        """Whether this encoder makes about the same vectors of a few of the pictures. Without any, it is believed."""
        import numpy as np

        views: list[Image] = []
        vectors: list[NDArray[np.float32]] = []
        for picture in given:
            if picture.path is not None and picture.vector is not None and len(views) < _SAMPLE:
                with suppress(DataError):  # is told when it is stored
                    views.append(read_picture(picture.path, picture.box).view)
                    vectors.append(picture.vector)
        if not views:
            return True
        cosines = (model.encode(views) * np.stack(vectors)).sum(axis=1)
        return bool(np.median(cosines) >= SAME_ENCODER)

    def store(self, database: ConceptDatabase, pieces: Sequence[Piece]) -> None:
        """Read, encode and store some pieces."""
        ready = [item for piece in pieces if (item := self._read(database, piece)) is not None]
        self._encode(ready)
        new = [item for item in ready if item.owner is None]
        try:
            self._count(database.add_many([item.concept() for item in new], self.choice, self.vectors_of))
        except (DatabaseError, DataError):  # a name was taken meanwhile, by a row before or by another process
            for item in new:
                self._add_alone(database, item)
        for item in ready:
            if item.owner is not None:
                self._merge(database, item, item.owner)

    def _add_alone(self, database: ConceptDatabase, item: _Ready) -> None:
        try:
            self._count([database.add(item.concept(), self.choice, self.vectors_of)])
        except (DatabaseError, DataError) as error:
            self.report.skip(item.draft.where, str(error))
            self._left_out.add(item.draft.where)

    def _count(self, added: Sequence[Concept]) -> None:
        self.report.added += len(added)
        for concept in added:
            shown = sum(not picture.never_there for picture in concept.pictures)
            self.report.pictures += shown
            self.report.without_picture += not shown

    def _merge(self, database: ConceptDatabase, item: _Ready, owner: str) -> None:
        try:
            before = len(database.find(owner).pictures)
            update = Update(pictures=item.pictures, vectors=item.stacked())
            gained = len(database.update(owner, update, self.choice, self.vectors_of).pictures) - before
        except DatabaseError as error:
            self.report.skip(item.draft.where, str(error))
            return
        self.report.pictures += gained
        if gained and item.draft.where not in self._own:
            self.report.extended += 1

    def _read(self, database: ConceptDatabase, piece: Piece) -> _Ready | None:
        """The pictures of a piece, or None if it is left out, which the report tells."""
        draft = piece.draft
        if not piece.first and draft.where in self._left_out:
            return None
        owner = self._owner(database, draft)
        if piece.first and owner is not None and self.options.existing is Existing.skip:
            self._leave_out(draft, f"there is a concept {owner!r} already")
            return None
        if piece.first and owner is None:
            self._own.add(draft.where)
        ready = _Ready(draft, owner, [], [])
        known = _known_pictures(database, owner)
        for picture in draft.pictures:
            vector = picture.vector if self.reuse else None
            usable = self._picture(draft, picture, vector)
            if usable is not None and (usable.file, usable.box) not in known:
                ready.pictures.append(usable)
                ready.vectors.append(vector)
        if not any(isinstance(picture, NewPicture) for picture in ready.pictures):
            if owner is not None and piece.first:
                self.report.skip(draft.where, f"there is a concept {owner!r} already, and nothing new about it")
            elif not self.options.without_pictures and piece.first:
                self._leave_out(draft, NO_PICTURE)
            if owner is not None or not self.options.without_pictures:
                return None
        self.report.reused += sum(vector is not None for vector in ready.vectors)
        return ready

    def _leave_out(self, draft: Draft, why: str) -> None:
        self.report.skip(draft.where, why)
        self._left_out.add(draft.where)

    def _owner(self, database: ConceptDatabase, draft: Draft) -> str | None:
        for name in filter(None, (draft.key, draft.name)):
            owner = database.owner(name)
            if owner is not None:
                return owner[1]
        return None

    def _picture(
        self, draft: Draft, picture: DraftPicture, vector: NDArray[np.float32] | None
    ) -> NewPicture | LostPicture | None:
        if picture.path is not None:
            try:
                return read_picture(picture.path, picture.box)
            except DataError as error:
                self.report.no_picture(draft.where, str(error))
        if vector is not None and self.options.without_pictures:
            return lost_picture(vector, picture.source)
        return None

    def _encode(self, ready: Sequence[_Ready]) -> None:
        """Vectors for all pictures of the batch that have none, in one call."""
        wanted = [
            (item, number, picture.view)
            for item in ready
            for number, picture in enumerate(item.pictures)
            if isinstance(picture, NewPicture) and item.vectors[number] is None
        ]
        if wanted and self.model is not None:
            for (item, number, _), vector in zip(wanted, self.model.encode([w[2] for w in wanted]), strict=True):
                item.vectors[number] = vector
            self.report.encoded += len(wanted)


def _known_pictures(database: ConceptDatabase, owner: str | None) -> set[tuple[str, PixelBox | None]]:
    """File and box of the pictures that a concept has, without those whose file got lost."""
    pictures = database.find(owner).pictures if owner is not None else ()
    return {(picture.path.name, picture.box) for picture in pictures if picture.path.is_file()}


def _with_pictures(drafts: Sequence[Draft], report: Report) -> list[Draft]:
    """The drafts that have a picture file."""
    kept = [draft for draft in drafts if any(picture.path is not None for picture in draft.pictures)]
    for draft in drafts:
        if not any(picture.path is not None for picture in draft.pictures):
            report.skip(draft.where, NO_PICTURE)
    return kept
