"""The encoders and detectors that ship, registered through the same hooks as anybody's."""

from __future__ import annotations

from typing import Any

from repic_plugins.hookspecs import hookimpl
from repic_plugins.types import Detector, Encoder, Register


def embedded(*, device: str = "auto", batch_size: int = 64) -> Encoder:
    """The tiny encoder that ships: it knows the things of the embedded world, and nothing else."""
    from repic_cli.concepts.encoders import embedded_encoder

    return embedded_encoder(device=device, batch_size=batch_size)


def open_clip(
    *,
    model: str = "ViT-L-14-336",
    weights: str = "openai",
    device: str = "auto",
    batch_size: int = 32,
    dtype: str = "auto",
) -> Encoder:
    """Any model of open_clip (SigLIP 2: `model=ViT-B-16-SigLIP2, weights=webli`), downloaded once from the Hub."""
    from repic_cli.concepts.encoders import open_clip_encoder

    return open_clip_encoder(model=model, weights=weights, device=device, batch_size=batch_size, dtype=dtype)


def grid(*, scales: tuple[float, ...] = (0.6, 0.4), salient: bool = True) -> Detector:
    """Things on a flat background, else windows at several scales (parts of the shorter side); no model."""
    from repic_cli.concepts.detectors import GridDetector

    return GridDetector(scales, salient)


def whole() -> Detector:
    """The whole picture as one proposal."""
    from repic_cli.concepts.detectors import WholeDetector

    return WholeDetector()


def owlv2(
    *,
    model: str = "google/owlv2-base-patch16-ensemble",
    categories: tuple[str, ...] = (),
    threshold: float | None = None,
    device: str = "auto",
    dtype: str = "float32",
    most: int = 20,
) -> Detector:
    """Things of the database's categories, by OWLv2 (Apache-2.0), downloaded once from the Hub."""
    from repic_cli.concepts.zero_shot import ZeroShotDetector

    return ZeroShotDetector(model, categories, threshold, device, dtype, most)


def grounding_dino(
    *,
    model: str = "IDEA-Research/grounding-dino-tiny",
    categories: tuple[str, ...] = (),
    threshold: float | None = None,
    device: str = "auto",
    dtype: str = "float32",
    most: int = 20,
) -> Detector:
    """Things of the database's categories, by Grounding DINO (Apache-2.0), downloaded once from the Hub."""
    from repic_cli.concepts.zero_shot import ZeroShotDetector

    return ZeroShotDetector(model, categories, threshold, device, dtype, most)


def mm_grounding_dino(
    *,
    model: str = "openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_v3det",
    categories: tuple[str, ...] = (),
    threshold: float | None = None,
    device: str = "auto",
    dtype: str = "float32",
    most: int = 20,
) -> Detector:
    """Things of the database's categories, by MM-Grounding-DINO (Apache-2.0), downloaded once from the Hub."""
    from repic_cli.concepts.zero_shot import ZeroShotDetector

    return ZeroShotDetector(model, categories, threshold, device, dtype, most)


def vlm(*, backbone: Any = None, categories: tuple[str, ...] = (), most: int = 20, batch_size: int = 8) -> Detector:
    """Things of the database's categories, where the captioning model says that they are."""
    from repic_cli.concepts.grounding import GroundingDetector

    return GroundingDetector(backbone, categories, most, batch_size)


@hookimpl
def repic_register_encoders(register: Register) -> None:
    register("embedded", embedded, help="the tiny open_clip model that ships; knows the embedded world only")
    register("open_clip", open_clip, help="a model of open_clip by name (default ViT-L-14-336 of OpenAI)")


@hookimpl
def repic_register_detectors(register: Register) -> None:
    register("grid", grid, help="things on a flat background, else overlapping windows; no model")
    register("whole", whole, help="the whole picture")
    register("owlv2", owlv2, help="open-vocabulary detector OWLv2; the categories of the database are its prompts")
    register("grounding-dino", grounding_dino, help="open-vocabulary detector Grounding DINO, prompts as for owlv2")
    register("mm-grounding-dino", mm_grounding_dino, help="open-vocabulary detector MM-Grounding-DINO, as above")
    register("vlm", vlm, help="the captioning model itself is asked where the database's categories are")
