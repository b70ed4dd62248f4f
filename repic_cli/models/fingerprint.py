"""Recognise the weights an adapter was trained on.

Two models of one architecture take each other's adapters without complaint and then talk nonsense; above all the
embedded model, whose weights may change with a release of repic. So an adapter of ours carries a hash of its base.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repic_cli.models.backbone import Backbone

_ROWS = 4


def fingerprint(model: Any) -> str:
    """32 hex digits from a sample of the language model's weights, the same for any floating type that holds bfloat16.

    The first rows of each matrix are hashed as bfloat16, so that a checkpoint loaded as float32 or bfloat16 gives the
    same digits; weights of a wrapped or quantised model that are no floats are left out.
    """
    import torch

    digest = hashlib.blake2b(digest_size=16, person=b"repic-base")
    for name, weight in sorted(_matrices(model)):
        digest.update(f"{name} {tuple(weight.shape)}".encode())
        rows = weight.detach()[:_ROWS].to("cpu", torch.bfloat16).contiguous()
        digest.update(rows.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def identity(backbone: Backbone) -> str:
    """32 hex digits of the weights and of the adapter on them, for what is kept about one model's answers."""
    digest = hashlib.blake2b(backbone.fingerprint.encode(), digest_size=16, person=b"repic-model")
    if backbone.adapter is not None:
        from repic_cli.models.adapters import WEIGHTS, adapter_folder

        with (adapter_folder(backbone.adapter) / WEIGHTS).open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def _matrices(model: Any) -> list[tuple[str, Any]]:
    """The language model's own matrices by name, without those of an adapter."""
    found = []
    for name, weight in model.get_decoder().named_parameters():
        if weight.ndim == 2 and weight.is_floating_point() and "lora_" not in name:
            found.append((name.replace(".base_layer", ""), weight))
    return found
