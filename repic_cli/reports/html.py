"""Reports: one HTML file that needs nothing else, with scores, captions, boxes and curves.

All text is escaped by jinja2, above all concept names and captions, which are whatever somebody typed or a model
wrote. Pictures are inlined, and the page's own content policy forbids scripts and any outside resource.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repic_cli.files import write_file
from repic_cli.reports.style import chip_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from repic_cli.evaluation.scores import WorldScores


@dataclass(frozen=True, slots=True)
class Shown:
    """A box on a picture (x1, y1, x2, y2 in its pixels), the concept found in it, and the retrieval score."""

    name: str
    box: tuple[float, float, float, float]
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """A concept of the database as the page shows it."""

    name: str
    picture: Image
    info: str = ""


@dataclass(frozen=True)
class Caption:
    """A caption; `placed[name]` tells of each time the name is said whether it stands at the right object.

    It may be shorter, or leave names out: then that is not known.
    """

    text: str
    placed: Mapping[str, Sequence[bool]] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """A query picture, what was retrieved for it, and its captions before and after training."""

    picture: Image
    boxes: Sequence[Shown]
    concepts: Sequence[Known]
    before: Caption
    after: Caption | None = None


@dataclass(frozen=True)
class Report:
    """Everything on the page; what is None or empty is left out."""

    title: str
    lead: str = ""
    before: WorldScores | None = None
    after: WorldScores | None = None
    examples: Sequence[Example] = ()
    curves: bytes | None = None
    """a PNG"""
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """tables of keys and values by heading: seconds, configuration, environment"""
    commands: Sequence[tuple[str, str]] = ()
    """commands to try next, and what each does"""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a caption: plain text, or a name with its colour ("" for a name nobody asked for)."""

    text: str
    name: str | None = None
    color: str = ""
    placed: bool | None = None


def write_report(report: Report, path: Path) -> Path:
    """Write the page; it is there whole or not at all. Gives the path back."""
    write_file(path, render(report))
    return path


def render(report: Report) -> str:
    """The page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from repic_cli.reports.scoreboard import cards, scoreboard

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        chip_of=chip_of,
        data_url=data_url,
        pieces=pieces,
        place=place,
    )
    environment.filters["png"] = png
    return environment.get_template("report.html.j2").render(
        report=report,
        cards=cards(report.before, report.after),
        groups=scoreboard(report.before, report.after),
    )


def pieces(caption: Caption, names: Sequence[str]) -> list[Piece]:
    """Cut a caption at its names: `<name>` of any kind, and the known names as whole words."""
    known = sorted(names, key=len, reverse=True)
    bare = "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in known)
    pattern = re.compile(r"<(?P<tag>[^<>]+)>" + (f"|(?P<bare>{bare})" if bare else ""))
    return list(_cut(caption, names, pattern))


def _cut(caption: Caption, names: Sequence[str], pattern: re.Pattern[str]) -> Iterator[Piece]:
    end = 0
    placed = {name: iter(verdicts) for name, verdicts in caption.placed.items()}
    for match in pattern.finditer(caption.text):
        if match.start() > end:
            yield Piece(caption.text[end : match.start()])
        name = match["tag"] or match.groupdict().get("bare") or ""
        color = chip_of(list(names).index(name)) if name in names else ""
        yield Piece(match[0], name, color, next(placed[name], None) if name in placed else None)
        end = match.end()
    if end < len(caption.text):
        yield Piece(caption.text[end:])


def place(shown: Shown, picture: Image) -> dict[str, float]:
    """A box in per cent of the picture: left, top, width, height."""
    x1, y1, x2, y2 = shown.box
    return {
        "left": 100 * x1 / picture.width,
        "top": 100 * y1 / picture.height,
        "width": 100 * (x2 - x1) / picture.width,
        "height": 100 * (y2 - y1) / picture.height,
    }


def png(picture: Image, longest: int = 640) -> bytes:
    """A picture as PNG, no longer than `longest` pixels on a side."""
    small = picture.convert("RGB")
    small.thumbnail((longest, longest))
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def data_url(content: bytes) -> str:
    """PNG bytes as a `data:` URL."""
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
