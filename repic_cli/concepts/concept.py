"""What the database tells about a concept, and what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from repic_cli.concepts.geometry import PixelBox
from repic_cli.concepts.pictures import LostPicture, NewPicture, is_lost_name
from repic_cli.concepts.text import fold, safe_aliases, safe_category, safe_info
from repic_cli.data.images import FileImage
from repic_cli.data.names import safe_name
from repic_plugins.errors import DatabaseError, DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class StoredPicture:
    """A reference picture of the database. `source` is the name of the file it came from.

    `box` is where the thing is, in pixels of the picture; None: the whole picture shows it.
    """

    id: int
    path: Path
    size: tuple[int, int]
    source: str
    box: PixelBox | None = None

    @property
    def never_there(self) -> bool:
        """Whether only a vector was imported: the file is not missing, it never was here."""
        return is_lost_name(self.path.name)

    @property
    def image(self) -> FileImage:
        """The part of the picture that shows the thing, opened on demand."""
        return FileImage(self.path, self.box)


@dataclass(frozen=True)
class Concept:
    """A personal concept: its bare name, what is known about it, and its reference pictures.

    Captions use `name`. `key` is what files of other programs call it (`<bo>` without brackets); it stays when the name
    changes, and mostly it is the name.
    """

    id: int
    name: str
    info: str
    category: str
    created: str
    aliases: tuple[str, ...]
    pictures: tuple[StoredPicture, ...]
    key: str

    @property
    def picture(self) -> StoredPicture:
        """The first reference picture whose file is there. Raises `DatabaseError` if none is."""
        for picture in self.pictures:
            if picture.path.is_file():
                return picture
        lost = next((picture.path for picture in self.pictures if not picture.never_there), None)
        if lost is None:
            raise DatabaseError(
                f"concept {self.name!r} has no reference picture: it was imported without; "
                f"give it one with `repic db update DB {self.name} --picture FILE`"
            )
        raise DatabaseError(
            f"the picture of concept {self.name!r} is missing ({lost}); remove the concept, add it again"
        )

    @property
    def has_picture(self) -> bool:
        """Whether there is a reference picture to show to a model."""
        return any(picture.path.is_file() for picture in self.pictures)

    def _repr_html_(self) -> str:
        from repic_cli.captioning.notebook import concept_html

        return concept_html(self)


@dataclass(frozen=True)
class NewConcept:
    """What `ConceptDatabase.add` takes. Texts are checked and brought into shape here; raises `DataError`.

    `key` defaults to the name. `without_pictures` allows a concept that has none (yet): it cannot be found or shown.
    """

    name: str
    pictures: Sequence[NewPicture | LostPicture]
    vectors: NDArray[np.float32]  # (pictures, D), of unit length
    info: str = ""
    category: str = ""
    aliases: tuple[str, ...] = ()
    key: str = ""
    without_pictures: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", safe_name(self.name))
        object.__setattr__(self, "key", safe_name(self.key) if self.key else self.name)
        object.__setattr__(self, "info", safe_info(self.info))
        object.__setattr__(self, "category", safe_category(self.category))
        object.__setattr__(self, "aliases", other_names(self.aliases, self.name, self.key))
        if not self.pictures and not self.without_pictures:
            raise DataError(f"concept {self.name!r} has no picture; give at least one")

    @property
    def names(self) -> tuple[str, ...]:
        """All it answers to, each once: name, key, aliases."""
        return all_names(self.name, self.key, self.aliases)


@dataclass(frozen=True)
class Update:
    """What `ConceptDatabase.update` changes. None leaves a text as it is; `drop` are ids of pictures to take out."""

    name: str | None = None
    info: str | None = None
    category: str | None = None
    add_aliases: tuple[str, ...] = ()
    drop_aliases: tuple[str, ...] = ()
    pictures: Sequence[NewPicture | LostPicture] = field(default=())
    vectors: NDArray[np.float32] | None = None  # (pictures, D)
    drop: tuple[int, ...] = ()


def all_names(name: str, key: str, aliases: Sequence[str]) -> tuple[str, ...]:
    """Name, key and aliases, without spellings that are the same."""
    kept: dict[str, str] = {}
    for text in (name, key, *aliases):
        kept.setdefault(fold(text), text)
    return tuple(kept.values())


def other_names(aliases: Sequence[str], name: str, key: str) -> tuple[str, ...]:
    """The aliases, checked, without those that are the name or the key."""
    return tuple(alias for alias in safe_aliases(list(aliases), name) if fold(alias) != fold(key))
