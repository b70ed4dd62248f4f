"""From a picture to a caption with names: retrieve the concepts, build the prompt, let the model write.

The prompt is the one the model was trained on: `IctTask` when concepts are shown, `CaptionTask` when there are none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from repic_cli.data.images import FileImage, MemoryImage, open_picture
from repic_plugins.builtin.tasks import CaptionTask, IctTask, caption, ict
from repic_plugins.errors import DataError, OptionError
from repic_plugins.types import ImageRef, Record, Reference, Sample

if TYPE_CHECKING:
    from repic_cli.concepts.concept import Concept
    from repic_cli.concepts.geometry import PixelBox
    from repic_cli.concepts.search import Hit, Retriever
    from repic_cli.concepts.store import ConceptDatabase
    from repic_cli.models import Backbone

MAX_CONCEPTS = 4
MAX_NEW_TOKENS = 256


@dataclass(frozen=True)
class UsedConcept:
    """A concept that was shown to the model. `box` (pixels of the picture) and `score` are None when it was given."""

    name: str
    info: str
    picture: Path
    box: PixelBox | None = None
    score: float | None = None


@dataclass(frozen=True)
class CaptionResult:
    """A caption and how it came about.

    `nearest` is the nearest concept when none was near enough. `prompt` is the text the model read, each picture as
    the model's own placeholder.
    """

    image: str
    caption: str
    concepts: tuple[UsedConcept, ...]
    prompt: str
    nearest: UsedConcept | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "image": self.image,
            "caption": self.caption,
            "concepts": [_used_dict(used) for used in self.concepts],
            "nearest": None if self.nearest is None else _used_dict(self.nearest),
            "prompt": self.prompt,
        }


@dataclass(frozen=True)
class Failure:
    """A picture that could not be captioned, and why."""

    image: str
    reason: str


class Captioner:
    """Writes captions with a backbone and, if there is one, a database of concepts.

    `retriever` finds concepts (None: none are looked for); `database` is needed for concepts given by name. `question`
    replaces the instruction's last sentence. Raises `DatabaseError` for unknown concepts, `DataError` for pictures.
    """

    def __init__(
        self,
        backbone: Backbone,
        database: ConceptDatabase | None = None,
        retriever: Retriever | None = None,
        *,
        question: str | None = None,
        max_concepts: int = MAX_CONCEPTS,
        max_new_tokens: int = MAX_NEW_TOKENS,
        batch_size: int = 8,
    ) -> None:
        self.backbone, self.database, self.retriever = backbone, database, retriever
        self.max_concepts, self.max_new_tokens, self.batch_size = max_concepts, max_new_tokens, batch_size
        self._named, self._generic = ict(), caption()
        self._personal = question or self._named.templates["ict"]["personal"][0]
        self._plain = question or self._named.templates["ict"]["plain"][0]

    def caption(self, image: ImageRef | str | Path, concepts: Sequence[str] | None = None) -> CaptionResult:
        """Caption one picture. `concepts` names those to show (skip-retrieval); None: they are retrieved."""
        (result,) = self.caption_many([image], concepts, skip=False)
        assert isinstance(result, CaptionResult)
        return result

    def caption_many(
        self, images: Iterable[ImageRef | str | Path], concepts: Sequence[str] | None = None, skip: bool = True
    ) -> Iterator[CaptionResult | Failure]:
        """Caption pictures in order, `batch_size` at a time; only so many are in memory.

        With `skip`, a picture that cannot be read gives a `Failure` and the others go on.
        """
        given = None
        if concepts is not None:
            if self.database is None:
                raise OptionError("--concepts needs --db: the folder of the database that knows them")
            given = named_concepts(self.database, concepts, self.max_concepts)
        waiting = iter(images)
        while batch := list(islice(waiting, self.batch_size)):
            yield from self._batch(batch, given, skip)

    def _batch(
        self, images: Sequence[ImageRef | str | Path], given: tuple[UsedConcept, ...] | None, skip: bool
    ) -> Iterator[CaptionResult | Failure]:
        ready: list[_Prompt | Failure] = []
        for image in images:
            try:
                ready.append(self._prepare(image, given))
            except DataError as error:
                if not skip:
                    raise
                ready.append(Failure(_name(image), str(error)))
        samples = [item.sample for item in ready if isinstance(item, _Prompt)]
        captions = iter(self.backbone.generate(samples, self.max_new_tokens, self.batch_size) if samples else [])
        for item in ready:
            yield item if isinstance(item, Failure) else item.result(next(captions))

    def _prepare(self, image: ImageRef | str | Path, given: tuple[UsedConcept, ...] | None) -> _Prompt:
        from repic_cli.models.prompts import render

        picture = open_picture(image) if isinstance(image, str | Path) else image.open()
        concepts, nearest = given or (), None
        if given is None and self.retriever is not None:
            found = self.retriever.find(picture)
            concepts = tuple(_from_hit(hit) for hit in found.hits)
            nearest = None if found.nearest is None else _from_hit(found.nearest)
        sample = self.sample(MemoryImage(picture, key=_name(image)), concepts)
        return _Prompt(sample, concepts, nearest, render(self.backbone.processor, sample))

    def sample(self, image: ImageRef, concepts: Sequence[UsedConcept]) -> Sample:
        """The prompt that shows `concepts` and asks for a caption of `image`."""
        references = tuple(Reference(used.name, FileImage(used.picture), used.info) for used in concepts)
        task: IctTask | CaptionTask = self._named if references else self._generic
        record = Record(image.key, task.name, image, references)
        return task.build_question(record, self._personal if references else self._plain, Random(0))


@dataclass(frozen=True)
class _Prompt:
    """A picture ready for the model."""

    sample: Sample
    concepts: tuple[UsedConcept, ...]
    nearest: UsedConcept | None
    text: str

    def result(self, caption: str) -> CaptionResult:
        return CaptionResult(self.sample.id, caption.strip(), self.concepts, self.text, self.nearest)


def named_concepts(
    database: ConceptDatabase, names: Sequence[str], most: int = MAX_CONCEPTS
) -> tuple[UsedConcept, ...]:
    """The concepts of these names, in order and each once, to be shown without looking for them (skip-retrieval).

    Raises `DatabaseError` for a name that is not there, `OptionError` for none or more than `most`.
    """
    found: dict[int, Concept] = {}
    for name in names:
        concept = database.find(name)
        found.setdefault(concept.id, concept)
    if not found:
        raise OptionError("--concepts: give at least one name, as in --concepts bo,thao")
    if len(found) > most:
        raise OptionError(f"--concepts: {len(found)} concepts are more than --max-concepts {most}")
    return tuple(UsedConcept(concept.name, concept.info, concept.picture.path) for concept in found.values())


def _from_hit(hit: Hit) -> UsedConcept:
    picture = hit.picture if hit.picture.path.is_file() else hit.concept.picture
    return UsedConcept(hit.concept.name, hit.concept.info, picture.path, hit.box, hit.score)


def _used_dict(used: UsedConcept) -> dict[str, Any]:
    return {
        "name": used.name,
        "info": used.info,
        "picture": str(used.picture),
        "box": None if used.box is None else [round(value, 1) for value in used.box],
        "score": None if used.score is None else round(used.score, 4),
    }


def _name(image: ImageRef | str | Path) -> str:
    return str(image) if isinstance(image, str | Path) else image.key
