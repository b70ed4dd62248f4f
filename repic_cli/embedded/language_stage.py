"""Stage 2 of the recipe: batches of lessons for the language model, the loss over their answers, and over matches.

Matching is taught directly, as seeing is in stage 1: low in the layers, every 28-pixel cell of the last picture must
tell which reference shows the same thing, and higher up what its name is (`MatchHead`). Answers alone teach it too (a
yes or no, a place), but it is then learned last: without these losses, yes or no stayed at chance for 80 000 lessons.

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
from torch import nn

from repic_cli.embedded.lessons import Lesson, Turn
from repic_cli.embedded.pictures import MERGE, PATCH, encode, patches
from repic_cli.embedded.vision_stage import shown_objects
from repic_cli.embedded.world import Picture

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

IGNORE = -100
ALIGN_LAYER, NAME_LAYER = 2, 4
"""After so many layers a cell is asked which reference it shows, and what its name is."""


@dataclass
class Encoded:
    """One lesson as tokens: ids and labels (T,), weights (T,), positions (3, T), pictures with their first token."""

    kind: str
    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    positions: list[tuple[int, int, int]] = field(default_factory=list)
    pictures: list[tuple[int, Picture]] = field(default_factory=list)
    references: list[int] = field(default_factory=list)
    """The first token of each reference's name, in the line that tells it."""
    owners: list[tuple[int, int, int]] = field(default_factory=list)
    """Image tokens of the last picture, each with the reference that shows the same thing (from 1) and the first token
    of its name; or with 0 and the token for nobody."""
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
    references: torch.Tensor  # (B, R) columns of the first tokens of the references' names; 0 where there is none
    cells: tuple[torch.Tensor, torch.Tensor]  # rows and columns of the K image tokens that are asked whose they are
    owners: torch.Tensor  # (K,) reference from 1, or 0
    names: torch.Tensor  # (K,) first token of the name of that reference, or the token for nobody

    def to(self, device: torch.device) -> Batch:
        return Batch(**{name: _moved(value, device) for name, value in vars(self).items()})


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(item.to(device) for item in value)
    return {key: _moved(item, device) for key, item in value.items()} if isinstance(value, dict) else value


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
        self._nobody = int(token("<|vision_pad|>"))
        self._brackets = {self.text("<")[-1], self.text(" <")[-1]}

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
        if lesson.shown:
            self._own(out, lesson)
        return out

    def _own(self, out: Encoded, lesson: Lesson) -> None:
        """Which reference each cell of the last picture shows."""
        first, pixels = out.pictures[-1]
        # Each line about a reference has the name in brackets once.
        brackets = [index for index, token in enumerate(out.ids[:first]) if token in self._brackets]
        out.references = [index + 1 for index in brackets]
        owners = [lesson.names.index(name) + 1 if name else 0 for _, name in lesson.shown]
        shown = shown_objects([box for box, _ in lesson.shown], pixels.shape[0] // (PATCH * MERGE))
        spoken = [self._nobody, *(out.ids[index] for index in out.references)]
        for cell, k in enumerate(shown):
            owner = owners[k] if k >= 0 else 0
            out.owners.append((first + cell, owner, spoken[owner]))

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


def batch(lessons: Sequence[Encoded], encoder: LessonEncoder, length: int) -> Batch:
    shape = (len(lessons), length)
    ids, labels = np.full(shape, encoder.pad), np.full(shape, IGNORE)
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
    cells = [(row, *owner) for row, lesson in enumerate(lessons) for owner in lesson.owners]
    asked = torch.tensor(cells, dtype=torch.long).view(-1, 4)
    references = torch.zeros(len(lessons), max(len(lesson.references) for lesson in lessons), dtype=torch.long)
    for row, lesson in enumerate(lessons):
        references[row, : len(lesson.references)] = torch.tensor(lesson.references)
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(labels),
        torch.from_numpy(weights),
        torch.from_numpy(positions),
        {side: torch.from_numpy(patches(np.stack(images))) for side, images in pictures.items()},
        {side: (torch.tensor(rows[side]), torch.tensor(columns[side])) for side in pictures},
        [lesson.kind for lesson in lessons],
        references,
        (asked[:, 0], asked[:, 1]),
        asked[:, 2],
        asked[:, 3],
    )


def batches(lessons: Sequence[Encoded], encoder: LessonEncoder) -> list[Batch]:
    """Split by length, padded to one of few: oneDNN makes code for each new shape, which takes as long as using it."""
    groups: dict[int, list[Encoded]] = defaultdict(list)
    for lesson in lessons:
        step = 32 if len(lesson.ids) <= 160 else 64
        groups[-(-len(lesson.ids) // step) * step].append(lesson)
    return [batch(groups[length], encoder, length) for length in sorted(groups)]


class MatchHead(nn.Module):
    """Asks cells which reference shows the same thing, and, with the model's word embeddings, what its name is."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        hidden = embedding.embedding_dim
        self.embedding = embedding
        self.cell = nn.Linear(hidden, hidden)
        self.reference = nn.Linear(hidden, hidden)
        self.nobody = nn.Linear(hidden, 1)
        self.name = nn.Linear(hidden, hidden)

    def align(self, states: torch.Tensor, data: Batch) -> torch.Tensor:
        """States (B, T, hidden) -> logits (K, 1 + R): nobody, or one of the references by the state at its name."""
        states = F.rms_norm(states, states.shape[-1:])
        rows = data.cells[0]
        cells = states[data.cells]  # (K, hidden)
        references = self.reference(states[torch.arange(len(states), device=rows.device)[:, None], data.references])
        scores = (self.cell(cells)[:, None] * references[rows]).sum(-1) / cells.shape[-1] ** 0.5
        scores = scores.float().masked_fill(data.references[rows] == 0, float("-inf"))
        return torch.cat([self.nobody(cells).float(), scores], dim=1)

    def names(self, cells: torch.Tensor) -> torch.Tensor:
        """States of cells (K, hidden) -> logits (K, vocabulary) of the first token of the name, or that for nobody."""
        return F.linear(self.name(F.rms_norm(cells, cells.shape[-1:])), self.embedding.weight).float()


@dataclass
class Losses:
    """Of a batch: cross entropy, weight and whether the greedy choice is right of each answer token, (A,) each; whether
    each cell is somebody's, and cross entropy and right choice of its reference and of its name, (K,) each."""

    answers: torch.Tensor
    weights: torch.Tensor
    right: torch.Tensor
    somebody: torch.Tensor
    matches: torch.Tensor
    matched: torch.Tensor
    names: torch.Tensor
    named: torch.Tensor

    @property
    def match(self) -> torch.Tensor:
        """The mean over cells; somebody's cells, which are few, count as much as all others together."""
        each = self.matches + self.names
        means = [each[which].mean() for which in (self.somebody, ~self.somebody) if which.any()]
        return torch.stack(means).mean() if means else self.answers.new_zeros(())


def losses(model: Any, match: MatchHead, data: Batch) -> Losses:
    inner = model.model
    embeds = inner.language_model.embed_tokens(data.ids)  # (B, T, hidden)
    for side, pixels in data.pictures.items():
        features = encode(inner.visual, pixels.to(embeds.dtype), side // PATCH, side // PATCH)
        embeds = embeds.index_put(data.slots[side], features.flatten(0, 1))
    # Padding stands on the right, where causal attention never looks: no mask is needed.
    output = inner.language_model(
        inputs_embeds=embeds, position_ids=data.positions, use_cache=False, output_hidden_states=True
    )
    targets = data.labels[:, 1:]
    asked = targets != IGNORE
    logits = model.lm_head(output.last_hidden_state[:, :-1][asked]).float()  # (K, vocabulary)
    matches = match.align(output.hidden_states[ALIGN_LAYER], data)
    names = match.names(output.hidden_states[NAME_LAYER][data.cells])
    return Losses(
        F.cross_entropy(logits, targets[asked], reduction="none"),
        data.weights[:, 1:][asked],
        logits.argmax(-1) == targets[asked],
        data.owners > 0,
        F.cross_entropy(matches, data.owners, reduction="none"),
        matches.argmax(-1) == data.owners,
        F.cross_entropy(names, data.names, reduction="none"),
        names.argmax(-1) == data.names,
    )
