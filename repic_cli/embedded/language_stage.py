"""Stage 2 of the recipe: batches of lessons for the language model, and the loss over their answers.

Positions, token order and picture features are those of the library's own processor and model (a test compares
them); they are built here because a training step must not wait for a chat template.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from repic_cli.embedded.lessons import Lesson, Turn
from repic_cli.embedded.pictures import MERGE, PATCH, encode, patches
from repic_cli.embedded.world import Picture

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

IGNORE = -100


@dataclass
class Encoded:
    """One lesson as tokens: ids and labels (T,), weights (T,), positions (3, T), pictures with their first token."""

    kind: str
    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    positions: list[tuple[int, int, int]] = field(default_factory=list)
    pictures: list[tuple[int, Picture]] = field(default_factory=list)
    next_position: int = 0


@dataclass
class Batch:
    """Right-padded lessons of about one length: (B, T) tensors, and pictures grouped by side in pixels."""

    ids: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    positions: torch.Tensor  # (3, B, T)
    pictures: dict[int, torch.Tensor]  # side -> (K, patches, 588)
    slots: dict[int, tuple[torch.Tensor, torch.Tensor]]  # side -> rows and columns of the K * n image tokens
    kinds: list[str]


class LessonEncoder:
    """Turns lessons into tokens exactly as the chat template and processor would."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer.backend_tokenizer
        token = tokenizer.convert_tokens_to_ids
        self.image_token = int(token("<|image_pad|>"))
        self.end = int(token("<|im_end|>"))
        self.pad = int(token("<|endoftext|>"))
        self._vision = int(token("<|vision_start|>")), int(token("<|vision_end|>"))
        self._cache: dict[str, list[int]] = {}

    def text(self, text: str) -> list[int]:
        if text not in self._cache:
            ids = self._tokenizer.encode(text, add_special_tokens=False).ids
            if len(self._cache) > 50_000:
                self._cache.clear()
            self._cache[text] = ids
        return self._cache[text]

    def encode(self, lesson: Lesson) -> Encoded:
        out = Encoded(lesson.kind)
        images = iter(lesson.images)
        for index, turn in enumerate(lesson.turns):
            self._append(out, self.text(("\n" if index else "") + "<|im_start|>user\n"))
            self._question(out, turn, images)
            self._append(out, self.text("<|im_end|>\n<|im_start|>assistant\n"))
            self._append(out, [*self.text(turn.answer), self.end], turn.weight)
        return out

    def _question(self, out: Encoded, turn: Turn, images: Any) -> None:
        for part in turn.parts:
            if part["type"] == "text":
                self._append(out, self.text(part["text"]))
                continue
            self._append(out, [self._vision[0]])
            self._picture(out, np.asarray(next(images).open()))
            self._append(out, [self._vision[1]])

    def _append(self, out: Encoded, ids: Sequence[int], weight: float = 0.0) -> None:
        out.ids += ids
        out.labels += ids if weight else [IGNORE] * len(ids)
        out.weights += [weight] * len(ids)
        out.positions += [(out.next_position + k,) * 3 for k in range(len(ids))]
        out.next_position += len(ids)

    def _picture(self, out: Encoded, pixels: Picture) -> None:
        side = pixels.shape[0] // (PATCH * MERGE)
        out.pictures.append((len(out.ids), pixels))
        start = out.next_position
        out.ids += [self.image_token] * (side * side)
        out.labels += [IGNORE] * (side * side)
        out.weights += [0.0] * (side * side)
        out.positions += [(start, start + row, start + column) for row in range(side) for column in range(side)]
        out.next_position += side


def batch(lessons: Sequence[Encoded], pad: int) -> Batch:
    length = max(len(lesson.ids) for lesson in lessons)
    shape = (len(lessons), length)
    ids, labels = np.full(shape, pad), np.full(shape, IGNORE)
    weights, positions = np.zeros(shape, np.float32), np.zeros((3, *shape), np.int64)
    pictures: dict[int, list[Picture]] = defaultdict(list)
    rows: dict[int, list[int]] = defaultdict(list)
    columns: dict[int, list[int]] = defaultdict(list)
    for row, lesson in enumerate(lessons):
        count = len(lesson.ids)
        ids[row, :count], labels[row, :count], weights[row, :count] = lesson.ids, lesson.labels, lesson.weights
        positions[:, row, :count] = np.array(lesson.positions).T
        for first, pixels in lesson.pictures:
            side = pixels.shape[0]
            tokens = (side // (PATCH * MERGE)) ** 2
            pictures[side].append(pixels)
            rows[side] += [row] * tokens
            columns[side] += range(first, first + tokens)
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(labels),
        torch.from_numpy(weights),
        torch.from_numpy(positions),
        {side: torch.from_numpy(patches(np.stack(images))) for side, images in pictures.items()},
        {side: (torch.tensor(rows[side]), torch.tensor(columns[side])) for side in pictures},
        [lesson.kind for lesson in lessons],
    )


def batches(lessons: Sequence[Encoded], pad: int, parts: int) -> list[Batch]:
    """Split into `parts` batches of like lengths, so that little is padded."""
    ordered = sorted(lessons, key=lambda lesson: len(lesson.ids))
    size = -(-len(ordered) // parts)
    return [batch(ordered[start : start + size], pad) for start in range(0, len(ordered), size)]


def answer_losses(model: Any, data: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cross entropy, weight and whether the greedy choice is right, of each answer token of the batch: (K,) each."""
    inner = model.model
    embeds = inner.language_model.embed_tokens(data.ids)  # (B, T, hidden)
    for side, pixels in data.pictures.items():
        features = encode(inner.visual, pixels, side // PATCH, side // PATCH)
        embeds = embeds.index_put(data.slots[side], features.flatten(0, 1))
    # Padding stands on the right, where causal attention never looks: no mask is needed.
    hidden = inner.language_model(inputs_embeds=embeds, position_ids=data.positions, use_cache=False).last_hidden_state
    targets = data.labels[:, 1:]
    asked = targets != IGNORE
    logits = model.lm_head(hidden[:, :-1][asked])  # (K, vocabulary)
    losses = F.cross_entropy(logits, targets[asked], reduction="none")
    return losses, data.weights[:, 1:][asked], logits.argmax(-1) == targets[asked]
