"""The encoders and detectors that ship, registered through the same hooks as anybody's."""

from __future__ import annotations

from repic_plugins.hookspecs import hookimpl
from repic_plugins.types import Detector, Encoder, Register


def embedded(*, device: str = "auto", batch_size: int = 64) -> Encoder:
    """The tiny encoder that ships: it knows the things of the embedded world, and nothing else."""
    from repic_cli.concepts.encoders import embedded_encoder

    return embedded_encoder(device=device, batch_size=batch_size)


def open_clip(
    *, model: str = "ViT-L-14-336", weights: str = "openai", device: str = "auto", batch_size: int = 32
) -> Encoder:
    """Any model of open_clip, downloaded once from the Hub."""
    from repic_cli.concepts.encoders import open_clip_encoder

    return open_clip_encoder(model=model, weights=weights, device=device, batch_size=batch_size)


def grid(*, scales: tuple[float, ...] = (0.6, 0.4), salient: bool = True) -> Detector:
    """Things on a flat background, else windows at several scales (parts of the shorter side); no model."""
    from repic_cli.concepts.detectors import GridDetector

    return GridDetector(scales, salient)


def whole() -> Detector:
    """The whole picture as one proposal."""
    from repic_cli.concepts.detectors import WholeDetector

    return WholeDetector()


@hookimpl
def repic_register_encoders(register: Register) -> None:
    register("embedded", embedded, help="the tiny open_clip model that ships; knows the embedded world only")
    register("open_clip", open_clip, help="a model of open_clip by name (default ViT-L-14-336 of OpenAI)")


@hookimpl
def repic_register_detectors(register: Register) -> None:
    register("grid", grid, help="things on a flat background, else overlapping windows; no model")
    register("whole", whole, help="the whole picture")
