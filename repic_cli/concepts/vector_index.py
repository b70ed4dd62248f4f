"""Search over all reference pictures of a database, always as the database is at that moment.

A small database is read into memory and compared as a whole. A large one has an index file made at some moment; what
changed since is known from the database (`repic_cli.concepts.changes`) and is kept in memory beside it, so that
adding a concept makes nothing anew. The file is made again when it is missing, damaged, or far behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from repic_cli.concepts.index_files import BrokenIndex, Description, index_path, making, read_index, write_index
from repic_cli.concepts.index_kinds import FaissIndex, Plan, plan
from repic_cli.concepts.index_parts import Match, Part, exact_neighbours, pool, views
from repic_cli.concepts.vectors import NO_IDS, StoredVectors, Vectors

if TYPE_CHECKING:
    from repic_cli.concepts.changes import Moment
    from repic_cli.concepts.store import ConceptDatabase

KIND_SETTING = "index"
"""The setting of a database that keeps the kind its owner asked for."""
TARGET = 0.99
"""Of the five nearest pictures, the part that a search has to find; the effort is raised until it does."""
NEAREST = 5
QUERIES = 200
BEHIND = 0.05
"""The index file takes in what changed once that is this part of it."""
_LEAST_BEHIND = 2000
_LEAST_KEPT = 0.7
"""An index with fewer of its rows left (or learned from fewer) is made anew."""
_MOST_ROWS = 2048
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class IndexState:
    """How a database is searched. `recall` of the five nearest, as measured (1.0: exact); `file` None: no file."""

    kind: str
    vectors: int
    recall: float
    effort: int
    pending: int
    bytes: int
    seconds: float
    file: Path | None
    note: str = ""


class VectorIndex:
    """The search index of one encoder's vectors in a database; made, loaded or caught up when it is opened.

    `kind` is one of `repic_cli.concepts.index_kinds.KINDS` (None: what the database was set to, else `auto`); `renew`
    makes the index anew in any case. Raises `DatabaseError`.
    """

    def __init__(
        self,
        database: ConceptDatabase,
        encoder: str,
        dimension: int,
        kind: str | None = None,
        renew: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.stored = StoredVectors(database, encoder, dimension)
        self.path = index_path(database.folder, encoder)
        self._progress = progress or (lambda what, done, total: None)
        self._main: Part | None = None
        self._about: Description | None = None
        self._side: Part = self._nothing()
        self._moment: Moment = (0, 0)
        self._note = ""
        self._kind = kind or database.setting(KIND_SETTING) or "auto"
        self._start(renew)

    def __len__(self) -> int:
        return self._side.count + (self._main.count if self._main else 0)

    @property
    def state(self) -> IndexState:
        """What is searched, and how well."""
        if self._main is None or self._about is None:
            size = len(self) * self.stored.dimension * 4
            return IndexState("flat", len(self), 1.0, 0, 0, size, 0.0, None, self._note)
        about, there = self._about, self.path.is_file()
        size = self.path.stat().st_size if there else 0
        return IndexState(
            about.kind,
            len(self),
            1.0 if about.recall is None else about.recall,
            about.effort,
            self._side.count,
            size,
            about.seconds,
            self.path if there else None,
            self._note,
        )

    def search(
        self, queries: Vectors, count: int, category: str | None = None, refresh: bool = True
    ) -> list[list[Match]]:
        """For each query (Q, D) the `count` nearest concepts, best first; of each its nearest picture only.

        `category`: only concepts of that category. Scores are exact cosines. Fewer come back where there are no more.
        """
        if refresh:
            self.refresh()
        if not len(queries) or count < 1:
            return [[] for _ in queries]
        concepts = None if category is None else self.stored.concepts_of(category)
        found: list[list[Match]] = [[] for _ in queries]
        open_rows, rows = list(range(len(queries))), 4 * count
        # Several pictures of one concept are one hit, so that a search may have to look further.
        while open_rows:
            batch = self._rows(queries[open_rows], min(rows, _MOST_ROWS), concepts)
            for query, matches in zip(open_rows, batch, strict=True):
                found[query] = pool(matches)[:count]
            full = rows >= min(len(self), _MOST_ROWS)
            open_rows = [] if full else [query for query in open_rows if len(found[query]) < count]
            rows *= 4
        return found

    def pictures(self, queries: Vectors, count: int) -> list[list[Match]]:
        """For each query (Q, D) the `count` nearest pictures, best first, several of one concept among them."""
        self.refresh()
        return [matches[:count] for matches in self._rows(queries, count, None)]

    def refresh(self) -> None:
        """Take in what this or another process changed since the last look."""
        moment = self.stored.moment()
        if moment == self._moment:
            return
        changed = self.stored.changed(self._moment)
        if changed is None:
            self._start(renew=False)
            return
        self._apply(changed)
        self._moment = moment
        if self._side.count > max(_LEAST_BEHIND, BEHIND * len(self)) and self._main is not None:
            self._start(renew=False)

    def _rows(self, queries: Vectors, rows: int, concepts: NDArray[np.int64] | None) -> list[list[Match]]:
        """The nearest pictures of each query, with exact scores."""
        found = self._side.search(queries, rows, concepts)
        if self._main is None:
            return found
        near = self._main.search(queries, max(rows, self._main.index.wide), concepts)
        pictures = sorted({match.picture for matches in near for match in matches})
        ids, vectors = self.stored.read(pictures)
        place = {int(picture): row for row, picture in enumerate(ids[:, 0])}
        for query, matches, exact in zip(queries, near, found, strict=True):
            # A picture that is not there any more was removed a moment ago.
            there = [match for match in matches if match.picture in place]
            scores = vectors[[place[match.picture] for match in there]] @ query if there else []
            exact += [Match(float(s), m.picture, m.concept) for s, m in zip(scores, there, strict=True)]
            exact.sort(key=lambda match: -match.score)
        return found

    def _start(self, renew: bool) -> None:
        if not renew and self._load():
            return
        count = len(self.stored)
        chosen = plan(count, self.stored.dimension, self._kind)
        if chosen.kind == "flat":
            self._read_all()
            self.path.unlink(missing_ok=True)
            return
        with making(self.stored.database.folder):
            # Another process may have made it while this one waited.
            if renew or not (self._load() or self._catch_up()):
                self._make(chosen, count)

    def _load(self) -> bool:
        """Use the index file if there is a good one that is not far behind."""
        self._main, self._about = None, None
        try:
            about, ids, index = read_index(self.path, self.stored.encoder, self.stored.dimension)
        except BrokenIndex as error:
            if self.path.exists():
                self._note = f"the index file was made anew: {error}"
            return False
        moment, changed = self.stored.moment(), self.stored.changed(about.moment)
        if changed is None:
            self._note = "the index file was made anew: the database is not the one it was made from"
            return False
        if len(changed) > max(_LEAST_BEHIND, BEHIND * about.rows) or self._kind not in ("auto", about.kind):
            return False
        self._use(Part(index, ids), about)
        self._apply(changed)
        self._moment = moment
        return True

    def _catch_up(self) -> bool:
        """Take what changed into the index file, which learns nothing anew; False: better make all anew."""
        try:
            about, ids, index = read_index(self.path, self.stored.encoder, self.stored.dimension)
        except BrokenIndex:
            return False
        begin, moment, changed = time.monotonic(), self.stored.moment(), self.stored.changed(about.moment)
        if changed is None or self._kind not in ("auto", about.kind):
            return False
        part = Part(index, ids)
        part.drop(changed)
        if part.count < _LEAST_KEPT * (len(part.ids) + len(changed)):
            return False
        for start in range(0, len(changed), 4096):
            part.add(*self.stored.read(changed[start : start + 4096]))
            self._progress("adding to the index", min(start + 4096, len(changed)), len(changed))
        self._keep(part, Plan(about.kind, about.factory, 0), moment, about.recall, time.monotonic() - begin)
        return True

    def _read_all(self) -> None:
        """Have every vector in memory."""
        self._main, self._about, self._moment = None, None, self.stored.moment()
        self._side = self._nothing()
        for ids, vectors in self.stored.blocks():
            self._side.add(ids, vectors)

    def _make(self, chosen: Plan, count: int) -> None:
        begin, moment = time.monotonic(), self.stored.moment()
        part, found = self._build(chosen, count)
        self._keep(part, chosen, moment, found, time.monotonic() - begin)

    def _build(self, chosen: Plan, count: int) -> tuple[Part, float]:
        rng = np.random.default_rng(0)
        sample = self._sample(rng, min(count, max(10_000, 40 * chosen.lists)))
        queries = views(rng, sample, QUERIES)
        self._progress("learning the lists of the index", 0, count)
        part = Part(FaissIndex.make(chosen, self.stored.dimension, sample), NO_IDS)
        del sample
        for ids, vectors in self.stored.blocks():
            part.add(ids, vectors)
            self._progress("filling the index", len(part.ids), count)
        truth = exact_neighbours(self.stored.blocks(), queries, NEAREST)
        rows = np.searchsorted(part.ids[:, 0], truth)  # blocks come by picture id
        return part, part.index.tune(queries, rows, TARGET)

    def _sample(self, rng: np.random.Generator, count: int) -> Vectors:
        pictures = self.stored.pictures()
        chosen = np.sort(rng.choice(pictures, min(count, len(pictures)), replace=False))
        parts = [self.stored.read(chosen[start : start + 4096])[1] for start in range(0, len(chosen), 4096)]
        return np.concatenate(parts)

    def _keep(self, part: Part, made: Plan, moment: Moment, found: float | None, seconds: float) -> None:
        """Use this index from now on, and write it to its file."""
        about = Description(
            self.stored.encoder,
            self.stored.dimension,
            made.kind,
            made.factory,
            moment,
            len(part.ids),
            part.index.effort,
            found,
            round(seconds, 2),
            datetime.now(UTC).isoformat(timespec="seconds"),
        )
        try:
            write_index(self.path, about, part.ids, part.index)
        except OSError as error:
            self._note = f"the index could not be kept ({error.strerror or error}); it is made again the next time"
        self._use(part, about)
        self.refresh()

    def _use(self, part: Part, about: Description) -> None:
        self._main, self._about, self._moment = part, about, about.moment
        self._side = self._nothing()

    def _apply(self, changed: Iterable[int]) -> None:
        changed = list(changed)
        for part in (self._main, self._side):
            if part is not None:
                part.drop(changed)
        for start in range(0, len(changed), 4096):
            self._side.add(*self.stored.read(changed[start : start + 4096]))
        if self._side.count < len(self._side.ids) // 2 and len(self._side.ids) > 1000:
            self._side = self._side.without_gaps(self._nothing().index)

    def _nothing(self) -> Part:
        return Part(FaissIndex.make(Plan("flat", "Flat", 0), self.stored.dimension), NO_IDS)
