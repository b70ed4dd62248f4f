"""Each different picture goes through the vision tower once, for all prompts of a batch that show it.

Verification asks about one picture once per concept, and the caption prompt shows that picture and the references
again. The prompts themselves share no more than their first words, since references come before the query picture (the
layout that the model was trained on), so their pictures are what can be shared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

FAMILIES = ("qwen2_vl", "qwen2_5_vl")
"""Model types whose pictures become one sequence of vectors each and nothing else (Qwen3-VL adds deeper ones)."""


class SharedPictures:
    """Stands in for `get_image_features` of a model's body, and remembers what the vision tower made of each picture.

    `computed` and `reused` count pictures.
    """

    def __init__(self, body: Any) -> None:
        self._compute = body.get_image_features
        self._known: dict[bytes, torch.Tensor] = {}
        self._next: list[bytes] = []
        self.computed = self.reused = 0

    def expect(self, inputs: Any) -> None:
        """Tell which pictures come next: the processor's tensors, hashed here, where they still lie on the CPU."""
        self._next = []
        if "pixel_values" in inputs:
            grids = inputs["image_grid_thw"]
            parts = inputs["pixel_values"].split(grids.prod(dim=-1).tolist())
            self._next = [_key(part, grid) for part, grid in zip(parts, grids.tolist(), strict=True)]

    def __call__(self, pixel_values: torch.Tensor, image_grid_thw: torch.Tensor, **options: Any) -> Any:
        """As the method it stands in for: `pooler_output` holds one (tokens, hidden) tensor per picture."""
        import torch
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        keys = self._next
        if len(keys) != len(image_grid_thw):
            return self._compute(pixel_values, image_grid_thw, **options)
        new = {key: index for index, key in enumerate(keys) if key not in self._known}
        if new:
            rows = list(new.values())
            parts = pixel_values.split(image_grid_thw.prod(dim=-1).tolist())  # (patches, values) per picture
            found = self._compute(torch.cat([parts[row] for row in rows]), image_grid_thw[rows], **options)
            self._known.update(zip(new, found.pooler_output, strict=True))
        self.computed += len(new)
        self.reused += len(keys) - len(new)
        return BaseModelOutputWithPooling(pooler_output=tuple(self._known[key] for key in keys))


@contextmanager
def shared_pictures(model: Any) -> Iterator[SharedPictures | None]:
    """Share pictures among all that the model answers within the block; None for families where it is not known how."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    body = getattr(base, "model", None)
    if base.config.model_type not in FAMILIES or body is None:
        yield None
        return
    memo = SharedPictures(body)
    before = vars(body).get("get_image_features")
    body.get_image_features = memo
    try:
        yield memo
    finally:
        del body.get_image_features
        if before is not None:
            body.get_image_features = before


def _key(pixels: torch.Tensor, grid: list[int]) -> bytes:
    digest = hashlib.blake2b(repr((grid, pixels.dtype)).encode(), digest_size=16)
    digest.update(pixels.contiguous().view(-1).numpy().data)
    return digest.digest()
