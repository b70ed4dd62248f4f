"""The frozen vision tower sees each picture once per batch of completions, not once per completion and pass.

TRL repeats a prompt's pictures for each of its completions, and runs the tower for sampling, for the reference and for
the policy: 24 times with 8 completions. On a CPU that was 30 % of a step of the embedded model. Pictures are told apart
by a hash of their pixels, which is cheap beside the tower on a CPU but not on a GPU, so it is done on CPUs only.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch

FAMILIES = ("qwen2_vl", "qwen2_5_vl")
"""Model types whose pictures become one sequence of vectors each and nothing else (Qwen3-VL adds deeper ones)."""


class VisionMemo:
    """Stands in for `get_image_features` of a model's body; `clear` forgets, which a new batch has to begin with.

    The tower then always works on the different pictures of a whole batch at once, so that a resumed run computes the
    same bits as one that was not interrupted.
    """

    def __init__(self, body: Any) -> None:
        self._compute = body.get_image_features
        self._known: dict[bytes, torch.Tensor] = {}
        body.get_image_features = self

    def clear(self) -> None:
        """Forget all pictures."""
        self._known.clear()

    def __call__(self, pixel_values: torch.Tensor, image_grid_thw: torch.Tensor, **options: Any) -> Any:
        """As the method it stands in for: `pooler_output` holds one (tokens, hidden) tensor per picture."""
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        sizes = image_grid_thw.prod(dim=-1).tolist()
        parts = pixel_values.split(sizes)  # (patches, values) per picture
        keys = [_key(part, grid) for part, grid in zip(parts, image_grid_thw.tolist(), strict=True)]
        new = {key: index for index, key in enumerate(keys) if key not in self._known}
        if new:
            rows = list(new.values())
            # Not in inference mode: what is computed while sampling is used in the update too.
            with torch.inference_mode(False), torch.no_grad():
                found = self._compute(torch.cat([parts[row] for row in rows]), image_grid_thw[rows], **options)
            self._known.update(zip(new, found.pooler_output, strict=True))
        return BaseModelOutputWithPooling(pooler_output=tuple(self._known[key] for key in keys))


def _key(pixels: torch.Tensor, grid: list[int]) -> bytes:
    digest = hashlib.blake2b(repr((grid, pixels.dtype)).encode(), digest_size=16)
    digest.update(pixels.contiguous().view(torch.uint8).numpy().data)
    return digest.digest()


def remember_pictures(model: Any) -> VisionMemo | None:
    """Put a memo into a model with a frozen tower on a CPU; None where there is nothing to gain or to be sure of."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    body = getattr(base, "model", None)
    tower = getattr(body, "visual", None)
    if base.config.model_type not in FAMILIES or tower is None or base.device.type != "cpu":
        return None
    if any(weight.requires_grad for weight in tower.parameters()):
        return None
    return VisionMemo(body)
