"""The captioning model itself as a detector: it is asked for the box of each category, as in its training (VLT)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING

from repic_cli.concepts.zero_shot import MOST, distinct, prompts
from repic_cli.data.images import MemoryImage
from repic_plugins.errors import OptionError
from repic_plugins.types import Box, Proposal, Record

if TYPE_CHECKING:
    from PIL.Image import Image

    from repic_cli.models import Backbone

MAX_PROMPTS = 16
"""Each is a question to the model: the most frequent categories have to do."""
MAX_NEW_TOKENS = 128


class GroundingDetector:
    """Proposes the boxes that a model writes for each of `categories` (a `Detector`).

    `backbone` is the model, or what gives it when the first picture comes.
    """

    def __init__(
        self,
        backbone: Backbone | Callable[[], Backbone] | None,
        categories: Sequence[str] = (),
        most: int = MOST,
        batch_size: int = 8,
    ) -> None:
        if backbone is None:
            raise OptionError("detector vlm: there is no captioning model here; use it with `repic caption`")
        self._backbone, self.most, self.batch_size = backbone, most, batch_size
        self.prompts = prompts(categories)[:MAX_PROMPTS]

    @property
    def backbone(self) -> Backbone:
        """The model that is asked."""
        if not hasattr(self._backbone, "generate"):
            self._backbone = self._backbone()
        return self._backbone  # type: ignore[return-value]

    def propose(self, image: Image) -> list[Proposal]:
        """Boxes in pixels, in the order of the categories; at most `most`."""
        from repic_plugins.builtin.tasks import vlt
        from repic_rewards.parsing import parse_boxes

        picture, task = MemoryImage(image), vlt()
        # The answer is what we ask for; the task wants one, and does not show it.
        records = [
            Record(prompt, task.name, picture, answer=Box(0, 0, 1, 1), phrase=f"the {prompt}")
            for prompt in self.prompts
        ]
        samples = [task.build(record, Random(0)) for record in records]
        answers = self.backbone.generate(samples, MAX_NEW_TOKENS, self.batch_size)
        frame = self.backbone.frame(picture)
        found = [
            Proposal(box, 1 - rank / 1000, prompt)
            for rank, (prompt, answer) in enumerate(zip(self.prompts, answers, strict=True))
            for box in parse_boxes(answer, frame.convention, frame.seen, frame.original)
        ]
        return distinct(found, self.most)
