"""Several processes on one database, and processes that are killed in the middle of a change."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from repic_cli.concepts.concept import Concept
from repic_cli.concepts.store import ConceptDatabase

AddTo = Callable[..., Concept]
Files = Callable[[ConceptDatabase], set[str]]

WRITER = """
import os, sys
import numpy as np
from PIL import Image
from repic_cli.concepts.concept import NewConcept
from repic_cli.concepts.pictures import read_picture
from repic_cli.concepts.store import ConceptDatabase

folder, mark = sys.argv[1:3]

def picture(seed):
    path = f"{folder}-{mark}-{seed}.png"
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)).save(path)
    return read_picture(path)

def add(database, name, seed):
    concept = NewConcept(name, [picture(seed)], np.eye(4, dtype=np.float32)[:1])
    database.add(concept, "embedded", "embedded@test")

database = ConceptDatabase(folder, create=True)
"""
ADD_MANY = WRITER + "for n in range(12): add(database, f'{mark}{n}', n)"
DIE = """
times = []
def die(statement):
    if statement.startswith(sys.argv[3]):
        times.append(statement)
        if len(times) == int(sys.argv[4]):
            os.kill(os.getpid(), 9)
database._connection.set_trace_callback(die)
"""


def start(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], stderr=subprocess.PIPE)


def check(database: ConceptDatabase, stored_files: Files) -> None:
    """Every concept is whole; every file belongs to one."""
    concepts = database.concepts()
    named = {picture.path.name for concept in concepts for picture in concept.pictures}
    assert all(concept.pictures for concept in concepts)
    assert named == {name for name in stored_files(database) if not name.startswith(".")}
    assert len(database.vectors("embedded@test", 4)[0]) == sum(len(concept.pictures) for concept in concepts)


def test_two_processes_add_at_once(tmp_path: Path, stored_files: Files) -> None:
    """Into a new database, with the same twelve pictures."""
    folder = tmp_path / "mydb"
    writers = [start(ADD_MANY, folder, mark) for mark in ("a", "b")]
    assert [writer.communicate()[1] for writer in writers] == [b"", b""]
    with ConceptDatabase(folder) as database:
        assert {concept.name for concept in database.concepts()} == {f"{mark}{n}" for mark in "ab" for n in range(12)}
        assert len(stored_files(database)) == 12
        check(database, stored_files)


@pytest.mark.parametrize("moment", ["INSERT INTO concepts", "INSERT OR REPLACE INTO embeddings", "COMMIT"])
def test_killed_while_adding(tmp_path: Path, add: AddTo, moment: str, stored_files: Files) -> None:
    folder = tmp_path / "mydb"
    with ConceptDatabase(folder, create=True) as database:
        add(database, "bo", (1,))
        writer = start(WRITER + DIE + "add(database, 'thao', 5)", folder, "w", moment, 1)
        assert writer.wait() == -9
        assert [concept.name for concept in database.concepts()] == ["bo"]
        assert len(stored_files(database)) == 3  # the picture of the killed one, and the note about it
        add(database, "gus", (2,))  # the next change clears up
        assert len(stored_files(database)) == 2
        check(database, stored_files)


@pytest.mark.parametrize("moment", ["DELETE FROM", "COMMIT"])
def test_killed_while_removing(tmp_path: Path, add: AddTo, moment: str, stored_files: Files) -> None:
    folder = tmp_path / "mydb"
    with ConceptDatabase(folder, create=True) as database:
        add(database, "bo", (1,))
        assert start(WRITER + DIE + "database.remove('bo')", folder, "w", moment, 1).wait() == -9
        assert database.find("bo").picture.path.is_file()
        check(database, stored_files)


def test_killed_before_the_files_of_a_removed_concept_are_gone(tmp_path: Path, add: AddTo, stored_files: Files) -> None:
    folder = tmp_path / "mydb"
    with ConceptDatabase(folder, create=True) as database:
        add(database, "bo", (1,))
        add(database, "thao", (2,))
        # Files are deleted in a second transaction, when the rows are surely gone.
        assert start(WRITER + DIE + "database.remove('bo')", folder, "w", "BEGIN", 2).wait() == -9
        assert [concept.name for concept in database.concepts()] == ["thao"]
        add(database, "gus", (2,))  # the next change clears up
        assert len(stored_files(database)) == 1
        check(database, stored_files)
