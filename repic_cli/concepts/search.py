"""Which concepts of a database are in a picture: propose boxes, encode crops, search, keep what is near enough."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from repic_cli.concepts.calibration import load_calibration
from repic_cli.concepts.concept import Concept, StoredPicture
from repic_cli.concepts.geometry import PixelBox, overlap
from repic_cli.concepts.pictures import reference_view
from repic_cli.concepts.vector_index import VectorIndex
from repic_plugins.errors import DatabaseError, OptionError
from repic_plugins.types import Proposal

if TYPE_CHECKING:
    from PIL.Image import Image

    from repic_cli.concepts.index_parts import Match
    from repic_cli.concepts.store import ConceptDatabase
    from repic_cli.concepts.vector_index import Progress
    from repic_plugins.types import Detector, Encoder

SAME_PLACE = (0.5, 0.8)
"""Two boxes show one thing from this intersection over union, or this intersection over the smaller, on."""
_LEAST_SIDE = 2.0
_SHOWN_REJECTED = 8


@dataclass(frozen=True)
class Hit:
    """A concept found in a picture: where, by which reference picture, and how near (cosine, 1 is equal).

    `label` is what the detector calls the thing at that place, if it says so.
    """

    concept: Concept
    picture: StoredPicture
    box: PixelBox
    score: float
    label: str = ""


@dataclass(frozen=True)
class Rejected:
    """A concept that came near a place of the picture and is not among the hits, and why."""

    hit: Hit
    reason: str


@dataclass(frozen=True)
class Retrieval:
    """The concepts above the threshold, best first; and the nearest one when there is none (it may be far).

    `rejected` are the nearest of those that are no hits, best first, each concept once; `places` is the number of
    places that were looked at.
    """

    hits: tuple[Hit, ...]
    nearest: Hit | None
    threshold: float
    rejected: tuple[Rejected, ...] = ()
    places: int = 0


class Retriever:
    """Finds the concepts of a database in pictures.

    `threshold` is the least cosine (None: as the database was calibrated, else the encoder's own guess; see
    `threshold_from`); `most` the number of concepts that are kept; `category`: only concepts of it are looked for.
    Concepts that are added or removed later, by this or another process, count at once. Raises `DatabaseError` when
    the database holds no concept.
    """

    def __init__(
        self,
        database: ConceptDatabase,
        encoder: Encoder,
        detector: Detector,
        threshold: float | None = None,
        most: int = 4,
        category: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        if threshold is not None and not -1 <= threshold <= 1:
            raise OptionError(f"--threshold {threshold:g}: a cosine lies between -1 and 1")
        self.database, self.encoder, self.detector = database, encoder, detector
        self.most, self.category = most, category
        self.calibration = load_calibration(database, encoder.id)
        self.threshold, self.threshold_from = encoder.threshold, "the encoder's guess"
        if threshold is not None:
            self.threshold, self.threshold_from = threshold, "given"
        elif self.calibration is not None:
            self.threshold, self.threshold_from = self.calibration.threshold, "calibrated"
        fill_vectors(database, encoder)
        self.index = VectorIndex(database, encoder.id, encoder.dimension, progress=progress)
        if not len(self.index):
            raise DatabaseError(
                f"{database.folder}: the database is empty; add a concept with `repic db add {database.folder} ...`"
            )

    @classmethod
    def open(cls, database: ConceptDatabase, **options: Any) -> Retriever:
        """A retriever from names: `Retriever.open(database, detector="grid")`.

        Options are those of `repic_cli.concepts.choosing.open_retriever`.
        """
        from repic_cli.concepts.choosing import open_retriever

        return open_retriever(database, **options)

    def __repr__(self) -> str:
        state = self.index.state
        return (
            f"Retriever({str(self.database.folder)!r}, {state.vectors} pictures, index {state.kind}, "
            f"encoder {self.encoder.id}, threshold {self.threshold:.3f} ({self.threshold_from}))"
        )

    def find(self, image: Image) -> Retrieval:
        """The concepts in one upright RGB picture. One place can be one concept only, and one concept has one place."""
        return self.find_many([image])[0]

    def find_many(self, images: Sequence[Image]) -> list[Retrieval]:
        """The concepts in each picture; the crops of all go through the encoder and the search together."""
        proposals = [self.propose(image) for image in images]
        cuts = [crop for image, found in zip(images, proposals, strict=True) for crop in crops(image, found)]
        matches = self.index.search(self.encoder.encode(cuts), self.most, self.category)
        results, start = [], 0
        for found in proposals:
            results.append(self._retrieval(found, matches[start : start + len(found)]))
            start += len(found)
        return results

    def propose(self, image: Image) -> list[Proposal]:
        """The detector's places, within the picture; the whole picture where it has none."""
        size = (float(image.width), float(image.height))
        found = [kept for proposal in self.detector.propose(image) if (kept := _inside(proposal, size)) is not None]
        return found or [Proposal((0.0, 0.0, *size))]

    def _retrieval(self, proposals: Sequence[Proposal], matches: Sequence[Sequence[Match]]) -> Retrieval:
        pairs = sorted(
            ((match, query) for query, found in enumerate(matches) for match in found), key=lambda pair: -pair[0].score
        )
        wanted = {match.concept for match, _ in pairs[: 4 * (self.most + _SHOWN_REJECTED)]}
        concepts = {concept.id: concept for concept in self.database.concepts(wanted)}
        kept: list[Hit] = []
        rejected: dict[int, Rejected] = {}
        for hit in self._hits(pairs, proposals, concepts):
            reason = self._against(hit, kept)
            if reason is None:
                kept.append(hit)
            elif hit.concept.id not in rejected:
                rejected[hit.concept.id] = Rejected(hit, reason)
        taken = {hit.concept.id for hit in kept}
        others = tuple(near for number, near in rejected.items() if number not in taken)[:_SHOWN_REJECTED]
        nearest = others[0].hit if others and not kept else None
        return Retrieval(tuple(kept), nearest, self.threshold, others, len(proposals))

    def _hits(
        self, pairs: Iterable[tuple[Match, int]], proposals: Sequence[Proposal], concepts: dict[int, Concept]
    ) -> Iterable[Hit]:
        for match, query in pairs:
            concept = concepts.get(match.concept)  # None: removed a moment ago, or far behind
            shown = next((item for item in concept.pictures if item.id == match.picture), None) if concept else None
            if concept is not None and shown is not None:
                yield Hit(concept, shown, proposals[query].box, match.score, proposals[query].label)

    def _against(self, hit: Hit, kept: Sequence[Hit]) -> str | None:
        """Why a hit does not count, given the better ones; None if it does."""
        if hit.score < self.threshold:
            return "not near enough"
        if any(other.concept.id == hit.concept.id for other in kept):
            return "found at another place"
        rival = next((other for other in kept if _same_place(hit.box, other.box)), None)
        if rival is not None:  # a look-alike of a concept that was found does not get the same place too
            return f"{rival.concept.name} is nearer at this place"
        return f"more than {self.most} were found" if len(kept) >= self.most else None


def crops(image: Image, proposals: Sequence[Proposal]) -> list[Image]:
    """The squares that the encoder sees."""
    return [reference_view(image, proposal.box) for proposal in proposals]


def fill_vectors(database: ConceptDatabase, encoder: Encoder) -> int:
    """Encode the pictures that this encoder has not seen (it came in a new version); gives their number."""
    from repic_cli.data.images import open_picture

    missing = [picture for picture in database.without_vectors(encoder.id) if picture.path.is_file()]
    for start in range(0, len(missing), 64):
        part = missing[start : start + 64]
        vectors = encoder.encode([reference_view(open_picture(picture.path), picture.box) for picture in part])
        database.put_vectors(encoder.id, {picture.id: vector for picture, vector in zip(part, vectors, strict=True)})
    return len(missing)


def _inside(proposal: Proposal, size: tuple[float, float]) -> Proposal | None:
    """The part of a proposal that lies in the picture; None if that is nothing. Detectors overshoot."""
    if not all(map(math.isfinite, proposal.box)):
        return None
    x1, y1 = max(0.0, float(proposal.box[0])), max(0.0, float(proposal.box[1]))
    x2, y2 = min(size[0], float(proposal.box[2])), min(size[1], float(proposal.box[3]))
    least = min(_LEAST_SIDE, *size)
    if x2 - x1 < least or y2 - y1 < least:
        return None
    return Proposal((x1, y1, x2, y2), proposal.score, proposal.label)


def _same_place(one: PixelBox, other: PixelBox) -> bool:
    union, smaller = overlap(one, other)
    return union >= SAME_PLACE[0] or smaller >= SAME_PLACE[1]
