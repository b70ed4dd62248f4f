"""Databases of the first version: made here by its own SQL, as it was released, and opened by this one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repic_cli.concepts import schema
from repic_cli.concepts.concept import NewConcept, Update
from repic_cli.concepts.pictures import read_picture
from repic_cli.concepts.store import ConceptDatabase
from repic_cli.concepts.verify import verify
from repic_plugins.errors import DatabaseError

# Not imported: the point is that it never changes.
VERSION_1 = """
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE concepts (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, info TEXT NOT NULL, category TEXT NOT NULL,
  created TEXT NOT NULL
);
CREATE TABLE spellings (
  folded TEXT PRIMARY KEY, text TEXT NOT NULL, concept_id INTEGER NOT NULL REFERENCES concepts ON DELETE CASCADE
);
CREATE INDEX spellings_of_concept ON spellings (concept_id);
CREATE TABLE pictures (
  id INTEGER PRIMARY KEY AUTOINCREMENT, concept_id INTEGER NOT NULL REFERENCES concepts ON DELETE CASCADE,
  file TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, source TEXT NOT NULL, UNIQUE (concept_id, file)
);
CREATE INDEX pictures_of_file ON pictures (file);
CREATE TABLE embeddings (
  picture_id INTEGER NOT NULL REFERENCES pictures ON DELETE CASCADE, encoder TEXT NOT NULL,
  dimension INTEGER NOT NULL, vector BLOB NOT NULL CHECK (length(vector) = 4 * dimension),
  PRIMARY KEY (picture_id, encoder)
) WITHOUT ROWID;
PRAGMA user_version = 1;
PRAGMA application_id = 1919250537;
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database of version 1 with the concepts Bo (also Bobby) and thao, who share a picture."""
    folder = tmp_path / "old"
    (folder / "pictures").mkdir(parents=True)
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    picture = read_picture(tmp_path / "red.png")
    (folder / "pictures" / picture.file).write_bytes(picture.data)
    with sqlite3.connect(folder / schema.FILE) as connection:
        connection.executescript(VERSION_1)
        run = connection.execute
        run("INSERT INTO settings VALUES ('encoder', 'embedded')")
        run("INSERT INTO concepts VALUES (1, 'Bo', 'A dog.', 'dog', '2025-01-01'), (4, 'thao', '', '', '2025-01-02')")
        run("INSERT INTO spellings VALUES ('bo', 'Bo', 1), ('bobby', 'Bobby', 1), ('thao', 'thao', 4)")
        for number, concept in ((2, 1), (3, 4)):
            vector = np.eye(4, dtype="<f4")[number].tobytes()
            run("INSERT INTO pictures VALUES (?, ?, ?, 40, 30, 'red.png')", (number, concept, picture.file))
            run("INSERT INTO embeddings VALUES (?, 'embedded@test', 4, ?)", (number, vector))
    connection.close()
    return folder


def test_nothing_is_lost(old: Path) -> None:
    with ConceptDatabase(old) as database:
        bo, thao = database.concepts()
        assert (bo.id, bo.name, bo.key, bo.aliases, bo.info, bo.category) == (
            1,
            "Bo",
            "Bo",
            ("Bobby",),
            "A dog.",
            "dog",
        )
        assert (bo.pictures[0].size, bo.pictures[0].box) == ((40, 30), None)
        assert (thao.key, thao.created) == ("thao", "2025-01-02")
        assert database.encoder == "embedded"
        ids, vectors = database.vectors("embedded@test", 4)
        assert ids.tolist() == [[2, 1], [3, 4]]
        np.testing.assert_array_equal(vectors, np.eye(4)[[2, 3]])
        assert not verify(database).problems


def test_old_databases_get_all_that_new_ones_have(old: Path, tmp_path: Path) -> None:
    with ConceptDatabase(old) as migrated, ConceptDatabase(tmp_path / "new", create=True) as fresh:
        tables = "SELECT type, name, tbl_name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
        columns = "SELECT m.name, c.name, c.type FROM sqlite_master m, pragma_table_info(m.name) c ORDER BY 1, 2"
        for query in (tables, columns, "PRAGMA user_version", "PRAGMA application_id"):
            with migrated.reading() as one, fresh.reading() as other:
                assert [tuple(row) for row in one.execute(query)] == [tuple(row) for row in other.execute(query)]


def test_an_old_database_can_be_changed(old: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "blue").save(tmp_path / "blue.png")
    picture = read_picture(tmp_path / "blue.png", (1, 2, 30, 20))
    with ConceptDatabase(old) as database:
        before = database.revision
        database.add(NewConcept("gus", [picture], np.eye(4, dtype=np.float32)[:1]), "embedded", "embedded@test")
        assert database.revision > before
        assert database.update("bobby", Update(name="Bobo")).key == "Bo"
        database.remove("thao")
        assert [concept.name for concept in database.concepts()] == ["Bobo", "gus"]
        assert not verify(database).problems


def test_a_migration_that_fails_leaves_the_old_file(old: Path) -> None:
    with sqlite3.connect(old / schema.FILE) as connection:
        connection.execute("CREATE TABLE changes (mine TEXT)")  # as a stranger's file may have it
    connection.close()
    before = (old / schema.FILE).read_bytes()
    with pytest.raises(DatabaseError, match="table changes already exists"):
        ConceptDatabase(old)
    with sqlite3.connect(old / schema.FILE) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 1
        assert connection.execute("SELECT count(*) FROM concepts").fetchone()[0] == 2
        assert "key" not in [row[1] for row in connection.execute("PRAGMA table_info(concepts)")]
    assert len(before) <= (old / schema.FILE).stat().st_size
