"""Is this concept really in the picture? The model itself is asked, with the yes/no question it was trained on (OCT).

Retrieval compares vectors of crops, which look-alikes pass; the model sees reference and picture side by side. Its
answer is not written out: the probabilities of its first token are read, and their share for yes decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from repic_cli.concepts.pictures import reference_view
from repic_cli.data.images import MemoryImage
from repic_plugins.builtin.tasks import oct
from repic_plugins.errors import ModelError, OptionError
from repic_plugins.types import ImageRef, Record, Reference, Sample

if TYPE_CHECKING:
    from repic_cli.concepts.geometry import PixelBox
    from repic_cli.models import Backbone

Look = Literal["crop", "picture"]
"""What the model is shown beside the reference: the place where retrieval found the concept, or the whole picture."""
LOOK: Look = "crop"
"""The place: small things are seen larger, and a question about one thing is not about what stands beside it."""
THRESHOLD = 0.5
"""Least probability of yes at which a concept stays, for a model that was not calibrated."""


@dataclass(frozen=True)
class Verdict:
    """How likely yes is, of yes and no (0 to 1), and how likely the answer begins with either word at all.

    A small `certainty` says that the model did not take the question for one of yes or no.
    """

    probability: float
    certainty: float


class Verifier:
    """Asks a model whether the object of a reference picture is in another picture.

    `threshold` is the least probability of yes at which a concept stays; `look` is what the model is shown. Raises
    `ModelError` for a model whose tokenizer has no words for yes and no.
    """

    def __init__(
        self, backbone: Backbone, threshold: float | None = None, batch_size: int = 16, look: Look = LOOK
    ) -> None:
        if threshold is not None and not 0 <= threshold <= 1:
            raise OptionError(f"--verify-threshold {threshold:g}: a probability lies between 0 and 1")
        self.backbone, self.batch_size, self.look = backbone, batch_size, look
        self.threshold = THRESHOLD if threshold is None else threshold
        self.choices = answer_tokens(backbone.processor.tokenizer)
        self._task = oct()
        self._question = self._task.templates["oct"]["questions"][0]

    def view(self, picture: ImageRef, box: PixelBox | None) -> ImageRef:
        """What of a picture the model is shown to judge a concept that was found at `box`."""
        if self.look == "picture" or box is None:
            return picture
        place = ",".join(f"{value:g}" for value in box)
        return MemoryImage(reference_view(picture.open(), box), key=f"{picture.key}#{place}")

    def judge(self, pairs: Sequence[tuple[Reference, ImageRef]]) -> list[Verdict]:
        """The verdict on each pair of reference and picture, in order; they are asked in batches.

        Raises `DataError` for a picture that cannot be read.
        """
        samples = [self.sample(reference, image) for reference, image in pairs]
        found = self.backbone.first_token_shares(samples, self.choices, self.batch_size) if samples else []
        return [Verdict(yes / (yes + no) if yes + no else 0.0, yes + no) for yes, no in found]

    def sample(self, reference: Reference, image: ImageRef) -> Sample:
        """The prompt of one question. What is known about a concept is left out: the pictures have to decide.

        (The info may come with a database of somebody else's, and could ask for a yes.)
        """
        shown = Reference(reference.name, reference.image)
        record = Record(image.key, self._task.name, image, (shown,))
        return self._task.build_question(record, self._question, Random(0))


def answer_tokens(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens with which yes and no begin, however they are written; a token that begins both is neither's."""
    found = []
    for word in ("yes", "no"):
        spellings = [blank + form for form in (word, word.capitalize(), word.upper()) for blank in ("", " ")]
        pieces = [tokenizer.encode(text, add_special_tokens=False) for text in spellings]
        found.append({piece[0] for piece in pieces if piece})
    unknown = {tokenizer.unk_token_id} if tokenizer.unk_token_id is not None else set()
    yes, no = (sorted(tokens - other - unknown) for tokens, other in (found, found[::-1]))
    if not yes or not no:
        raise ModelError("this model's tokenizer has no tokens for yes and no; use --no-verify")
    return tuple(yes), tuple(no)
