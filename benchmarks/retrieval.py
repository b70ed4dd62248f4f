"""Search in a large database against comparing with all: `python benchmarks/retrieval.py [--quick] [--json FILE]`.

1. A million made-up vectors of 768 numbers in a real concept database (200,000 concepts of five pictures each). What a
   picture with five crops costs, top 5: faiss' flat index over all vectors (the paper's `IndexFlatL2`), and ours, from
   the crops' vectors to concepts with exact scores, SQLite included. Recall of the five nearest pictures against flat.
   Build time, memory, opening it again, adding and removing one concept.
2. The paper's retriever (its appendix B.5, as RAP does it) against ours on pictures, both from the start of the
   process: it encodes the whole database one by one at every start, encodes and searches one crop after the other, and
   always has neighbours. Pictures and encoder are the embedded world's.

The vectors are like those CLIP makes (ViT-L/14-336, measured on 140 pictures of the paper's databases): unrelated ones
have a cosine of 0.5, the spectrum falls with the power 0.8, and things of one category lie together; pictures of one
concept have 0.87. `--pictures 1` is harder: the neighbours of a crop, but for the first, are look-alikes at random.
Each phase is a process of its own, so that its peak memory is its own. All use the same threads (`--threads`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins"), str(ROOT / "rewards")]

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

SEED = 7
ENCODER = "made-up@benchmark"
CROPS, TOP, QUERIES, RACES = 5, 5, 200, 20
MEAN, CATEGORY, CONCEPT, VIEW = 0.5, 0.25, 0.12, 0.13
"""Parts of a vector's squared length: what all have in common, its category, its concept, the single picture."""
Vectors = NDArray[np.float32]
Result = dict[str, Any]


# Vectors -------------------------------------------------------------------------------------------------------------


class World:
    """Vectors of concepts in categories. The same arguments give the same vectors, a part at a time."""

    def __init__(self, count: int, dimension: int, pictures: int) -> None:
        self.count, self.dimension, self.pictures = count // pictures, dimension, pictures
        spectrum = np.arange(1, dimension + 1, dtype=np.float32) ** -0.4  # amplitudes: half the power of the variance
        self._spectrum = spectrum / np.linalg.norm(spectrum)
        rng = np.random.default_rng(SEED)
        mean = self._part(rng, 1, 1.0)
        self._mean = mean * np.float32(np.sqrt(MEAN) / np.linalg.norm(mean))
        self._categories = self._part(rng, max(20, self.count // 200), CATEGORY)

    def blocks(self, size: int = 1000) -> Iterator[Vectors]:
        """All concepts in order, (n, pictures, D) at a time."""
        for start in range(0, self.count, size):
            yield self._views(start, min(size, self.count - start), self.pictures, 0)

    def queries(self, count: int) -> Vectors:
        """New views (count, D) of concepts from all over the world."""
        chosen = np.random.default_rng(SEED + 1).choice(self.count, count, replace=False)
        return np.concatenate([self._views(int(concept), 1, 1, 1)[0] for concept in chosen])

    def _views(self, start: int, count: int, views: int, what: int) -> Vectors:
        centres = np.concatenate([self._centre(concept) for concept in range(start, start + count)])
        found = centres[:, None] + self._part(np.random.default_rng([SEED, start, what]), count * views, VIEW).reshape(
            count, views, -1
        )
        return np.ascontiguousarray(found / np.linalg.norm(found, axis=-1, keepdims=True), np.float32)

    def _centre(self, concept: int) -> Vectors:
        rng = np.random.default_rng([SEED, concept])
        category = self._categories[rng.integers(len(self._categories))]
        return self._mean + category + self._part(rng, 1, CONCEPT)

    def _part(self, rng: np.random.Generator, count: int, share: float) -> Vectors:
        return rng.standard_normal((count, self.dimension), np.float32) * self._spectrum * np.float32(np.sqrt(share))


# Phases: each in its own process, each prints JSON -------------------------------------------------------------------


def fill(folder: Path, world: World, _: argparse.Namespace) -> Result:
    """Put the world into a concept database, by the same calls as an import."""
    from repic_cli.concepts.concept import NewConcept
    from repic_cli.concepts.pictures import lost_picture
    from repic_cli.concepts.store import ConceptDatabase

    begin, number = time.perf_counter(), 0
    with ConceptDatabase(folder, create=True) as database:
        for block in world.blocks():
            concepts = []
            for group in block:
                pictures = [lost_picture(vector, "made up") for vector in group]
                concepts.append(NewConcept(f"c{number}", pictures, group, category=f"k{number % 50}"))
                number += 1
            database.add_many(concepts, "embedded", ENCODER)
    size = (folder / "concepts.db").stat().st_size
    return {"seconds": time.perf_counter() - begin, "bytes": size}


def flat(folder: Path, world: World, _: argparse.Namespace) -> Result:
    """The paper's index over the vectors of the database; keeps the truth for the recall."""
    begin = time.perf_counter()
    index, pictures = flat_index(folder, world)
    made = time.perf_counter() - begin
    _, rows = index.search(world.queries(QUERIES), TOP)
    np.save(folder.parent / "truth.npy", pictures[rows])
    return {"start_seconds": made, "vectors": index.ntotal}


def flat_index(folder: Path, world: World) -> tuple[Any, NDArray[np.int64]]:
    """The paper's index, and the picture of each of its rows."""
    import faiss

    index, pictures = faiss.IndexFlatL2(world.dimension), []
    for ids, vectors in stored(folder, world).blocks():
        index.add(vectors)
        pictures.append(ids[:, 0])
    return index, np.concatenate(pictures)


def build(folder: Path, world: World, options: argparse.Namespace) -> Result:
    """Make the search index of the database."""
    begin = time.perf_counter()
    state = open_index(folder, world, options.kind, renew=True).state
    return {
        "seconds": time.perf_counter() - begin,
        "kind": state.kind,
        "bytes": state.bytes,
        "effort": state.effort,
        "own_recall": state.recall,
    }


def search(folder: Path, world: World, options: argparse.Namespace) -> Result:
    """Open the index that is there, and search it."""
    begin = time.perf_counter()
    index = open_index(folder, world, options.kind)
    opened = time.perf_counter() - begin
    queries, truth = world.queries(QUERIES), np.load(folder.parent / "truth.npy")
    found = [index.pictures(queries[start : start + CROPS], TOP) for start in range(0, QUERIES, CROPS)]
    lines = [{match.picture for match in line} for part in found for line in part]
    hits = sum(len(line & set(true.tolist())) for line, true in zip(lines, truth, strict=True))
    return {"open_seconds": opened, "recall": hits / truth.size}


def race(folder: Path, world: World, options: argparse.Namespace) -> Result:
    """Flat search and ours in turn on the same pictures, so that a busy machine slows both; median seconds."""
    both = [flat_index(folder, world)[0], open_index(folder, world, options.kind)]
    queries, taken = world.queries(QUERIES), [[], []]
    for turn in range(RACES + 1):
        crops = queries[turn * CROPS % QUERIES :][:CROPS]
        for index, times in zip(both, taken, strict=True):
            times.append(timed(partial(index.search, crops, TOP))[0])
    flat_seconds, seconds = (float(np.median(times[1:])) for times in taken)  # the first is to warm up
    filtered, _ = timed(lambda: both[1].search(queries[:CROPS], TOP, category="k7"))
    return {"flat_seconds": flat_seconds, "seconds": seconds, "filtered_seconds": filtered}


def change(folder: Path, world: World, options: argparse.Namespace) -> Result:
    """Add one concept and remove it: what that costs until it counts, and that the index file stays as it is."""
    from repic_cli.concepts.concept import NewConcept
    from repic_cli.concepts.pictures import lost_picture
    from repic_cli.concepts.store import ConceptDatabase

    index = open_index(folder, world, options.kind)
    before = None if index.state.file is None else index.path.stat().st_mtime_ns
    vector = -world.queries(1)
    concept = NewConcept("a new one", [lost_picture(vector[0], "new")], vector)
    with ConceptDatabase(folder) as other:
        begin = time.perf_counter()
        added = other.add(concept, "embedded", ENCODER)
        (found,) = index.search(vector, 1)
        add_seconds = time.perf_counter() - begin
        begin = time.perf_counter()
        other.remove("a new one")
        (after,) = index.search(vector, 1)
        remove_seconds = time.perf_counter() - begin
    rewritten = before is not None and index.path.stat().st_mtime_ns != before
    assert found[0].concept == added.id != after[0].concept
    assert not rewritten
    return {"add_seconds": add_seconds, "remove_seconds": remove_seconds, "index_rewritten": rewritten}


PHASES: dict[str, Callable[[Path, World, argparse.Namespace], Result]] = {
    "fill": fill,
    "flat": flat,
    "build": build,
    "search": search,
    "race": race,
    "change": change,
}


def stored(folder: Path, world: World) -> Any:
    from repic_cli.concepts.store import ConceptDatabase
    from repic_cli.concepts.vectors import StoredVectors

    return StoredVectors(ConceptDatabase(folder), ENCODER, world.dimension)


def open_index(folder: Path, world: World, kind: str, renew: bool = False) -> Any:
    from repic_cli.concepts.store import ConceptDatabase
    from repic_cli.concepts.vector_index import VectorIndex

    return VectorIndex(ConceptDatabase(folder), ENCODER, world.dimension, kind, renew)


# The paper's retriever on pictures -----------------------------------------------------------------------------------


def paper(folder: Path, references: int, scenes: int) -> Result:
    """Both retrievers on a database of pictures: start of the process, and each scene."""
    import faiss
    from PIL import Image

    from repic_cli.concepts.concept import NewConcept
    from repic_cli.concepts.detectors import GridDetector
    from repic_cli.concepts.encoders import embedded_encoder
    from repic_cli.concepts.pictures import read_picture
    from repic_cli.concepts.search import Retriever, crops
    from repic_cli.concepts.store import ConceptDatabase
    from repic_cli.embedded.world import identities, render_reference, render_scene

    rng, members = np.random.default_rng(SEED), identities()[:references]
    encoder, detector = embedded_encoder(), GridDetector((0.6, 0.4), True)
    files = []
    for number, member in enumerate(members):
        files.append(folder / f"{number}.png")
        Image.fromarray(render_reference(rng, member)).save(files[-1])
    pictures = [Image.fromarray(render_scene(rng, list(members[i : i + 3])).image) for i in range(scenes)]

    def their_start() -> Any:
        index = faiss.IndexFlatL2(encoder.dimension)
        for file in files:
            with Image.open(file) as image:
                index.add(encoder.encode([image.convert("RGB")]))
        return index

    def their_find(index: Any, image: Any) -> list[int]:
        rows = []
        for crop in crops(image, detector.propose(image)):
            rows += index.search(encoder.encode([crop]), 4)[1][0].tolist()
        return list(dict.fromkeys(rows))

    with ConceptDatabase(folder / "db", create=True) as database:
        ready = [read_picture(file) for file in files]
        vectors = encoder.encode([picture.image for picture in ready])
        new = [NewConcept(f"c{i}", [picture], vectors[i : i + 1]) for i, picture in enumerate(ready)]
        database.add_many(new, "embedded", encoder.id)
        their_start_seconds, index = timed(their_start)
        our_start_seconds, retriever = timed(lambda: Retriever(database, encoder, detector))
        retriever.find(pictures[0])
        theirs = timed(lambda: [their_find(index, picture) for picture in pictures])[0]
        ours = timed(lambda: [retriever.find(picture) for picture in pictures])[0]
        batch = timed(lambda: retriever.find_many(pictures))[0]
    return {
        "references": references,
        "scenes": scenes,
        "their_start": their_start_seconds,
        "our_start": our_start_seconds,
        "their_scene": theirs / scenes,
        "our_scene": ours / scenes,
        "our_scene_in_batches": batch / scenes,
    }


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = run()
    return time.perf_counter() - begin, result


# The command ---------------------------------------------------------------------------------------------------------


def phase(name: str, folder: Path, options: argparse.Namespace) -> Result:
    """Run a phase in a process of its own."""
    print(f"  {name} ...", file=sys.stderr, flush=True)
    given = {key: getattr(options, key) for key in ("count", "dimension", "pictures", "kind", "threads")}
    arguments = [text for key, value in given.items() for text in (f"--{key}", str(value))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    command = [sys.executable, __file__, "--phase", name, "--folder", str(folder), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


def run_phase(options: argparse.Namespace) -> None:
    folder = Path(options.folder)
    if options.phase == "paper":
        result = paper(folder, 200 if options.count < 1_000_000 else 1000, 50)
    else:
        world = World(options.count, options.dimension, options.pictures)
        result = PHASES[options.phase](folder / "db", world, options)
    result["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(result))


def show(results: dict[str, Result], options: argparse.Namespace) -> None:
    every, made, found, raced = results["flat"], results["build"], results["search"], results["race"]
    print(f"{every['vectors']} vectors of {options.dimension}, {options.pictures} pictures a concept, 5 crops, top 5")
    print(f"{'':28}{'flat (paper)':>16}{made['kind']:>16}")
    rows = [
        ("a picture (5 crops), ms", raced["flat_seconds"] * 1e3, raced["seconds"] * 1e3),
        ("recall@5", 1.0, found["recall"]),
        ("start of the process, s", every["start_seconds"], found["open_seconds"]),
        ("peak memory, GB", every["peak_bytes"] / 1e9, found["peak_bytes"] / 1e9),
    ]
    for label, theirs, ours in rows:
        print(f"{label:28}{theirs:16.3f}{ours:16.3f}")
    print(
        f"faster: {raced['flat_seconds'] / raced['seconds']:.0f} x; "
        f"with a category filter {raced['filtered_seconds'] * 1e3:.1f} ms"
    )
    print(
        f"made in {made['seconds']:.0f} s (peak {made['peak_bytes'] / 1e9:.2f} GB), file {made['bytes'] / 1e9:.2f} GB, "
        f"effort {made['effort']}; its own measure of recall {made['own_recall']:.3f}"
    )
    changed = results["change"]
    print(
        f"one concept added and found: {changed['add_seconds'] * 1e3:.0f} ms, removed: "
        f"{changed['remove_seconds'] * 1e3:.0f} ms; index rewritten: {'yes' if changed['index_rewritten'] else 'no'}"
    )
    both = results["paper"]
    print(f"\n{both['references']} reference pictures, {both['scenes']} scenes, embedded encoder, grid")
    print(f"{'':28}{'paper':>16}{'ours':>16}{'ours, batches':>16}")
    print(f"{'start of the process, s':28}{both['their_start']:16.3f}{both['our_start']:16.3f}")
    print(
        f"{'a scene, ms':28}{both['their_scene'] * 1e3:16.2f}{both['our_scene'] * 1e3:16.2f}"
        f"{both['our_scene_in_batches'] * 1e3:16.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Search of a large concept database, side by side with flat search.")
    parser.add_argument("--count", type=int, default=1_000_000, help="vectors")
    parser.add_argument("--dimension", type=int, default=768)
    parser.add_argument("--pictures", type=int, default=5, help="reference pictures of a concept")
    parser.add_argument("--kind", default="auto", help="auto, flat, hnsw, ivf, ivfpq")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="60,000 vectors")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--folder", help="keep the database here (default: a temporary folder)")
    parser.add_argument("--phase", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.phase:
        run_phase(options)
        return
    if options.quick:
        options.count = 60_000
    print(f"{platform.processor() or platform.machine()}, {options.threads} threads", file=sys.stderr)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        names = [name for name in PHASES if name != "fill" or not (folder / "db").exists()]
        results = {name: phase(name, folder, options) for name in names}
        pictures = folder / "pictures"
        pictures.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=pictures) as place:
            results["paper"] = phase("paper", Path(place), options)
    show(results, options)
    if options.json:
        options.json.write_text(json.dumps({"options": vars(options) | {"json": None}, **results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
