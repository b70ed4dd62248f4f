"""Kinds of search index: which one suits a number of vectors, and how each is made, filled and searched (faiss).

`flat` compares with every vector. The others look at a part of the vectors, and keep each in one byte per dimension
(`hnsw`, `ivf`) or in one byte per eight dimensions (`ivfpq`); what they find is compared anew with the exact vectors
(`repic_cli.concepts.vector_index`), so that no score is approximate.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from repic_plugins.errors import DatabaseError, OptionError
from repic_plugins.text import clean

Kind = Literal["auto", "flat", "hnsw", "ivf", "ivfpq"]
KINDS: tuple[Kind, ...] = ("auto", "flat", "hnsw", "ivf", "ivfpq")
FLAT_MOST = 50_000
"""Up to so many vectors every search compares with all: it takes milliseconds, and there is no file to keep."""
HNSW_MOST = 150_000
"""Above, the graph takes too long to make (its time grows faster than that of the lists of `ivf`)."""
LINKS = 32
LEAST_TO_TRAIN = 1000
FEW = 0.1
"""A filter that leaves a smaller part than this is searched by comparing with all that it leaves."""
MOST_EFFORT = 4096


@dataclass(frozen=True)
class Plan:
    """An index to be made: its kind, the name faiss has for it, and the memory it will take."""

    kind: str
    factory: str
    bytes: int
    lists: int = 0


def plan(count: int, dimension: int, kind: str = "auto", memory: int | None = None) -> Plan:
    """The index for `count` vectors. `memory`: bytes that may be used (None: what the machine has free).

    Raises `OptionError` for an unknown kind, `DatabaseError` when the index does not fit into the memory.
    """
    if kind not in KINDS:
        raise OptionError(f"--kind {clean(kind, 40)}: there are {', '.join(KINDS)}")
    free = available_memory() if memory is None else memory
    plans = {str(name): _plan(name, count, dimension) for name in KINDS if name != "auto"}
    if kind == "auto":
        if count <= FLAT_MOST and plans["flat"].bytes < free:
            kind = "flat"
        elif count <= HNSW_MOST and plans["hnsw"].bytes < free / 2:
            kind = "hnsw"
        else:
            kind = "ivf"
    chosen = plans[kind]
    if chosen.bytes > free:
        smaller = "; --kind ivfpq takes less" if chosen.bytes > plans["ivfpq"].bytes else ""
        raise DatabaseError(
            f"a search index of kind {kind} over {count} vectors takes about {chosen.bytes / 1e9:.1f} GB, and "
            f"{free / 1e9:.1f} GB of memory are free{smaller}"
        )
    if kind != "flat" and count < LEAST_TO_TRAIN:
        raise OptionError(f"--kind {kind}: needs at least {LEAST_TO_TRAIN} vectors, the database has {count}")
    return chosen


def _plan(kind: str, count: int, dimension: int) -> Plan:
    lists = max(16, 2 ** (round(np.log2(max(count, 1)) / 2) + 2))  # about four square roots
    if kind == "flat":
        return Plan(kind, "Flat", count * dimension * 4)
    if kind == "hnsw":
        return Plan(kind, f"HNSW{LINKS}_SQ8", count * (dimension + 8 * LINKS + 24))
    if kind == "ivf":
        return Plan(kind, f"IVF{lists},SQ8", count * (dimension + 24) + lists * dimension * 4, lists)
    codes = _codes(dimension)
    return Plan(kind, f"IVF{lists},PQ{codes}x8", count * (codes + 24) + lists * dimension * 4, lists)


def _codes(dimension: int) -> int:
    """Bytes of a product-quantised vector: an eighth of the dimensions, or the next number that divides them."""
    return max(n for n in range(1, max(1, dimension // 8) + 1) if dimension % n == 0)


def library() -> Any:
    """faiss, which is slow to import; its type stubs know only a part of it."""
    import faiss

    return faiss


def available_memory() -> int:
    """Bytes of memory that are free, as the kernel and the control group of this process see it."""
    free = 2**62
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines() if ":" in line)
        free = int(lines.get("MemAvailable", f"{free >> 10} kB").split()[0]) * 1024
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = int((group / "memory.current").read_text(encoding="ascii"))
        return free if limit == "max" else max(0, min(free, int(limit) - used))
    except (OSError, ValueError):
        return free


class FaissIndex:
    """An index over rows 0, 1, 2, ... of unit vectors, by cosine. `effort` is how much of it a search looks at."""

    def __init__(self, index: Any, kind: str, effort: int = 16) -> None:
        self.index, self.kind, self.effort = index, kind, effort

    @classmethod
    def make(cls, plan: Plan, dimension: int, sample: NDArray[np.float32] | None = None) -> FaissIndex:
        """An empty index; `sample` (n, D) are vectors like those to come, which all kinds but `flat` learn from."""
        faiss = library()
        index = faiss.index_factory(dimension, plan.factory, faiss.METRIC_INNER_PRODUCT)
        if plan.kind == "hnsw":
            index.hnsw.efConstruction = 80
        if plan.lists:
            index.cp.niter = 10
            index.cp.min_points_per_centroid = 1  # no warning from C++ about small databases
        if sample is not None and not index.is_trained:
            index.train(sample)
        return cls(index, plan.kind)

    @property
    def wide(self) -> int:
        """Rows that an approximate search proposes at least; the exact vectors decide among them."""
        return 200 if self.kind == "ivfpq" else 20

    def __len__(self) -> int:
        return int(self.index.ntotal)

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Put vectors (n, D) at the end."""
        self.index.add(np.ascontiguousarray(vectors, np.float32))

    def search(
        self, queries: NDArray[np.float32], count: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and rows (Q, count) of the nearest rows, best first; row -1 where there are no more.

        `allowed` (N,) marks the rows that count; None: all.
        """
        faiss = library()
        index, share = self.index, 1.0
        options: dict[str, Any] = {}
        if allowed is not None:
            share = float(allowed.mean()) if len(allowed) else 0.0
            bits = np.packbits(allowed, bitorder="little")
            options["sel"] = faiss.IDSelectorBitmap(bits)
        if self.kind == "flat":
            parameters = faiss.SearchParameters(**options) if options else None
        elif self.kind == "hnsw":
            # Walking the graph, a search with a strict filter would lose its way.
            if share < FEW:
                index, parameters = faiss.downcast_index(index.storage), faiss.SearchParameters(**options)
            else:
                parameters = faiss.SearchParametersHNSW(efSearch=max(self._effort(share), count), **options)
        else:
            lists = index.nlist if share < FEW else min(index.nlist, self._effort(share))
            parameters = faiss.SearchParametersIVF(nprobe=lists, **options)
        scores, rows = index.search(np.ascontiguousarray(queries, np.float32), count, params=parameters)
        return scores, rows

    def _effort(self, share: float) -> int:
        return min(MOST_EFFORT, round(self.effort / share))

    def tune(self, queries: NDArray[np.float32], truth: NDArray[np.int64], target: float) -> float:
        """Raise `effort` until `target` of the rows in `truth` (Q, k) are among those found; gives the part found."""
        most = self.index.nlist if hasattr(self.index, "nlist") else MOST_EFFORT
        self.effort = min(8, most)
        while True:
            _, rows = self.search(queries, self.wide)
            found = recall(rows, truth)
            if found >= target or self.effort >= most:
                return found
            self.effort = min(2 * self.effort, most)


def recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """The part of the rows in `truth` (Q, k) that are in the same line of `found` (Q, n); rows of -1 do not count."""
    real = truth >= 0
    hits = (truth[:, :, None] == found[:, None, :]).any(axis=2) & real
    return float(hits.sum() / max(1, real.sum()))
