"""The four ways to come by the concepts of a picture that the study of retrieval compares, and what each gets.

`given` (the truth), `verified` and `unverified` (what `repic caption` does with and without `--verify`), and `paper`:
every crop is compared with all references, and the K nearest concepts are shown, however far (the paper's appendix B.5:
K is 2 for one or two concepts and 4 for four; there is no threshold, and no answer "nobody").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from repic_cli.captioning.captioner import Captioner, named_concepts
from repic_cli.captioning.results import UsedConcept, split
from repic_cli.concepts.search import Retriever, crops
from repic_cli.evaluation.retrieval_world import StudyScene
from repic_cli.evaluation.statistics import Tally

if TYPE_CHECKING:
    from repic_cli.captioning.verification import Verifier
    from repic_cli.models import Backbone

GIVEN, VERIFIED, UNVERIFIED, PAPER = "given", "verified", "unverified", "paper"
ROWS: Mapping[str, str] = {
    GIVEN: "concepts given",
    VERIFIED: "retrieved, verified",
    UNVERIFIED: "retrieved, not verified",
    PAPER: "the paper's pipeline",
}
CAPTION_TOKENS = 160
Shown = tuple[UsedConcept, ...]


def paper_count(known: int) -> int:
    """The paper's K."""
    return 4 if known > 2 else 2


class PaperRetriever:
    """The K nearest concepts of all crops, by distance, each once; no threshold."""

    def __init__(self, retriever: Retriever) -> None:
        self.retriever = retriever
        database, encoder = retriever.database, retriever.encoder
        self.ids, self.vectors = database.vectors(encoder.id, encoder.dimension)

    def find(self, scene: StudyScene, count: int) -> Shown:
        """The concepts that are shown to the model for this scene."""
        image = scene.image.open()
        proposals = self.retriever.detector.propose(image)
        # A detector of objects does not propose the whole picture, where it has found something in it.
        things = [proposal for proposal in proposals if proposal.box != (0, 0, *image.size)]
        proposals = things or proposals
        scores = self.retriever.encoder.encode(crops(image, proposals)) @ self.vectors.T  # (crops, references)
        best: dict[int, tuple[float, int]] = {}
        for flat in np.argsort(-scores, axis=None)[: 64 * count].tolist():
            crop, row = divmod(flat, scores.shape[1])
            best.setdefault(int(self.ids[row, 1]), (float(scores[crop, row]), crop))
            if len(best) == count:
                break
        found = []
        for concept in self.retriever.database.concepts(best):
            score, crop = best[concept.id]
            used = UsedConcept(concept.name, concept.info, concept.picture.path, concept.category)
            found.append(replace(used, box=proposals[crop].box, score=score))
        return tuple(found)


def find_rows(
    scenes: Sequence[StudyScene], retriever: Retriever, verifier: Verifier, known: int
) -> dict[str, list[Shown]]:
    """For each row and scene the concepts that are shown, those that are not behind them."""
    pictures = [scene.image for scene in scenes]
    backbone, database = verifier.backbone, retriever.database
    paper = PaperRetriever(retriever)
    return {
        GIVEN: [named_concepts(database, scene.names) if scene.names else () for scene in scenes],
        VERIFIED: Captioner(backbone, database, retriever, verifier).find(pictures),
        UNVERIFIED: Captioner(backbone, database, retriever).find(pictures),
        PAPER: [paper.find(scene, paper_count(known)) for scene in scenes],
    }


def caption_rows(
    backbone: Backbone, scenes: Sequence[StudyScene], rows: Mapping[str, Sequence[Shown]], batch_size: int = 32
) -> dict[str, list[str]]:
    """A caption for each row and scene; rows that show the same concepts of a scene have the same (greedy) caption."""
    captioner = Captioner(backbone)
    samples: dict[tuple[int, tuple[str, ...]], Any] = {}
    keys: dict[str, list[tuple[int, tuple[str, ...]]]] = {row: [] for row in rows}
    for row, found in rows.items():
        for index, used in enumerate(found):
            shown, _ = split(used)
            key = (index, tuple(one.name for one in shown))
            if key not in samples:
                samples[key] = captioner.sample(scenes[index].image, shown)
            keys[row].append(key)
    texts = backbone.generate(list(samples.values()), CAPTION_TOKENS, batch_size)
    answers = dict(zip(samples, texts, strict=True))
    return {row: [answers[key] for key in wanted] for row, wanted in keys.items()}


@dataclass(frozen=True)
class Named:
    """What the captions of one row name, by scene: names that are right, names said, names that would be right."""

    right: tuple[int, ...]
    said: tuple[int, ...]
    true: tuple[int, ...]

    def __add__(self, other: Named) -> Named:
        return Named(self.right + other.right, self.said + other.said, self.true + other.true)

    def to_dict(self) -> dict[str, list[int]]:
        """Plain values, for JSON."""
        return {"right": list(self.right), "said": list(self.said), "true": list(self.true)}

    @property
    def f1(self) -> Tally:
        """2 x right of said + true: the F1 of all names of all scenes, as a ratio of sums over scenes."""
        both = tuple(said + true for said, true in zip(self.said, self.true, strict=True))
        return Tally(tuple(2 * right for right in self.right), both)

    @property
    def precision(self) -> Tally:
        return Tally(self.right, self.said)

    @property
    def recall(self) -> Tally:
        return Tally(self.right, self.true)

    @property
    def naming(self) -> Tally:
        """Scenes in which any name is said."""
        return Tally(tuple(int(said > 0) for said in self.said), (1,) * len(self.said))


def name_counts(texts: Sequence[str], scenes: Sequence[StudyScene], names: Sequence[str]) -> Named:
    """Count the names of the whole database that the texts say, by the strict matcher."""
    from repic_rewards.names import NameMatcher

    said = NameMatcher(names).find(texts).named()
    right = tuple(len({names[k] for k in found} & set(scene.names)) for found, scene in zip(said, scenes, strict=True))
    return Named(right, tuple(map(len, said)), tuple(len(scene.names) for scene in scenes))


def shown_counts(found: Sequence[Shown], scenes: Sequence[StudyScene]) -> Named:
    """The same for the concepts that are shown to the model: what retrieval itself gets right."""
    shown = [{used.name for used in split(used)[0]} for used in found]
    right = tuple(len(names & set(scene.names)) for names, scene in zip(shown, scenes, strict=True))
    return Named(right, tuple(map(len, shown)), tuple(len(scene.names) for scene in scenes))
