"""Load a backbone: the embedded one, a local folder, or a model of the Hugging Face Hub.

Safetensors only and no remote code, so that a downloaded folder cannot run anything.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repic_cli.models.backbone import Backbone
from repic_cli.models.families import family_of
from repic_plugins.errors import ModelError

if TYPE_CHECKING:
    import torch

    from repic_plugins.registry import PluginRegistry
    from repic_plugins.types import BackboneFamily

EMBEDDED = "embedded"
EMBEDDED_VARIABLE = "REPIC_EMBEDDED_MODEL"
"""Overrides the folder of the embedded model (for people who work on it)."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


@dataclass(frozen=True)
class Source:
    """Where a model comes from: a folder, or the id of a model on the Hub."""

    name: str
    place: str
    embedded: bool = False

    @property
    def folder(self) -> Path | None:
        """The folder, None for a Hub id."""
        path = Path(self.place)
        return path if path.is_dir() else None


def locate(model: str | Path) -> Source:
    """Tell what `model` means. Raises `ModelError` if it is neither a folder with a model nor a Hub id."""
    name = str(model)
    if name == EMBEDDED:
        folder = embedded_folder()
        check_folder(folder, "the embedded model")
        return Source(EMBEDDED, str(folder), embedded=True)
    path = Path(name).expanduser()
    if path.is_dir():
        check_folder(path, name)
        return Source(name, str(path), embedded=_is_embedded(path))
    if path.exists():
        raise ModelError(f"{name}: a model is a folder with config.json and *.safetensors, not a file")
    if not HUB_ID.fullmatch(name):
        raise ModelError(f"{name}: no such folder, and not a Hub id such as Qwen/Qwen2.5-VL-7B-Instruct")
    return Source(name, name)


def embedded_folder() -> Path:
    """The folder of the embedded model."""
    given = os.environ.get(EMBEDDED_VARIABLE)
    return Path(given) if given else Path(__file__).parents[1] / "embedded" / "model"


def _is_embedded(path: Path) -> bool:
    folder = embedded_folder()
    return folder.is_dir() and folder.resolve() == path.resolve()


def check_folder(folder: Path, name: str) -> None:
    """Raise `ModelError` if the folder cannot be a model that we load."""
    if not folder.is_dir():
        raise ModelError(f"{name}: the folder {folder} does not exist")
    if not (folder / "config.json").is_file():
        hint = "; it holds an adapter: give it as --adapter" if (folder / "adapter_config.json").is_file() else ""
        raise ModelError(f"{name}: no config.json in {folder}{hint}")
    if not any(folder.glob("*.safetensors")):
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
        why = "; pickled weights (*.bin, *.pt) can run code and are not loaded: convert them" if pickled else ""
        raise ModelError(f"{name}: no *.safetensors in {folder}{why}")


def load(
    model: str | Path,
    *,
    adapter: str | Path | None = None,
    dtype: str | None = None,
    device: str | None = None,
    attn_implementation: str | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    registry: PluginRegistry | None = None,
) -> Backbone:
    """Load a model with its processor, and an adapter on it if one is given.

    `model`: `embedded`, a folder or a Hub id. `dtype`: `float32`, `bfloat16`, `float16`; None or `auto`: float32 on a
    CPU, else as the checkpoint. `device`: `cpu`, `cuda`, ...; None or `auto`: a GPU if there is one. `min_pixels` and
    `max_pixels` bound the area to which pictures are resized. Raises `ModelError`, one line, if anything does not fit.
    """
    source = locate(model)
    place = device if device and device != "auto" else default_device()
    with _quiet(source):
        network, processor, family = _load_parts(source, dtype, place, attn_implementation, registry)
        set_pixel_bounds(processor, min_pixels, max_pixels, source.name)
        network = _move(network, place).eval()
    from repic_cli.models.fingerprint import fingerprint

    backbone = Backbone(network, processor, family, source.name, source.embedded, fingerprint=fingerprint(network))
    if adapter is not None:
        from repic_cli.models.adapters import attach

        attach(backbone, adapter)
    return backbone


def load_processor(source: Source) -> Any:
    """The processor alone, with left padding. Raises `ModelError`."""
    from transformers import AutoProcessor

    with _explained(source):
        processor = AutoProcessor.from_pretrained(source.place, trust_remote_code=False)
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or getattr(processor, "image_processor", None) is None:
        raise ModelError(f"{source.name}: the model takes no pictures (it has no image processor)")
    tokenizer.padding_side = "left"
    return processor


def load_config(source: Source) -> Any:
    """The model's configuration. Raises `ModelError`."""
    from transformers import AutoConfig

    with _explained(source):
        return AutoConfig.from_pretrained(source.place, trust_remote_code=False)


def default_device() -> str:
    """`cuda` (this process's own device when several run) if there is a GPU, else `cpu`."""
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


def set_pixel_bounds(processor: Any, low: int | None, high: int | None, name: str) -> None:
    """Bound the area of resized pictures. Raises `ModelError` if the model's image processor has no such bounds."""
    if low is None and high is None:
        return
    images = processor.image_processor
    try:
        least, most = images.size["shortest_edge"], images.size["longest_edge"]
    except (KeyError, TypeError, AttributeError):
        least = most = None
    if not least or not most or not hasattr(images, "merge_size"):
        raise ModelError(f"{name}: model.min_pixels and model.max_pixels do not apply to this model's pictures")
    bounds = {"shortest_edge": low or least, "longest_edge": high or most}
    if bounds["shortest_edge"] > bounds["longest_edge"]:
        raise ModelError(
            f"{name}: model.min_pixels = {bounds['shortest_edge']} is more than "
            f"model.max_pixels = {bounds['longest_edge']}"
        )
    images.size = type(images.size)(**bounds) if not isinstance(images.size, dict) else bounds


def _load_parts(
    source: Source, dtype: str | None, device: str, attention: str | None, registry: PluginRegistry | None
) -> tuple[Any, Any, BackboneFamily]:
    from transformers import AutoModelForImageTextToText

    family = family_of(load_config(source).model_type, registry)
    if family.load is not None:
        network, processor = family.load(source.place, dtype=dtype, device=device)
        return network, processor, family
    options: dict[str, Any] = {"dtype": _dtype(dtype, device)}
    if attention and attention != "auto":
        options["attn_implementation"] = attention
    with _explained(source):
        network, report = AutoModelForImageTextToText.from_pretrained(
            source.place, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **options
        )
    lost = sorted(report["missing_keys"])
    if lost:
        raise ModelError(f"{source.name}: {len(lost)} weights are missing from the checkpoint, the first is {lost[0]}")
    return network, load_processor(source), family


def _dtype(name: str | None, device: str) -> torch.dtype | str:
    import torch

    if name is None or name == "auto":
        return torch.float32 if device == "cpu" else "auto"
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ModelError(f"dtype {name!r} is no floating type; give float32, bfloat16 or float16")
    return found


def _move(network: Any, device: str) -> Any:
    try:
        return network.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"the model cannot be put on {device}: {first_line(error)}") from error


@contextmanager
def _explained(source: Source) -> Iterator[None]:
    """Turn what transformers raises about a model into one line of ours."""
    try:
        yield
    except ModelError:
        raise
    except ImportError as error:
        raise ModelError(f"{source.name}: {first_line(error)}") from error
    except (OSError, json.JSONDecodeError) as error:
        if source.folder is None:
            raise ModelError(
                f"{source.name}: no such folder, and cannot be had from the Hugging Face Hub ({first_line(error)}); "
                "give a folder with the model, or --model embedded"
            ) from error
        raise ModelError(f"{source.name}: cannot read the model in {source.place}: {first_line(error)}") from error
    except Exception as error:  # safetensors, pydantic and others have no common base
        raise ModelError(f"{source.name}: the model cannot be loaded: {first_line(error)}") from error


@contextmanager
def _quiet(source: Source) -> Iterator[None]:
    """No progress bar for a model that loads in a blink."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    if source.folder is not None and _size(source.folder) < 1e9:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _size(folder: Path) -> int:
    """Bytes of the weights."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def first_line(error: BaseException) -> str:
    """The first line of an error's message, without its full stop."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).strip().rstrip(".")[:300]
