"""Adding and changing single concepts: everything is checked and computed before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from repic_cli.concepts import schema
from repic_cli.concepts.concept import Concept, NewConcept, Update
from repic_cli.concepts.encoders import EMBEDDED, build_encoder, is_folder
from repic_cli.concepts.geometry import PixelBox
from repic_cli.concepts.pictures import read_picture
from repic_cli.concepts.store import ConceptDatabase
from repic_cli.concepts.text import safe_aliases, safe_category, safe_info
from repic_cli.data.names import safe_name
from repic_plugins.errors import DatabaseError

if TYPE_CHECKING:
    from repic_plugins.registry import PluginRegistry


def create_database(folder: str | Path, encoder: str | None = None) -> str:
    """Make an empty database; gives its encoder. Raises `DatabaseError` if there is one already."""
    if (Path(folder) / schema.FILE).exists():
        raise DatabaseError(f"{folder}: there is a database already; see `repic db stats {folder}`")
    chosen = settle_encoder(folder, encoder)
    with ConceptDatabase(folder, create=True) as database:
        database.add_many([], chosen, "")
    return chosen


def add_concept(
    folder: str | Path,
    registry: PluginRegistry,
    name: str,
    pictures: Sequence[str | Path],
    *,
    info: str = "",
    category: str = "",
    aliases: Sequence[str] = (),
    encoder: str | None = None,
    device: str | None = None,
    box: PixelBox | None = None,
) -> Concept:
    """Add a concept to the database in `folder`, which is made when it is not there.

    `box` is where the thing is in each of the pictures, in pixels of the upright one. `encoder` is the choice for a
    new database (None: the embedded one) and must agree with that of an old one. Raises `DataError` for a name, text or
    picture that cannot be used, `DatabaseError` for a name that is taken, before anything is written.
    """
    bare = safe_name(name)
    given = {"info": safe_info(info), "category": safe_category(category), "aliases": safe_aliases(list(aliases), bare)}
    choice = settle_encoder(folder, encoder, (bare, *given["aliases"]))
    ready = [read_picture(path, box) for path in pictures]
    model = build_encoder(registry, choice, device)
    vectors = model.encode([picture.view for picture in ready])
    concept = NewConcept(bare, ready, vectors, **given)  # type: ignore[arg-type]
    with ConceptDatabase(folder, create=True) as database:
        return database.add(concept, choice, model.id)


def update_concept(
    folder: str | Path,
    registry: PluginRegistry,
    name: str,
    update: Update,
    pictures: Sequence[str | Path] = (),
    box: PixelBox | None = None,
    device: str | None = None,
) -> Concept:
    """Change a concept, and give it more pictures; `box` is where the thing is in each. Raises like `add_concept`."""
    with ConceptDatabase(folder) as database:
        database.find(name)
        if not pictures:
            return database.update(name, update)
        choice = database.encoder or EMBEDDED
    ready = [read_picture(path, box) for path in pictures]
    model = build_encoder(registry, choice, device)
    vectors = model.encode([picture.view for picture in ready])
    with ConceptDatabase(folder) as database:
        return database.update(name, replace(update, pictures=ready, vectors=vectors), choice, model.id)


def settle_encoder(folder: str | Path, encoder: str | None, names: Sequence[str] = (), default: str = EMBEDDED) -> str:
    """The encoder of the database in `folder`, or of a new one. Checks that `names` are free, before slow work."""
    wanted = str(Path(encoder).expanduser().resolve()) if encoder and is_folder(encoder) else encoder
    if not Path(folder).is_file() and not (Path(folder) / schema.FILE).is_file():
        return wanted or default
    with ConceptDatabase(folder, create=True) as database:
        database.check_encoder(wanted)
        database.check_free(names)
        return database.encoder or wanted or default
