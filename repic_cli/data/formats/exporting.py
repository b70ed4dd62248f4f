"""Records as a training list of RePIC and VLM-R1, with the pictures it names; `importing` reads it back."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal

from repic_cli.data.formats.importing import OURS
from repic_cli.data.images import FileImage
from repic_cli.files import replacing, write_file
from repic_plugins.errors import DataError
from repic_plugins.serial import answer_to_json
from repic_plugins.types import Box, ImageRef, Names, Record, Task, YesNo

PICTURES = "images"
Format = Literal["json", "jsonl"]


@dataclass
class Exported:
    """What was written. `left_out`: records whose answer the format cannot hold."""

    file: Path
    rows: int = 0
    pictures: int = 0
    left_out: list[str] = field(default_factory=list)


def export_records(records: Iterable[Record], tasks: Mapping[str, Task], out: Path, form: Format = "json") -> Exported:
    """Write `train.json` (or .jsonl), `images/` and `data.yaml` into the new folder `out`. Raises `DataError`.

    A part of a picture becomes a picture of its own (PNG, without loss): the format has no boxes for pictures.
    """
    # Pictures alone are left of an export that was stopped.
    if out.exists() and (not out.is_dir() or any(item.name != PICTURES for item in out.iterdir())):
        raise DataError(f"{out}: is there already; give a new folder")
    done = Exported(out / f"train.{form}")
    pictures = _Pictures(out)
    rows = []
    for record in records:
        row = _row(record, tasks, pictures)
        if row is None:
            done.left_out.append(record.id)
        else:
            rows.append(row)
    done.rows, done.pictures = len(rows), pictures.count
    if form == "json":
        text = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
    else:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_file(done.file, text)
    write_file(out / "data.yaml", f"datasets:\n    - json_path: {done.file.name}\n")
    return done


def _row(record: Record, tasks: Mapping[str, Task], pictures: _Pictures) -> dict[str, Any] | None:
    found = _solution(record)
    if found is None:
        return None
    solution, method = found
    images = [*(reference.image for reference in record.references), record.image]
    names = [pictures.name(image) for image in images]
    if "problem" in record.meta and "accu_reward_method" in record.meta:
        others = record.meta.get("others", {})
        row = {"id": record.id, **others, "image": names if len(names) > 1 else names[0]}
        row |= {"problem": record.meta["problem"], "solution": solution}
        return row | {"accu_reward_method": record.meta["accu_reward_method"]}
    ours: dict[str, Any] = {"meta": dict(record.meta)}
    if record.phrase:
        ours["phrase"] = record.phrase
    if any(reference.info for reference in record.references):
        ours["info"] = [reference.info for reference in record.references]
    if any(reference.aliases for reference in record.references):
        ours["aliases"] = [list(reference.aliases) for reference in record.references]
    if isinstance(record.answer, Names) and (record.answer.absent or record.answer.aliases):
        ours["answer"] = answer_to_json(record.answer)
    image = names if len(names) > 1 else names[0]
    row = {"id": record.id, "image": image, "problem": _problem(record, tasks), "solution": solution}
    return row | {"accu_reward_method": method, OURS: ours}


def _solution(record: Record) -> tuple[Any, str] | None:
    """The solution and the method that scores it; None if there is none."""
    match record.answer:
        case YesNo(value) if len(record.references) == 1:
            return "yes" if value else "no", "yes_no"
        case Box(x1, y1, x2, y2) if not record.references:
            return [_number(value) for value in (x1, y1, x2, y2)], "iou"
        case Names(required=(name,)) if len(record.references) == 1:
            return f"<{name}>", "yes_no_name"
        case Names(required=names) if names:
            return [f"<{name}>" for name in names], "yes_no_name_multi"
    return None


def _number(value: float) -> float | int:
    return int(value) if value == int(value) else value


def _problem(record: Record, tasks: Mapping[str, Task]) -> str:
    """The words of the prompt, as the task puts them."""
    sample = tasks[record.task].build(record, Random(f"export-{record.id}"))
    parts = [part for message in sample.messages for part in message["content"]]
    return "".join(part["text"] for part in parts if part["type"] == "text")


class _Pictures:
    """Copies pictures into the folder, each once, and gives the name by which rows call them."""

    def __init__(self, out: Path) -> None:
        self.out, self._names = out, {}  # type: tuple[Path, dict[str, str]]

    @property
    def count(self) -> int:
        return len(self._names)

    def name(self, image: ImageRef) -> str:
        if image.key not in self._names:
            mark = hashlib.blake2b(image.key.encode(), digest_size=6).hexdigest()
            whole = isinstance(image, FileImage) and image.box is None
            self._names[image.key] = self._copy(image, mark) if whole else self._write(image, mark)  # type: ignore[arg-type]
        return self._names[image.key]

    def _copy(self, image: FileImage, mark: str) -> str:
        name = f"{PICTURES}/{mark}-{image.path.name}"
        if not image.path.is_file():
            raise DataError(f"{image.path}: no such picture")
        with image.path.open("rb") as file, replacing(self.out / name) as copy:
            shutil.copyfileobj(file, copy)
        return name

    def _write(self, image: ImageRef, mark: str) -> str:
        name = f"{PICTURES}/{mark}.png"
        buffer = io.BytesIO()
        image.open().save(buffer, "PNG")
        write_file(self.out / name, buffer.getvalue())
        return name
