"""Stage 1 of the recipe: teach the vision tower to see, before there is a language model behind it.

Every 28-pixel cell of a picture learns what it shows: object or not, colour, pattern, shape, accessory, where the
cell is, and the box of its object. The class vectors of the attributes are the *word embeddings* of the language
model (` red`, ` striped`, ...), so that a visual token starts life as the sum of the words that describe it; the
language model then has to learn far less. This is the recipe's main saving of time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from repic_cli.embedded.pictures import PATCH, encode, patches
from repic_cli.embedded.world import (
    ACCESSORIES,
    BACKGROUNDS,
    COLORS,
    CROWD_SIZE,
    LIGHTS,
    PATTERNS,
    REFERENCE_SIZE,
    SCENE_SIZE,
    SHAPES,
    Placed,
    Split,
    identities,
    pick,
    render_reference,
    render_scene,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CELL = 28
IGNORE = -100
BATCHES = ((SCENE_SIZE, 48), (REFERENCE_SIZE, 64), (CROWD_SIZE, 4))
"""Side in pixels and number of pictures of the three parts of one step."""
WORD_HEADS: dict[str, tuple[str, ...]] = {
    "color": tuple(COLORS),
    "pattern": PATTERNS,
    "shape": SHAPES,
    "accessory": ACCESSORIES,
    "background": tuple(BACKGROUNDS),
    "light": tuple(LIGHTS),
}


@dataclass
class Batch:
    """Pictures of one size and the truth about their cells (n = cells in a picture)."""

    pixels: torch.Tensor  # (B, 4n, 588)
    cells: torch.Tensor  # (B, n, 5): object, color, pattern, shape, accessory; IGNORE where nothing is
    boxes: torch.Tensor  # (B, n, 4): in cells, from the cell's centre; NaN where nothing is
    surroundings: torch.Tensor  # (B, 2): background, light; IGNORE for references
    side: int  # cells per side

    def to(self, device: torch.device) -> Batch:
        return Batch(
            self.pixels.to(device),
            self.cells.to(device),
            self.boxes.to(device),
            self.surroundings.to(device),
            self.side,
        )


class CellHeads(nn.Module):
    """Reads cells. Attributes are read with the language model's word embeddings, the rest with linear layers."""

    def __init__(self, embedding: nn.Embedding, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        hidden = embedding.embedding_dim
        self.embedding = embedding
        self.words = {
            head: torch.tensor([_token(tokenizer, word) for word in words]) for head, words in WORD_HEADS.items()
        }
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.objectness = nn.Linear(hidden, 2)
        self.box = nn.Linear(hidden, 4)
        self.place = nn.Linear(hidden, 36)
        self.absolute = nn.Linear(hidden, 4)

    def read(self, head: str, features: torch.Tensor) -> torch.Tensor:
        """Logits over the words of a head: (..., hidden) -> (..., words)."""
        return (self.scale * features @ self.embedding(self.words[head].to(features.device)).T).float()


def _token(tokenizer: PreTrainedTokenizerFast, word: str) -> int:
    """The one token of ` word`; no accessory is read as the full stop that follows a phrase without one."""
    ids = tokenizer.encode(f" {word}" if word else ".", add_special_tokens=False)
    if len(ids) != 1:
        raise ValueError(f"{word!r} is {len(ids)} tokens; the vision stage needs one")
    return int(ids[0])


def draw_batch(rng: np.random.Generator, side: int, count: int, split: Split) -> Batch:
    """Scenes of 112 or 168 pixels, or references of 56 pixels."""
    pool = identities(split)
    images, cells, boxes, surroundings = [], [], [], []
    n = side // CELL
    for _ in range(count):
        if side == REFERENCE_SIZE:
            (identity,) = pick(rng, pool, 1)
            images.append(render_reference(rng, identity, side))
            row = (1, identity.color, identity.pattern, identity.shape, identity.accessory)
            cells.append(np.tile(np.array(row, np.int64), (n * n, 1)))
            boxes.append(np.full((n * n, 4), np.nan, np.float32))
            surroundings.append((IGNORE, IGNORE))
            continue
        members = pick(rng, pool, int(rng.integers(1, 5)) if side == SCENE_SIZE else int(rng.integers(3, 8)))
        scene = render_scene(rng, members, side)
        images.append(scene.image)
        truth, box = _label(scene.objects, n)
        cells.append(truth)
        boxes.append(box)
        surroundings.append((list(BACKGROUNDS).index(scene.background), list(LIGHTS).index(scene.light)))
    return Batch(
        torch.from_numpy(patches(np.stack(images))),
        torch.from_numpy(np.stack(cells)),
        torch.from_numpy(np.stack(boxes)),
        torch.tensor(surroundings),
        n,
    )


def shown_objects(boxes: Sequence[tuple[int, int, int, int]], n: int) -> NDArray[np.int64]:
    """Which object each cell of a scene shows, (n * n,): an index into `boxes` (pixels), -1 for none.

    That is the nearest object that covers the cell's centre or is centred in the cell.
    """
    if not boxes:
        return np.full(n * n, -1)
    places = np.arange(n * n)
    x, y = ((places % n + 0.5) * CELL)[:, None], ((places // n + 0.5) * CELL)[:, None]
    x1, y1, x2, y2 = np.asarray(boxes, np.float64).T
    off_x, off_y = np.abs((x1 + x2) / 2 - x), np.abs((y1 + y2) / 2 - y)  # (n * n, objects)
    covers = (x1 - 4 <= x) & (x <= x2 + 4) & (y1 - 4 <= y) & (y <= y2 + 4)
    distance = np.where(covers | (np.maximum(off_x, off_y) <= CELL / 2), np.hypot(off_x, off_y), np.inf)
    return np.where(np.isfinite(distance.min(1)), distance.argmin(1), -1)


def _label(objects: tuple[Placed, ...], n: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The truth about each cell: the attributes (n * n, 5) and the box in cells (n * n, 4) of the object it shows."""
    cells = np.full((n * n, 5), IGNORE, np.int64)
    cells[:, 0] = 0
    boxes = np.full((n * n, 4), np.nan, np.float32)
    shown = shown_objects([placed.box for placed in objects], n)
    for index in np.flatnonzero(shown >= 0):
        placed = objects[shown[index]]
        identity = placed.identity
        cells[index] = (1, identity.color, identity.pattern, identity.shape, identity.accessory)
        x, y = (index % n + 0.5) * CELL, (index // n + 0.5) * CELL
        boxes[index] = (np.array(placed.box, np.float32) - (x, y, x, y)) / CELL
    return cells, boxes


def losses(tower: Any, heads: CellHeads, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
    """The summed loss of a batch and what share of the cells is read right."""
    features = encode(tower, batch.pixels.to(heads.scale.dtype), batch.side * 2, batch.side * 2)  # (B, n, hidden)
    hit: dict[str, float] = {}
    total = F.cross_entropy(heads.objectness(features).float().flatten(0, 1), batch.cells[..., 0].flatten())
    joint = torch.ones_like(batch.cells[..., 0], dtype=torch.bool)
    for column, head in enumerate(("color", "pattern", "shape", "accessory"), start=1):
        truth = batch.cells[..., column]
        logits = heads.read(head, features)
        total = total + F.cross_entropy(logits.flatten(0, 1), truth.flatten(), ignore_index=IGNORE)
        right = logits.argmax(-1) == truth
        joint &= right
        hit[head] = _share(right, truth != IGNORE)
    hit["all four"] = _share(joint, batch.cells[..., 1] != IGNORE)
    if batch.side * CELL == REFERENCE_SIZE:
        return total, hit
    pooled = features.mean(1)
    for column, head in enumerate(("background", "light")):
        logits = heads.read(head, pooled)
        truth = batch.surroundings[:, column]
        total = total + 0.3 * F.cross_entropy(logits, truth)
        hit[head] = _share(logits.argmax(-1) == truth, truth != IGNORE)
    return total + _place_losses(heads, features, batch, hit), hit


def _place_losses(heads: CellHeads, features: torch.Tensor, batch: Batch, hit: dict[str, float]) -> torch.Tensor:
    """Where the cell is, and the box of its object from the cell and from the corner of the picture."""
    n = batch.side
    places = torch.arange(n * n, device=features.device)
    rows, columns = places // n, places % n
    logits = heads.place(features).float()
    # The same six words serve both picture sizes, so that a cell tells its row and column.
    truth = (rows * 6 + columns).expand(features.shape[0], -1)
    loss = F.cross_entropy(logits.flatten(0, 1), truth.flatten())
    hit["place"] = _share(logits.argmax(-1) == truth, truth >= 0)
    shown = ~batch.boxes[..., 0].isnan()
    loss = loss + 4 * F.smooth_l1_loss(heads.box(features)[shown].float(), batch.boxes[shown], beta=0.1)
    corner = torch.stack([columns, rows, columns, rows], -1) + 0.5  # (n * n, 4), in cells
    absolute = (batch.boxes + corner)[shown]
    guess = heads.absolute(features)[shown].float()
    hit["box px"] = float((guess - absolute).abs().mean().detach()) * CELL
    return loss + 2 * F.smooth_l1_loss(guess, absolute, beta=0.1)


def _share(right: torch.Tensor, counted: torch.Tensor) -> float:
    return float(right[counted].float().mean())


def whiten_patch_embedding(tower: Any, rng: np.random.Generator) -> None:
    """Start the patch embedding from the whitened principal components of the world's patches."""
    pixels = torch.cat(
        [draw_batch(rng, side, 64, "train").pixels.flatten(0, 1) for side in (SCENE_SIZE, REFERENCE_SIZE)]
    )
    pixels = pixels - pixels.mean(0)
    values, vectors = torch.linalg.eigh(pixels.T @ pixels / len(pixels))
    weight = tower.patch_embed.proj.weight  # (D, 3, 2, 14, 14)
    width = weight.shape[0]
    values, vectors = values[-width:], vectors[:, -width:]
    components = (vectors / (values + 1e-2 * values[-1]).sqrt()).T.reshape(width, 3, 1, PATCH, PATCH)
    with torch.no_grad():
        weight.copy_((components * 0.25).expand(-1, -1, 2, -1, -1))
