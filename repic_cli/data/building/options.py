"""What can be set of a build; kept in its manifest, and read from `--config FILE`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from repic_cli.config import resolve
from repic_cli.config_sections import Count, NotNegative, Section, Seed, Share
from repic_plugins.errors import OptionError

PAPER = ("coco", "objects365", "celeba", "subjects200k", "refcoco")
"""The sources of the paper (section 3.2, appendix B.4)."""
FOLDER = "folder"
Names = Literal["auto", "human", "object"]
_HUB = ("hf:",)
USED_BY = {
    **dict.fromkeys(("positives", "names", "share"), (*PAPER, *_HUB)),
    "split": ("refcoco", "celeba", *_HUB),
    **dict.fromkeys(("image_column", "label_column", "phrase_column", "box_column", "box_format", "keep_names"), _HUB),
}
"""Option -> the beginnings of the sources that it means something to; the others are for all."""


class BuildOptions(Section):
    """Sources and composition."""

    sources: dict[str, str] = Field(min_length=1)
    """Name -> folder or file."""
    count: Count = 2000
    seed: Seed = 2024
    mix: dict[str, NotNegative]
    """Task -> weight. What the sources cannot make is left out."""
    references: dict[Annotated[int, Field(ge=1, le=3)], NotNegative]
    """Reference pictures of a record that asks for names -> weight."""
    coco_pictures: str = ""
    """The folder of COCO, for a source that uses its pictures while COCO itself is none of the sources."""
    share: dict[str, NotNegative] = Field(default_factory=dict)
    """Source -> weight among the sources of a task; 1 where it is not given."""
    positives: Share = 0.5
    """Share of the questions whose answer is yes."""
    names: Names = "auto"
    pictures: Literal["link", "copy"] = "link"
    skip_bad: bool = False
    split: str = "train"
    image_column: str = "image"
    label_column: str = "label"
    phrase_column: str = ""
    box_column: str = ""
    box_format: Literal["xyxy", "xywh"] = "xyxy"
    keep_names: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        unknown = [task for task in self.mix if task not in ("oct", "vlt", "ict")]
        if unknown:
            raise ValueError(f"mix: no source makes records for {unknown[0]!r}, only for oct, vlt and ict")
        if not any(self.mix.values()) or not any(self.references.values()):
            raise ValueError("mix and references need at least one weight above 0")
        if FOLDER in self.sources and len(self.sources) > 1:
            raise ValueError("sources: a folder of your own is built alone")
        for name, users in USED_BY.items():
            if name in self.model_fields_set and not any(source.startswith(users) for source in self.sources):
                raise ValueError(f"{name}: changes nothing of {', '.join(self.sources)}")
        lost = [name for name in self.share if name not in self.sources]
        if lost:
            raise ValueError(f"share: {lost[0]!r} is none of the sources ({', '.join(self.sources)})")
        if bool(self.phrase_column) != bool(self.box_column):
            raise ValueError("phrase_column and box_column belong together")
        return self


def make_options(given: Mapping[str, Any], config: Mapping[str, Any]) -> BuildOptions:
    """The options: those of the paper's preset < `config` (of a file) < `given`, where None means not given.

    Raises `OptionError`.
    """
    paper = resolve("paper").data
    values: dict[str, Any] = {
        "count": paper.count, "seed": paper.seed, "mix": paper.mix, "references": paper.references
    }  # fmt: skip
    values |= config
    values |= {key: value for key, value in given.items() if value is not None}
    try:
        return BuildOptions.model_validate(values)
    except ValidationError as error:
        detail = error.errors()[0]
        place = ".".join(map(str, detail["loc"]))
        raise OptionError(f"{place + ': ' if place else ''}{detail['msg'].removeprefix('Value error, ')}") from error


def read_config(path: Path) -> dict[str, Any]:
    """Options from a TOML file. Raises `OptionError`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OptionError(f"{path}: cannot read the options: {error}") from error


def weights(text: str, option: str) -> dict[str, float]:
    """`oct=0.5,vlt=0.5` as a dict. Raises `OptionError`."""
    found: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, weight = part.partition("=")
        try:
            found[name.strip()] = float(weight)
        except ValueError as error:
            raise OptionError(f"{option} {text}: write name=weight, as in oct=0.5,vlt=0.5") from error
    return found
