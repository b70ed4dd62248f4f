"""What a caption comes with: the concepts that were shown to the model, those that were not, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repic_cli.data.images import FileImage
from repic_plugins.types import Reference

if TYPE_CHECKING:
    from repic_cli.concepts.geometry import PixelBox


@dataclass(frozen=True)
class UsedConcept:
    """A concept that may be in the picture, and what speaks for it.

    `picture` is the reference that stands for it (`picture_box`: the part of it that shows the concept). `box` is
    where it was found (pixels of the picture) and `score` its cosine to the reference, of which `threshold` was the
    least; all are None when the concept was given by name. `probability` is that of a yes to the OCT question, of which
    `verify_threshold` was the least; both are None when it was not asked. `reason` says why the concept was not shown
    to the model; it is empty for one that was.
    """

    name: str
    info: str
    picture: Path
    category: str = ""
    picture_box: PixelBox | None = None
    box: PixelBox | None = None
    score: float | None = None
    threshold: float | None = None
    probability: float | None = None
    verify_threshold: float | None = None
    reason: str = ""

    @property
    def kept(self) -> bool:
        """Whether it was shown to the model."""
        return not self.reason

    @property
    def distance(self) -> float | None:
        """1 - cosine: 0 for equal pictures, up to 2."""
        return None if self.score is None else 1 - self.score

    @property
    def reference(self) -> Reference:
        """What the model is shown."""
        return Reference(self.name, FileImage(self.picture, self.picture_box), self.info)

    def verified(self, probability: float, least: float) -> UsedConcept:
        """The same with the model's answer, which may speak against it."""
        reason = self.reason or ("" if probability >= least else "the model says that it is not there")
        return replace(self, probability=probability, verify_threshold=least, reason=reason)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "name": self.name,
            "info": self.info,
            "category": self.category,
            "picture": str(self.picture),
            "picture_box": _rounded_box(self.picture_box),
            "box": _rounded_box(self.box),
            "score": _rounded(self.score),
            "distance": _rounded(self.distance),
            "threshold": _rounded(self.threshold),
            "probability": _rounded(self.probability),
            "verify_threshold": _rounded(self.verify_threshold),
            "kept": self.kept,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class CaptionResult:
    """A caption and how it came about.

    `concepts` were shown to the model, `rejected` came near. `prompt` is the text the model read, each picture as the
    model's own placeholder.
    """

    image: str
    caption: str
    concepts: tuple[UsedConcept, ...]
    prompt: str
    rejected: tuple[UsedConcept, ...] = ()

    @property
    def nearest(self) -> UsedConcept | None:
        """The nearest concept when none was shown; None when one was, or when nothing came near."""
        return None if self.concepts or not self.rejected else self.rejected[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "image": self.image,
            "caption": self.caption,
            "concepts": [used.to_dict() for used in self.concepts],
            "rejected": [used.to_dict() for used in self.rejected],
            "prompt": self.prompt,
        }

    def _repr_html_(self) -> str:
        from repic_cli.captioning.notebook import caption_html

        return caption_html(self)


@dataclass(frozen=True)
class Failure:
    """A picture that could not be captioned, and why."""

    image: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"image": self.image, "error": self.reason}


def split(found: Sequence[UsedConcept]) -> tuple[tuple[UsedConcept, ...], tuple[UsedConcept, ...]]:
    """Those that are kept, and the others, each in order."""
    return tuple(used for used in found if used.kept), tuple(used for used in found if not used.kept)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _rounded_box(box: PixelBox | None) -> list[float] | None:
    return None if box is None else [round(value, 1) for value in box]
