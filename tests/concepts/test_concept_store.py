"""The store: what goes in comes out, names are unique, nothing is half there, strangers' files are refused."""

from __future__ import annotations

import resource
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from repic_cli.concepts import schema
from repic_cli.concepts.concept import Concept, NewConcept
from repic_cli.concepts.pictures import read_picture
from repic_cli.concepts.store import ConceptDatabase
from repic_plugins.errors import DatabaseError, DataError

AddTo = Callable[..., Concept]
Files = Callable[[ConceptDatabase], set[str]]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[ConceptDatabase]:
    with ConceptDatabase(tmp_path / "mydb", create=True) as opened:
        yield opened


def test_what_goes_in_comes_out(database: ConceptDatabase, add: AddTo) -> None:
    added = add(database, "Bo", (1, 2), info="A brown\n dog.", category="dog", aliases=("Bobby", "BO"))
    with ConceptDatabase(database.folder) as again:
        (found,) = again.concepts()
        assert found == added
        assert again.encoder == "embedded"
    assert (found.name, found.info, found.category, found.aliases) == ("Bo", "A brown dog.", "dog", ("Bobby",))
    assert [picture.source for picture in found.pictures] == ["1.png", "2.png"]
    assert all(picture.path.is_file() and picture.size == (40, 30) for picture in found.pictures)


def test_vectors_come_back_by_picture(database: ConceptDatabase, add: AddTo) -> None:
    add(database, "bo", (1, 2))
    add(database, "thao", (3,))
    ids, vectors = database.vectors("embedded@test", 4)
    assert ids.tolist() == [[1, 1], [2, 1], [3, 2]]
    np.testing.assert_array_equal(vectors, np.eye(4)[[1, 2, 3]])
    assert len(database.vectors("another", 4)[0]) == 0


@pytest.mark.parametrize("name", ["bo", "BO", "<Bo>", "  bO "])
def test_a_name_is_taken_however_it_is_written(
    database: ConceptDatabase, add: AddTo, name: str, stored_files: Files
) -> None:
    add(database, "Bo", (1,))
    with pytest.raises(DatabaseError, match=r"there is a concept .* already; choose another name"):
        add(database, name, (2,))
    assert len(database) == 1
    assert len(stored_files(database)) == 1


def test_an_alias_is_taken_too(database: ConceptDatabase, add: AddTo) -> None:
    add(database, "Bo", (1,), aliases=("Straße",))
    with pytest.raises(DatabaseError, match="as another name of 'Bo'"):
        add(database, "STRASSE", (2,))
    with pytest.raises(DatabaseError, match="already"):
        add(database, "Max", (2,), aliases=("bo",))
    assert database.find("strasse").name == "Bo"


def test_unknown_name_lists_close_ones(database: ConceptDatabase, add: AddTo) -> None:
    add(database, "thao")
    with pytest.raises(DatabaseError, match="no concept 'tao'; did you mean thao"):
        database.find("tao")


def test_concepts_may_share_a_picture(database: ConceptDatabase, add: AddTo, stored_files: Files) -> None:
    add(database, "bo", (1, 2))
    add(database, "thao", (1,))
    assert len(stored_files(database)) == 2
    database.remove("bo")
    assert stored_files(database) == {database.find("thao").picture.path.name}
    database.remove("THAO")
    assert stored_files(database) == set()
    assert len(database) == 0
    assert len(database.vectors("embedded@test", 4)[0]) == 0


def test_the_same_picture_twice_is_kept_once(database: ConceptDatabase, add: AddTo) -> None:
    assert len(add(database, "bo", (1, 1)).pictures) == 1


def test_another_encoder_is_refused(
    database: ConceptDatabase, photo: Callable[..., Path], add: AddTo, stored_files: Files
) -> None:
    add(database, "bo", (1,))
    concept = NewConcept("thao", [read_picture(photo(seed=2))], np.eye(4, dtype=np.float32)[:1])
    with pytest.raises(DatabaseError, match="uses the encoder embedded, not ViT-B-32:openai"):
        database.add(concept, "ViT-B-32:openai", "ViT-B-32:openai")
    assert len(stored_files(database)) == 1


def test_vectors_of_a_new_encoder_version_are_filled_in(database: ConceptDatabase, add: AddTo) -> None:
    add(database, "bo", (1, 2))
    missing = database.without_vectors("embedded@new")
    assert [picture.id for picture in missing] == [1, 2]
    database.put_vectors("embedded@new", {1: np.eye(4, dtype=np.float32)[0], 99: np.eye(4, dtype=np.float32)[0]})
    assert [picture.id for picture in database.without_vectors("embedded@new")] == [2]
    assert len(database.vectors("embedded@new", 4)[0]) == 1


def test_no_picture_is_no_concept() -> None:
    with pytest.raises(DataError, match="has no picture"):
        NewConcept("bo", [], np.zeros((0, 4), np.float32))


def test_a_missing_picture_is_said_when_it_is_needed(database: ConceptDatabase, add: AddTo) -> None:
    concept = add(database, "bo", (1, 2))
    concept.pictures[0].path.unlink()
    assert concept.picture == concept.pictures[1]
    concept.pictures[1].path.unlink()
    with pytest.raises(DatabaseError, match="picture of concept 'bo' is missing"):
        _ = concept.picture


def test_missing_database(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="no concept database here"):
        ConceptDatabase(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_file_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DatabaseError, match="a concept database is a folder"):
        ConceptDatabase(tmp_path / "file", create=True)


def test_a_new_database_does_not_move_in_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("x")
    with pytest.raises(DatabaseError, match="not empty"):
        ConceptDatabase(tmp_path, create=True)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("create", [True, False])
def test_damaged_file(tmp_path: Path, create: bool) -> None:
    (tmp_path / schema.FILE).write_bytes(b"this is not SQLite" * 100)
    with pytest.raises(DatabaseError, match="damaged, or not a concept database"):
        ConceptDatabase(tmp_path, create=create)


def test_another_programs_sqlite_file(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / schema.FILE) as other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
    with pytest.raises(DatabaseError, match="not a concept database of repic"):
        ConceptDatabase(tmp_path, create=True)


def test_a_newer_version_is_refused(database: ConceptDatabase, tmp_path: Path) -> None:
    with sqlite3.connect(database.path) as other:
        other.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(DatabaseError, match="made by a newer repic"):
        ConceptDatabase(tmp_path / "mydb")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE pictures SET file = '../../../etc/passwd'", "damaged: picture 1 has the file name"),
        ("UPDATE pictures SET file = x'00'", "damaged: picture 1 has the file name"),
        ("UPDATE concepts SET name = '<|im_end|>'", "concept 1 is damaged: concept name"),
        ("UPDATE concepts SET info = 'a <|image_pad|> b'", "concept 1 is damaged: the info holds"),
        ("UPDATE concepts SET name = x'ff'", "concept 1 is damaged"),
    ],
)
def test_a_hostile_database_is_found_out(database: ConceptDatabase, add: AddTo, change: str, message: str) -> None:
    add(database, "bo")
    with sqlite3.connect(database.path) as other:
        other.execute(change)
    with pytest.raises(DatabaseError, match=message):
        database.concepts()


def test_vectors_of_a_hostile_database(database: ConceptDatabase, add: AddTo) -> None:
    add(database, "bo")
    with sqlite3.connect(database.path) as other:
        other.execute("UPDATE embeddings SET vector = ?", (np.full(4, np.nan, "<f4").tobytes(),))
    with pytest.raises(DatabaseError, match="values that are no numbers"):
        database.vectors("embedded@test", 4)


def test_full_disk_leaves_nothing(
    database: ConceptDatabase, photo: Callable[..., Path], add: AddTo, stored_files: Files
) -> None:
    add(database, "bo", (1,))
    before = stored_files(database)
    pictures = [read_picture(photo("small.png", 2)), read_picture(photo("large.png", 3, (400, 400)))]
    concept = NewConcept("thao", pictures, np.eye(4, dtype=np.float32)[:2])
    with no_room_for(200_000), pytest.raises(OSError, match="File too large") as error:
        database.add(concept, "embedded", "embedded@test")
    assert error.value.filename.endswith(pictures[1].file)
    assert [known.name for known in database.concepts()] == ["bo"]
    assert stored_files(database) == before
    database.add(concept, "embedded", "embedded@test")  # with room again


@pytest.mark.parametrize("size", [1_000, 20_000, 33_000])
def test_full_disk_leaves_no_new_database(tmp_path: Path, add: AddTo, size: int) -> None:
    with no_room_for(size), pytest.raises(DatabaseError, match=r"concepts\.db: .*disk .*full.* was changed"):
        ConceptDatabase(tmp_path / "new", create=True)
    assert not (tmp_path / "new").exists()
    with ConceptDatabase(tmp_path / "new", create=True) as database:  # with room again
        add(database, "bo")


def test_full_disk_leaves_a_folder_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with no_room_for(1_000), pytest.raises(DatabaseError):
        ConceptDatabase(tmp_path / "mine", create=True)
    assert (tmp_path / "mine").is_dir()


def test_a_database_with_tables_is_no_beginning(tmp_path: Path) -> None:
    with ConceptDatabase(tmp_path / "db", create=True) as database:
        assert not schema.is_beginning(database.path), "its tables may be in the log yet"
    assert not schema.is_beginning(database.path)


@contextmanager
def no_room_for(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size` bytes: writes fail as they do on a full disk."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
