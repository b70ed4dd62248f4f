"""Kill -9 at random moments, again and again: two writers add, update, remove and reindex in one database.

    python benchmarks/_crashes.py --kills 200          # what `nox -s crashes` runs

Each writer notes in a file what it is about to do and what it has done, so that afterwards it is known what must be
there. After each kill `verify` runs while the other writer goes on; after each pair of kills every concept that was
committed must be there, whole, and be found by search, and none that was removed. Exit code 1 if anything is amiss.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from repic_cli.concepts.concept import NewConcept, Update
from repic_cli.concepts.pictures import NewPicture, lost_picture, read_picture
from repic_cli.concepts.store import ConceptDatabase
from repic_cli.concepts.vector_index import VectorIndex
from repic_cli.concepts.verify import verify

if TYPE_CHECKING:
    from numpy.typing import NDArray

POOL = 40
"""Different pictures: few enough that concepts of both writers share files, and more than are in use at a time."""
ENCODER, DIMENSION = "test@1", 16
KEPT = 8
"""Concepts of each writer; with more it removes one."""
BASE, BASE_VECTORS = "base", 1200
"""A concept of vectors without pictures, so that there are enough for an index file."""


def pool(folder: Path) -> list[NewPicture]:
    """The pictures that concepts are made of."""
    made = []
    for seed in range(POOL):
        path = folder / f"{seed}.png"
        if not path.is_file():
            pixels = np.random.default_rng(seed).integers(0, 256, (60, 60, 3), np.uint8)
            partial = path.with_suffix(f".{os.getpid()}.png")
            Image.fromarray(pixels).save(partial)
            partial.replace(path)
        made.append(read_picture(path))
    return made


def vectors(seeds: list[int]) -> NDArray[np.float32]:
    """A fixed unit vector for each picture of the pool: (N, DIMENSION)."""
    rows = [np.random.default_rng([7, seed]).normal(size=DIMENSION) for seed in seeds]
    return np.stack([row / np.linalg.norm(row) for row in rows]).astype(np.float32)


def make_database(place: Path) -> None:
    """A database that holds the base."""
    rows = np.random.default_rng(3).normal(size=(BASE_VECTORS, DIMENSION))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    with ConceptDatabase(place / "db", create=True) as database:
        database.add(NewConcept(BASE, [lost_picture(row, "none") for row in rows], rows), "embedded", ENCODER)


def write(place: Path, mark: str, seed: int) -> None:
    """Change the database until killed. A line is written before (`>`) and after (`=`) each change."""
    rng, pictures = random.Random(seed), pool(place)
    log = os.open(place / f"{mark}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    mine = dict(replay(place, mark)[0])
    number = seed * 100_000
    print("ready", flush=True)
    while True:
        roll = rng.random()
        with ConceptDatabase(place / "db", create=True) as database:
            if roll < 0.1:
                VectorIndex(database, ENCODER, DIMENSION, kind="hnsw", renew=True)
                continue
            if mine and (roll < 0.35 or len(mine) > KEPT):
                name, seeds = rng.choice(sorted(mine)), []
            elif mine and roll < 0.55:
                name = rng.choice(sorted(mine))
                seeds = sorted({*mine[name], rng.randrange(POOL)})
            else:
                number += 1
                name, seeds = f"{mark}{number}", sorted(rng.sample(range(POOL), rng.randint(1, 3)))
            line = f"{name} {','.join(map(str, seeds))}\n".encode()
            os.write(log, b"> " + line)
            change(database, pictures, name, mine.get(name), seeds)
            os.write(log, b"= " + line)
        mine = {**mine, name: seeds} if seeds else {key: value for key, value in mine.items() if key != name}


def change(
    database: ConceptDatabase, pictures: list[NewPicture], name: str, before: list[int] | None, after: list[int]
) -> None:
    """Remove, update or add one concept."""
    if not after:
        database.remove(name)
    elif before is not None:
        new = [seed for seed in after if seed not in before]
        fresh = vectors(new) if new else None
        update = Update(info=f"has {len(after)}", pictures=[pictures[s] for s in new], vectors=fresh)
        database.update(name, update, "embedded", ENCODER)
    else:
        chosen = [pictures[seed] for seed in after]
        database.add(NewConcept(name, chosen, vectors(after), f"has {len(after)}"), "embedded", ENCODER)


State = dict[str, list[int]]


def replay(place: Path, mark: str) -> tuple[State, tuple[str, list[int]] | None]:
    """What a writer has done for certain, and what it was doing when it was killed."""
    state: State = {}
    doubt = None
    path = place / f"{mark}.log"
    for line in path.read_text().splitlines() if path.is_file() else ():
        kind, name, listed = line.split(" ")
        seeds = [int(seed) for seed in listed.split(",") if seed]
        if kind == ">":
            doubt = (name, seeds)
            continue
        doubt = None
        if seeds:
            state[name] = seeds
        else:
            state.pop(name, None)
    return state, doubt


def start(place: Path, mark: str, seed: int) -> subprocess.Popen[str]:
    """A writer that has begun."""
    command = [sys.executable, __file__, "--writer", mark, "--place", str(place), "--seed", str(seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert writer.stdout is not None
    if writer.stdout.readline() != "ready\n":
        raise SystemExit(f"writer {mark} did not start")
    return writer


def check(place: Path, files: dict[int, str]) -> list[str]:
    """Everything that is wrong, when no writer runs. What was in doubt is settled in the logs by what is there."""
    with ConceptDatabase(place / "db", create=True) as database:
        wrong = list(verify(database).problems)
        there = {concept.name: concept for concept in database.concepts()}
        if len(there.pop(BASE).pictures) != BASE_VECTORS:
            wrong.append("the base has lost vectors")
        expected: State = {}
        for mark in "ab":
            state, doubt = replay(place, mark)
            if doubt is not None:
                name, seeds = doubt
                before, found = state.get(name), there.get(name)
                now = None if found is None else sorted(s for s, f in files.items() if f in names_of(found))
                if now not in (before, seeds or None):
                    wrong.append(f"{name} is half there: {now}, neither {before} nor {seeds}")
                state = {**state, name: now} if now else {key: value for key, value in state.items() if key != name}
                with (place / f"{mark}.log").open("a") as log:
                    log.write(f"= {name} {','.join(map(str, now or []))}\n")
            expected |= state
        wrong += [f"{name} is lost" for name in expected if name not in there]
        wrong += [f"{name} should not be there" for name in there if name not in expected]
        for name in set(expected) & set(there):
            concept, seeds = there[name], expected[name]
            if names_of(concept) != {files[seed] for seed in seeds} or concept.info != f"has {len(seeds)}":
                wrong.append(f"{name} has the wrong pictures or info")
        wrong += search_faults(database, expected)
    return wrong


def names_of(concept: Any) -> set[str]:
    """The picture files of a concept."""
    return {picture.path.name for picture in concept.pictures}


def search_faults(database: ConceptDatabase, expected: State) -> list[str]:
    """Whether a search for each picture of the pool finds exactly the concepts that have it, first of all."""
    index = VectorIndex(database, ENCODER, DIMENSION, kind="hnsw")
    wrong = []
    for seed, found in enumerate(index.search(vectors(list(range(POOL))), 2 * KEPT + 2)):
        owners = {name for name, seeds in expected.items() if seed in seeds}
        ids = [match.concept for match in found if match.score > 0.999]
        names = {concept.name for concept in database.concepts(ids)}
        if names != owners:
            wrong.append(f"a search for picture {seed} finds {sorted(names ^ owners)[:3]} wrongly or not")
    return wrong


def run(place: Path, kills: int, seed: int) -> int:
    """Kill writers and check; gives the number of faults."""
    rng = random.Random(seed)
    files = {number: picture.file for number, picture in enumerate(pool(place))}
    make_database(place)
    faults, done, began = 0, 0, time.monotonic()
    while done < kills:
        writers = [start(place, mark, seed + done + 1) for mark in "ab"]
        for turn, writer in enumerate(writers):
            time.sleep(rng.uniform(0.02, 0.5))
            writer.kill()
            writer.wait()
            done += 1
            if turn == 0:  # the other one is at work meanwhile
                with ConceptDatabase(place / "db", create=True) as database:
                    wrong = [f"while the other writes: {line}" for line in verify(database).problems]
            else:
                wrong = check(place, files)
            faults += len(wrong)
            for line in wrong:
                print(f"after kill {done}: {line}")
    with ConceptDatabase(place / "db", create=True) as database:
        changes, concepts = database.revision, len(database)
    print(
        f"{done} kills in {time.monotonic() - began:.0f} s, {changes} changes of vectors, "
        f"{concepts} concepts at the end: {faults} faults"
    )
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="how many kills (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and of what the writers do")
    parser.add_argument("--writer", help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.writer:
        write(options.place, options.writer, options.seed)
        return
    with tempfile.TemporaryDirectory() as place:
        sys.exit(1 if run(Path(place), options.kills, options.seed) else 0)


if __name__ == "__main__":
    main()
