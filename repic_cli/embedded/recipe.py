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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from repic_cli.embedded import build, language_stage, vision_stage
from repic_cli.embedded.lessons import ANSWER_WEIGHT, Lesson, lesson_stream
from repic_cli.embedded.optim import best_device, optimisers
from repic_cli.embedded.running import Stage, ahead

LESSONS = 24
"""Lessons of one step and process."""
SAVE_SECONDS = 240
SIGHT = ((112, 24), (56, 24), (168, 2))
"""Pictures of one step that the tower goes on to be taught with, beside the lessons: side in pixels and number."""
SIGHT_WEIGHT = 0.3
MATCH_WEIGHT = 0.4
"""Weights of the losses of seeing and matching, beside that of the answers."""
EXAM = 384
"""Held-out lessons on which the language stage is looked at."""


def train_vision(out: Path, minutes: float, seed: int = 0, lr: float = 2e-3) -> None:
    """Stage "vision": writes `out/start`, a model folder whose tower can see.

    Under `torchrun` each process takes batches of its own, and gradients are averaged; so in both stages.
    """
    out.mkdir(parents=True, exist_ok=True)
    device = best_device()
    tokenizer = build.make_tokenizer()
    model = build.make_model(tokenizer, seed)
    heads = vision_stage.CellHeads(model.model.language_model.embed_tokens, tokenizer)
    vision_stage.whiten_patch_embedding(model.model.visual, np.random.default_rng([seed, 1]))
    # The layers of the language model are not used here: they keep the values they start with.
    parts = nn.ModuleDict({"tower": model.model.visual, "heads": heads})
    parts.to(device)
    stage = Stage("vision", out, minutes, lr, parts, optimisers(parts.named_parameters(), lr, 0.02))
    stage.resume()
    working: Any = stage.working
    tower, reader = working["tower"], working["heads"]
    rank = stage.workers.rank
    rng, check = np.random.default_rng([seed, 2, rank, stage.progress.step]), np.random.default_rng([seed, 3])
    tests = [vision_stage.draw_batch(check, side, n * 4, "held_out").to(device) for side, n in vision_stage.BATCHES]
    draws = ahead(
        lambda: [vision_stage.draw_batch(rng, side, n, "train").to(device) for side, n in vision_stage.BATCHES]
    )
    while stage.fraction < 1:
        batches = next(draws)

        def backward(batches: Sequence[vision_stage.Batch] = batches) -> float:
            losses = [vision_stage.losses(tower, reader, batch)[0] for batch in batches]
            # Crowded scenes are few: their part of the loss counts less.
            total = losses[0] + losses[1] + 0.3 * losses[2]
            total.backward()
            return float(total.detach())

        loss = stage.step(backward, sum(len(batch.pixels) for batch in batches))
        if not rank and (stage.progress.step % 200 == 0 or stage.fraction >= 1):
            stage.log(loss=round(loss, 3), held_out=_look(tower, reader, tests))
            stage.save()
    if not rank:
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
    """Stage "language": from `out/start` to `out/model`."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    device = best_device()
    torch.manual_seed(seed)
    # Eager: the backward pass of the library's fused attention is slower on CPUs.
    model = AutoModelForImageTextToText.from_pretrained(
        out / "start", dtype=torch.float32, attn_implementation="eager"
    ).train()
    processor = AutoProcessor.from_pretrained(out / "start")
    encoder = language_stage.LessonEncoder(processor.tokenizer)
    embedding = model.model.language_model.embed_tokens
    heads = vision_stage.CellHeads(embedding, processor.tokenizer)
    heads.load_state_dict(torch.load(out / "vision.pt", weights_only=True)["parts"]["heads"])
    parts = nn.ModuleDict({"model": model, "heads": heads, "match": language_stage.MatchHead(embedding)}).to(device)
    stage = Stage("language", out, minutes, lr, parts, optimisers(parts.named_parameters(), lr, 0.05))
    stage.resume()
    working: Any = stage.working
    rank = stage.workers.rank
    rng = np.random.default_rng([seed, 4, rank, stage.progress.step])
    lessons = lesson_stream((seed, rank, stage.progress.step))
    check = lesson_stream((seed, 99), "held_out")

    def draw(stream: Iterator[Lesson], count: int) -> list[language_stage.Batch]:
        encoded = [encoder.encode(next(stream)) for _ in range(count)]
        return [data.to(device) for data in language_stage.batches(encoded, encoder)]

    held_out = draw(check, EXAM)
    draws = ahead(
        lambda: (
            draw(lessons, LESSONS),
            [vision_stage.draw_batch(rng, side, count, "train").to(device) for side, count in SIGHT],
        )
    )
    average, saved = 0.0, stage.progress.seconds
    while stage.fraction < 1:
        batches, sights = next(draws)

        def backward(batches: Any = batches, sights: Any = sights) -> float:
            for sight in sights:
                seen, _ = vision_stage.losses(working["model"].model.visual, working["heads"], sight)
                (SIGHT_WEIGHT * seen).backward()
            return _learn(working, batches)

        loss = stage.step(backward, LESSONS)
        average = 0.98 * average + 0.02 * loss if average else loss
        if rank:
            continue
        if stage.progress.step % 50 == 0:
            stage.log(loss=round(average, 4), lr=round(stage.rate(), 6))
        if stage.fraction >= 1 or stage.progress.seconds - saved > SAVE_SECONDS:
            saved = stage.progress.seconds
            stage.log(held_out=_exam(working, held_out))
            stage.save()
            model.save_pretrained(out / "model")
            processor.save_pretrained(out / "model")


def _learn(parts: Any, batches: Sequence[language_stage.Batch]) -> float:
    """Gradients of the weighted mean over all answer tokens of the step, and of the matches; gives the mean."""
    total = sum(float((data.weights[:, 1:] * (data.labels[:, 1:] != language_stage.IGNORE)).sum()) for data in batches)
    loss = 0.0
    for data in batches:
        found = language_stage.losses(parts["model"], parts["match"], data)
        share = (found.answers * found.weights).sum() / total
        (share + MATCH_WEIGHT / len(batches) * found.match).backward()
        loss += float(share.detach())
    return loss


@torch.no_grad()
def _exam(parts: Any, batches: Sequence[language_stage.Batch]) -> dict[str, float]:
    """Held-out answers by kind of lesson: loss per token, and share of greedy tokens that are right.

    Of a yes or no only the first token counts, not the end after it.
    "somebody" and "nobody" are cells whose thing a reference shows, or none; "named" is about reading its name.
    """
    sums: dict[str, torch.Tensor] = defaultdict(lambda: torch.zeros(3, dtype=torch.float64))
    parts.eval()
    for data in batches:
        found = language_stage.losses(parts["model"], parts["match"], data)
        answers = data.labels[:, 1:] != language_stage.IGNORE
        first = (answers & (data.labels[:, :-1] == language_stage.IGNORE))[answers].tolist()
        rows = answers.nonzero()[:, 0].tolist()
        values = zip(found.weights.tolist(), found.answers.tolist(), found.right.tolist(), strict=True)
        for row, starts, (weight, *value) in zip(rows, first, values, strict=True):
            if weight != ANSWER_WEIGHT:
                sums[data.kinds[row]] += torch.tensor([*value, 1.0], dtype=torch.float64)
            elif starts:
                sums["yes or no"] += torch.tensor([*value, 1.0], dtype=torch.float64)
        for name, which in (("somebody", found.somebody), ("nobody", ~found.somebody)):
            count = float(which.sum())
            for what, losses, right in (("", found.matches, found.matched), (" named", found.names, found.named)):
                cells = (float(losses[which].sum()), float(right[which].sum()), count)
                sums[name + what] += torch.tensor(cells, dtype=torch.float64)
    parts.train()
    result: dict[str, float] = {}
    for name, (loss, hits, count) in sorted((name, total.tolist()) for name, total in sums.items()):
        result |= {f"{name} loss": round(loss / count, 3), f"{name} right": round(hits / count, 3)}
    return result


def build_model(out: Path, vision_minutes: float, language_minutes: float, workers: int, seed: int) -> Path:
    """Both stages; gives the folder of the finished model. Goes on where a stopped build was.

    Each stage runs in `workers` processes of one thread each: on a CPU they do not wait for one another within a
    layer, only once a step.
    """
    if not (out / "start" / "config.json").exists():
        _launch("vision", out, vision_minutes, workers, seed)
    _launch("language", out, language_minutes, workers, seed)
    return out / "model"


def _launch(stage: str, out: Path, minutes: float, workers: int, seed: int) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={workers}"]
    command = ["-m", "repic_cli.embedded.recipe", stage, str(out), str(minutes), str(seed)]
    # Room for the code that oneDNN makes for each shape of a product: at its default of 1024 most is made anew.
    settings = {"OMP_NUM_THREADS": "1", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "20000"}
    # An argument list without a shell: a folder name cannot become a command.
    subprocess.run([*launch, *command], check=True, env=os.environ | settings)


if __name__ == "__main__":
    train = {"vision": train_vision, "language": train_language}[sys.argv[1]]
    train(Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
