"""Detectors that find things by what they are called: OWLv2, Grounding DINO and MM-Grounding-DINO, by transformers.

The categories of the database are what is looked for. All three have permissive licences (Apache-2.0). Safetensors
only and no remote code, as for every model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from repic_plugins.errors import ModelError, OptionError
from repic_plugins.text import clean
from repic_plugins.types import Proposal

if TYPE_CHECKING:
    from PIL.Image import Image

MODELS = {
    "owlv2": "google/owlv2-base-patch16-ensemble",
    "grounding-dino": "IDEA-Research/grounding-dino-tiny",
    "mm-grounding-dino": "openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_v3det",
}
"""Name of the detector -> its model on the Hub, in the order in which they are preferred."""
THRESHOLDS = {"owlv2": 0.15, "owlvit": 0.1, "grounding-dino": 0.25, "mm-grounding-dino": 0.25}
"""`model_type` -> least score of a proposal. Low on purpose: the search and its threshold decide."""
PROMPTS = ("person", "face", "animal", "toy", "bag", "clothing", "food", "vehicle", "furniture", "thing")
"""What is looked for when the database tells no categories."""
MOST = 20
_SAME = 0.7
"""Of boxes with a larger intersection over union, the better one stays."""
_PROMPTS_AT_A_TIME = {"owlv2": 64, "owlvit": 64}
_WORDS_AT_A_TIME = 60
"""Grounding DINO reads one text of at most 256 tokens."""


class ZeroShotDetector:
    """Proposes boxes of `categories` (a `Detector`). `threshold` None: what suits the model.

    Raises `ModelError` when the model cannot be had or is of another kind.
    """

    def __init__(
        self,
        model: str,
        categories: Sequence[str] = (),
        threshold: float | None = None,
        device: str = "auto",
        dtype: str = "float32",
        most: int = MOST,
    ) -> None:
        if threshold is not None and not 0 <= threshold <= 1:
            raise OptionError(f"detector: a threshold lies between 0 and 1, not {threshold:g}")
        self._network, self._processor, self._device = _load(model, device, dtype)
        self.name, self.most = model, most
        self.family = str(self._network.config.model_type)
        self.threshold = THRESHOLDS[self.family] if threshold is None else threshold
        self.prompts = prompts(categories)

    def propose(self, image: Image) -> list[Proposal]:
        """Boxes in pixels, most certain first, at most `most`."""
        found = [proposal for part in self._parts() for proposal in self._look(image, part)]
        return distinct(found, self.most)

    def _parts(self) -> Iterator[tuple[str, ...]]:
        """The prompts in portions that one pass of the model can take."""
        if self.family in _PROMPTS_AT_A_TIME:
            size = _PROMPTS_AT_A_TIME[self.family]
            yield from (self.prompts[start : start + size] for start in range(0, len(self.prompts), size))
            return
        part: list[str] = []
        for prompt in self.prompts:
            if part and sum(len(other.split()) + 1 for other in (*part, prompt)) > _WORDS_AT_A_TIME:
                yield tuple(part)
                part = []
            part.append(prompt)
        yield tuple(part)

    def _look(self, image: Image, part: Sequence[str]) -> list[Proposal]:
        import torch

        texts = [f"a photo of a {prompt}" for prompt in part] if self._owl else [f"a {prompt}" for prompt in part]
        options = {"truncation": True} if self._owl else {}
        inputs = self._processor(images=image, text=[texts], return_tensors="pt", **options).to(self._device)
        inputs["pixel_values"] = inputs["pixel_values"].to(self._network.dtype)
        with torch.inference_mode():
            outputs = self._network(**inputs)
        given = {"text_labels": [list(part)]} if self._owl else {"input_ids": inputs["input_ids"]}
        (found,) = self._processor.post_process_grounded_object_detection(
            outputs, threshold=self.threshold, target_sizes=[(image.height, image.width)], **given
        )
        boxes, scores = found["boxes"].float().cpu().tolist(), found["scores"].float().cpu().tolist()
        if not boxes:  # Grounding DINO's processor has one empty label then
            return []
        return [
            Proposal(tuple(box), score, clean(label, 60).removeprefix("a "))
            for box, score, label in zip(boxes, scores, found["text_labels"], strict=True)
        ]

    @property
    def _owl(self) -> bool:
        return self.family in _PROMPTS_AT_A_TIME


def prompts(categories: Sequence[str]) -> tuple[str, ...]:
    """What a detector is asked for: the categories without what would end a prompt, each once; else `PROMPTS`."""
    plain = (" ".join(clean(category, 60).lower().replace(".", " ").split()) for category in categories)
    return tuple(dict.fromkeys(filter(None, plain))) or PROMPTS


def distinct(proposals: Sequence[Proposal], most: int) -> list[Proposal]:
    """The most certain proposals, of those at about the same place only the best (non-maximum suppression)."""
    import torch
    from torchvision.ops import nms

    if not proposals:
        return []
    boxes = torch.tensor([proposal.box for proposal in proposals], dtype=torch.float32)
    scores = torch.tensor([proposal.score for proposal in proposals])
    return [proposals[index] for index in nms(boxes, scores, _SAME).tolist()[:most]]


def cached(model: str) -> bool:
    """Whether a model of the Hub lies in the cache of this machine."""
    from huggingface_hub import try_to_load_from_cache

    return all(isinstance(try_to_load_from_cache(model, file), str) for file in ("config.json", "model.safetensors"))


def _load(model: str, device: str, dtype: str) -> tuple[Any, Any, str]:
    import torch
    from transformers import AutoConfig, AutoModelForZeroShotObjectDetection, AutoProcessor

    from repic_cli.models.load import default_device, locate

    place = locate(model).place
    chosen = default_device() if device == "auto" else device
    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
        raise OptionError(f"detector: dtype {clean(dtype, 40)!r} is no floating type; give float32 or float16")
    try:
        family = AutoConfig.from_pretrained(place, trust_remote_code=False).model_type
        if family not in THRESHOLDS:
            known = ", ".join(THRESHOLDS)
            raise ModelError(f"detector {model}: is a {clean(family, 40)}, not one of {known}")
        network = AutoModelForZeroShotObjectDetection.from_pretrained(
            place, use_safetensors=True, trust_remote_code=False, dtype=kind
        )
        processor = AutoProcessor.from_pretrained(place, trust_remote_code=False)
        return network.eval().to(chosen), processor, chosen
    except ModelError:
        raise
    except Exception as error:  # the libraries below have no common base
        raise ModelError(
            f"detector {model}: cannot be loaded ({clean(error, 160)}); it is downloaded once from the Hub; "
            "without a connection give its folder, or --detector grid"
        ) from error
