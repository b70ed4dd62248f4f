"""The concept database: a folder with `concepts.db` (SQLite, the truth) and `pictures/` (copies of the references).

Several processes may read and write at once. A change is one transaction (`repic_cli.concepts.transaction`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from repic_cli.concepts import changes, schema
from repic_cli.concepts.concept import Concept, NewConcept, StoredPicture, Update, all_names, other_names
from repic_cli.concepts.rows import Rows
from repic_cli.concepts.text import fold, safe_category, safe_info
from repic_cli.concepts.transaction import FileChanges, Transactions, explained
from repic_cli.concepts.writing import RowWriter
from repic_cli.data.names import safe_name
from repic_plugins.errors import DatabaseError
from repic_plugins.text import clean, suggest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SUGGEST_FROM = 5000
"""Names that are looked at for close matches: among a million nobody waits for that."""


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
        self._rows = Rows(self._connection, self.path, self.pictures)
        self._write = RowWriter(self._connection)
        self._transactions = Transactions(self._connection, self.pictures)

    def _take_away(self) -> None:
        """Delete the beginning of a database that could not be made, unless another process has made it meanwhile."""
        with suppress(OSError):
            if not schema.is_beginning(self.path):
                return
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
        with self.reading() as connection:
            return int(connection.execute("SELECT count(*) FROM concepts").fetchone()[0])

    def __repr__(self) -> str:
        return f"ConceptDatabase({str(self.folder)!r}, {len(self)} concepts, encoder {self.encoder})"

    def _repr_html_(self) -> str:
        from repic_cli.captioning.notebook import database_html

        return database_html(self)

    @property
    def encoder(self) -> str | None:
        """The encoder that was chosen with the first concept (`embedded`, `ViT-L-14-336:openai`); None before it."""
        return self.setting("encoder")

    @property
    def revision(self) -> int:
        """A number that grows with every change of a vector; see `repic_cli.concepts.changes`."""
        with self.reading() as connection:
            return changes.now(connection)[0]

    def setting(self, key: str) -> str | None:
        """A setting that is kept with the concepts, or None."""
        with self.reading() as connection:
            row = connection.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row["value"])

    def put_setting(self, key: str, value: str) -> None:
        """Keep a setting (a threshold, say) with the concepts."""
        with self.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, value))

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for queries; SQLite's errors become `DatabaseError`."""
        with self._explained():
            yield self._connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection under the write lock, in one transaction that changes no picture files."""
        with self._explained(), self._transactions.locked():
            yield self._connection

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All that is read meanwhile is of one moment, whatever others write."""
        with self._explained():
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("ROLLBACK")

    def concepts(self, ids: Iterable[int] | None = None) -> list[Concept]:
        """All concepts by name, or those with the given ids in their order."""
        with self._explained():
            return self._rows.all() if ids is None else self._rows.by_ids(ids)

    def names(self) -> list[str]:
        """All names, without aliases."""
        with self.reading() as connection:
            return [str(row["name"]) for row in connection.execute("SELECT name FROM concepts ORDER BY name")]

    def categories(self) -> dict[str, int]:
        """The categories of the concepts, each with its number of concepts, most frequent first; without `""`."""
        query = "SELECT category, count(*) FROM concepts WHERE category != '' GROUP BY category ORDER BY 2 DESC, 1"
        with self.reading() as connection:
            return {clean(row[0], 80): int(row[1]) for row in connection.execute(query)}

    def find(self, name: str) -> Concept:
        """The concept of that name, key or alias, however it is capitalised. Raises with close matches if none is."""
        bare = safe_name(name)
        with self._explained():
            row = self._rows.owner(bare)
            if row is None:
                query = "SELECT text FROM spellings LIMIT ?"
                known = [clean(found[0], 100) for found in self._connection.execute(query, (_SUGGEST_FROM,))]
                close = suggest(bare, known)
                hint = close if len(known) <= 20 or "did you mean" in close else f"; see `repic db list {self.folder}`"
                raise DatabaseError(f"{self.folder}: no concept {bare!r}{hint}")
            return self._rows.concepts([row])[0]

    def add(self, concept: NewConcept, encoder: str, vectors_of: str) -> Concept:
        """Store a concept with its pictures and their vectors, or nothing at all; see `add_many`."""
        return self.add_many([concept], encoder, vectors_of)[0]

    def add_many(self, concepts: Sequence[NewConcept], encoder: str, vectors_of: str) -> list[Concept]:
        """Store concepts with their pictures and vectors, all or none of them.

        `encoder` is the choice that the database keeps, `vectors_of` the exact id of the encoder that made the vectors.
        Raises if a name is taken, or if the database was begun with another encoder.
        """
        with self._change() as files:
            self._keep_encoder(encoder)
            ids = []
            files.write(picture for concept in concepts for picture in concept.pictures)
            for concept in concepts:
                self.check_free(concept.names)
                ids.append(self._write.insert(concept, vectors_of))
        return self.concepts(ids)

    def remove(self, name: str) -> Concept:
        """Take a concept out with its vectors, and the pictures that no other concept has; gives what it was."""
        return self.remove_many([name])[0]

    def remove_many(self, names: Sequence[str]) -> list[Concept]:
        """The same for several, all or none of them."""
        with self._change() as files:
            gone = {concept.id: concept for concept in map(self.find, names)}
            files.note(picture.path.name for concept in gone.values() for picture in concept.pictures)
            self._connection.executemany("DELETE FROM concepts WHERE id = ?", [(number,) for number in gone])
        return list(gone.values())

    def update(self, name: str, update: Update, encoder: str = "", vectors_of: str = "") -> Concept:
        """Change a concept in one step; gives what it is then. The encoders are needed with pictures (`add_many`)."""
        with self._change() as files:
            concept = self.find(name)
            self._update_texts(concept, update)
            unknown = set(update.drop) - {picture.id for picture in concept.pictures}
            if unknown:
                raise DatabaseError(f"{self.folder}: concept {concept.name!r} has no picture {min(unknown)}")
            if update.drop and len(update.drop) == len(concept.pictures) and not update.pictures:
                raise DatabaseError(f"{self.folder}: concept {concept.name!r} would be left without a picture")
            files.note(picture.path.name for picture in concept.pictures if picture.id in update.drop)
            for number in update.drop:
                self._connection.execute("DELETE FROM pictures WHERE id = ?", (number,))
            if update.pictures and update.vectors is not None:
                self._keep_encoder(encoder)
                files.write(update.pictures)
                self._write.insert_pictures(concept.id, update.pictures, update.vectors, vectors_of)
        return self.concepts([concept.id])[0]

    def vectors(self, encoder: str, dimension: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """All vectors of an encoder: (N, 2) picture and concept ids, (N, dimension) values, by picture id."""
        import numpy as np

        query = """SELECT picture_id, concept_id, vector FROM embeddings JOIN pictures ON pictures.id = picture_id
                   WHERE encoder = ? AND dimension = ? ORDER BY picture_id"""
        with self.reading() as connection:
            rows = connection.execute(query, (encoder, dimension)).fetchall()
        ids = np.array([(row["picture_id"], row["concept_id"]) for row in rows], np.int64).reshape(-1, 2)
        values = np.frombuffer(b"".join(row["vector"] for row in rows), np.dtype("<f4")).reshape(-1, dimension)
        if not np.isfinite(values).all():
            raise DatabaseError(f"{self.path}: damaged: a vector holds values that are no numbers")
        return ids, values

    def without_vectors(self, encoder: str) -> list[StoredPicture]:
        """Pictures that this encoder has not seen: it came in another version since they were added."""
        query = """SELECT * FROM pictures WHERE file NOT LIKE '%.vector' AND NOT EXISTS
                   (SELECT 1 FROM embeddings WHERE picture_id = pictures.id AND encoder = ?) ORDER BY id"""
        with self.reading() as connection:
            return [self._rows.picture(row) for row in connection.execute(query, (encoder,))]

    def put_vectors(self, encoder: str, vectors: Mapping[int, NDArray[np.float32]]) -> None:
        """Keep vectors by picture id; pictures that are gone by now are passed over."""
        with self.writing() as connection:
            for picture, vector in vectors.items():
                if connection.execute("SELECT 1 FROM pictures WHERE id = ?", (picture,)).fetchone():
                    self._write.put_vector(picture, encoder, vector)

    def check_encoder(self, encoder: str | None) -> None:
        """Raise if the database was begun with another encoder than this choice; None fits every one."""
        kept = self.encoder
        if None not in (kept, encoder) and kept != encoder:
            raise DatabaseError(
                f"{self.folder}: this database uses the encoder {kept}, not {encoder}; "
                "leave --encoder out, or begin another database"
            )

    def check_free(self, names: Sequence[str], but: int | None = None) -> None:
        """Raise if one of the names belongs to a concept other than `but` already, as name, key or alias."""
        for name in names:
            owner = self.owner(name)
            if owner is not None and owner[0] != but:
                known = "" if fold(owner[1]) == fold(name) else f" (as another name of {owner[1]!r})"
                raise DatabaseError(
                    f"{self.folder}: there is a concept {name!r} already{known}; choose another name, or first "
                    f"`repic db remove {self.folder} {owner[1]}`"
                )

    def owner(self, name: str) -> tuple[int, str] | None:
        """Id and name of the concept that answers to `name`; None if it is free."""
        with self._explained():
            row = self._rows.owner(name)
        return None if row is None else (int(row["id"]), clean(row["name"], 100))

    def _keep_encoder(self, encoder: str) -> None:
        self._connection.execute("INSERT OR IGNORE INTO settings VALUES ('encoder', ?)", (encoder,))
        self.check_encoder(encoder)

    def _update_texts(self, concept: Concept, update: Update) -> None:
        name = concept.name if update.name is None else safe_name(update.name)
        info = concept.info if update.info is None else safe_info(update.info)
        category = concept.category if update.category is None else safe_category(update.category)
        dropped = {fold(alias) for alias in update.drop_aliases}
        unknown = dropped - {fold(alias) for alias in concept.aliases}
        if unknown:
            raise DatabaseError(f"{self.folder}: concept {concept.name!r} has no other name {min(unknown)!r}")
        kept = [alias for alias in concept.aliases if fold(alias) not in dropped]
        names = all_names(name, concept.key, other_names([*kept, *update.add_aliases], name, concept.key))
        self.check_free(names, but=concept.id)
        run = self._connection.execute
        run("UPDATE concepts SET name = ?, info = ?, category = ? WHERE id = ?", (name, info, category, concept.id))
        run("DELETE FROM spellings WHERE concept_id = ?", (concept.id,))
        self._write.insert_names(concept.id, names)

    @contextmanager
    def _change(self) -> Iterator[FileChanges]:
        """One transaction that may add or drop picture files."""
        with self._explained(), self._transactions.change() as files:
            yield files

    def _explained(self) -> AbstractContextManager[None]:
        return explained(self.path)
