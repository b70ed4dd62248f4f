"""The recipe of the embedded model: from random weights to the shipped folder, in one resumable command.

Stage "vision" teaches the tower to see (`vision_stage`), stage "language" teaches the whole model to talk about what
it sees (`language_stage`). Both work against a budget of minutes, write `log.jsonl` as they go, and keep one
checkpoint, so that a killed run goes on where it was.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from repic_cli.embedded import build, language_stage, vision_stage
from repic_cli.embedded.lessons import ANSWER_WEIGHT, lesson_stream
from repic_cli.embedded.optim import optimisers
from repic_cli.embedded.running import Stage, ahead

LESSONS = 48
"""Lessons of one step and process, taken in PARTS batches of like lengths."""
PARTS = 4
SAVE_SECONDS = 240
SIGHT = ((112, 24), (56, 24), (168, 2))
"""Pictures of one step that the tower goes on to be taught with, beside the lessons: side in pixels and number."""
EXAM = 384
"""Held-out lessons on which the language stage is looked at."""


def train_vision(out: Path, minutes: float, seed: int = 0, lr: float = 2e-3) -> None:
    """Stage "vision": writes `out/start`, a model folder whose tower can see."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = build.make_tokenizer()
    model = build.make_model(tokenizer, seed)
    tower = model.model.visual
    heads = vision_stage.CellHeads(model.model.language_model.embed_tokens, tokenizer)
    optims = [(optim, 1.0) for optim in optimisers([*tower.named_parameters(), *heads.named_parameters()], lr, 0.02)]
    stage = Stage("vision", out, minutes, lr, {"model": model, "heads": heads}, optims)
    if not stage.resume():
        vision_stage.whiten_patch_embedding(tower, np.random.default_rng([seed, 1]))
    rng, check = np.random.default_rng([seed, 2, stage.progress.step]), np.random.default_rng([seed, 3])
    tests = [vision_stage.draw_batch(check, side, count * 2, "held_out") for side, count in vision_stage.BATCHES]
    draws = ahead(lambda: [vision_stage.draw_batch(rng, side, n, "train") for side, n in vision_stage.BATCHES])
    while stage.fraction < 1:
        batches = next(draws)

        def backward(batches: Sequence[vision_stage.Batch] = batches) -> float:
            losses = [vision_stage.losses(tower, heads, batch)[0] for batch in batches]
            # Crowded scenes are few: their part of the loss counts less.
            total = losses[0] + losses[1] + 0.3 * losses[2]
            total.backward()
            return float(total.detach())

        loss = stage.step(backward, sum(len(batch.pixels) for batch in batches))
        if stage.progress.step % 100 == 0 or stage.fraction >= 1:
            stage.log(loss=round(loss, 3), held_out=_look(tower, heads, tests))
            stage.save()
    model.save_pretrained(out / "start")
    build.make_processor(tokenizer).save_pretrained(out / "start")


@torch.no_grad()
def _look(
    tower: Any, heads: vision_stage.CellHeads, tests: Sequence[vision_stage.Batch]
) -> dict[str, dict[str, float]]:
    """What share of held-out cells is read right, by picture size."""
    seen = {}
    for batch in tests:
        _, hit = vision_stage.losses(tower, heads, batch)
        seen[f"{batch.side * vision_stage.CELL}px"] = {name: round(value, 3) for name, value in hit.items()}
    return seen


def train_language(out: Path, minutes: float, seed: int = 0, lr: float = 2e-3) -> None:
    """Stage "language": from `out/start` to `out/model`.

    Under `torchrun` each process takes LESSONS lessons of its own a step, and gradients are averaged.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(out / "start", dtype=torch.float32).train()
    processor = AutoProcessor.from_pretrained(out / "start")
    encoder = language_stage.LessonEncoder(processor.tokenizer)
    heads = vision_stage.CellHeads(model.model.language_model.embed_tokens, processor.tokenizer)
    heads.load_state_dict(torch.load(out / "vision.pt", weights_only=True)["heads"])
    own = [(name, value) for name, value in heads.named_parameters() if not name.startswith("embedding.")]
    optims = [(optim, 1.0) for optim in optimisers([*model.named_parameters(), *own], lr, 0.05)]
    stage = Stage("language", out, minutes, lr, {"model": model, "heads": heads}, optims)
    stage.resume()
    rng = np.random.default_rng([seed, 4, stage.workers.rank, stage.progress.step])
    lessons = lesson_stream((seed, stage.workers.rank, stage.progress.step))
    check = lesson_stream((seed, 99), "held_out")
    held_out = language_stage.batches([encoder.encode(next(check)) for _ in range(EXAM)], encoder.pad, 8)
    draws = ahead(
        lambda: (
            language_stage.batches([encoder.encode(next(lessons)) for _ in range(LESSONS)], encoder.pad, PARTS),
            [vision_stage.draw_batch(rng, side, count, "train") for side, count in SIGHT],
        )
    )
    average, saved = 0.0, stage.progress.seconds
    while stage.fraction < 1:
        batches, sights = next(draws)

        def backward(batches: Any = batches, sights: Any = sights) -> float:
            for sight in sights:
                (0.3 * vision_stage.losses(model.model.visual, heads, sight)[0]).backward()
            return _learn(model, batches)

        loss = stage.step(backward, LESSONS)
        average = 0.98 * average + 0.02 * loss if average else loss
        if stage.workers.rank:
            continue
        if stage.progress.step % 50 == 0:
            stage.log(loss=round(average, 4), lr=round(stage.rate(), 6))
        if stage.fraction >= 1 or stage.progress.seconds - saved > SAVE_SECONDS:
            saved = stage.progress.seconds
            stage.log(held_out=_exam(model, held_out))
            stage.save()
            model.save_pretrained(out / "model")
            processor.save_pretrained(out / "model")


def _learn(model: Any, batches: Sequence[language_stage.Batch]) -> float:
    """Gradients of the weighted mean over all answer tokens of the step; gives the mean."""
    total = sum(float((data.weights[:, 1:] * (data.labels[:, 1:] != language_stage.IGNORE)).sum()) for data in batches)
    loss = 0.0
    for data in batches:
        losses, weights, _ = language_stage.answer_losses(model, data)
        share = (losses * weights).sum() / total
        share.backward()
        loss += float(share.detach())
    return loss


@torch.no_grad()
def _exam(model: Any, batches: Sequence[language_stage.Batch]) -> dict[str, float]:
    """Held-out answers by kind of lesson: loss per token, and share of greedy tokens that are right.

    A yes or no has a weight of its own, by which it is told apart; the end token after it is counted with it.
    """
    sums: dict[str, torch.Tensor] = defaultdict(lambda: torch.zeros(3, dtype=torch.float64))
    model.eval()
    for data in batches:
        losses, weights, right = language_stage.answer_losses(model, data)
        rows = (data.labels[:, 1:] != language_stage.IGNORE).nonzero()[:, 0].tolist()
        for row, weight, *values in zip(rows, weights.tolist(), losses.tolist(), right.tolist(), strict=True):
            name = "yes or no" if weight == ANSWER_WEIGHT else data.kinds[row]
            sums[name] += torch.tensor([*values, 1.0], dtype=torch.float64)
    model.train()
    found: dict[str, float] = {}
    for name, (loss, hits, count) in sorted((name, total.tolist()) for name, total in sums.items()):
        found |= {f"{name} loss": round(loss / count, 3), f"{name} right": round(hits / count, 3)}
    return found


def build_model(out: Path, vision_minutes: float, language_minutes: float, workers: int, seed: int) -> Path:
    """Both stages; gives the folder of the finished model. Goes on where a stopped build was.

    The language stage runs in `workers` processes of one thread each: on a CPU they do not wait for one another
    within a layer, only once a step.
    """
    if not (out / "start" / "config.json").exists():
        train_vision(out, vision_minutes, seed)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={workers}"]
    stage = ["-m", "repic_cli.embedded.recipe", str(out), str(language_minutes), str(seed)]
    # An argument list without a shell: a folder name cannot become a command.
    subprocess.run([*launch, *stage], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return out / "model"


if __name__ == "__main__":
    train_language(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
