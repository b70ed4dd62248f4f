"""How captions, concepts and databases look in a notebook: small HTML, all text escaped, pictures as thumbnails."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from repic_plugins.errors import DataError
from repic_plugins.text import clean

if TYPE_CHECKING:
    from PIL.Image import Image

    from repic_cli.captioning.results import CaptionResult, UsedConcept
    from repic_cli.concepts.concept import Concept
    from repic_cli.concepts.store import ConceptDatabase

SIDE, THUMB = 448, 64
MOST_ROWS = 50
"""A database of more concepts shows so many of them."""


def caption_html(result: CaptionResult) -> str:
    """The picture with its boxes, the caption, and what it rests on."""
    from repic_cli.captioning.drawing import draw_boxes

    used = (*result.concepts, *result.rejected)
    image = _read(Path(result.image))
    shown = "" if image is None else _tag(draw_boxes(image, used), SIDE)
    rows = [_evidence(one) for one in used]
    table = _table(("concept", "", "distance", "at most", "yes", "at least"), rows) if rows else ""
    return f"<div>{shown}<p>{_text(result.caption, 4000)}</p>{table}</div>"


def concept_html(concept: Concept) -> str:
    """Name, what is known, and the reference pictures."""
    pictures = "".join(_thumb(picture.path) for picture in concept.pictures[:8])
    facts = ", ".join(filter(None, (concept.category, *concept.aliases)))
    return f"<div><b>{_text(concept.name)}</b> {_text(facts)}<p>{_text(concept.info, 2000)}</p>{pictures}</div>"


def database_html(database: ConceptDatabase) -> str:
    """The first concepts, by id, with a picture each."""
    with database.reading() as connection:
        found = connection.execute("SELECT id FROM concepts ORDER BY id LIMIT ?", (MOST_ROWS,)).fetchall()
    concepts = database.concepts([int(row["id"]) for row in found])
    rows = [
        (_thumb(c.pictures[0].path) if c.pictures else "", _text(c.name), _text(c.category), _text(c.info))
        for c in concepts
    ]
    count, encoder = len(database), database.encoder or "no encoder yet"
    more = f"<p>... and {count - len(rows)} more</p>" if count > len(rows) else ""
    head = f"<p>{_text(database.folder)}: {count} concepts, {_text(encoder)}</p>"
    return f"<div>{head}{_table(('', 'name', 'category', 'info'), rows)}{more}</div>"


def _evidence(used: UsedConcept) -> tuple[str, ...]:
    values = (
        used.distance,
        None if used.threshold is None else 1 - used.threshold,
        used.probability,
        used.verify_threshold,
    )
    numbers = ("" if value is None else f"{value:.2f}" for value in values)
    return (f"<b>{_text(used.name)}</b>", "kept" if used.kept else _text(f"left out: {used.reason}"), *numbers)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """`rows` are HTML already."""
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(value: object, limit: int = 200) -> str:
    return escape(clean(value, limit))


def _thumb(path: Path) -> str:
    image = _read(path)
    return "" if image is None else _tag(image, THUMB)


def _read(path: Path) -> Image | None:
    """A notebook shows what it can: a picture that is gone is left out."""
    from repic_cli.data.images import open_picture

    try:
        return open_picture(path)
    except (DataError, OSError, ValueError):  # a key that is no path can be too long, or hold a NUL
        return None


def _tag(image: Image, side: int) -> str:
    image = image.copy()
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/png;base64,{data}" width="{image.width}" height="{image.height}">'
