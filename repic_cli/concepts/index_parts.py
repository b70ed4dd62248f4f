"""Rows of a faiss index with the picture and concept of each; and what its recall is measured with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from repic_cli.concepts.index_kinds import FaissIndex

if TYPE_CHECKING:
    from repic_cli.concepts.vectors import Ids, Vectors

VIEW = 0.85
"""Cosine of a query of the recall measurement with the stored picture it is made from."""


@dataclass(frozen=True)
class Match:
    """A concept near a query: the cosine with a reference picture of it, and which one that is."""

    score: float
    picture: int
    concept: int


def pool(matches: Iterable[Match]) -> list[Match]:
    """The best match of each concept, best first, from sorted ones: several pictures of a concept are one hit."""
    best: dict[int, Match] = {}
    for match in matches:
        best.setdefault(match.concept, match)
    return list(best.values())


class Part:
    """An index whose rows are pictures. Rows are added at the end; those that go are only marked (picture 0)."""

    def __init__(self, index: FaissIndex, ids: Ids) -> None:
        self.index, self.ids = index, ids.copy()
        self.count = int((self.ids[:, 0] > 0).sum())

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Append rows."""
        if len(ids):
            self.index.add(vectors)
            self.ids = np.concatenate([self.ids, ids])
            self.count += len(ids)

    def drop(self, pictures: Iterable[int]) -> None:
        """Mark the rows of these pictures as gone."""
        gone = np.isin(self.ids[:, 0], np.fromiter(pictures, np.int64)) & (self.ids[:, 0] > 0)
        self.ids[gone] = 0
        self.count -= int(gone.sum())

    def without_gaps(self, empty: FaissIndex) -> Part:
        """The same rows without those that are gone. For exact indexes, which can give their vectors back."""
        there = np.flatnonzero(self.ids[:, 0] > 0)
        part = Part(empty, np.zeros((0, 2), np.int64))
        if len(there):
            part.add(self.ids[there], self.index.index.reconstruct_batch(there))
        return part

    def search(self, queries: Vectors, rows: int, concepts: NDArray[np.int64] | None = None) -> list[list[Match]]:
        """The nearest `rows` pictures of each query (Q, D), best first; `concepts`: only of these."""
        if not self.count:
            return [[] for _ in queries]
        allowed = None
        if concepts is not None:
            allowed = np.isin(self.ids[:, 1], concepts) & (self.ids[:, 0] > 0)
        elif self.count < len(self.ids):
            allowed = self.ids[:, 0] > 0
        if allowed is not None and not allowed.any():
            return [[] for _ in queries]
        scores, found = self.index.search(queries, min(rows, len(self.ids)), allowed)
        return [
            [
                Match(score, *self.ids[row].tolist())
                for score, row in zip(line.tolist(), numbers.tolist(), strict=True)
                if row >= 0
            ]
            for line, numbers in zip(scores, found, strict=True)
        ]


def views(rng: np.random.Generator, vectors: Vectors, count: int) -> Vectors:
    """`count` queries that are to stored vectors (N, D) as another picture of a thing is to the first.

    Each is a vector moved along the difference of two others, so that queries lie where pictures lie, until its cosine
    with where it was is `VIEW`.
    """
    start, one, other = (vectors[rng.integers(len(vectors), size=count)] for _ in range(3))
    aside = one - other
    aside -= (aside * start).sum(1, keepdims=True) * start
    length = np.linalg.norm(aside, axis=1, keepdims=True)
    aside = np.divide(aside, length, out=np.zeros_like(aside), where=length > 1e-6)
    moved = VIEW * start + np.sqrt(1 - VIEW**2) * aside
    return np.ascontiguousarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), np.float32)


def exact_neighbours(blocks: Iterable[tuple[Ids, Vectors]], queries: Vectors, count: int) -> NDArray[np.int64]:
    """The pictures (Q, count) nearest to each query, from one pass with one block in memory at a time."""
    import faiss

    best = faiss.ResultHeap(len(queries), count, keep_max=True)
    for ids, vectors in blocks:
        scores, rows = faiss.knn(queries, vectors, min(count, len(vectors)), metric=faiss.METRIC_INNER_PRODUCT)
        best.add_result(scores, ids[:, 0][rows])
    best.finalize()
    found: NDArray[np.int64] = best.I
    return found
