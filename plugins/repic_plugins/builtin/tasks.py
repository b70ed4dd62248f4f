"""The built-in tasks: OCT, VLT, ICT (single and multi) and plain captioning.

Every prompt has one layout: each reference picture followed by a line that names it, then the query picture,
then the instruction. The same builders serve training, evaluation and `repic caption`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Literal

from repic_plugins.errors import OptionError
from repic_plugins.hookspecs import hookimpl
from repic_plugins.types import Box, ImageRef, Names, Record, Reference, Register, Sample, YesNo

DEFAULT_TEMPLATES = Path(__file__).with_name("templates.toml")
ICT_WORDINGS = ("plain", "personal", "detail", "detail_personal")
CAPTION_WORDINGS = ("plain", "detail")
ANSWERS = {YesNo: "an answer yes or no", Box: "a box as its answer", Names: "names as its answer", type(None): "none"}
"""What an answer's type is called in errors."""
Reasoning = Literal["none", "think", "observe"]


def tag(name: str) -> str:
    """`bo` as the prompt shows it: `<bo>`."""
    return f"<{name}>"


def join(names: Sequence[str]) -> str:
    """Names as a list in words: `<a>, <b> and <c>`."""
    tags = [tag(name) for name in names]
    return tags[0] if len(tags) == 1 else ", ".join(tags[:-1]) + " and " + tags[-1]


@cache
def load_templates(path: Path = DEFAULT_TEMPLATES) -> Mapping[str, Mapping[str, Any]]:
    """Read a template file; tables that it leaves out keep the shipped wording.

    Raises `OptionError` when the file is not TOML, has an unknown table or key, or an empty list.
    """
    shipped = tomllib.loads(DEFAULT_TEMPLATES.read_text(encoding="utf-8"))
    if path == DEFAULT_TEMPLATES:
        return shipped
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OptionError(f"{path}: cannot read the templates: {error}") from error
    for table, entries in given.items():
        if table not in shipped:
            raise OptionError(f"{path}: unknown table [{table}]; there are {', '.join(shipped)}")
        for key, value in entries.items():
            _check_entry(path, table, key, value, shipped[table])
    return {table: {**entries, **given.get(table, {})} for table, entries in shipped.items()}


def _check_entry(path: Path, table: str, key: str, value: object, shipped: Mapping[str, Any]) -> None:
    if key not in shipped:
        raise OptionError(f"{path}: unknown key {table}.{key}; there are {', '.join(shipped)}")
    wants_list = isinstance(shipped[key], list)
    texts = value if isinstance(value, list) else [value]
    if isinstance(value, list) != wants_list or not texts or not all(isinstance(t, str) for t in texts):
        kind = "a list of strings that is not empty" if wants_list else "a string"
        raise OptionError(f"{path}: {table}.{key} must be {kind}")
    known = {"name": "", "names": "", "info": "", "phrase": "", "question": ""}
    for text in map(str, texts):
        try:
            text.format_map(known)
        except (KeyError, ValueError, IndexError, AttributeError) as error:
            raise OptionError(f"{path}: {table}.{key}: bad placeholder in {text!r}: {error}") from error


def demonstrations(references: Sequence[Reference], templates: Mapping[str, Any], rng: Random) -> list[dict[str, str]]:
    """The message parts that show the references: a picture and its line, for each."""
    parts: list[dict[str, str]] = []
    for reference in references:
        lines = templates["demonstration"]["informed" if reference.info else "bare"]
        text = rng.choice(lines).format(name=tag(reference.name), info=reference.info)
        parts += [{"type": "image"}, {"type": "text", "text": text + "\n"}]
    return parts


def assemble(record: Record, instruction: str, templates: Mapping[str, Any], rng: Random, **meta: Any) -> Sample:
    """References, query picture and instruction as one user turn."""
    content = demonstrations(record.references, templates, rng)
    content += [{"type": "image"}, {"type": "text", "text": instruction}]
    images: tuple[ImageRef, ...] = (*(reference.image for reference in record.references), record.image)
    return Sample(
        id=record.id,
        task=record.task,
        messages=({"role": "user", "content": content},),
        images=images,
        answer=record.answer,
        meta={**record.meta, **meta},
    )


@dataclass(frozen=True)
class OctTask:
    """Object consistency: is the object of the reference picture in the query picture?"""

    templates: Mapping[str, Any]
    name: str = "oct"
    requires: tuple[str, ...] = ("references", "answer")

    def build(self, record: Record, rng: Random) -> Sample:
        _expect(record, YesNo, references=1)
        return self.build_question(record, rng.choice(self.templates["oct"]["questions"]), rng)

    def build_question(self, record: Record, question: str, rng: Random) -> Sample:
        """The same prompt around one wording, for records without an answer (`repic caption --verify`)."""
        name = tag(record.references[0].name)
        instruction = self.templates["oct"]["system"].format(name=name, question=question.format(name=name))
        return assemble(record, instruction, self.templates, rng)


@dataclass(frozen=True)
class VltTask:
    """Visual localisation: the box of a referring expression."""

    templates: Mapping[str, Any]
    name: str = "vlt"
    requires: tuple[str, ...] = ("phrase", "answer")

    def build(self, record: Record, rng: Random) -> Sample:
        _expect(record, Box)
        if not record.phrase:
            raise ValueError(f"sample {record.id}: task vlt needs a phrase")
        question = rng.choice(self.templates["vlt"]["questions"])
        return assemble(record, question.format(phrase=record.phrase), self.templates, rng)


@dataclass(frozen=True)
class IctTask:
    """Identity consistency: caption the query picture with the names of the reference pictures.

    One reference makes it single-ICT, more make it multi-ICT. `reasoning` puts one of the paper's
    reasoning instructions before the question (appendix A.4).
    """

    templates: Mapping[str, Any]
    reasoning: Reasoning = "none"
    name: str = "ict"
    requires: tuple[str, ...] = ("references", "answer")

    def build(self, record: Record, rng: Random) -> Sample:
        _expect(record, Names)
        wording = _draw_wording(self.templates["ict"], ICT_WORDINGS, rng)
        question = rng.choice(self.templates["ict"][wording])
        return self.build_question(record, question, rng, wording=wording)

    def build_question(self, record: Record, question: str, rng: Random, **meta: Any) -> Sample:
        """The same prompt around a question of the caller's (`repic caption --prompt`)."""
        if not record.references:
            raise ValueError(f"sample {record.id}: task ict needs reference pictures")
        names = [reference.name for reference in record.references]
        table = self.templates["ict"]
        if self.reasoning != "none":
            question = f"{self.templates['reasoning'][self.reasoning]} {question}"
        frame = table["single"] if len(names) == 1 else table["multi"]
        instruction = frame.format(name=tag(names[0]), names=join(names), question=question)
        return assemble(record, instruction, self.templates, rng, **meta)


@dataclass(frozen=True)
class CaptionTask:
    """A generic caption: no reference picture, no name."""

    templates: Mapping[str, Any]
    name: str = "caption"
    requires: tuple[str, ...] = ()

    def build(self, record: Record, rng: Random) -> Sample:
        wording = _draw_wording(self.templates["ict"], CAPTION_WORDINGS, rng)
        question = rng.choice(self.templates["ict"][wording])
        return self.build_question(record, question, rng, wording=wording)

    def build_question(self, record: Record, question: str, rng: Random, **meta: Any) -> Sample:
        """The same prompt around a question of the caller's (`repic caption --prompt`)."""
        instruction = self.templates["caption"]["single"].format(question=question)
        return assemble(record, instruction, self.templates, rng, **meta)


def _draw_wording(table: Mapping[str, Any], wordings: Sequence[str], rng: Random) -> str:
    """Draw a list of questions, each as often as it has questions."""
    return rng.choices(wordings, weights=[len(table[wording]) for wording in wordings])[0]


def _expect(record: Record, answer: type, references: int | None = None) -> None:
    if not isinstance(record.answer, answer):
        raise ValueError(
            f"sample {record.id}: task {record.task} needs {ANSWERS[answer]}, got {ANSWERS[type(record.answer)]}"
        )
    if references is not None and len(record.references) != references:
        raise ValueError(
            f"sample {record.id}: task {record.task} needs {references} reference picture, got {len(record.references)}"
        )
    if answer is Names and not record.references:
        raise ValueError(f"sample {record.id}: task {record.task} needs reference pictures")


def oct(*, templates: Path = DEFAULT_TEMPLATES) -> OctTask:
    """Is <name> in the second image? The answer is yes or no."""
    return OctTask(load_templates(templates))


def vlt(*, templates: Path = DEFAULT_TEMPLATES) -> VltTask:
    """Give the box of a phrase."""
    return VltTask(load_templates(templates))


def ict(*, templates: Path = DEFAULT_TEMPLATES, reasoning: Reasoning = "none") -> IctTask:
    """Caption the last picture with the names of the reference pictures."""
    return IctTask(load_templates(templates), reasoning)


def caption(*, templates: Path = DEFAULT_TEMPLATES) -> CaptionTask:
    """Caption a picture without references."""
    return CaptionTask(load_templates(templates))


@hookimpl
def repic_register_tasks(register: Register) -> None:
    register("oct", oct, help="object consistency: is the shown object in the second picture? (yes/no)")
    register("vlt", vlt, help="visual localisation: the box of a referring expression")
    register("ict", ict, help="identity consistency: a caption that names the shown concepts")
    register("caption", caption, help="a generic caption without references")
