"""From a picture to a caption with names: retrieve the concepts, verify them, build the prompt, let the model write.

The prompt is the one the model was trained on: `IctTask` when concepts are shown, `CaptionTask` when there are none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from repic_cli.captioning.results import CaptionResult, Failure, UsedConcept, split
from repic_cli.data.images import MemoryImage, open_picture
from repic_plugins.builtin.tasks import CaptionTask, IctTask, caption, ict
from repic_plugins.errors import DataError, OptionError
from repic_plugins.types import ImageRef, Record, Sample

if TYPE_CHECKING:
    from repic_cli.captioning.calibration import Calibration
    from repic_cli.captioning.verification import Verifier
    from repic_cli.concepts.concept import Concept, StoredPicture
    from repic_cli.concepts.search import Hit, Retrieval, Retriever
    from repic_cli.concepts.store import ConceptDatabase
    from repic_cli.models import Backbone

MAX_CONCEPTS = 4
MAX_NEW_TOKENS = 256


class Captioner:
    """Writes captions with a backbone and, if there is one, a database of concepts.

    `retriever` finds concepts (None: none are looked for); `verifier` asks the model about each of them and keeps those
    that it confirms (None: all are shown); `calibration` tells how its threshold came about. `database` is needed for
    concepts given by name. `question` replaces the instruction's last sentence. `top_k` shows so many of the nearest
    concepts, however near they are, as the paper's evaluation does. Raises `DatabaseError` for unknown
    concepts, `DataError` for pictures.
    """

    def __init__(
        self,
        backbone: Backbone,
        database: ConceptDatabase | None = None,
        retriever: Retriever | None = None,
        verifier: Verifier | None = None,
        *,
        calibration: Calibration | None = None,
        question: str | None = None,
        top_k: int | None = None,
        max_concepts: int = MAX_CONCEPTS,
        max_new_tokens: int = MAX_NEW_TOKENS,
        batch_size: int = 8,
    ) -> None:
        self.backbone, self.database, self.retriever, self.verifier = backbone, database, retriever, verifier
        self.max_concepts, self.max_new_tokens, self.batch_size = max_concepts, max_new_tokens, batch_size
        self.calibration, self.question, self.top_k = calibration, question, top_k
        self._named, self._generic = ict(), caption()
        self._personal = question or self._named.templates["ict"]["personal"][0]
        self._plain = question or self._named.templates["ict"]["plain"][0]

    @classmethod
    def open(cls, database: str | Path | ConceptDatabase | None = None, **options: Any) -> Captioner:
        """A captioner from names: `Captioner.open("mydb/", model="Qwen/Qwen2.5-VL-7B-Instruct", verify=True)`.

        Options are those of `repic_cli.captioning.opening.open_captioner`, and of `repic caption`. Close it, or use it
        in a `with` statement. Raises `ModelError`, `DatabaseError` or `OptionError`, one line each.
        """
        from repic_cli.captioning.opening import open_captioner

        return open_captioner(database, **options)

    def __enter__(self) -> Captioner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        if self.database is not None:
            self.database.close()

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
            yield from self._batch(batch, None if given is None else [given] * len(batch), skip)

    def caption_shown(
        self, images: Sequence[ImageRef | str | Path], shown: Sequence[Sequence[UsedConcept]]
    ) -> Iterator[CaptionResult | Failure]:
        """Caption pictures for each of which it is said what concepts are shown; otherwise as `caption_many`."""
        for start in range(0, len(images), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield from self._batch(images[part], [tuple(used) for used in shown[part]], skip=True)

    def _batch(
        self, images: Sequence[ImageRef | str | Path], given: Sequence[tuple[UsedConcept, ...]] | None, skip: bool
    ) -> Iterator[CaptionResult | Failure]:
        opened: list[ImageRef | Failure] = []
        for image in images:
            try:
                opened.append(self._open(image))
            except DataError as error:
                if not skip:
                    raise
                opened.append(Failure(_name(image), str(error)))
        pictures = [item for item in opened if not isinstance(item, Failure)]
        read = [number for number, item in enumerate(opened) if not isinstance(item, Failure)]
        with self.backbone.sharing_pictures():
            found = self.find(pictures) if given is None else [given[number] for number in read]
            prompts = [self._prompt(picture, used) for picture, used in zip(pictures, found, strict=True)]
            samples = [prompt.sample for prompt in prompts]
            texts = self.backbone.generate(samples, self.max_new_tokens, self.batch_size) if samples else []
        results = iter([prompt.result(text) for prompt, text in zip(prompts, texts, strict=True)])
        for item in opened:
            yield item if isinstance(item, Failure) else next(results)

    def _open(self, image: ImageRef | str | Path) -> ImageRef:
        """The picture in memory. Raises `DataError` for one that cannot be read, or that the model cannot take."""
        picture = open_picture(image) if isinstance(image, str | Path) else image.open()
        try:
            self.backbone.seen(picture.size)
        except ValueError as error:  # Qwen's processor refuses pictures more than 200 times as long as wide
            width, height = picture.size
            raise DataError(f"{_name(image)}: the model cannot take a picture of {width} x {height}: {error}") from None
        return MemoryImage(picture, key=_name(image))

    def find(self, pictures: Sequence[ImageRef]) -> list[tuple[UsedConcept, ...]]:
        """For each picture the concepts that came near, best first; those with a `reason` are not to be shown."""
        if self.retriever is None:
            return [()] * len(pictures)
        found = [_near(each) for each in self.retriever.find_many([picture.open() for picture in pictures])]
        if self.top_k is not None:
            return [_nearest(used, self.top_k) for used in found]
        if self.verifier is not None:
            found = verify(self.verifier, pictures, found)
        return [self._at_most(used) for used in found]

    def _at_most(self, found: Sequence[UsedConcept]) -> tuple[UsedConcept, ...]:
        """Only the best `max_concepts` are shown."""
        left, limited = self.max_concepts, []
        for used in found:
            if used.kept and not left:
                used = replace(used, reason=f"more than {self.max_concepts} concepts were found")
            left -= used.kept
            limited.append(used)
        return tuple(limited)

    def _prompt(self, picture: ImageRef, found: Sequence[UsedConcept]) -> _Prompt:
        from repic_cli.models.prompts import render

        shown, rejected = split(found)
        sample = self.sample(picture, shown)
        return _Prompt(sample, shown, rejected, render(self.backbone.processor, sample))

    def sample(self, image: ImageRef, concepts: Sequence[UsedConcept]) -> Sample:
        """The prompt that shows `concepts` and asks for a caption of `image`."""
        references = tuple(used.reference for used in concepts)
        task: IctTask | CaptionTask = self._named if references else self._generic
        record = Record(image.key, task.name, image, references)
        return task.build_question(record, self._personal if references else self._plain, Random(0))


@dataclass(frozen=True)
class _Prompt:
    """A picture ready for the model."""

    sample: Sample
    concepts: tuple[UsedConcept, ...]
    rejected: tuple[UsedConcept, ...]
    text: str

    def result(self, caption: str) -> CaptionResult:
        return CaptionResult(self.sample.id, caption.strip(), self.concepts, self.text, self.rejected)


def verify(
    verifier: Verifier, pictures: Sequence[ImageRef], found: Sequence[Sequence[UsedConcept]]
) -> list[tuple[UsedConcept, ...]]:
    """Put every concept that is to be shown to the model as a question, those of all pictures together."""
    asked = [(i, k) for i, concepts in enumerate(found) for k, used in enumerate(concepts) if used.kept]
    verdicts = verifier.judge([(found[i][k].reference, verifier.view(pictures[i], found[i][k].box)) for i, k in asked])
    judged = [list(concepts) for concepts in found]
    for (i, k), verdict in zip(asked, verdicts, strict=True):
        judged[i][k] = judged[i][k].verified(verdict.probability, verifier.threshold)
    return [tuple(concepts) for concepts in judged]


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
    return tuple(_used(concept, concept.picture) for concept in found.values())


def _near(retrieval: Retrieval) -> tuple[UsedConcept, ...]:
    """What retrieval found, and behind it what came near without being found."""
    hits = [_from_hit(hit, retrieval.threshold) for hit in retrieval.hits]
    others = [replace(_from_hit(each.hit, retrieval.threshold), reason=each.reason) for each in retrieval.rejected]
    return (*hits, *others)


def _nearest(found: Sequence[UsedConcept], most: int) -> tuple[UsedConcept, ...]:
    """The nearest concepts, whatever spoke against them, as long as there is a picture to show."""
    usable = [used for used in found if used.picture.is_file()]
    best = sorted(usable, key=lambda used: -(used.score or 0))[:most]
    return tuple(replace(used, reason="") for used in best)


def _from_hit(hit: Hit, threshold: float) -> UsedConcept:
    concept, picture, reason = hit.concept, hit.picture, ""
    if not picture.path.is_file():
        if concept.has_picture:
            picture = concept.picture
        else:
            reason = "it has no reference picture to show"
    return replace(_used(concept, picture), box=hit.box, score=hit.score, threshold=threshold, reason=reason)


def _used(concept: Concept, picture: StoredPicture) -> UsedConcept:
    return UsedConcept(concept.name, concept.info, picture.path, concept.category, picture.box)


def _name(image: ImageRef | str | Path) -> str:
    return str(image) if isinstance(image, str | Path) else image.key
