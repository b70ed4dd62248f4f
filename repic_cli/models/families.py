"""What is known about model families, above all how each writes boxes.

The table is short on purpose: a family that is missing here comes from a plugin (`repic_register_backbones`),
registered under its `model_type`. A wrong convention gives boxes that look plausible and score 0, so none is guessed
silently.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from repic_plugins.errors import PluginError
from repic_plugins.types import BackboneFamily

if TYPE_CHECKING:
    from repic_plugins.registry import PluginRegistry

Size = tuple[int, int]


def qwen_seen(processor: Any, size: Size) -> Size:
    """The size that Qwen's image processor resizes to: multiples of a merged patch within its area bounds."""
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    images = processor.image_processor
    width, height = size
    resized = smart_resize(
        height,
        width,
        factor=images.patch_size * images.merge_size,
        min_pixels=images.size["shortest_edge"],
        max_pixels=images.size["longest_edge"],
    )
    return int(resized[1]), int(resized[0])


_PER_MILLE = BackboneFamily("per_mille")
FAMILIES: dict[str, BackboneFamily] = {
    "qwen2_5_vl": BackboneFamily("pixels", seen=qwen_seen),
    "qwen2_vl": _PER_MILLE,
    "qwen3_vl": _PER_MILLE,
    "qwen3_vl_moe": _PER_MILLE,
    "internvl": _PER_MILLE,
    "deepseek_vl_v2": BackboneFamily("per_999"),
    "paligemma": BackboneFamily("loc1024"),
}
"""`model_type` of `config.json` -> family (paper and model cards of each; `shared/pitfalls.md`)."""


def family_of(model_type: str, registry: PluginRegistry | None = None) -> BackboneFamily:
    """The family of a model type: from the table above, else from a plugin, else pixels of the original with a warning.

    `registry` None: the plugins are loaded if the table does not know the type.
    Raises `PluginError` if a plugin's factory does not return a `BackboneFamily`.
    """
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    if registry is None:
        from repic_plugins.manager import load_plugins

        registry = load_plugins()
    if model_type in registry.backbones:
        family = registry.build("backbone", model_type)
        if not isinstance(family, BackboneFamily):
            origin = registry.backbones[model_type].origin
            made = type(family).__name__
            raise PluginError(f"backbone {model_type} of {origin}: the factory made {made}, not a BackboneFamily")
        return family
    warnings.warn(
        f"it is not known how models of type {model_type!r} write boxes; they are read as pixels of the original "
        "picture. A plugin with repic_register_backbones can tell",
        stacklevel=2,
    )
    return BackboneFamily("pixels")
