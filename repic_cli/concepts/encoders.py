"""Picture encoders: from pictures to unit vectors, in which a thing is near to other pictures of itself.

All work through open_clip: the tiny encoder that ships (it knows the embedded world only), any of open_clip's models by
name, or a folder in open_clip's format.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repic_plugins.errors import ModelError, OptionError
from repic_plugins.text import clean, is_name, suggest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from repic_plugins.registry import PluginRegistry
    from repic_plugins.types import Encoder

EMBEDDED = "embedded"
FOLDER = Path(__file__).parents[1] / "embedded" / "encoder"
DEFAULT_MODEL, DEFAULT_WEIGHTS = "ViT-L-14-336", "openai"
CLIP_THRESHOLD = 0.8
"""Cosine from which two pictures are taken for one thing by CLIP-like encoders. A careful guess."""
EMBEDDED_THRESHOLD = 0.85
"""The same for the embedded encoder."""


def build_encoder(registry: PluginRegistry, choice: str, device: str | None = None) -> Encoder:
    """The encoder that `--encoder` or a database names.

    `choice` is a registered encoder (`embedded`, `open_clip`, a plugin's), `MODEL:WEIGHTS` as open_clip calls them
    (`ViT-L-14-336:openai`), or a folder in open_clip's format.
    """
    place = device or "auto"
    if is_name(choice):
        return registry.build("encoder", choice, **({} if device is None else {"device": device}))
    if is_folder(choice):
        return open_clip_encoder(model=choice, weights="", device=place)
    model, colon, weights = choice.partition(":")
    if not colon:
        known = ", ".join(registry.encoders)
        raise OptionError(
            f"--encoder {clean(choice, 80)}: give {known}, MODEL:WEIGHTS such as ViT-L-14-336:openai, or a folder"
        )
    return open_clip_encoder(model=model, weights=weights, device=place)


def is_folder(choice: str) -> bool:
    """Whether an encoder is named by the place of its folder."""
    return "/" in choice or (not is_name(choice) and Path(choice).is_dir())


def open_clip_encoder(
    *,
    model: str = DEFAULT_MODEL,
    weights: str = DEFAULT_WEIGHTS,
    device: str = "auto",
    batch_size: int = 32,
    dtype: str = "auto",
) -> OpenClipEncoder:
    """A model of open_clip, from the Hub or from its cache; a folder with a slash in its name is taken as such.

    SigLIP 2 and others go by their names too: `ViT-B-16-SigLIP2:webli`. `dtype`: float32, float16 or bfloat16;
    `auto` is float16 on a GPU, which changes no cosine by more than about 0.001, and float32 elsewhere.
    """
    if is_folder(model):
        return _from_folder(Path(model).expanduser(), device, batch_size, dtype)
    tag = _known(model, weights)
    with _quiet():
        import open_clip

        try:
            network = open_clip.create_model(
                model, pretrained=weights, precision="fp32", device="cpu", force_quick_gelu=bool(tag.get("quick_gelu"))
            )
        except Exception as error:  # hub, network and file errors have no common base
            raise ModelError(
                f"encoder {model}:{weights} cannot be loaded ({clean(error, 160)}); "
                "it is downloaded once from the Hub; without a connection use --encoder embedded"
            ) from error
    return OpenClipEncoder(network, f"{model}:{weights}", CLIP_THRESHOLD, device, batch_size, dtype)


def embedded_encoder(*, device: str = "auto", batch_size: int = 64) -> OpenClipEncoder:
    """The tiny encoder that ships. It knows the things of the embedded world, and nothing else."""
    weights = FOLDER / "open_clip_model.safetensors"
    network = _load_folder(FOLDER)
    # Vectors of another release's encoder are of no use to this one, so the weights are part of the id.
    mark = hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
    return OpenClipEncoder(network, f"{EMBEDDED}@{mark}", EMBEDDED_THRESHOLD, device, batch_size, "float32")


class OpenClipEncoder:
    """The image tower of an open_clip model (an `Encoder`).

    `id` names the exact weights, `dimension` is the length of the vectors, `threshold` the cosine from which two
    pictures are taken for the same thing.
    """

    def __init__(
        self,
        network: Any,
        id: str,
        threshold: float,
        device: str = "auto",
        batch_size: int = 32,
        dtype: str = "auto",
    ) -> None:
        import open_clip
        import torch
        from open_clip.transform import PreprocessCfg, image_transform_v2

        self.id, self.threshold, self.batch_size = id, threshold, batch_size
        self._device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self._dtype = _dtype(dtype, self._device)
        self._prepare = image_transform_v2(PreprocessCfg(**open_clip.get_model_preprocess_cfg(network)), is_train=False)
        # The text tower is never asked, and in SigLIP 2 it is three quarters of the weights.
        tower = network.visual if isinstance(network, open_clip.CLIP | open_clip.CustomTextCLIP) else network
        self._look = tower if tower is not network else network.encode_image
        try:
            tower.eval().to(self._device, self._dtype)
        except (RuntimeError, AssertionError) as error:
            raise ModelError(f"encoder {id} cannot be put on {device}: {clean(error, 160)}") from error
        self.dimension = int(self.encode([_blank(32)]).shape[1])

    def encode(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Pictures as unit vectors (N, dimension), in order; no picture gives (0, dimension).

        When the device has no memory for a batch, smaller ones are tried, and kept to. Raises `ModelError` when not
        even one picture fits.
        """
        import numpy as np
        import torch

        if not images:
            return np.zeros((0, self.dimension), np.float32)
        parts, start = [], 0
        while start < len(images):
            part = images[start : start + self.batch_size]
            try:
                parts.append(self._vectors(part))
                start += len(part)
            except torch.OutOfMemoryError as error:
                if len(part) == 1:
                    raise ModelError(f"encoder {self.id}: {self._device} has no memory for one picture") from error
                self.batch_size = (len(part) + 1) // 2
                torch.cuda.empty_cache()
        return np.concatenate(parts)

    def _vectors(self, images: Sequence[Image]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            pixels = torch.stack([self._prepare(image) for image in images])  # (b, 3, S, S)
            features = self._look(pixels.to(self._device, self._dtype)).float()  # (b, D)
            vectors: NDArray[np.float32] = torch.nn.functional.normalize(features, dim=-1).cpu().numpy()
        return vectors


def _dtype(name: str, device: str) -> Any:
    """torch's type of that name. Raises `OptionError`."""
    import torch

    if name == "auto":
        return torch.float16 if device.startswith("cuda") else torch.float32
    if name not in ("float32", "float16", "bfloat16"):
        raise OptionError(f"encoder: dtype {clean(name, 40)!r}; give auto, float32, float16 or bfloat16")
    return getattr(torch, name)


def _blank(side: int) -> Image:
    from PIL import Image

    return Image.new("RGB", (side, side))


def _from_folder(folder: Path, device: str, batch_size: int, dtype: str) -> OpenClipEncoder:
    network = _load_folder(folder)
    weights = sorted(folder.glob("*.safetensors"))
    digest = hashlib.sha256()
    for path in weights:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    name = clean(folder.resolve().name, 60)
    return OpenClipEncoder(network, f"{name}@{digest.hexdigest()[:12]}", CLIP_THRESHOLD, device, batch_size, dtype)


def _load_folder(folder: Path) -> Any:
    """A model from a folder that may be a stranger's: safetensors only, and no tower that is fetched from elsewhere."""
    config = folder / "open_clip_config.json"
    if not config.is_file():
        raise ModelError(f"encoder {folder}: no open_clip_config.json there; give a folder in open_clip's format")
    if not any(folder.glob("*.safetensors")) or any(folder.glob("*.bin")) or any(folder.glob("*.pth")):
        raise ModelError(f"encoder {folder}: needs *.safetensors and no pickled weights (*.bin, *.pth) beside them")
    try:
        towers = json.loads(config.read_text(encoding="utf-8"))["model_cfg"]
        if "hf_model_name" in towers["text_cfg"]:
            raise ModelError(f"encoder {folder}: its text tower comes from the Hub, which a local folder may not do")
        with _quiet():
            import open_clip

            return open_clip.create_model(f"local-dir:{folder}", precision="fp32", device="cpu")
    except ModelError:
        raise
    except Exception as error:  # open_clip, safetensors and json have no common base
        raise ModelError(f"encoder {folder}: cannot be loaded: {clean(error, 160)}") from error


def _known(model: str, weights: str) -> dict[str, Any]:
    """open_clip's facts about these weights. Raises `OptionError` with close matches."""
    with _quiet():
        import open_clip

    if model not in open_clip.list_models():
        raise OptionError(
            f"--encoder: open_clip has no model {clean(model, 80)!r}{_close(model, open_clip.list_models())}"
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    if weights not in tags:
        raise OptionError(f"--encoder: {model} has no weights {clean(weights, 80)!r}{suggest(weights, tags)}")
    return dict(open_clip.get_pretrained_cfg(model, weights))


def _close(name: str, known: Sequence[str]) -> str:
    """Close matches only: the whole list is too long for one line."""
    text = suggest(name, known)
    return text if "did you mean" in text else "; `open_clip.list_models()` names them"


@contextmanager
def _quiet() -> Iterator[None]:
    """open_clip logs to the root logger, which thereby gets a handler that would print everybody's warnings."""
    root = logging.getLogger()
    before, level = list(root.handlers), logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)
        for handler in set(root.handlers) - set(before):
            root.removeHandler(handler)
