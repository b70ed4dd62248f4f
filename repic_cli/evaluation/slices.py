"""Score the completions of one kind of samples of the embedded world."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from repic_cli.evaluation.captions import ATTRIBUTES, binding, looks, names_said, repeats_a_name
from repic_cli.evaluation.scores import Measure
from repic_cli.evaluation.statistics import Tally
from repic_plugins.types import Box, BoxFrame, ImageRef, Names, Record, Sample, YesNo

Frame = Callable[[ImageRef], BoxFrame]
VLT_IOU = 0.5


@dataclass(frozen=True)
class Slice:
    """Samples of one kind, to be answered with at most `max_new_tokens` tokens."""

    what: str
    records: Sequence[Record]
    samples: Sequence[Sample]
    max_new_tokens: int


def score_slice(part: Slice, texts: Sequence[str], frame: Frame) -> dict[str, Measure]:
    """The measures of one slice. `texts[i]` answers `part.samples[i]`; `frame` tells how boxes are written.

    Raises ValueError when the number of texts is not that of the samples.
    """
    if len(texts) != len(part.records):
        raise ValueError(f"{part.what}: {len(texts)} completions for {len(part.records)} samples")
    if part.what.startswith("ict"):
        return score_names(part, texts)
    if part.what == "vlt":
        return score_boxes(part, texts, frame)
    if part.what == "caption":
        return score_looks(part, texts)
    if part.what == "where":
        return {"where": _yes_no("where", [where_right(r, t) for r, t in zip(part.records, texts, strict=True)])}
    return {"oct": _yes_no("oct", [oct_right(r, t) for r, t in zip(part.records, texts, strict=True)], chance=0.5)}


def merge(parts: Iterable[Mapping[str, Measure]]) -> dict[str, Measure]:
    """Join the measures of slices; one that several slices give (such as `unasked`) is put together."""
    joined: dict[str, Measure] = {}
    for part in parts:
        for name, one in part.items():
            if name in joined:
                old = joined[name].tally
                one = Measure(name, Tally(old.hits + one.tally.hits, old.chances + one.tally.chances), one.chance)
            joined[name] = one
    return joined


def score_names(part: Slice, texts: Sequence[str]) -> dict[str, Measure]:
    """Recall, binding, unasked names and length of personalised captions; the slice is called `ict_N`."""
    n = part.what.rpartition("_")[2]
    wanted = [_names(record).required for record in part.records]
    bound = [
        binding(text, record.meta["objects"], names)
        for record, text, names in zip(part.records, texts, wanted, strict=True)
    ]
    placed = sum(one.placed for one in bound)
    right = [one.placed_right for one in bound]
    required = [len(names) for names in wanted]
    return {
        f"recall_{n}": Measure(f"recall_{n}", _tally(recalled(texts, wanted), required)),
        f"binding_{n}": Measure(
            f"binding_{n}",
            _tally(right, [one.placed for one in bound]),
            sum(one.chance for one in bound) / placed if placed else None,
        ),
        f"bound_recall_{n}": Measure(f"bound_recall_{n}", _tally(right, required)),
        "described": Measure(
            "described", _tally([one.described_right for one in bound], [one.described for one in bound])
        ),
        "unasked": _yes_no(
            "unasked", [bool(names_said(text) - set(names)) for text, names in zip(texts, wanted, strict=True)]
        ),
        "repeated": _yes_no("repeated", [repeats_a_name(text) for text in texts]),
        "length": Measure("length", _tally([len(text) for text in texts], [1] * len(texts))),
    }


def recalled(texts: Sequence[str], wanted: Sequence[Sequence[str]]) -> list[int]:
    """How many of its wanted names each text says, by the strict matcher."""
    from repic_rewards.names import NameMatcher

    counts = []
    for text, names in zip(texts, wanted, strict=True):
        # A matcher each: with all names in one, two that differ by case would have to be told apart.
        counts.append(len(NameMatcher(names).find([text]).named()[0]))
    return counts


def score_boxes(part: Slice, texts: Sequence[str], frame: Frame) -> dict[str, Measure]:
    """Boxes against the truth; no box, or more than one, is an IoU of 0."""
    import numpy as np

    from repic_rewards.boxes import iou
    from repic_rewards.parsing import parse_boxes

    said = np.zeros((len(texts), 4))
    true = np.zeros((len(texts), 4))
    for index, (record, text) in enumerate(zip(part.records, texts, strict=True)):
        how = frame(record.image)
        boxes = parse_boxes(text, how.convention, how.seen, how.original)
        if len(boxes) == 1:
            said[index] = boxes[0]
        box = record.answer
        assert isinstance(box, Box)
        true[index] = box.x1, box.y1, box.x2, box.y2
    overlap = [float(value) for value in iou(said, true)]
    return {
        "vlt": _yes_no("vlt", [value >= VLT_IOU for value in overlap]),
        "vlt_iou": Measure("vlt_iou", _tally([round(value, 5) for value in overlap], [1] * len(overlap))),
    }


def score_looks(part: Slice, texts: Sequence[str]) -> dict[str, Measure]:
    """Attributes of the scene's objects in generic captions, and names that have no place there."""
    found = [looks(text, record.meta["objects"]) for record, text in zip(part.records, texts, strict=True)]
    objects = [len(record.meta["objects"]) for record in part.records]
    measures = {
        "caption": Measure("caption", _tally([one.phrase for one in found], objects)),
        "caption_place": Measure("caption_place", _tally([one.phrase_and_place for one in found], objects)),
        "caption_names": _yes_no("caption_names", [bool(names_said(text)) for text in texts]),
        "caption_length": Measure("caption_length", _tally([len(text) for text in texts], [1] * len(texts))),
    }
    for index, attribute in enumerate(ATTRIBUTES):
        name = f"caption_{attribute}"
        measures[name] = Measure(name, _tally([one.attributes[index] for one in found], objects))
    return measures


def where_right(record: Record, text: str) -> bool:
    """Whether the answer puts the name at its true place."""
    from repic_cli.embedded.language import is_where_answer

    name = record.references[0].name
    place: str = next(item["position"] for item in record.meta["objects"] if item["name"] == name)
    return is_where_answer(text, name, place)


def oct_right(record: Record, text: str) -> bool:
    """Whether a yes or no is given and right."""
    from repic_rewards.answers import read_yes_no

    assert isinstance(record.answer, YesNo)
    return read_yes_no(text, mode="strict") is record.answer.value


def _names(record: Record) -> Names:
    assert isinstance(record.answer, Names)
    return record.answer


def _tally(hits: Sequence[float], chances: Sequence[float]) -> Tally:
    return Tally(tuple(hits), tuple(chances))


def _yes_no(name: str, right: Sequence[bool], *, chance: float | None = None) -> Measure:
    return Measure(name, _tally([int(value) for value in right], [1] * len(right)), chance)
