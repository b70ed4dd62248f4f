"""Rows of RePIC and VLM-R1 as records: what a row asks is told by its `accu_reward_method`, and by its solution.

| `accu_reward_method` | pictures | solution | task |
|---|---|---|---|
| `yes_no` | reference, query | `yes` or `no` | oct |
| `yes_no_name` | reference, query | `<name>` | ict |
| `yes_no_name_multi` | references, query | a list of `<name>` | ict |
| `iou` (or none) | query | four numbers: x1, y1, x2, y2 in pixels | vlt |

The row's own wording stays in `meta` (`problem`) for export; training words prompts with the tasks' templates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from repic_cli.data.building.naming import draw_name
from repic_cli.data.formats.rows import Row
from repic_cli.data.images import FileImage
from repic_cli.data.names import safe_name
from repic_cli.data.records import MAX_INFO, check_record
from repic_cli.data.sources.reading import field_of, xyxy
from repic_plugins.errors import DataError
from repic_plugins.serial import answer_from_json
from repic_plugins.text import clean
from repic_plugins.types import Answer, Box, Names, Record, Reference, YesNo
from repic_rewards.parsing import parse_boxes

METHODS = {"yes_no": "oct", "iou": "vlt", "yes_no_name": "ict", "yes_no_name_multi": "ict"}
OURS = "repic"
"""The key under which our own export keeps what the format has no place for."""
_KNOWN = frozenset({"id", "image", "images", "problem", "solution", "accu_reward_method", "conversations", OURS})
_NAME = re.compile(r"<([^<>|/\\\n]{1,100})>")
_BOX_WORD = r"(?:bounding (?:box|coordinates?|region)|box|coordinates?|position|location|boundar(?:y|ies)|region)"
_BOX_OF = rf"{_BOX_WORD}\s+(?:\w+\s+)?(?:of|for)\s+"
_IN_PICTURE = r"(?:\s+(?:in|within|on|of)\s+(?:the|this)\s+(?:\w+\s+)?(?:image|picture|photo|photograph))?"
_PHRASES = (
    re.compile(r"describes?\s*:\s*(?P<phrase>.+)", re.DOTALL),
    re.compile(rf"\b{_BOX_OF}(?:the\s+{_BOX_OF})?(?P<phrase>.+?){_IN_PICTURE}$", re.DOTALL | re.IGNORECASE),
    re.compile(rf"^(?:please\s+)?\w+\s+(?P<phrase>.+?)['’]s\s+{_BOX_WORD}\b", re.DOTALL | re.IGNORECASE),
)
"""How questions for a box are put; the phrase is what they ask for."""


class Importer:
    """Turns rows into records. `notes` counts what had to be made up."""

    def __init__(self, images: Path | None, seed: int) -> None:
        self.images, self.seed = images, seed
        self.notes: dict[str, int] = {}
        self._ids: set[str] = set()

    def record(self, row: Row) -> Record:
        """The record of a row. Raises `ValueError` that says what is wrong with it."""
        record = self._record(row)
        check_record(record)
        return record

    def _record(self, row: Row) -> Record:
        value = row.value
        if row.error:
            raise ValueError(row.error)
        if not isinstance(value, dict):
            raise ValueError(f"must be an object with image, problem and solution, not a {type(value).__name__}")
        problem, solution = _texts(value)
        pictures = self._pictures(value, row.file.parent)
        task, method = _task(value, solution)
        key = self._id(value, row)
        ours: dict[str, Any] = value[OURS] if isinstance(value.get(OURS), dict) else {}
        meta = self._meta(value, problem, method, ours)
        if task == "vlt":
            if len(pictures) != 1:
                raise ValueError(f"a question for a box needs one picture, not {len(pictures)}")
            phrase = ours.get("phrase") or self._phrase(problem)
            return Record(key, "vlt", pictures[0], answer=_box(solution), phrase=phrase[:MAX_INFO], meta=meta)
        answer: Answer = YesNo(_yes(solution)) if task == "oct" else None
        names = self._names(problem, _listed(solution) if task == "ict" else (), len(pictures) - 1, key)
        infos, aliases = (_listed_apart(ours, what, len(names)) for what in ("info", "aliases"))
        references = tuple(
            Reference(name, picture, str(info or ""), tuple(others or ()))
            for name, picture, info, others in zip(names, pictures[:-1], infos, aliases, strict=True)
        )
        if task == "ict":
            required = _listed(solution)
            absent = tuple(name for name in names if name not in required)
            answer = answer_from_json(ours["answer"]) if "answer" in ours else Names(required, absent)
        return Record(key, task, pictures[-1], references, answer, meta=meta)

    def _meta(self, value: Mapping[str, Any], problem: str, method: str, ours: Mapping[str, Any]) -> Mapping[str, Any]:
        if "meta" in ours and isinstance(ours["meta"], dict):
            return ours["meta"]
        others = {key: item for key, item in value.items() if key not in _KNOWN}
        return {"problem": problem, "accu_reward_method": method, **({"others": others} if others else {})}

    def _id(self, value: Mapping[str, Any], row: Row) -> str:
        given = clean(value.get("id", ""), 150).strip() or clean(f"{row.file.stem}-{row.number}", 150)
        key, again = given, 1
        while key in self._ids:  # lists that were put together begin to count anew
            again += 1
            key = f"{given}-{again}"
        self._ids.add(key)
        return key

    def _pictures(self, value: Mapping[str, Any], base: Path) -> list[FileImage]:
        given = value.get("image", value.get("images"))
        listed = given if isinstance(given, list) else [given]
        if not listed or not all(isinstance(name, str) and name.strip() for name in listed):
            raise ValueError("image must be a file name, or a list of them")
        root = self.images or base
        return [FileImage((root / name).absolute()) for name in listed]

    def _phrase(self, problem: str) -> str:
        text = " ".join(problem.replace("<image>", " ").split()).rstrip(" .?!")
        for pattern in _PHRASES:
            match = pattern.search(text)
            if match:
                return match["phrase"].strip(' .?!"')
        if not text:
            raise ValueError("problem is empty")
        self._note("took the whole question for the phrase of a box")
        return text

    def _names(self, problem: str, wanted: tuple[str, ...], count: int, key: str) -> list[str]:
        """The names of the reference pictures, in the order in which the question has them."""
        if count < 1:
            raise ValueError("a question about a name needs a reference picture and the query picture")
        shown = _shown_names(problem)
        for names in ([name for name in shown if name in wanted], shown, list(wanted)):
            if len(names) == count and set(wanted) <= set(names):
                return names
        if wanted or shown:
            found = ", ".join(f"<{name}>" for name in wanted or shown)
            raise ValueError(f"names {found} for {count} reference picture{'s' if count > 1 else ''}")
        self._note("drew a name for a picture that had none")
        return [draw_name(Random(f"import-{self.seed}-{key}"), "", "auto", ())]

    def _note(self, what: str) -> None:
        self.notes[what] = self.notes.get(what, 0) + 1


def _texts(value: Mapping[str, Any]) -> tuple[str, Any]:
    """Question and solution, from either form of a row."""
    if "conversations" not in value:
        if "solution" not in value:
            raise ValueError("the field 'solution' is missing")
        return field_of(dict(value), "problem", str), value["solution"]
    turns = value["conversations"]
    if not isinstance(turns, list) or len(turns) < 2 or not all(isinstance(turn, dict) for turn in turns[:2]):
        raise ValueError("conversations must be a list with a question and an answer")
    question, answer = turns[0].get("value"), turns[1].get("value")
    if not isinstance(question, str) or answer is None:
        raise ValueError("conversations: a turn has no value")
    return question.replace("<image>", "").strip(), answer


def _task(value: Mapping[str, Any], solution: object) -> tuple[str, str]:
    """The task, and the method as it is called in the row."""
    given = value.get("accu_reward_method")
    if given in METHODS:
        return METHODS[given], given
    if given is not None and given != "default":
        raise ValueError(f"accu_reward_method {clean(repr(given), 60)} is not read; there are {', '.join(METHODS)}")
    if isinstance(solution, str) and _word(solution) in ("yes", "no"):
        return "oct", "yes_no"
    return "vlt", "iou"  # what RePIC takes for granted


def _listed(solution: Any) -> tuple[str, ...]:
    """The names of a solution. Raises `ValueError` if there is none."""
    names = tuple(safe_name(name) for name in (solution if isinstance(solution, list) else [solution]))
    if not names:
        raise ValueError("solution must be a name, or a list of them")
    return names


def _listed_apart(ours: Mapping[str, Any], what: str, count: int) -> list[Any]:
    """What our export kept of each reference. Raises `ValueError` for another number of them."""
    found = ours.get(what, [None] * count)
    if not isinstance(found, list) or len(found) != count:
        raise ValueError(f"{OURS}.{what} must be a list with an entry for each of {count} reference pictures")
    return found


def _word(text: str) -> str:
    return re.sub(r"</?answer>", "", text).strip(" .!\n\t").casefold()


def _yes(solution: object) -> bool:
    word = _word(solution) if isinstance(solution, str) else ""
    if word not in ("yes", "no"):
        raise ValueError(f"solution must be yes or no, not {clean(repr(solution), 60)}")
    return word == "yes"


def _box(solution: object) -> Box:
    if isinstance(solution, str):
        found = parse_boxes(solution)
        if len(found) != 1:
            raise ValueError(f"solution must be one box [x1, y1, x2, y2], not {clean(repr(solution), 60)}")
        return Box(*xyxy(list(found[0])))
    return Box(*xyxy(solution))


def _shown_names(problem: str) -> list[str]:
    """The names in angle brackets, each once; tags and places of pictures are none."""
    names: list[str] = []
    for match in _NAME.finditer(problem):
        try:
            name = safe_name(match[1])
        except DataError:
            continue
        if name not in names and name != "image":
            names.append(name)
    return names
