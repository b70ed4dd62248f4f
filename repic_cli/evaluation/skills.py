"""Recognition (OCT) and grounding (VLT): a model's answers to the records of a file, and their scores.

Recognition: accuracy of yes and no by positive and negative pairs, and weighted, the mean of the two, which a model
that always says yes cannot raise. Grounding: the share of boxes with an IoU of at least 0.5, and the mean IoU; no box,
or more than one, is an IoU of 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from repic_cli.captioning.output import CaptionFile
from repic_cli.data.records import read_records
from repic_cli.evaluation.statistics import Estimate, Tally, estimate
from repic_plugins.builtin.tasks import oct, vlt
from repic_plugins.errors import DataError
from repic_plugins.serial import answer_to_json, frame_to_json, read_rollouts
from repic_plugins.types import Box, Record, Rollout, YesNo

if TYPE_CHECKING:
    from repic_cli.models import Backbone

Skill = Literal["recognition", "grounding"]
TASKS: Mapping[Skill, str] = {"recognition": "oct", "grounding": "vlt"}
LABELS = {
    "positive": "positive pairs answered yes",
    "negative": "negative pairs answered no",
    "weighted": "mean of the two",
    "unread": "answers that are neither yes nor no",
    "accuracy": "boxes with IoU >= 0.5",
    "iou": "mean IoU",
    "boxless": "answers without exactly one box",
}
"""What the scores mean; all are shares."""
_TOKENS = 48
_LONGEST = 1 << 20


@dataclass(frozen=True)
class SkillRun:
    """Answers of a model to records, greedy; `about` goes into every row."""

    backbone: Backbone
    skill: Skill
    file: CaptionFile
    about: Mapping[str, Any]
    seed: int = 0
    batch_size: int = 8

    def run(self, records: Sequence[Record]) -> Iterator[int]:
        """Answer what is not done, in batches; gives how many answers each batch added."""
        waiting = (record for record in records if not self.file.has(record.id, record_mark(record)))
        task = oct() if self.skill == "recognition" else vlt()
        while batch := list(islice(waiting, self.batch_size)):
            # One wording per record, whatever the order and the batches.
            samples = [task.build(record, Random(f"{self.seed}-{record.id}")) for record in batch]
            texts = self.backbone.generate(samples, _TOKENS, self.batch_size)
            for record, sample, text in zip(batch, samples, texts, strict=True):
                self.file.write(self._row(record, sample, text), record_mark(record))
            yield len(batch)

    def _row(self, record: Record, sample: Any, text: str) -> dict[str, Any]:
        from repic_cli.models.prompts import render

        frame = self.backbone.frame(record.image) if self.skill == "grounding" else None
        return {
            "id": record.id,
            "sample_id": record.id,
            "task": record.task,
            "setting": self.skill,
            "prompt": render(self.backbone.processor, sample),
            "completion": text,
            "answer": answer_to_json(record.answer),
            "frame": frame_to_json(frame),
            "images": [image.key for image in sample.images],
            "run": dict(self.about),
        }


def record_mark(record: Record) -> str:
    """A hash of what a record asks."""
    from repic_cli.captioning.output import mark

    images = [record.image.key, *(reference.image.key for reference in record.references)]
    names = [(reference.name, reference.info) for reference in record.references]
    return mark([images, names, record.phrase, answer_to_json(record.answer)])


def skill_records(path: Path, skill: Skill) -> list[Record]:
    """The records of the skill's task in a file or a built folder; others are left out.

    Raises `DataError` for none, or a bad picture.
    """
    from repic_cli.data.checking import record_file
    from repic_cli.data.pictures import check_pictures, pictures_of

    requires = {task.name: task.requires for task in (oct(), vlt())}
    requires |= {"ict": (), "caption": ()}
    task = TASKS[skill]
    records = [record for record in read_records(record_file(path), requires) if record.task == task]
    if not records:
        raise DataError(f"{path}: no records of task {task}, which --setting {skill} asks")
    kind = YesNo if skill == "recognition" else Box
    odd = next((record for record in records if not isinstance(record.answer, kind)), None)
    if odd is not None:
        raise DataError(f"{path}: record {odd.id!r} of task {task} has no {'yes or no' if kind is YesNo else 'box'}")
    check_pictures(pictures_of(records))
    return records


def is_answers(path: Path) -> bool:
    """Whether a file has answers to questions, and no captions: its first line says so."""
    try:
        with path.open("rb") as file:
            first = json.loads(file.readline(_LONGEST))
    except (OSError, ValueError, RecursionError):  # the reader of captions says what is wrong
        return False
    return isinstance(first, dict) and "completion" in first and "answer" in first


def score_skill(path: Path) -> tuple[Skill, dict[str, Estimate]]:
    """The scores of a file that `SkillRun` wrote. Raises `DataError` for another."""
    rollouts = read_rollouts(path)
    for skill, kind in (("recognition", YesNo), ("grounding", Box)):
        if all(isinstance(rollout.answer, kind) for rollout in rollouts):
            found = recognition(rollouts) if skill == "recognition" else grounding(rollouts)
            return skill, found  # type: ignore[return-value]
    raise DataError(f"{path}: its answers are neither all yes or no nor all boxes")


def recognition(rollouts: Sequence[Rollout]) -> dict[str, Estimate]:
    """Accuracy on positive and negative pairs, their mean, and the share of answers that say neither."""
    from repic_rewards.answers import read_yes_no

    said = [read_yes_no(rollout.completion, mode="strict") for rollout in rollouts]
    true = [isinstance(rollout.answer, YesNo) and rollout.answer.value for rollout in rollouts]
    found = {}
    for name, value in (("positive", True), ("negative", False)):
        hits = [answer is value and truth is value for answer, truth in zip(said, true, strict=True)]
        found[name] = _share(hits, [truth is value for truth in true])
    counts = {value: max(1, true.count(value)) for value in (True, False)}
    both = len(set(true)) == 2
    # Each kind of pair weighs one half, however many there are of it.
    weights = [len(true) / (2 * counts[truth]) if both else 1.0 for truth in true]
    right = [weight * (answer is truth) for weight, answer, truth in zip(weights, said, true, strict=True)]
    found["weighted"] = estimate(Tally(tuple(right), tuple(weights)))
    found["unread"] = _share([answer is None for answer in said], [True] * len(said))
    return found


def grounding(rollouts: Sequence[Rollout]) -> dict[str, Estimate]:
    """The share of boxes with an IoU of at least 0.5, the mean IoU, and the share of answers without one box."""
    import numpy as np

    from repic_cli.evaluation.slices import VLT_IOU
    from repic_rewards.boxes import iou
    from repic_rewards.parsing import parse_boxes

    said, true = np.zeros((len(rollouts), 4)), np.zeros((len(rollouts), 4))
    boxless = []
    for index, rollout in enumerate(rollouts):
        frame, box = rollout.frame, rollout.answer
        if frame is None or not isinstance(box, Box):
            raise DataError(f"answer {rollout.sample_id!r} has no frame: how its box is to be read is not known")
        boxes = parse_boxes(rollout.completion, frame.convention, frame.seen, frame.original)
        boxless.append(len(boxes) != 1)
        if len(boxes) == 1:
            said[index] = boxes[0]
        true[index] = box.x1, box.y1, box.x2, box.y2
    overlap = [round(float(value), 6) for value in iou(said, true)]
    every = [True] * len(overlap)
    return {
        "accuracy": _share([value >= VLT_IOU for value in overlap], every),
        "iou": estimate(Tally(tuple(overlap), (1.0,) * len(overlap))),
        "boxless": _share(boxless, every),
    }


def _share(hits: Sequence[bool], chances: Sequence[bool]) -> Estimate:
    return estimate(Tally(tuple(map(int, hits)), tuple(map(int, chances))))
