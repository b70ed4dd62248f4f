"""The adapter in the weights while completions are sampled: one product per layer instead of three.

Sampling is one token at a time: on a CPU, and for small models on a GPU, calls count and not the arithmetic. Weights
are put back as the same bits, and it is done in float32 only: there the sum is as exact as the two products, while
bfloat16 would round most of the adapter away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

LIMIT = 2**30
"""Bytes of weights that may be there twice."""


@contextmanager
def merged(model: Any) -> Iterator[bool]:
    """Put the active LoRA adapter into the weights for a while, where that changes no result; whether it was done."""
    layers = mergeable(model)
    before: list[tuple[Any, torch.Tensor]] = []
    try:
        for layer in layers:
            weight = layer.get_base_layer().weight
            before.append((layer, weight.data))
            with torch.no_grad():
                weight.data = weight.data + layer.get_delta_weight(layer.active_adapters[0])
            layer.merged_adapters.append(layer.active_adapters[0])
        yield bool(layers)
    finally:
        for layer, data in before:
            layer.get_base_layer().weight.data = data
            layer.merged_adapters.clear()


def mergeable(model: Any) -> list[Any]:
    """The LoRA layers of a model if all of them can be merged, else none."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    if not all(_simple(layer) for layer in layers):
        return []
    weights = [layer.get_base_layer().weight for layer in layers]
    # A head's weight may be that of the embeddings too, and those have no adapter.
    uses = Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
    if any(uses[id(weight)] > 1 for weight in weights):
        return []
    return layers if sum(weight.nbytes for weight in weights) <= LIMIT else []


def _simple(layer: Any) -> bool:
    """A float32 linear layer with one active adapter, no dropout at work, and nothing unusual about it."""
    from peft.tuners.lora import Linear

    if type(layer) is not Linear or layer.merged or layer.disable_adapters or len(layer.active_adapters) != 1:
        return False
    (name,) = layer.active_adapters
    if name not in layer.lora_A or name in layer.lora_variant or layer.lora_bias.get(name):
        return False
    if layer.training and getattr(layer.lora_dropout[name], "p", 0) > 0:
        return False
    return layer.get_base_layer().weight.dtype in (torch.float32, torch.float64)
