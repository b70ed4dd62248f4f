"""Adding a concept from picture files: everything is checked and computed before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from repic_cli.concepts import schema
from repic_cli.concepts.concept import Concept, NewConcept
from repic_cli.concepts.encoders import EMBEDDED, build_encoder, is_folder
from repic_cli.concepts.pictures import read_picture
from repic_cli.concepts.store import ConceptDatabase
from repic_cli.concepts.text import safe_aliases, safe_category, safe_info
from repic_cli.data.names import safe_name

if TYPE_CHECKING:
    from repic_plugins.registry import PluginRegistry


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
) -> Concept:
    """Add a concept to the database in `folder`, which is made when it is not there.

    `encoder` is the choice for a new database (None: the embedded one) and must agree with that of an old one. Raises
    `DataError` for a name, text or picture that cannot be used, `DatabaseError` for a name that is taken, before
    anything is written.
    """
    bare = safe_name(name)
    given = {"info": safe_info(info), "category": safe_category(category), "aliases": safe_aliases(list(aliases), bare)}
    choice = settle_encoder(folder, encoder, (bare, *given["aliases"]))
    ready = [read_picture(path) for path in pictures]
    model = build_encoder(registry, choice, device)
    vectors = model.encode([picture.image for picture in ready])
    concept = NewConcept(bare, ready, vectors, **given)  # type: ignore[arg-type]
    with ConceptDatabase(folder, create=True) as database:
        return database.add(concept, choice, model.id)


def settle_encoder(folder: str | Path, encoder: str | None, names: Sequence[str] = ()) -> str:
    """The encoder of the database in `folder`, or of a new one. Checks that `names` are free, before slow work."""
    wanted = str(Path(encoder).expanduser().resolve()) if encoder and is_folder(encoder) else encoder
    if not Path(folder).is_file() and not (Path(folder) / schema.FILE).is_file():
        return wanted or EMBEDDED
    with ConceptDatabase(folder, create=True) as database:
        database.check_encoder(wanted)
        database.check_free(names)
        return database.encoder or wanted or EMBEDDED
