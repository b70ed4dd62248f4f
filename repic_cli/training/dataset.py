"""The dataset that TRL reads: row numbers, from which prompts and pictures are made when they are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from repic_cli.training.phases import Phases
from repic_plugins.types import Sample

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image


class Pictures:
    """Decodes each picture of a batch once, however many completions its prompt has, and keeps those of the last batch.

    With several iterations TRL reads a batch again for each, although it does not use it.
    """

    def __init__(self) -> None:
        self._last: dict[str, Image] = {}

    def read(self, samples: Sequence[Sample]) -> list[list[Image]]:
        """The decoded pictures of each sample."""
        needed = {image.key: image for sample in samples for image in sample.images}
        self._last = {key: self._last[key] if key in self._last else image.open() for key, image in needed.items()}
        return [[self._last[image.key] for image in sample.images] for sample in samples]


def make_dataset(prompts: Sequence[Sample], phases: Phases) -> Dataset:
    """Rows `prompt`, `images` and `row`, in the order of `prompts`."""
    from datasets import Dataset

    pictures = Pictures()

    def read(batch: Mapping[str, Sequence[int]]) -> dict[str, list[Any]]:
        with phases.measure("load"):
            samples = [prompts[row] for row in batch["row"]]
            return {
                "prompt": [list(sample.messages) for sample in samples],
                "images": pictures.read(samples),
                "row": list(batch["row"]),
            }

    return Dataset.from_dict({"row": list(range(len(prompts)))}).with_transform(read)
