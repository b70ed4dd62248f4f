"""What TRL calls its processor while it makes a batch: each prompt is tokenised once, each picture processed once.

TRL tokenises every copy of a prompt, and runs the image processor over all copies twice per batch. This stand-in
answers with what was made of the different prompts, repeated; pictures come as numbers in a table (see `pictures`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import BatchFeature

from repic_cli.training.shared_prefix.pictures import (
    Limited,
    Picture,
    Pictures,
    grids_of,
    numbers_in_place_of_pixels,
    picture_key,
)

CACHE_BYTES = 256 * 2**20
"""Processed pictures that are kept from batch to batch."""
Processed = tuple[torch.Tensor, tuple[int, int, int]]


class PixelCache:
    """Processed pictures, kept as long as there is room. `processed` counts those that went through the processor."""

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._kept = Limited(limit, lambda found: found[0].numel() * found[0].element_size())
        self.processed = 0

    @contextmanager
    def before(self, processor: Any) -> Iterator[None]:
        """Stand before the image processor of `processor`."""
        inner = processor.image_processor
        processor.image_processor = CachedImageProcessor(inner, self)
        try:
            yield
        finally:
            processor.image_processor = inner

    def process(self, inner: Any, images: Sequence[Any], options: dict[str, Any]) -> list[Processed]:
        """Pixels and grid of each picture."""
        settings = repr((sorted(options.items(), key=str), inner.to_json_string())).encode()
        keys = [picture_key(image) + settings for image in images]
        found = {key: self._kept.find(key) for key in keys}
        new = {key: image for key, image in zip(keys, images, strict=True) if found[key] is None}
        if new:
            made = inner(images=list(new.values()), **options, return_tensors="pt")
            sizes = made["image_grid_thw"].prod(dim=-1).tolist()
            parts = made["pixel_values"].split(sizes)
            for key, pixels, grid in zip(new, parts, made["image_grid_thw"].tolist(), strict=True):
                found[key] = (pixels.clone(), tuple(grid))  # a copy, so that one picture does not keep them all
                self._kept.keep(key, found[key])
            self.processed += len(new)
        return [found[key] for key in keys]


class CachedImageProcessor:
    """An image processor that remembers; all but the call itself is the inner one's."""

    def __init__(self, inner: Any, cache: PixelCache) -> None:
        self._inner, self._cache = inner, cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, images: Any, *, return_tensors: object = None, **options: Any) -> BatchFeature:
        flat = list(_flat(images))
        found = self._cache.process(self._inner, flat, options)
        pixels = torch.cat([pixels for pixels, _ in found])
        return BatchFeature({"pixel_values": pixels, "image_grid_thw": torch.tensor([grid for _, grid in found])})


class SharedProcessor:
    """Stands in for a trainer's processor while one batch of completions is made."""

    def __init__(self, inner: Any, pictures: Pictures, pixels: PixelCache) -> None:
        self._inner, self._pictures, self._pixels = inner, pictures, pixels
        self._batch: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any:
        """As the processor's own. A batch that is tokenised is tokenised once per different prompt."""
        if not (options.get("tokenize") and options.get("return_dict")):
            return self._inner.apply_chat_template(conversation=conversation, **options)
        hashes: dict[int, bytes] = {}
        keys = [repr(_without_pictures(prompt, hashes)) for prompt in conversation]
        first = {key: row for row, key in reversed(list(enumerate(keys)))}
        order = sorted(first.values())
        with self._pixels.before(self._inner):
            made = self._inner.apply_chat_template(conversation=[conversation[row] for row in order], **options)
        place = {row: number for number, row in enumerate(order)}
        self._batch = self._repeat(made, conversation, order, [place[first[key]] for key in keys], hashes)
        return BatchFeature(dict(self._batch))

    def __call__(self, images: Any = None, text: Any = None, **options: Any) -> Any:
        """The tensors of the batch that was tokenised last, which TRL asks for again; all else is the inner one's."""
        if images is None:
            return self._inner(text=text, **options)
        if len(text) != len(self._batch["input_ids"]):
            raise ValueError(f"{len(text)} prompts, but {len(self._batch['input_ids'])} were tokenised")
        batch = dict(self._batch)
        for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
            if name in batch:
                batch[name] = _left_padded(batch[name], self._inner.tokenizer.pad_token_id * (name == "input_ids"))
        return BatchFeature(batch)

    def _repeat(
        self, made: Any, conversation: Any, order: list[int], rows: list[int], hashes: dict[int, bytes]
    ) -> dict[str, Any]:
        """What was made of the different prompts, for all rows."""
        how = hashlib.blake2b(self._inner.image_processor.to_json_string().encode(), digest_size=16).digest()
        shown = self._add(made, [[hashes[id(image)] + how for image in _images(conversation[row])] for row in order])
        per_picture = ("pixel_values", "image_grid_thw")
        batch: dict[str, Any] = {
            name: [values[row] for row in rows] for name, values in made.items() if name not in per_picture
        }
        pictures = [picture for row in rows for picture in shown[row]]
        if pictures:
            batch |= {"pixel_values": numbers_in_place_of_pixels(pictures), "image_grid_thw": grids_of(pictures)}
        return batch

    def _add(self, made: Any, keys: list[list[bytes]]) -> list[list[Picture]]:
        """Put the pictures of the different prompts into the table."""
        if "pixel_values" not in made:
            return [[] for _ in keys]
        grids = torch.as_tensor(made["image_grid_thw"])
        parts = iter(zip(torch.as_tensor(made["pixel_values"]).split(grids.prod(dim=-1).tolist()), grids, strict=True))
        return [[self._pictures.add(key, *_pixels_and_grid(next(parts))) for key in row] for row in keys]


def _pixels_and_grid(part: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, list[int]]:
    return part[0], part[1].tolist()


def _flat(images: Any) -> Iterator[Any]:
    if isinstance(images, list | tuple):
        for image in images:
            yield from _flat(image)
    elif images is not None:
        yield images


def _images(conversation: Any) -> Iterator[Any]:
    """The pictures of a prompt, in order."""
    for message in conversation:
        for part in message["content"] if isinstance(message["content"], list) else ():
            if part["type"] == "image":
                yield part["image"]


def _without_pictures(conversation: Any, hashes: dict[int, bytes]) -> list[Any]:
    """A prompt with hashes in the place of its pictures. `hashes`: those known by the picture's identity, added to."""
    for image in _images(conversation):
        if id(image) not in hashes:
            hashes[id(image)] = picture_key(image)
    return [
        {**message, "content": [_hashed(part, hashes) for part in message["content"]]}
        if isinstance(message["content"], list)
        else message
        for message in conversation
    ]


def _hashed(part: dict[str, Any], hashes: dict[int, bytes]) -> dict[str, Any]:
    return {**part, "image": hashes[id(part["image"])]} if part["type"] == "image" else part


def _left_padded(rows: Sequence[Sequence[int]], filler: int) -> torch.Tensor:
    width = max(len(row) for row in rows)
    return torch.tensor([[filler] * (width - len(row)) + list(row) for row in rows])
