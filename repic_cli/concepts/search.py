"""Which concepts of a database are in a picture: propose boxes, encode crops, search, keep what is near enough."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from repic_cli.concepts.concept import Concept, StoredPicture
from repic_cli.concepts.geometry import PixelBox, overlap, square
from repic_plugins.errors import DatabaseError, OptionError
from repic_plugins.types import Proposal

if TYPE_CHECKING:
    from PIL.Image import Image

    from repic_cli.concepts.store import ConceptDatabase
    from repic_plugins.types import Detector, Encoder

MARGIN = 0.2
"""Room around a proposal, in parts of its longer side: references show some background too."""
SAME_PLACE = (0.5, 0.8)
"""Two boxes show one thing from this intersection over union, or this intersection over the smaller, on."""


@dataclass(frozen=True)
class Hit:
    """A concept found in a picture: where, by which reference picture, and how near (cosine, 1 is equal)."""

    concept: Concept
    picture: StoredPicture
    box: PixelBox
    score: float


@dataclass(frozen=True)
class Retrieval:
    """The concepts above the threshold, best first; and the nearest one when there is none (it may be far)."""

    hits: tuple[Hit, ...]
    nearest: Hit | None
    threshold: float


class Index:
    """Exact search by cosine over all reference pictures (faiss, inner product)."""

    def __init__(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        import faiss

        self.ids = ids  # (N, 2): picture, concept
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(np.ascontiguousarray(vectors, np.float32))

    def __len__(self) -> int:
        return len(self.ids)

    def above(self, queries: NDArray[np.float32], threshold: float) -> list[tuple[float, int, int]]:
        """(score, query, row) of every pair of at least `threshold`, best first."""
        limits, scores, rows = self._index.range_search(queries, np.nextafter(np.float32(threshold), np.float32(-2)))
        owner = np.repeat(np.arange(len(queries)), (limits[1:] - limits[:-1]).astype(np.int64))
        order = np.argsort(-scores, kind="stable")
        return [(float(scores[i]), int(owner[i]), int(rows[i])) for i in order]

    def nearest(self, queries: NDArray[np.float32]) -> tuple[float, int, int]:
        """(score, query, row) of the best pair of all."""
        scores, rows = self._index.search(queries, 1)
        best = int(scores[:, 0].argmax())
        return float(scores[best, 0]), best, int(rows[best, 0])


class Retriever:
    """Finds the concepts of a database in pictures.

    `threshold` is the least cosine (None: the encoder's own); `most` the number of concepts that are kept. Raises
    `DatabaseError` when the database holds no concept. The index is read once, when the retriever is made.
    """

    def __init__(
        self,
        database: ConceptDatabase,
        encoder: Encoder,
        detector: Detector,
        threshold: float | None = None,
        most: int = 4,
    ) -> None:
        if threshold is not None and not -1 <= threshold <= 1:
            raise OptionError(f"--threshold {threshold:g}: a cosine lies between -1 and 1")
        self.database, self.encoder, self.detector, self.most = database, encoder, detector, most
        self.threshold = encoder.threshold if threshold is None else threshold
        fill_vectors(database, encoder)
        self.index = Index(*database.vectors(encoder.id, encoder.dimension))
        if not len(self.index):
            raise DatabaseError(
                f"{database.folder}: the database is empty; add a concept with `repic db add {database.folder} ...`"
            )

    def find(self, image: Image) -> Retrieval:
        """The concepts in one upright RGB picture. One place can be one concept only, and one concept has one place."""
        proposals = self.detector.propose(image)
        if not proposals:
            return Retrieval((), None, self.threshold)
        vectors = self.encoder.encode(crops(image, proposals))  # (P, D)
        pairs = self._assign(self.index.above(vectors, self.threshold), proposals)
        if pairs:
            return Retrieval(tuple(self._hit(*pair, proposals) for pair in pairs), None, self.threshold)
        return Retrieval((), self._hit(*self.index.nearest(vectors), proposals), self.threshold)

    def _assign(
        self, pairs: Iterable[tuple[float, int, int]], proposals: Sequence[Proposal]
    ) -> list[tuple[float, int, int]]:
        """Greedily, best pair first: a look-alike of a concept that was found does not get the same place too."""
        taken: list[tuple[float, int, int]] = []
        seen: set[int] = set()
        for score, query, row in pairs:
            concept = int(self.index.ids[row, 1])
            box = proposals[query].box
            if concept in seen or any(_same_place(box, proposals[other].box) for _, other, _ in taken):
                continue
            seen.add(concept)
            taken.append((score, query, row))
            if len(taken) == self.most:
                break
        return taken

    def _hit(self, score: float, query: int, row: int, proposals: Sequence[Proposal]) -> Hit:
        picture, concept = (int(number) for number in self.index.ids[row])
        found = self.database.concepts([concept])
        if not found:
            raise DatabaseError(f"{self.database.folder}: a concept was removed while it was searched; try again")
        shown = next(item for item in found[0].pictures if item.id == picture)
        return Hit(found[0], shown, proposals[query].box, score)


def crops(image: Image, proposals: Sequence[Proposal]) -> list[Image]:
    """The squares that the encoder sees."""
    boxes = [square(proposal.box, image.size, MARGIN) for proposal in proposals]
    return [image.crop((round(x1), round(y1), round(x2), round(y2))) for x1, y1, x2, y2 in boxes]


def fill_vectors(database: ConceptDatabase, encoder: Encoder) -> int:
    """Encode the pictures that this encoder has not seen (it came in a new version); gives their number."""
    from repic_cli.concepts.pictures import reference_view
    from repic_cli.data.images import open_picture

    missing = [picture for picture in database.without_vectors(encoder.id) if picture.path.is_file()]
    for start in range(0, len(missing), 64):
        part = missing[start : start + 64]
        vectors = encoder.encode([reference_view(open_picture(picture.path), picture.box) for picture in part])
        database.put_vectors(encoder.id, {picture.id: vector for picture, vector in zip(part, vectors, strict=True)})
    return len(missing)


def _same_place(one: PixelBox, other: PixelBox) -> bool:
    union, smaller = overlap(one, other)
    return union >= SAME_PLACE[0] or smaller >= SAME_PLACE[1]
