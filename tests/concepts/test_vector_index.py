"""The search index: exact answers, always what the database holds, whatever happens to its file."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from repic_cli.concepts import vector_index
from repic_cli.concepts.concept import NewConcept
from repic_cli.concepts.index_kinds import FaissIndex, available_memory, plan, recall
from repic_cli.concepts.index_parts import views
from repic_cli.concepts.pictures import lost_picture
from repic_cli.concepts.store import ConceptDatabase
from repic_cli.concepts.vector_index import KIND_SETTING, VectorIndex
from repic_plugins.errors import DatabaseError, OptionError

ENCODER = "made@up"
DIMENSION = 32


def unit(values: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.ascontiguousarray(values / np.linalg.norm(values, axis=-1, keepdims=True), np.float32)


def concepts(count: int, pictures: int = 2, seed: int = 0) -> NDArray[np.float32]:
    """Vectors (count, pictures, DIMENSION): those of a concept are near to each other."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(count, 1, DIMENSION))
    return unit(centres + 0.3 * rng.normal(size=(count, pictures, DIMENSION)))


def put(database: ConceptDatabase, vectors: NDArray[np.float32], first: int = 0) -> None:
    """Add concepts called `c<number>`, of category `even` or `odd`."""
    made = [
        NewConcept(
            f"c{number}",
            [lost_picture(vector, f"c{number}") for vector in group],
            group,
            category="odd" if number % 2 else "even",
        )
        for number, group in enumerate(vectors, first)
    ]
    database.add_many(made, "embedded", ENCODER)


def names(database: ConceptDatabase, ids: list[int]) -> list[str]:
    return [concept.name for concept in database.concepts(ids)]


LARGE = concepts(1000)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vectors") / "db"
    with ConceptDatabase(folder, create=True) as database:
        put(database, LARGE)
    return folder


@pytest.fixture
def database(tmp_path: Path, prepared: Path) -> Iterator[ConceptDatabase]:
    """A thousand concepts of two pictures each."""
    shutil.copytree(prepared, tmp_path / "db")
    with ConceptDatabase(tmp_path / "db") as opened:
        yield opened


def open_index(database: ConceptDatabase, kind: str | None = None, renew: bool = False) -> VectorIndex:
    return VectorIndex(database, ENCODER, DIMENSION, kind, renew)


def found(index: VectorIndex, vector: np.ndarray, count: int = 1, **options: str) -> list[str]:
    (matches,) = index.search(unit(vector)[None], count, **options)
    return names(index.stored.database, [match.concept for match in matches])


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf", "ivfpq"])
def test_each_kind_finds_the_concepts_with_exact_scores(database: ConceptDatabase, kind: str) -> None:
    index = open_index(database, kind)
    queries = unit(LARGE[::50, 0] + LARGE[::50, 1])
    cosines = (queries @ LARGE.reshape(-1, DIMENSION).T).reshape(len(queries), -1, 2).max(2)  # (Q, concepts)
    right = 0
    for line, matches in zip(cosines, index.search(queries, 3), strict=True):
        best = np.argsort(-line)[:3]
        right += len({f"c{number}" for number in best} & set(names(database, [m.concept for m in matches])))
        assert [match.score for match in matches] == sorted((match.score for match in matches), reverse=True)
        assert matches[0].score == pytest.approx(line.max(), abs=1e-5)
    assert right / (3 * len(queries)) >= 0.95
    assert index.state.kind == kind
    assert index.state.recall >= 0.95
    assert index.path.is_file() == (kind != "flat")


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_a_category_filters_before_the_search(database: ConceptDatabase, kind: str) -> None:
    index = open_index(database, kind)
    assert found(index, LARGE[6, 0]) == ["c6"]
    odd = found(index, LARGE[6, 0], 5, category="ODD")
    assert len(odd) == 5
    assert all(int(name[1:]) % 2 for name in odd)
    assert found(index, LARGE[6, 0], category="cat") == []


def test_a_rare_category_is_found_by_approximate_indexes(database: ConceptDatabase) -> None:
    rare = concepts(2, seed=5)
    with database.writing() as connection:
        connection.execute("UPDATE concepts SET category = 'rare' WHERE name IN ('c10', 'c700')")
    for kind in ("hnsw", "ivf"):
        assert set(found(open_index(database, kind), rare[0, 0], 5, category="rare")) == {"c10", "c700"}


def test_many_pictures_of_one_concept_are_one_hit(tmp_path: Path) -> None:
    with ConceptDatabase(tmp_path / "db", create=True) as database:
        put(database, concepts(1, 300, seed=1))
        put(database, concepts(5, 1, seed=2), first=1)
        index = open_index(database)
        (matches,) = index.search(concepts(1, 1, seed=1)[0], 4)
        assert len({match.concept for match in matches}) == 4


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_what_is_added_and_removed_is_seen_at_once_without_a_new_index(database: ConceptDatabase, kind: str) -> None:
    index = open_index(database, kind)
    made = index.path.read_bytes() if kind == "ivf" else b""
    fresh = concepts(3, seed=7)
    with ConceptDatabase(database.folder) as other:
        put(other, fresh, first=1000)
        other.remove("c5")
    assert found(index, fresh[1, 0]) == ["c1001"]
    assert found(index, LARGE[5, 0]) != ["c5"]
    again = open_index(database)
    assert found(again, fresh[1, 0]) == ["c1001"]
    assert found(again, LARGE[5, 0]) != ["c5"]
    if kind == "ivf":
        assert index.path.read_bytes() == made
        assert again.state.pending == 6
    database.remove("c1001")
    assert found(again, fresh[1, 0]) != ["c1001"]
    assert len(again) == 2002


def test_a_vector_that_is_replaced(database: ConceptDatabase) -> None:
    index = open_index(database, "ivf")
    picture = database.find("c3").pictures[0].id
    moved = concepts(1, seed=9)[0, 0]
    database.put_vectors(ENCODER, {picture: moved})
    assert found(index, moved) == ["c3"]
    assert len(index) == 2000


def test_an_index_far_behind_takes_in_what_changed(database: ConceptDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_index, "_LEAST_BEHIND", 10)
    open_index(database, "ivf")
    more = concepts(100, seed=3)
    put(database, more, first=1000)
    database.remove("c0")
    database.put_setting(KIND_SETTING, "ivf")
    index = open_index(database)
    assert index.state.pending == 0
    assert index.state.note == ""
    assert len(index) == 2198
    assert found(index, more[50, 0]) == ["c1050"]
    assert found(index, LARGE[0, 0]) != ["c0"]


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "other", "missing", "text"])
def test_a_damaged_file_is_made_anew(database: ConceptDatabase, harm: str) -> None:
    database.put_setting(KIND_SETTING, "ivf")
    path = open_index(database).path
    data = bytearray(path.read_bytes())
    if harm == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif harm == "flip":
        data[len(data) // 3] ^= 1
        path.write_bytes(data)
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "other":
        open_index(database, "hnsw")
    elif harm == "missing":
        path.unlink()
    else:
        path.write_text("<html>" * 100)
    index = open_index(database)
    assert index.state.kind == "ivf"
    assert found(index, LARGE[77, 0]) == ["c77"]
    assert ("made anew" in index.state.note) == (harm in ("cut", "flip", "empty", "text"))
    assert open_index(database).state.note == ""


def test_an_older_copy_of_the_database_is_noticed(database: ConceptDatabase, tmp_path: Path) -> None:
    """Both histories have as many changes: only the mark of the last one tells them apart."""
    database.put_setting(KIND_SETTING, "ivf")
    with database.reading() as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    copy = tmp_path / "copy"
    shutil.copytree(database.folder, copy)
    put(database, concepts(1, seed=11), first=5000)
    open_index(database)
    shutil.copytree(database.folder / "index", copy / "index")
    with ConceptDatabase(copy) as older:
        put(older, concepts(1, seed=12), first=6000)
        index = open_index(older)
        assert "not the one it was made from" in index.state.note
        assert found(index, concepts(1, seed=12)[0, 0]) == ["c6000"]


def test_a_folder_that_cannot_be_written_to(database: ConceptDatabase) -> None:
    (database.folder / "index").write_text("in the way")
    index = open_index(database, "ivf")
    assert found(index, LARGE[8, 0]) == ["c8"]
    assert "could not be kept" in index.state.note


def test_a_vector_that_is_not_of_unit_length(database: ConceptDatabase) -> None:
    for wrong in (np.full(DIMENSION, 100, np.float32), np.full(DIMENSION, np.nan, np.float32)):
        database.put_vectors(ENCODER, {3: wrong})
        with pytest.raises(DatabaseError, match="the vector of picture 3 is not of unit length"):
            open_index(database)


OPEN = f"""
import sys
from repic_cli.concepts.store import ConceptDatabase
from repic_cli.concepts.vector_index import VectorIndex
with ConceptDatabase(sys.argv[1]) as database:
    print(len(VectorIndex(database, {ENCODER!r}, {DIMENSION})))
"""


def test_two_processes_make_the_index_at_once(database: ConceptDatabase) -> None:
    database.put_setting(KIND_SETTING, "ivf")
    command = [sys.executable, "-c", OPEN, str(database.folder)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=300)[0].strip() for process in started] == ["2000", "2000"]
    assert [path.name for path in (database.folder / "index").iterdir() if "partial" in path.name] == []


def test_the_kind_follows_size_and_memory() -> None:
    gigabyte = 10**9
    assert plan(1000, 768, memory=gigabyte).kind == "flat"
    assert plan(100_000, 768, memory=2 * gigabyte).kind == "hnsw"
    assert plan(100_000, 768, memory=gigabyte // 5).kind == "ivf"
    assert plan(1_000_000, 768, memory=4 * gigabyte).kind == "ivf"
    with pytest.raises(DatabaseError, match=r"takes about 0.8 GB, and 0.5 GB of memory are free; --kind ivfpq"):
        plan(1_000_000, 768, memory=gigabyte // 2)
    assert plan(1_000_000, 768, "ivfpq", gigabyte // 2).factory == "IVF4096,PQ96x8"
    with pytest.raises(OptionError, match="there are auto, flat"):
        plan(10, 8, "annoy")
    with pytest.raises(OptionError, match="needs at least 1000 vectors"):
        plan(10, 8, "ivf")
    assert 0 < available_memory() < 2**62


def test_effort_is_raised_until_the_recall_is_reached() -> None:
    vectors = concepts(2000, 1).reshape(-1, DIMENSION)
    index = FaissIndex.make(plan(2000, DIMENSION, "ivf"), DIMENSION, vectors)
    index.add(vectors)
    queries = views(np.random.default_rng(0), vectors, 50)
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
    truth = np.argsort(-(queries @ vectors.T), axis=1)[:, :5]
    reached = index.tune(queries, truth, 0.99)
    assert reached >= 0.99 or index.effort == index.index.nlist
    assert recall(np.array([[1, 2, 3]]), np.array([[3, 4, -1]])) == 0.5
