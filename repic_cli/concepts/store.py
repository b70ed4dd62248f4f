"""The concept database: a folder with `concepts.db` (SQLite, the truth) and `pictures/` (copies of the references).

Several processes may read and write at once. A change is one transaction. Picture files are written before the rows
that name them are committed, and deleted after the rows are gone; `pictures/.pending` names the files of a change under
way, so that the next writer clears away what a killed one left. All file changes happen under SQLite's write lock.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from repic_cli.concepts import schema
from repic_cli.concepts.concept import Concept, NewConcept, StoredPicture
from repic_cli.concepts.pictures import is_file_name
from repic_cli.concepts.text import fold, safe_aliases, safe_category, safe_info
from repic_cli.data.names import safe_name
from repic_cli.files import write_file
from repic_plugins.errors import DatabaseError, DataError
from repic_plugins.text import clean, suggest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ConceptDatabase:
    """An open database. Close it, or use it in a `with` statement. All methods raise `DatabaseError`."""

    def __init__(self, folder: str | Path, create: bool = False) -> None:
        self.folder = Path(folder)
        self.path = self.folder / schema.FILE
        self.pictures = self.folder / schema.PICTURES
        if self.folder.exists() and not self.folder.is_dir():
            raise DatabaseError(f"{self.folder}: a concept database is a folder, not a file")
        made = False
        if create:
            self._check_place()
            made = not self.folder.exists()
            self.pictures.mkdir(parents=True, exist_ok=True)
        try:
            with self._explained():
                self._connection = schema.connect(self.path, create)
        except BaseException:
            if made:
                self._take_away()
            raise

    def _take_away(self) -> None:
        """Delete the beginning of a database that could not be made; it has no tables, so nothing can be in it."""
        with suppress(OSError):
            for ending in ("-wal", "-shm", "-journal", ""):
                self.path.with_name(schema.FILE + ending).unlink(missing_ok=True)
            self.pictures.rmdir()
            self.folder.rmdir()

    def _check_place(self) -> None:
        """A new database does not move in with other files, which nobody could tell from its own later."""
        if self.folder.is_dir() and not self.path.exists():
            other = next((path for path in self.folder.iterdir() if path != self.pictures), None)
            if other is not None:
                raise DatabaseError(f"{self.folder}: not a concept database, and not empty; give a new folder")

    def __enter__(self) -> ConceptDatabase:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def __len__(self) -> int:
        with self._explained():
            return int(self._connection.execute("SELECT count(*) FROM concepts").fetchone()[0])

    def __repr__(self) -> str:
        return f"ConceptDatabase({str(self.folder)!r}, {len(self)} concepts, encoder {self.encoder})"

    @property
    def encoder(self) -> str | None:
        """The encoder that was chosen with the first concept (`embedded`, `ViT-L-14-336:openai`); None before it."""
        with self._explained():
            row = self._connection.execute("SELECT value FROM settings WHERE key = 'encoder'").fetchone()
        return None if row is None else str(row["value"])

    def concepts(self, ids: Iterable[int] | None = None) -> list[Concept]:
        """All concepts by name, or those with the given ids in their order."""
        with self._explained():
            if ids is not None:
                return [self._load(row) for number in ids for row in self._rows("WHERE id = ?", number)]
            return sorted((self._load(row) for row in self._rows()), key=lambda concept: fold(concept.name))

    def names(self) -> list[str]:
        """All names, without aliases."""
        with self._explained():
            return [str(row["name"]) for row in self._rows("ORDER BY name")]

    def find(self, name: str) -> Concept:
        """The concept of that name or alias, however it is capitalised. Raises with close matches if there is none."""
        bare = safe_name(name)
        with self._explained():
            row = self._owner(bare)
            if row is None:
                raise DatabaseError(f"{self.folder}: no concept {bare!r}{suggest(bare, self.names())}")
            return self._load(row)

    def add(self, concept: NewConcept, encoder: str, vectors_of: str) -> Concept:
        """Store a concept with its pictures and their vectors, or nothing at all.

        `encoder` is the choice that the database keeps, `vectors_of` the exact id of the encoder that made the vectors.
        Raises if a name is taken, or if the database was begun with another encoder.
        """
        files = {picture.file: picture for picture in concept.pictures}
        with self._change(files):
            self._keep_encoder(encoder)
            self.check_free((concept.name, *concept.aliases))
            for picture in files.values():
                if not (self.pictures / picture.file).is_file():
                    write_file(self.pictures / picture.file, picture.data)
            _sync(self.pictures)
            number = self._insert(concept, vectors_of)
        return self.concepts([number])[0]

    def remove(self, name: str) -> Concept:
        """Take a concept out with its vectors, and the pictures that no other concept has; gives what it was."""
        concept = self.find(name)
        with self._change([picture.path.name for picture in concept.pictures]):
            gone = self._connection.execute("DELETE FROM concepts WHERE id = ?", (concept.id,)).rowcount
            if not gone:
                raise DatabaseError(f"{self.folder}: concept {concept.name!r} was removed by another process")
        return concept

    def vectors(self, encoder: str, dimension: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """All vectors of an encoder: (N, 2) picture and concept ids, (N, dimension) values, by picture id."""
        import numpy as np

        query = """SELECT picture_id, concept_id, vector FROM embeddings JOIN pictures ON pictures.id = picture_id
                   WHERE encoder = ? AND dimension = ? ORDER BY picture_id"""
        with self._explained():
            rows = self._connection.execute(query, (encoder, dimension)).fetchall()
        ids = np.array([(row["picture_id"], row["concept_id"]) for row in rows], np.int64).reshape(-1, 2)
        values = np.frombuffer(b"".join(row["vector"] for row in rows), np.dtype("<f4")).reshape(-1, dimension)
        if not np.isfinite(values).all():
            raise DatabaseError(f"{self.path}: damaged: a vector holds values that are no numbers")
        return ids, values

    def without_vectors(self, encoder: str) -> list[StoredPicture]:
        """Pictures that this encoder has not seen: it came in another version since they were added."""
        query = """SELECT * FROM pictures WHERE NOT EXISTS
                   (SELECT 1 FROM embeddings WHERE picture_id = pictures.id AND encoder = ?) ORDER BY id"""
        with self._explained():
            return [self._picture(row) for row in self._connection.execute(query, (encoder,))]

    def put_vectors(self, encoder: str, vectors: Mapping[int, NDArray[np.float32]]) -> None:
        """Keep vectors by picture id; pictures that are gone by now are passed over."""
        with self._change():
            for picture, vector in vectors.items():
                if self._connection.execute("SELECT 1 FROM pictures WHERE id = ?", (picture,)).fetchone():
                    self._put_vector(picture, encoder, vector)

    def _keep_encoder(self, encoder: str) -> None:
        self._connection.execute("INSERT OR IGNORE INTO settings VALUES ('encoder', ?)", (encoder,))
        self.check_encoder(encoder)

    def check_encoder(self, encoder: str | None) -> None:
        """Raise if the database was begun with another encoder than this choice; None fits every one."""
        kept = self.encoder
        if None not in (kept, encoder) and kept != encoder:
            raise DatabaseError(
                f"{self.folder}: this database uses the encoder {kept}, not {encoder}; "
                "leave --encoder out, or begin another database"
            )

    def check_free(self, names: Sequence[str]) -> None:
        """Raise if one of the names belongs to a concept already, as its name or as an alias."""
        for name in names:
            with self._explained():
                owner = self._owner(name)
            if owner is not None:
                known = "" if fold(owner["name"]) == fold(name) else f" (as another name of {owner['name']!r})"
                raise DatabaseError(
                    f"{self.folder}: there is a concept {name!r} already{known}; choose another name, or first "
                    f"`repic db remove {self.folder} {owner['name']}`"
                )

    def _insert(self, concept: NewConcept, encoder: str) -> int:
        run = self._connection.execute
        created = datetime.now(UTC).isoformat(timespec="seconds")
        row = (concept.name, concept.info, concept.category, created)
        number = run("INSERT INTO concepts (name, info, category, created) VALUES (?, ?, ?, ?)", row).lastrowid
        assert number is not None
        for text in (concept.name, *concept.aliases):
            run("INSERT INTO spellings VALUES (?, ?, ?)", (fold(text), text, number))
        stored: set[str] = set()
        for picture, vector in zip(concept.pictures, concept.vectors, strict=True):
            if picture.file not in stored:
                stored.add(picture.file)
                values = (number, picture.file, *picture.size, clean(picture.source, 200))
                sql = "INSERT INTO pictures (concept_id, file, width, height, source) VALUES (?, ?, ?, ?, ?)"
                self._put_vector(run(sql, values).lastrowid, encoder, vector)
        return number

    def _put_vector(self, picture: int | None, encoder: str, vector: NDArray[np.float32]) -> None:
        data = vector.astype("<f4").tobytes()
        row = (picture, encoder, len(vector), data)
        self._connection.execute("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?)", row)

    def _rows(self, where: str = "", *values: object) -> Iterator[sqlite3.Row]:
        return iter(self._connection.execute(f"SELECT * FROM concepts {where}", values).fetchall())

    def _owner(self, name: str) -> sqlite3.Row | None:
        where = "WHERE id = (SELECT concept_id FROM spellings WHERE folded = ?)"
        return next(self._rows(where, fold(name)), None)

    def _load(self, row: sqlite3.Row) -> Concept:
        """A concept from its row; a database may come from a stranger, so the texts are checked again."""
        run = self._connection.execute
        try:
            name, info, category = safe_name(row["name"]), safe_info(row["info"]), safe_category(row["category"])
            texts = [text["text"] for text in run("SELECT text FROM spellings WHERE concept_id = ?", (row["id"],))]
            aliases = safe_aliases(texts, name)
        except (DataError, TypeError) as error:
            raise DatabaseError(f"{self.path}: concept {row['id']} is damaged: {error}") from error
        found = run("SELECT * FROM pictures WHERE concept_id = ? ORDER BY id", (row["id"],)).fetchall()
        pictures = tuple(self._picture(picture) for picture in found)
        return Concept(int(row["id"]), name, info, category, clean(row["created"], 40), aliases, pictures)

    def _picture(self, row: sqlite3.Row) -> StoredPicture:
        if not is_file_name(row["file"]):
            raise DatabaseError(
                f"{self.path}: damaged: picture {row['id']} has the file name {clean(row['file'], 80)!r}"
            )
        size = (int(row["width"]), int(row["height"]))
        return StoredPicture(int(row["id"]), self.pictures / row["file"], size, clean(row["source"], 200))

    @contextmanager
    def _change(self, files: Iterable[str] = ()) -> Iterator[None]:
        """One transaction that may add or drop these picture files."""
        with self._explained():
            try:
                with self._locked():
                    self._clear_pending()
                    names = sorted(files)
                    if names:
                        write_file(self.pictures / ".pending", "\n".join(names))
                    yield
            finally:
                with suppress(sqlite3.Error, OSError), self._locked():  # else the next writer does it
                    self._clear_pending()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _clear_pending(self) -> None:
        """Delete the files of the last change that no row names. Runs under the write lock."""
        pending = self.pictures / ".pending"
        try:
            names = pending.read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            return
        for name in filter(is_file_name, names):
            if not self._connection.execute("SELECT 1 FROM pictures WHERE file = ?", (name,)).fetchone():
                (self.pictures / name).unlink(missing_ok=True)
            for partial in self.pictures.glob(f".{name}.*.partial"):
                partial.unlink(missing_ok=True)
        pending.unlink(missing_ok=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors in words."""
        try:
            yield
        except sqlite3.Error as error:
            text = str(error)
            name = getattr(error, "sqlite_errorname", "")
            if "locked" in text or "busy" in text:
                why = f"another process has been writing for {schema.WAIT_SECONDS:.0f} s; try again"
            elif "full" in text:
                why = "the disk is full; nothing was changed"
            elif name.startswith("SQLITE_IOERR"):  # also when the disk is full at a bad moment
                why = f"cannot be read or written ({text}); is the disk full? Nothing was changed"
            elif "readonly" in text or "unable to open" in text:
                why = f"cannot be opened or written ({text}); check the permissions of the folder"
            else:
                why = f"damaged, or not a concept database ({text})"
            raise DatabaseError(f"{self.path}: {why}") from error


def _sync(folder: Path) -> None:
    """Have the names of new files on the disk before the rows that tell of them."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
