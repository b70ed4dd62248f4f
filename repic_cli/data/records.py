"""Record files: one JSON object a line, checked field by field before anything is trained.

    {"id": "bo-1", "task": "ict", "image": "park.jpg",
     "references": [{"name": "bo", "image": "bo/1.jpg", "info": "A brown dog."}],
     "answer": {"names": ["bo"], "absent": []}}

`answer` is `{"yes": true}`, `{"box": [x1, y1, x2, y2]}` in pixels of the upright picture, or `{"names": [...]}`. A
picture is a path relative to the file, or `{"path": ..., "box": [...]}` for a part of one. `id` defaults to the row.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from repic_cli.data.images import FileImage
from repic_cli.data.names import safe_name
from repic_cli.data.sources.reading import text_lines
from repic_plugins.errors import DataError
from repic_plugins.serial import answer_to_json
from repic_plugins.types import Answer, Box, ImageRef, Names, Record, Reference, YesNo

MAX_INFO = 2000
"""Longest info of a concept, in characters."""

Number = Annotated[float, Field(allow_inf_nan=False)]
FourNumbers = tuple[Number, Number, Number, Number]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Crop(_Row):
    path: Annotated[str, Field(min_length=1)]
    box: FourNumbers


class _Reference(_Row):
    name: str
    image: str | _Crop
    info: Annotated[str, Field(max_length=MAX_INFO)] = ""
    aliases: tuple[str, ...] = ()

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        return _bare(value)

    @field_validator("aliases")
    @classmethod
    def _check_aliases(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_bare(value) for value in values)


class _Answer(_Row):
    yes: Annotated[bool, Field(strict=True)] | None = None
    box: FourNumbers | None = None
    names: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    absent: tuple[str, ...] = ()
    aliases: tuple[tuple[str, ...], ...] = ()

    @field_validator("names", "absent")
    @classmethod
    def _check_names(cls, values: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if values is None else tuple(_bare(value) for value in values)

    @field_validator("box")
    @classmethod
    def _check_box(cls, value: FourNumbers | None) -> FourNumbers | None:
        if value is not None and (value[0] >= value[2] or value[1] >= value[3]):
            raise ValueError(f"box {list(value)} is empty; write x1, y1, x2, y2 with x1 < x2 and y1 < y2")
        return value

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        given = [name for name in ("yes", "box", "names") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of yes, box and names")
        if given != ["names"] and (self.absent or self.aliases):
            raise ValueError("absent and aliases belong to names")
        if self.aliases and len(self.aliases) != len(self.names or ()):
            raise ValueError("aliases must have one list for each of names")
        return self

    def typed(self) -> Answer:
        if self.yes is not None:
            return YesNo(self.yes)
        if self.box is not None:
            return Box(*self.box)
        return Names(self.names or (), self.absent, self.aliases)


class _Record(_Row):
    id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    task: Annotated[str, Field(min_length=1)]
    image: str | _Crop
    references: tuple[_Reference, ...] = ()
    answer: _Answer | None = None
    phrase: Annotated[str, Field(max_length=MAX_INFO)] = ""
    meta: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_references(self) -> Self:
        names = [reference.name for reference in self.references]
        if len({name.casefold() for name in names}) < len(names):
            raise ValueError(f"two references have the same name ({', '.join(names)})")
        wanted = (*(self.answer.names or ()), *self.answer.absent) if self.answer else ()
        unknown = [name for name in wanted if name not in names]
        if unknown and self.references:
            raise ValueError(f"answer names {unknown[0]!r}, which no reference shows ({', '.join(names)})")
        return self


def read_records(path: str | Path, requires: Mapping[str, Collection[str]]) -> list[Record]:
    """Read a record file. `requires` maps each known task to the record fields that it needs.

    Raises `DataError` that names file and row for broken JSON, an unknown field or task, a missing or bad value, or an
    id that occurs twice. Pictures are not opened here: see `repic_cli.data.pictures`.
    """
    path = Path(path)
    records = [read_row(path, number, line, requires) for number, line in text_lines(path)]
    if not records:
        raise DataError(f"{path}: no records in it")
    seen: dict[str, int] = {}
    for number, record in enumerate(records, 1):
        if record.id in seen:
            raise DataError(f"{path}: record {number} has the id {record.id!r} of record {seen[record.id]}")
        seen[record.id] = number
    return records


def record_row(record: Record, root: Path | None = None) -> dict[str, Any]:
    """A record as `read_records` reads it, its pictures relative to `root` where they lie below it.

    Raises `DataError` for a record whose pictures are not files.
    """
    row: dict[str, Any] = {"id": record.id, "task": record.task, "image": _picture_row(record.image, root)}
    if record.references:
        row["references"] = [_reference_row(reference, root) for reference in record.references]
    if record.answer is not None:
        row["answer"] = answer_to_json(record.answer)
    if record.phrase:
        row["phrase"] = record.phrase
    if record.meta:
        row["meta"] = dict(record.meta)
    return row


def check_record(record: Record) -> None:
    """Raises `ValueError` for a record that `read_row` would not take back."""
    try:
        _Record.model_validate(record_row(record))
    except ValidationError as error:
        raise ValueError(_explain(error)) from error


def read_row(path: Path, number: int, line: str, requires: Mapping[str, Collection[str]]) -> Record:
    """The record of one line. Raises `DataError` that names file and row; see `read_records`."""
    where = f"{path}: row {number}"
    try:
        values = json.loads(line, parse_constant=_no_constant)
        if not isinstance(values, dict):
            raise DataError(f"{where}: a record is an object with task, image, ..., not a {type(values).__name__}")
        row = _Record.model_validate(values)
    except ValidationError as error:
        raise DataError(f"{where}: {_explain(error)}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({error})") from error
    if row.task not in requires:
        raise DataError(f"{where}: unknown task {row.task!r}; there are {', '.join(sorted(requires))}")
    for field in requires[row.task]:
        if not getattr(row, field, None):
            raise DataError(f"{where}: task {row.task} needs the field {field!r}")
    return _to_record(row, path, number)


def _to_record(row: _Record, path: Path, number: int) -> Record:
    root = path.parent
    references = tuple(
        Reference(reference.name, _picture(reference.image, root), reference.info, reference.aliases)
        for reference in row.references
    )
    return Record(
        id=row.id or f"{path.stem}-{number}",
        task=row.task,
        image=_picture(row.image, root),
        references=references,
        answer=row.answer.typed() if row.answer else None,
        phrase=row.phrase,
        meta=row.meta,
    )


def _picture(image: str | _Crop, root: Path) -> FileImage:
    if isinstance(image, str):
        return FileImage(root / image)
    return FileImage(root / image.path, image.box)


def _picture_row(image: ImageRef, root: Path | None) -> str | dict[str, Any]:
    if not isinstance(image, FileImage):
        raise DataError(f"picture {image.key} is not a file, so it cannot be put into a record file")
    path = image.path.absolute()
    text = str(path.relative_to(root)) if root is not None and path.is_relative_to(root) else str(path)
    return text if image.box is None else {"path": text, "box": list(image.box)}


def _reference_row(reference: Reference, root: Path | None) -> dict[str, Any]:
    row: dict[str, Any] = {"name": reference.name, "image": _picture_row(reference.image, root)}
    if reference.info:
        row["info"] = reference.info
    if reference.aliases:
        row["aliases"] = list(reference.aliases)
    return row


def _bare(text: str) -> str:
    try:
        return safe_name(text)
    except DataError as error:  # pydantic collects ValueErrors, with the place at which they arose
        raise ValueError(str(error)) from error


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _explain(error: ValidationError) -> str:
    """The first thing that is wrong, in one line; unknown fields first, since a misspelt one causes others."""
    details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
    # Members of a union (`str` or a crop) appear in the location; they are ours, not the user's.
    place = ".".join(str(part) for part in details[0]["loc"] if part not in ("str", "_Crop"))
    if details[0]["type"] == "extra_forbidden":
        return f"unknown field {place!r}"
    if details[0]["type"] == "missing":
        return f"the field {place!r} is missing"
    message = details[0]["msg"].removeprefix("Value error, ")
    return f"{place}: {message[:1].lower()}{message[1:]}" if place else message


__all__ = ["MAX_INFO", "check_record", "read_records", "read_row", "record_row"]
