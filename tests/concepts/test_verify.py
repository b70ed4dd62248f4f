"""`verify` finds what is lost, damaged or left over, and nothing else; it runs while others write."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from repic_cli.concepts.concept import Concept, NewConcept
from repic_cli.concepts.pictures import lost_picture
from repic_cli.concepts.statistics import statistics
from repic_cli.concepts.store import ConceptDatabase
from repic_cli.concepts.verify import verify

AddTo = Callable[..., Concept]


@pytest.fixture
def database(tmp_path: Path, add: AddTo) -> Iterator[ConceptDatabase]:
    with ConceptDatabase(tmp_path / "mydb", create=True) as opened:
        add(opened, "bo", (1, 2), category="dog")
        add(opened, "thao", (3,))
        yield opened


def change(database: ConceptDatabase, sql: str, *values: object) -> None:
    with sqlite3.connect(database.path) as other:
        other.execute(sql, values)
    other.close()


def test_a_sound_database(database: ConceptDatabase) -> None:
    heard: list[tuple[int, int]] = []
    found = verify(database, tell=lambda done, total: heard.append((done, total)))
    assert (found.concepts, found.pictures, found.vectors, found.problems, found.notes) == (2, 3, 3, [], [])
    assert heard == [(2, 2)]


def test_lost_and_damaged_pictures(database: ConceptDatabase) -> None:
    first, second = database.find("bo").pictures
    first.path.unlink()
    second.path.write_bytes(second.path.read_bytes()[:-1] + b"x")
    missing, damaged = verify(database).problems
    assert "concept 'bo'" in missing and "is missing" in missing
    assert "is damaged" in damaged
    assert len(verify(database, files=False).problems) == 1


def test_a_link_in_place_of_a_picture(database: ConceptDatabase, tmp_path: Path) -> None:
    path = database.find("thao").picture.path
    path.rename(tmp_path / "elsewhere.png")
    path.symlink_to(tmp_path / "elsewhere.png")
    (problem,) = verify(database).problems
    assert "is a link" in problem


def test_strays_and_strange_files(database: ConceptDatabase) -> None:
    (database.pictures / f"{'0' * 64}.png").write_bytes(b"x")
    (database.pictures / "letter.txt").write_text("x")
    found = verify(database)
    assert len(found.problems) == 1 and "no concept has this picture" in found.problems[0]
    assert "letter.txt" in found.notes[0]


def test_what_a_killed_writer_left_is_no_problem(database: ConceptDatabase) -> None:
    name = f"{'0' * 64}.png"
    (database.pictures / name).write_bytes(b"x")
    (database.pictures / ".pending").write_text(name)
    found = verify(database)
    assert not found.problems
    assert "the next one clears up" in found.notes[0]


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("DELETE FROM spellings WHERE concept_id = 1", "cannot be found by its name"),
        ("UPDATE spellings SET folded = 'x', text = 'x' WHERE concept_id = 1", "cannot be found as 'bo'"),
        ("UPDATE concepts SET key = 'thao' WHERE id = 1", "cannot be found as 'thao'"),
        ("DELETE FROM concepts WHERE id = 1", "belongs to nothing"),
        ("UPDATE concepts SET name = '<|im_end|>' WHERE id = 1", "concept 1 is damaged"),
        ("UPDATE pictures SET file = '../x' WHERE id = 1", "has the file name '../x'"),
        ("UPDATE pictures SET x1 = 5, y1 = 5, x2 = 1, y2 = 9", "has an empty box"),
        ("UPDATE pictures SET x1 = 5", "has a box that is none"),
        ("UPDATE pictures SET width = 'a' WHERE id = 1", "has no size"),
        ("UPDATE embeddings SET vector = zeroblob(16)", "is not of unit length"),
    ],
)
def test_damaged_rows(database: ConceptDatabase, sql: str, problem: str) -> None:
    change(database, sql)
    assert any(problem in line for line in verify(database).problems)


def test_a_damaged_file(database: ConceptDatabase) -> None:
    folder, path = database.folder, database.path
    with database.reading() as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'pictures_of_file'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    database.close()
    data = bytearray(path.read_bytes())
    data[(page - 1) * size + 8 : page * size] = bytes(size - 8)
    path.write_bytes(data)
    with ConceptDatabase(folder) as again:
        assert any("damaged" in line for line in verify(again).problems)


def test_concepts_without_pictures_are_told(database: ConceptDatabase) -> None:
    vector = np.eye(4, dtype=np.float32)[:1]
    database.add(NewConcept("gus", [lost_picture(vector[0], "gus.jpg")], vector), "embedded", "embedded@test")
    database.add(NewConcept("max", [], vector[:0], without_pictures=True), "embedded", "embedded@test")
    found = verify(database)
    assert not found.problems
    assert any("'gus' has vectors only" in line for line in found.notes)
    assert any("'max' has neither" in line for line in found.notes)


def test_numbers(database: ConceptDatabase) -> None:
    found = statistics(database)
    assert (found["concepts"], found["pictures"], found["without_picture"]) == (2, 3, 0)
    assert found["vectors"] == [{"encoder": "embedded@test", "dimension": 4, "count": 3}]
    assert found["categories"] == {"dog": 1}
    assert found["bytes_of_pictures"] > 3000


@pytest.mark.slow
def test_two_writers_killed_at_random_moments() -> None:
    """A few of the 200 that `nox -s crashes` runs."""
    script = Path(__file__).parents[2] / "benchmarks/_crashes.py"
    done = subprocess.run([sys.executable, script, "--kills", "4"], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("0 faults\n")
