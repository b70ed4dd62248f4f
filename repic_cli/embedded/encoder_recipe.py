"""The recipe of the embedded image encoder: a small open_clip model that knows the things of the embedded world.

Two pictures of one identity (a reference and a crop of a scene) get near vectors; other identities, among them
look-alikes that differ in one attribute, and crops that show no whole object get far ones. Three losses work
together on pairs (i, j) of a batch: contrastive in both directions (CLIP), a sigmoid per pair around a learnt
threshold (SigLIP), so that one threshold serves all identities, and reading the four attributes off the vector.

The result is a folder in open_clip's own format: `open_clip.create_model("local-dir:FOLDER")` loads it. Only the image
tower is trained; open_clip asks for a text tower, so there is the smallest possible one, and it means nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from repic_cli.concepts.geometry import PixelBox, square
from repic_cli.embedded.running import Stage
from repic_cli.embedded.world import (
    ACCESSORIES,
    COLORS,
    PATTERNS,
    SHAPES,
    Identity,
    Placed,
    Scene,
    Split,
    identities,
    lookalike,
    pick,
    render_reference,
    render_scene,
)

SIDE = 64
DIMENSION = 128
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
PEOPLE = 40
"""Identities in a batch; each is shown twice."""
EMPTY = 12
"""Crops of a batch that show no whole object."""
MODEL_CONFIG: dict[str, Any] = {
    "embed_dim": DIMENSION,
    # A list of layers makes it open_clip's ResNet, which learns faster than a ViT at this size. head_width sets the
    # attention pool's heads: width * 32 / head_width = 8.
    "vision_cfg": {"image_size": SIDE, "layers": [1, 2, 2, 1], "width": 16, "head_width": 64},
    "text_cfg": {"context_length": 4, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1},
}
PREPROCESS_CONFIG: dict[str, Any] = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "squash"}


@dataclass(frozen=True)
class Views:
    """One batch of pictures (uint8, (n, 64, 64, 3)) and who is on them."""

    references: NDArray[np.uint8]
    crops: NDArray[np.uint8]
    empty: NDArray[np.uint8]
    who: NDArray[np.int64]  # (n, 4): shape, color, pattern, accessory


class Heads(nn.Module):
    """What is only needed while training: scale and threshold of the pair losses, readers of the attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.contrast = nn.Parameter(torch.tensor(2.7))
        self.threshold = nn.Parameter(torch.tensor(0.5))
        sizes = (len(SHAPES), len(COLORS), len(PATTERNS), len(ACCESSORIES))
        self.readers = nn.ModuleList(nn.Linear(DIMENSION, size) for size in sizes)


def train_encoder(
    out: Path, minutes: float = 15, seed: int = 0, resume: bool = True, lr: float = 2e-3, examined: int = 2000
) -> Path:
    """Train the encoder into `out/encoder`; goes on from `out/encoder.pt` if there is one and `resume` is set.

    `minutes` is the budget of training in all, resumed or not; `examined` the number of crops of the last exam.
    Appends to `out/log.jsonl`, prints every row, and works on the CPU (one thread is enough) or a GPU.
    """
    import open_clip

    out.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(seed)
    model = open_clip.CLIP(**MODEL_CONFIG).to(device)
    model.visual.to(memory_format=torch.channels_last)  # a third faster on a CPU
    heads = Heads().to(device)
    optim = torch.optim.AdamW(_groups(model.visual, heads), lr=lr, betas=(0.9, 0.98))
    parts = nn.ModuleDict({"model": model, "heads": heads})
    stage = Stage("encoder", out, minutes, lr, parts, [optim], dtype=torch.float32)
    if resume:
        stage.resume()
    rng = np.random.default_rng([seed, 7, stage.progress.step])
    while stage.fraction < 1:
        views = draw_views(rng, "train")

        def backward(views: Views = views) -> float:
            loss = losses(model, heads, views)
            loss.backward()
            return float(loss.detach())

        loss = stage.step(backward, 2 * PEOPLE + EMPTY)
        if stage.progress.step % 100 == 0:
            stage.log(loss=round(loss, 3), threshold=round(float(heads.threshold.detach()), 3), held_out=exam(model))
            stage.save()
    stage.save()
    final = exam(model, count=examined)
    stage.log(held_out=final)
    return export(model, out, final)


def _groups(tower: nn.Module, heads: nn.Module) -> list[dict[str, Any]]:
    parameters = [*tower.parameters(), *heads.parameters()]
    return [
        {"params": [value for value in parameters if value.ndim > 1], "weight_decay": 0.05},
        {"params": [value for value in parameters if value.ndim <= 1], "weight_decay": 0.0},
    ]


def tensor(pictures: NDArray[np.uint8], device: torch.device | str = "cpu") -> torch.Tensor:
    """(n, H, W, 3) uint8 -> (n, 3, H, W) as open_clip's own transform gives it."""
    pixels = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(value, device=device).view(3, 1, 1) for value in (MEAN, STD))
    return ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)


def losses(model: Any, heads: Heads, views: Views) -> torch.Tensor:
    """Contrastive + sigmoid + attributes, about equally weighted."""
    device = heads.threshold.device
    count = len(views.who)
    pixels = tensor(np.concatenate([views.references, views.crops, views.empty]), device)
    vectors = F.normalize(model.visual(pixels), dim=-1)  # (2n + empty, D)
    cosines = vectors[:count] @ vectors[count:].T  # (n, n + empty)
    scale = heads.contrast.exp().clamp(max=50)
    truth = torch.arange(count, device=device)
    contrastive = F.cross_entropy(scale * cosines, truth) + F.cross_entropy(scale * cosines[:, :count].T, truth)
    same = F.pad(torch.eye(count, device=device), (0, cosines.shape[1] - count))
    pairs = F.binary_cross_entropy_with_logits(16 * (cosines - heads.threshold), same, reduction="none")
    # The hardest strangers decide where a threshold can lie, so each picture's worst five count, not the mean.
    wrong = (pairs * (1 - same)).topk(5, dim=1).values.mean()
    sigmoid = (pairs * same).sum() / count + wrong
    who = torch.from_numpy(views.who).to(device).repeat(2, 1)  # (2n, 4)
    attributes = [
        F.cross_entropy(reader(8 * vectors[: 2 * count]), who[:, column]) for column, reader in enumerate(heads.readers)
    ]
    return 0.5 * contrastive + sigmoid + 0.5 * torch.stack(attributes).sum()


def draw_views(rng: np.random.Generator, split: Split, count: int = PEOPLE, empty: int = EMPTY) -> Views:
    """`count` different identities, half of them look-alikes of others, each in a reference and in a scene."""
    pool = identities(split)
    members = pick(rng, pool, count // 2)
    while len(members) < count:
        other = lookalike(rng, members[int(rng.integers(len(members)))], pool)
        if other not in members:
            members.append(other)
    references, crops, nothing = [], [], []
    order = [members[int(index)] for index in rng.permutation(count)]
    found: dict[Identity, NDArray[np.uint8]] = {}
    while order:
        size = min(len(order), int(rng.integers(1, 5)))
        scene = render_scene(rng, [order.pop() for _ in range(size)])
        for placed in scene.objects:
            found[placed.identity] = crop(scene.image, _jitter(rng, placed.box, scene.image.shape[1]))
        nothing += [crop(scene.image, box) for box in _miss(rng, scene)]
    for member in members:
        picture = render_reference(rng, member)
        references.append(crop(picture, _jitter(rng, (4, 4, 52, 52), picture.shape[1], most=0.2)))
        crops.append(found[member])
    nothing = nothing[:empty] or [np.zeros((SIDE, SIDE, 3), np.uint8)]
    who = np.array([(m.shape, m.color, m.pattern, m.accessory) for m in members], np.int64)
    return Views(np.stack(references), np.stack(crops), np.stack(nothing), who)


def _jitter(rng: np.random.Generator, box: PixelBox, side: int, most: float = 0.7) -> PixelBox:
    """A square about the object, as a proposal would give it: some margin, a little off."""
    shift = rng.uniform(-0.1, 0.1, 2)
    return square(box, (side, side), rng.uniform(0.0, most), (float(shift[0]), float(shift[1])))


def _miss(rng: np.random.Generator, scene: Scene) -> list[PixelBox]:
    """Squares that hold no object, or only a part of one: what a proposal of a background or of a limb looks like."""
    size = scene.image.shape[0]
    found: list[PixelBox] = []
    for _ in range(3):
        side = rng.uniform(0.2, 0.5) * size
        x, y = rng.uniform(0, size - side, 2)
        box = (float(x), float(y), float(x + side), float(y + side))
        if all(_covered(placed, box) < 0.45 for placed in scene.objects):
            found.append(box)
    return found


def _covered(placed: Placed, box: PixelBox) -> float:
    """How much of an object lies in the box."""
    x1, y1, x2, y2 = placed.box
    width = max(0.0, min(x2, box[2]) - max(x1, box[0]))
    height = max(0.0, min(y2, box[3]) - max(y1, box[1]))
    return width * height / ((x2 - x1) * (y2 - y1))


def crop(picture: NDArray[np.uint8], box: PixelBox) -> NDArray[np.uint8]:
    """Cut out and resize to 64 x 64 exactly as the encoder does at use."""
    from PIL import Image

    whole = tuple(round(value) for value in box)
    cut = Image.fromarray(picture).crop(whole)  # type: ignore[arg-type]
    return np.asarray(cut.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


@torch.no_grad()
def exam(model: Any, count: int = 300, gallery: int = 50, seed: int = 99) -> dict[str, float]:
    """Held-out identities: which of `gallery` references is nearest to a crop of a scene, and how near are strangers.

    `top-1`: share of crops whose nearest reference is their own. `same 5%`: 5 % of true pairs have a lower cosine.
    `stranger 95%`: 5 % of strangers have a higher cosine to the nearest of the references.
    """
    rng = np.random.default_rng([seed, count])
    device = next(model.parameters()).device
    model.eval()
    right: list[bool] = []
    same: list[float] = []
    strangers: list[float] = []
    while len(right) < count:
        views = draw_views(rng, "held_out", gallery)
        one, two = (
            F.normalize(model.visual(tensor(pictures, device)), dim=-1) for pictures in (views.references, views.crops)
        )
        cosines = (two @ one.T).cpu().numpy()
        right += list(cosines.argmax(1) == np.arange(gallery))
        same += list(cosines.diagonal())
        strangers += list((cosines - 2 * np.eye(gallery)).max(1))
    model.train()
    return {
        "top-1": round(float(np.mean(right)), 4),
        "same 5%": round(float(np.quantile(same, 0.05)), 3),
        "stranger 95%": round(float(np.quantile(strangers, 0.95)), 3),
        "equal error": round(equal_error(same, strangers), 4),
    }


def equal_error(same: Sequence[float], strangers: Sequence[float]) -> float:
    """Error rate at the threshold where true pairs are lost as often as strangers are let in."""
    levels = np.quantile(same, np.linspace(0, 1, 501))
    lost = np.array([np.mean(np.array(same) < level) for level in levels])
    let_in = np.array([np.mean(np.array(strangers) >= level) for level in levels])
    best = int(np.argmin(np.abs(lost - let_in)))
    return float((lost[best] + let_in[best]) / 2)


def export(model: Any, out: Path, figures: dict[str, float]) -> Path:
    """Write `out/encoder`: open_clip's config and weights (fp16, running statistics in fp32), log and model card."""
    from safetensors.torch import save_file

    folder = out / "encoder"
    folder.mkdir(exist_ok=True)
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    halved = {
        name: value.half() if value.is_floating_point() and "running" not in name else value
        for name, value in weights.items()
    }
    save_file(halved, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    config = {"model_cfg": MODEL_CONFIG, "preprocess_cfg": PREPROCESS_CONFIG}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    rows = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    mine = [row for row in rows if json.loads(row)["stage"] == "encoder"]
    (folder / "log.jsonl").write_text("\n".join(mine) + "\n", encoding="utf-8")
    card = Path(__file__).with_name("encoder_card.md").read_text(encoding="utf-8")
    last = json.loads(mine[-1])
    facts = {"step": last["step"], "minutes": last["minutes"], "samples": last["samples"], **figures}
    table = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    (folder / "README.md").write_text(card.replace("{figures}", table), encoding="utf-8")
    return folder
