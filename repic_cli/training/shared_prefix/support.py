"""Where prompts can be shared, and if not, why."""

from __future__ import annotations

from importlib import metadata
from math import gcd
from typing import Any

from packaging.version import Version

from repic_cli.training.shared_prefix.attention import BASES

TESTED = {"trl": ("1.16", "1.17"), "transformers": ("5.23", "5.24")}
"""Package -> the first version that was tested and the first one that was not. Hooks are used that may change without
notice; `tests/training/shared_prefix` compares with stock, so a new version is tried by widening this and running
those."""
FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
"""Model types whose positions and pictures are understood."""


def untested() -> str | None:
    """Why the installed packages are not used, None if they are."""
    for package, (least, beyond) in TESTED.items():
        found = metadata.version(package)
        if not Version(least) <= Version(found) < Version(beyond):
            return f"{package} {found} is outside of the versions it was tested with (from {least} to below {beyond})"
    return None


def obstacle(model: Any, args: Any) -> str | None:
    """Why prompts of a run cannot be shared, None if they can. `args`: TRL's."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = base.config.get_text_config()
    if base.config.model_type not in FAMILIES:
        return f"models of type {base.config.model_type} are not supported"
    if config._attn_implementation not in BASES:
        return f"attention {config._attn_implementation!r} is not supported, use {' or '.join(BASES)}"
    if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        return "the model attends within a sliding window"
    if getattr(config, "attention_dropout", 0):
        return "the model has dropout in its attention"
    return apart(args.per_device_train_batch_size, args.num_generations)


def apart(batch: int, group: int) -> str | None:
    """Why batches of `batch` completions, `group` of a prompt, have no prompt to share; None if they have."""
    if gcd(batch, group) > 1:
        return None
    return (
        f"no two completions of a prompt meet in a batch of {batch}: "
        f"train.per_device_batch_size should be a multiple of train.num_generations = {group}"
    )


def unit(args: Any) -> int:
    """Completions of one prompt that always stand together in one process's batch."""
    return gcd(args.per_device_train_batch_size, args.num_generations)
