"""The pictures of a batch of completions: each decoded, processed and looked at once.

TRL carries the processor's tensors along, one copy per completion, and runs the vision tower on all of them in each
pass. Here its `pixel_values` are numbers of pictures in a table, (patches, 1) int64: shaped so that TRL can split and
shuffle them as it does pixels.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from PIL.Image import Image

    from repic_cli.training.shared_prefix.feature_cache import FeatureCache


@dataclass(frozen=True, eq=False)
class Features:
    """What the vision tower makes of a picture: `tokens` (T, hidden), and `deep` of Qwen3-VL, (T, hidden) per layer."""

    tokens: torch.Tensor
    deep: tuple[torch.Tensor, ...] = ()

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return sum(part.numel() * part.element_size() for part in (self.tokens, *self.deep))


@dataclass(frozen=True, eq=False)
class Picture:
    """A processed picture: `pixels` (patches, values), its `grid` (time, height, width) in patches, its number in the
    table, and a `key` that equal pictures share if they were processed alike."""

    number: int
    key: bytes
    pixels: torch.Tensor
    grid: tuple[int, int, int]


def picture_key(image: Image) -> bytes:
    """A hash of pixels and of how they are to be read."""
    orientation = image.getexif().get(0x0112)
    about = (image.mode, image.size, image.getpalette(), orientation)
    digest = hashlib.blake2b(repr(about).encode(), digest_size=16)
    digest.update(image.tobytes())
    return digest.digest()


class Limited(OrderedDict[bytes, Any]):
    """Keeps what was used last, up to `limit` bytes."""

    def __init__(self, limit: int, size: Callable[[Any], int]) -> None:
        super().__init__()
        self._limit, self._size, self.bytes = limit, size, 0

    def find(self, key: bytes) -> Any:
        """The value of a key, None if it is not there."""
        if key in self:
            self.move_to_end(key)
        return self.get(key)

    def keep(self, key: bytes, value: Any) -> None:
        """Add a value; the oldest go until it fits."""
        if key in self:
            self.bytes -= self._size(self.pop(key))
        self[key] = value
        self.bytes += self._size(value)
        while self.bytes > self._limit:
            self.bytes -= self._size(self.popitem(last=False)[1])


class Pictures:
    """The table of the present batch. `seen` counts pictures that went through the vision tower. `cache`: where their
    features are kept beyond the batch, if they are."""

    def __init__(self, cache: FeatureCache | None = None) -> None:
        self._cache = cache
        self._table: dict[int, Picture] = {}
        self._numbers: dict[bytes, int] = {}
        self._features: dict[int, Features] = {}
        self._next = self.seen = 0

    def clear(self) -> None:
        """Forget the last batch. Its numbers are not given again."""
        self._table.clear()
        self._numbers.clear()
        self._features.clear()

    def add(self, key: bytes, pixels: torch.Tensor, grid: Sequence[int]) -> Picture:
        """Put a picture into the table, or find it there."""
        if key not in self._numbers:
            self._numbers[key] = self._next
            self._table[self._next] = Picture(self._next, key, pixels, (int(grid[0]), int(grid[1]), int(grid[2])))
            self._next += 1
        return self._table[self._numbers[key]]

    def rows(
        self, pixel_values: torch.Tensor | None, grids: torch.Tensor | None, counts: Sequence[int] | None, rows: int
    ) -> list[list[Picture]]:
        """The pictures of each row, from what TRL carries in the place of pixels. `counts`: pictures of each row."""
        if pixel_values is None or grids is None or counts is None:
            return [[] for _ in range(rows)]
        patches = grids.prod(dim=-1)
        numbers = pixel_values[patches.cumsum(0) - patches, 0].tolist()
        pictures = iter([self._table[number] for number in numbers])
        return [[next(pictures) for _ in range(count)] for count in counts]

    def features(self, body: Any, pictures: Sequence[Picture]) -> list[Features]:
        """What the frozen vision tower of `body` makes of pictures; it looks at each once."""
        new = {picture.number: picture for picture in pictures if picture.number not in self._features}
        if self._cache is not None:
            for number, picture in list(new.items()):
                kept = self._cache.find(body.visual, picture.key)
                if kept is not None:
                    self._features[number] = kept
                    del new[number]
        if new:
            for picture, features in zip(new.values(), look(body, list(new.values())), strict=True):
                self._features[picture.number] = features
                if self._cache is not None:
                    self._cache.keep(body.visual, picture.key, features)
            self.seen += len(new)
        return [self._features[picture.number] for picture in pictures]


def numbers_in_place_of_pixels(pictures: Sequence[Picture]) -> torch.Tensor:
    """(patches of all, 1) int64: the picture's number for each of its patches."""
    lengths = torch.tensor([len(picture.pixels) for picture in pictures])
    return torch.tensor([picture.number for picture in pictures]).repeat_interleave(lengths)[:, None]


def grids_of(pictures: Sequence[Picture], device: Any = None) -> torch.Tensor:
    """(pictures, 3) `image_grid_thw`."""
    return torch.tensor([picture.grid for picture in pictures], device=device)


def pixels_of(pictures: Sequence[Picture], device: Any) -> dict[str, torch.Tensor]:
    """The pictures as keywords of `forward`, for a model that has to look at them itself."""
    pixels = torch.cat([picture.pixels for picture in pictures]).to(device)
    return {"pixel_values": pixels, "image_grid_thw": grids_of(pictures, device)}


def look(body: Any, pictures: Sequence[Picture]) -> list[Features]:
    """Run the vision tower. Not in inference mode: what is seen while sampling is used in the update too."""
    with torch.inference_mode(False), torch.no_grad():
        found = body.get_image_features(**pixels_of(pictures, body.device), return_dict=True)
    layers = getattr(found, "deepstack_features", None) or ()
    return [
        Features(tokens, tuple(layer[index] for layer in layers)) for index, tokens in enumerate(found.pooler_output)
    ]


def encoder_outputs(features: Sequence[Features]) -> dict[str, Any]:
    """Features as keywords of `forward`. A fresh object for each pass: sampling changes it."""
    from transformers.modeling_outputs import BaseModelOutputWithPooling
    from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

    tokens = tuple(feature.tokens for feature in features)
    if not features[0].deep:
        return {"mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=tokens)}}
    deep = [tuple(layer) for layer in zip(*(feature.deep for feature in features), strict=True)]
    found = BaseModelOutputWithDeepstackFeatures(pooler_output=tokens, deepstack_features=deep)
    return {"mm_encoder_outputs": {"image": found}}
