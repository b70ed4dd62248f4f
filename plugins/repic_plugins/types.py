"""The values that plugins exchange with the engine: records, samples, rollouts and their answers.

All are frozen and hold no tensors, so that they can be hashed, compared, logged and sent to another
process. Pictures are references that are opened only when somebody looks at them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

EMPTY: Mapping[str, Any] = MappingProxyType({})


@runtime_checkable
class ImageRef(Protocol):
    """A picture that is decoded on demand.

    `key` identifies the content (a path or a hash), so that equal pictures are decoded once.
    `open` returns an upright RGB picture.
    """

    @property
    def key(self) -> str: ...

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, after EXIF orientation."""
        ...

    def open(self) -> Image: ...


@dataclass(frozen=True, slots=True)
class YesNo:
    """The true answer of a yes/no question (paper Eq. 2, OCT)."""

    value: bool


@dataclass(frozen=True, slots=True)
class Box:
    """A true box: x1, y1, x2, y2 in pixels of the original picture, x2 and y2 exclusive (paper Eq. 3, VLT)."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True, slots=True)
class Names:
    """The names a caption has to use (paper Eq. 4 and 5, ICT).

    `required` are shown by a reference picture and present in the query picture; `absent` are shown by a
    reference picture but not in the query. Names are bare, without angle brackets. `aliases[i]` are other
    accepted spellings of `required[i]`; it is empty or as long as `required`.
    """

    required: tuple[str, ...]
    absent: tuple[str, ...] = ()
    aliases: tuple[tuple[str, ...], ...] = ()


Answer = YesNo | Box | Names | None


@dataclass(frozen=True, slots=True)
class Reference:
    """One demonstration of a personal concept: a picture, the bare name, and what is known about it."""

    name: str
    image: ImageRef
    info: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """One row of training data before a task has put it into words."""

    id: str
    task: str
    image: ImageRef
    references: tuple[Reference, ...] = ()
    answer: Answer = None
    phrase: str = ""
    meta: Mapping[str, Any] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True)
class Sample:
    """One prompt with its pictures and its verifiable answer.

    `messages` is a conversation in the Hugging Face chat format; each `{"type": "image"}` part stands for the
    next entry of `images`. The query picture is always the last image.
    """

    id: str
    task: str
    messages: tuple[Mapping[str, Any], ...]
    images: tuple[ImageRef, ...]
    answer: Answer = None
    meta: Mapping[str, Any] = field(default_factory=lambda: EMPTY)


BoxConvention = Literal["pixels", "per_mille", "per_999", "loc1024"]


@dataclass(frozen=True, slots=True)
class BoxFrame:
    """How the model writes boxes: its convention, the picture size it saw, and the original picture size.

    Sizes are (width, height) in pixels. Qwen2.5-VL writes `pixels` of the *resized* picture; Qwen2-VL,
    Qwen3-VL and InternVL write `per_mille` (0-1000); DeepSeek-VL2 `per_999`; PaliGemma `loc1024`.
    """

    convention: BoxConvention
    seen: tuple[int, int]
    original: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Rollout:
    """One completion of one sample: all that a reward may look at."""

    sample_id: str
    task: str
    prompt: str
    completion: str
    completion_tokens: int
    answer: Answer = None
    images: tuple[ImageRef, ...] = ()
    frame: BoxFrame | None = None
    meta: Mapping[str, Any] = field(default_factory=lambda: EMPTY)


Reward = Callable[[Sequence[Rollout]], Sequence[float | None] | Awaitable[Sequence[float | None]]]
"""Scores a batch. None: this rollout has no value from this reward (it is left out, not counted as 0)."""

RewardFactory = Callable[..., Reward]


class Task(Protocol):
    """Turns records into samples; owns its instruction templates.

    `requires` names the fields of `Record` that must be filled: "references", "answer", "phrase".
    """

    name: str
    requires: tuple[str, ...]

    def build(self, record: Record, rng: Random) -> Sample: ...


TaskFactory = Callable[..., Task]


@dataclass(frozen=True, slots=True)
class BackboneFamily:
    """What the engine has to know about one model family; the factory of a backbone plugin returns it.

    It is registered under the `model_type` of the family's `config.json` (`qwen2_5_vl`). `seen(processor, size)` tells
    the (width, height) to which the processor resizes a picture of `size`; None: boxes refer to the original picture.
    `load(folder_or_id, **options)` returns (model, processor) for families that `AutoModelForImageTextToText` does not
    know; None: that class is used.
    """

    convention: BoxConvention
    seen: Callable[[Any, tuple[int, int]], tuple[int, int]] | None = None
    load: Callable[..., tuple[Any, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """Where a detector thinks that something is: x1, y1, x2, y2 in pixels, how sure it is, and what it calls it."""

    box: tuple[float, float, float, float]
    score: float = 0.0
    label: str = ""


class Detector(Protocol):
    """Proposes boxes of things in a picture, for retrieval; most promising first."""

    def propose(self, image: Image) -> list[Proposal]: ...


class Encoder(Protocol):
    """Turns pictures into vectors of unit length, for retrieval.

    `id` names the exact weights: vectors of different ids are never compared. `threshold` is the cosine from which
    two pictures are taken for the same thing. `encode` keeps the order: (N, dimension) float32.
    """

    id: str
    dimension: int
    threshold: float

    def encode(self, images: Sequence[Image]) -> NDArray[np.float32]: ...


class Register(Protocol):
    """What each `repic_register_*` hook is handed."""

    def __call__(
        self,
        name: str,
        factory: Callable[..., Any],
        *,
        tasks: Iterable[str] | None = None,
        help: str = "",
    ) -> None: ...
