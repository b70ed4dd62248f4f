"""An estimate of the memory a run needs, from the model's configuration alone: no weight is loaded."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repic_cli.config_sections import RunConfig

GIB = 2**30
_ADAM = 16
"""Bytes per trained parameter: float32 weight, gradient and two moments."""


@dataclass(frozen=True)
class Memory:
    """Parameters, and bytes on each device. Activations are a rough upper figure for the longest sampled prompt."""

    parameters: int
    trained: int
    weights: int
    optimiser: int
    activations: int
    cache: int

    @property
    def total(self) -> int:
        """Bytes at the peak. Sampling and updating take turns, so only the larger of their needs counts."""
        return self.weights + self.optimiser + max(self.activations, self.cache)

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"about {_size(self.total)} per device: weights {_size(self.weights)}, adapter and its optimiser "
            f"{_size(self.optimiser)}, activations {_size(self.activations)} (sampling: cache {_size(self.cache)})",
            f"{self.parameters / 1e6:,.1f} M parameters; LoRA trains {self.trained / 1e6:,.1f} M",
        ]


def _size(number: int) -> str:
    return f"{number / GIB:.1f} GiB" if number >= GIB else f"{number / 2**20:.0f} MiB"


def outline(config: Any) -> Any:
    """The model's modules without memory behind their weights."""
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config)


def estimate(run: RunConfig, model: Any, prompt_tokens: int) -> Memory:
    """The memory of a run of `model` (as `outline` makes it) with prompts of so many tokens, pictures included."""
    from repic_cli.models.adapters import lora_targets

    parameters = sum(weight.numel() for weight in model.parameters())
    pattern = re.compile(lora_targets(model, run.lora.targets))
    linear = [module for name, module in model.named_modules() if pattern.fullmatch(name)]
    trained = sum(run.lora.r * (module.in_features + module.out_features) for module in linear)
    activations, cache = _per_token(run, model.config.get_text_config())
    tokens = _tokens(run, prompt_tokens)
    return Memory(
        parameters,
        trained,
        weights=parameters * _width(run),
        optimiser=trained * _ADAM,
        activations=tokens * activations,
        cache=tokens * run.train.gradient_accumulation * cache,
    )


def _tokens(run: RunConfig, prompt_tokens: int) -> int:
    """Tokens of a forward pass. Completions of a prompt that stand together share it."""
    train = run.train
    together = 1 if train.shared_prefix == "off" else math.gcd(train.per_device_batch_size, train.num_generations)
    prompts = train.per_device_batch_size // together
    return prompts * prompt_tokens + train.per_device_batch_size * train.max_completion_length


def _width(run: RunConfig) -> int:
    """Bytes of a weight."""
    wide = run.model.dtype == "float32" or (run.model.dtype == "auto" and not run.train.bf16)
    return 4 if wide else 2


def _per_token(run: RunConfig, text: Any) -> tuple[int, int]:
    """Bytes per token of activations kept for the backward pass, and of the key-value cache."""
    width = 2 if run.train.bf16 else _width(run)
    # Inputs of the norms, projections and residual sums; gate, up, their product and the activation.
    layer = (12 * text.hidden_size + 4 * text.intermediate_size) * width
    layers = text.num_hidden_layers
    kept = layer + layers * text.hidden_size * width if run.train.gradient_checkpointing else layers * layer
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return kept, 2 * layers * text.num_key_value_heads * head * _width(run)
