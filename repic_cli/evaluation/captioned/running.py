"""Make captions for queries in one of the settings, and keep all that scoring them again needs in one file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from repic_cli.captioning.captioner import Captioner, named_concepts
from repic_cli.captioning.output import CaptionFile, Marks, content_hash, mark
from repic_cli.captioning.results import CaptionResult, Failure, UsedConcept
from repic_cli.concepts.text import fold
from repic_cli.evaluation.captioned.queries import Queries, Query
from repic_cli.evaluation.captioned.rows import DATABASE, GENERAL, WRONG
from repic_plugins.errors import DatabaseError, DataError, OptionError

if TYPE_CHECKING:
    from repic_cli.concepts.concept import Concept
    from repic_cli.concepts.store import ConceptDatabase

Setting = Literal["skip-retrieval", "retrieval", "wrong-demonstrations", "general"]
"""What the prompt shows: the concepts that are there; those that are found; as many others; none."""


@dataclass
class Names:
    """The concepts of a database by what files may call them."""

    database: ConceptDatabase
    concepts: list[Concept] = field(default_factory=list)
    _by_name: dict[str, Concept] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.concepts = self.database.concepts()
        for concept in self.concepts:
            for text in (concept.name, concept.key, *concept.aliases):
                self._by_name.setdefault(fold(text), concept)

    def find(self, key: str) -> Concept:
        """The concept of a key or name. Raises `DatabaseError`."""
        return self._by_name.get(fold(key)) or self.database.find(key)

    def key_of(self, name: str) -> str:
        """The key of the concept of that name, in brackets as files write it."""
        return f"<{self._by_name[fold(name)].key}>"

    def to_row(self) -> list[list[Any]]:
        """Key, name, other names and info of each concept."""
        return [[one.key, one.name, list(one.aliases), one.info] for one in self.concepts]


def chosen_concepts(
    queries: Queries, setting: Setting, names: Names | None, seed: int
) -> tuple[list[Query], list[tuple[UsedConcept, ...]] | None, list[str]]:
    """The queries that can be asked, the concepts shown for each (None: they are retrieved), and what was wrong.

    With wrong demonstrations as many concepts as there are keys are drawn by `seed` from those that no query of the
    picture has. Raises `OptionError` if the setting needs a database that is not given.
    """
    if setting == GENERAL:
        return list(queries.queries), [()] * len(queries.queries), []
    if names is None:
        raise OptionError(f"--setting {setting} needs --db: the database of the concepts")
    kept: list[Query] = []
    shown: list[tuple[UsedConcept, ...]] = []
    wrong: list[str] = []
    for query in queries.queries:
        try:
            used = _shown(query, queries, setting, names, seed)
        except DatabaseError as error:
            wrong.append(f"{queries.path}: {query.id}: {error}")
            continue
        kept.append(query)
        shown.append(used)
    return kept, None if setting == "retrieval" else shown, wrong


def _shown(query: Query, queries: Queries, setting: Setting, names: Names, seed: int) -> tuple[UsedConcept, ...]:
    own = [names.find(key) for key in query.keys]
    if setting == WRONG:
        there = {names.find(key).id for key in queries.in_picture[query.image]}
        others = [one for one in names.concepts if one.id not in there and one.has_picture]
        if len(others) < len(own):
            raise DatabaseError(f"{len(own)} concepts that are not in the picture are needed, there are {len(others)}")
        own = Random(f"{seed} {query.id}").sample(others, len(own))
    if setting == "retrieval" or not own:
        return ()
    return named_concepts(names.database, [one.name for one in own], len(own))


@dataclass
class Run:
    """Captions of queries in one setting. `about` (model, seed ...) goes into every row."""

    captioner: Captioner
    setting: Setting
    names: Names | None
    about: Mapping[str, Any]
    file: CaptionFile
    kept: int = 0

    def run(self, queries: Sequence[Query], shown: Sequence[tuple[UsedConcept, ...]] | None) -> Iterator[bool]:
        """Caption what is not done and write it, in batches; gives whether each picture could be captioned."""
        self._write_names()
        waiting = self._waiting(queries, shown)
        while batch := list(islice(waiting, self.captioner.batch_size)):
            for (query, _, content), result in zip(batch, self._captions(batch), strict=True):
                self.file.write(self._row(query, result), content)
                yield isinstance(result, CaptionResult)

    def _waiting(
        self, queries: Sequence[Query], shown: Sequence[tuple[UsedConcept, ...]] | None
    ) -> Iterator[tuple[Query, tuple[UsedConcept, ...], str]]:
        for number, query in enumerate(queries):
            try:
                content = content_hash(query.path)
            except DataError:  # reading it will fail again, and be reported
                content = ""
            if content and self.file.has(query.id, content):
                self.kept += 1
                continue
            yield query, () if shown is None else shown[number], content

    def _captions(
        self, batch: Sequence[tuple[Query, tuple[UsedConcept, ...], str]]
    ) -> Iterator[CaptionResult | Failure]:
        paths = [query.path for query, _, _ in batch]
        if self.setting == "retrieval":
            return self.captioner.caption_many(paths)
        return self.captioner.caption_shown(paths, [used for _, used, _ in batch])

    def _row(self, query: Query, result: CaptionResult | Failure) -> dict[str, Any]:
        row: dict[str, Any] = {
            "id": query.id,
            "image": query.image,
            "keys": [f"<{key}>" for key in query.keys],
            "setting": self.setting,
        }
        if isinstance(result, Failure):
            return {**row, "error": result.reason}
        keys = [] if self.names is None else [self.names.key_of(used.name) for used in result.concepts]
        row |= {"caption": result.caption, "prompt": result.prompt, "shown": keys}
        if self.setting == "retrieval":
            row["retrieved"] = keys
            row["scores"] = [None if used.score is None else round(used.score, 4) for used in result.concepts]
        return {**row, "run": dict(self.about)}

    def _write_names(self) -> None:
        """The names of the whole database once, so that the file can be scored without it."""
        if self.names is None:
            return
        concepts = self.names.to_row()
        content = mark(concepts)
        if not self.file.has(DATABASE, content):
            self.file.write({"id": DATABASE, "concepts": concepts}, content)


def run_marks(captioner: Captioner, about: Mapping[str, Any]) -> Marks:
    """What tells runs apart that may not go into one file."""
    from repic_cli.captioning.batch import marks_of

    return marks_of(captioner, None, about=json.loads(json.dumps(about, default=str)))
