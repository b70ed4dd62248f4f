"""What the database tells about a concept, and what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from repic_cli.concepts.pictures import NewPicture
from repic_cli.concepts.text import safe_aliases, safe_category, safe_info
from repic_cli.data.names import safe_name
from repic_plugins.errors import DatabaseError, DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class StoredPicture:
    """A reference picture of the database. `source` is the name of the file it came from."""

    id: int
    path: Path
    size: tuple[int, int]
    source: str


@dataclass(frozen=True)
class Concept:
    """A personal concept: its bare name, what is known about it, and its reference pictures."""

    id: int
    name: str
    info: str
    category: str
    created: str
    aliases: tuple[str, ...]
    pictures: tuple[StoredPicture, ...]

    @property
    def picture(self) -> StoredPicture:
        """The first reference picture whose file is there. Raises `DatabaseError` if none is."""
        for picture in self.pictures:
            if picture.path.is_file():
                return picture
        where = self.pictures[0].path if self.pictures else "the database"
        raise DatabaseError(
            f"the picture of concept {self.name!r} is missing ({where}); remove the concept, add it again"
        )


@dataclass(frozen=True)
class NewConcept:
    """What `ConceptDatabase.add` takes. Texts are checked and brought into shape here; raises `DataError`."""

    name: str
    pictures: Sequence[NewPicture]
    vectors: NDArray[np.float32]  # (pictures, D), of unit length
    info: str = ""
    category: str = ""
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", safe_name(self.name))
        object.__setattr__(self, "info", safe_info(self.info))
        object.__setattr__(self, "category", safe_category(self.category))
        object.__setattr__(self, "aliases", safe_aliases(self.aliases, self.name))
        if not self.pictures:
            raise DataError(f"concept {self.name!r} has no picture; give at least one")
