"""Records to look at: one HTML file with pictures, boxes, prompts and answers, and nothing from outside.

Every text is escaped by jinja2, and the page's own content policy forbids scripts.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from repic_cli.data.images import FileImage, PixelBox
from repic_cli.data.mixing import apportion
from repic_cli.data.prompts import Prompts
from repic_cli.files import write_file
from repic_cli.reports.style import chip_of
from repic_cli.training.scorer import prompt_text
from repic_plugins.errors import DataError
from repic_plugins.text import clean
from repic_plugins.types import Box, ImageRef, Names, Record, Sample, Task, YesNo

if TYPE_CHECKING:
    from PIL.Image import Image

LONGEST = 480
"""Longest side of a picture on the page, in pixels."""
ANSWER = "#00734f"


@dataclass(frozen=True, slots=True)
class ShownBox:
    """A box in per cent of its picture."""

    left: float
    top: float
    width: float
    height: float
    label: str
    color: str
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class ShownReference:
    """A reference picture; without `url` it could not be opened."""

    name: str
    info: str
    color: str
    url: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class ShownSample:
    """One record as the page shows it; without `url` its picture could not be opened."""

    prompt: str
    answer: str
    about: str
    references: tuple[ShownReference, ...]
    boxes: tuple[ShownBox, ...] = ()
    url: str = ""
    error: str = ""


def write_gallery(
    records: Sequence[Record], tasks: Mapping[str, Task], out: Path, title: str, limit: int = 24, seed: int = 0
) -> int:
    """Write a page with `limit` of the records, of each kind its share; gives how many. Raises `DataError`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    chosen = choose(records, limit, seed)
    prompts = Prompts(chosen, tasks, len(chosen), seed)
    samples = {prompts.record(row).id: prompts[row] for row in range(len(prompts))}
    groups: dict[str, list[ShownSample]] = {}
    for record in chosen:
        groups.setdefault(_kind(record), []).append(_shown(record, samples[record.id]))
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    lead = (
        f"{len(chosen)} of {len(records):,} records. Solid box: the answer. Dashed: where a reference was taken from."
    )
    page = environment.get_template("gallery.html.j2").render(title=clean(title, 200), lead=lead, groups=groups.items())
    write_file(out, page)
    return len(chosen)


def choose(records: Sequence[Record], limit: int, seed: int) -> list[Record]:
    """At most `limit` records, at least one of each kind if there is room, by kind; the same for the same seed."""
    kinds: dict[str, list[Record]] = {}
    for record in records:
        kinds.setdefault(_kind(record), []).append(record)
    # The square root lets rare kinds be seen.
    weights = {kind: len(found) ** 0.5 for kind, found in kinds.items()}
    shares = apportion(limit, weights, {kind: len(found) for kind, found in kinds.items()})
    return [
        record
        for kind in sorted(kinds)
        for record in Random(f"gallery-{seed}-{kind}").sample(kinds[kind], shares.get(kind, 0))
    ]


def _kind(record: Record) -> str:
    answer = record.answer
    if isinstance(answer, YesNo):
        return f"{record.task}: {'yes' if answer.value else 'no'}"
    return f"{record.task}: {len(record.references)} names" if isinstance(answer, Names) else record.task


def _shown(record: Record, sample: Sample) -> ShownSample:
    references = []
    for index, reference in enumerate(record.references):
        about = (clean(reference.name, 100), clean(reference.info), chip_of(index))
        try:
            references.append(ShownReference(*about, url=data_url(reference.image.open(), 160)))
        except DataError as error:
            references.append(ShownReference(*about, error=str(error)))
    lines = [record.id, *(f"{key}: {_text(value)}" for key, value in record.meta.items())]
    texts = (clean_lines(prompt_text(sample)), _answer(record), clean(" · ".join(lines), 500))
    try:
        picture = record.image.open()
    except DataError as error:
        return ShownSample(*texts, tuple(references), error=str(error))
    return ShownSample(*texts, tuple(references), tuple(_boxes(record, picture.size)), data_url(picture, LONGEST))


def _boxes(record: Record, size: tuple[int, int]) -> list[ShownBox]:
    """The answer, and the parts of the query that serve as references."""
    boxes = []
    for index, reference in enumerate(record.references):
        if reference.image != record.image and _same_file(reference.image, record.image):
            assert isinstance(reference.image, FileImage)
            if reference.image.box is not None:
                label = clean(reference.name, 60)
                boxes.append(_box(reference.image.box, size, label, chip_of(index), dashed=True))
    if isinstance(record.answer, Box):
        corners = (record.answer.x1, record.answer.y1, record.answer.x2, record.answer.y2)
        boxes.append(_box(corners, size, clean(record.phrase, 60), ANSWER))
    return boxes


def _same_file(one: ImageRef, whole: ImageRef) -> bool:
    both = isinstance(one, FileImage) and isinstance(whole, FileImage)
    return both and one.path == whole.path and whole.box is None  # type: ignore[attr-defined]


def _box(box: PixelBox, size: tuple[int, int], label: str, color: str, *, dashed: bool = False) -> ShownBox:
    width, height = size
    x1, y1, x2, y2 = box
    left, top = 100 * x1 / width, 100 * y1 / height
    return ShownBox(left, top, 100 * (x2 - x1) / width, 100 * (y2 - y1) / height, label, color, dashed)


def clean_lines(text: str) -> str:
    """Printable text that keeps its line breaks."""
    return "\n".join(clean(line, 2000) for line in text.split("\n"))


def _answer(record: Record) -> str:
    answer = record.answer
    if isinstance(answer, YesNo):
        return "yes" if answer.value else "no"
    if isinstance(answer, Box):
        return "[" + ", ".join(f"{value:g}" for value in (answer.x1, answer.y1, answer.x2, answer.y2)) + "]"
    if isinstance(answer, Names):
        absent = f" (not there: {', '.join(f'<{name}>' for name in answer.absent)})" if answer.absent else ""
        return clean(", ".join(f"<{name}>" for name in answer.required) + absent, 500)
    return "(no answer)"


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def data_url(picture: Image, longest: int) -> str:
    """A picture as a `data:` URL of JPEG, no longer than `longest` pixels on a side."""
    small = picture.convert("RGB")
    small.thumbnail((longest, longest))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
