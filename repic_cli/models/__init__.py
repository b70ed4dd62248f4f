"""Backbones: loading, prompts, generation, coordinate conventions and LoRA adapters."""

from repic_cli.models.backbone import Backbone
from repic_cli.models.load import load

__all__ = ["Backbone", "load"]
