"""The recipe of the embedded model: from random weights to the shipped folder, in one resumable command.

Stage "vision" teaches the tower to see (`vision_stage`), stage "language" teaches the whole model to talk about what
it sees (`language_stage`). Both work against a budget of minutes, write `log.jsonl` as they go, and keep one
checkpoint, so that a killed run goes on where it was.
"""

from __future__ import annotations

import json
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

T = TypeVar("T")


@dataclass
class Progress:
    """How far a stage is; saved with every checkpoint. `seconds` counts training only."""

    step: int = 0
    seconds: float = 0.0
    samples: int = 0


@dataclass
class Run:
    """What the stages share: where to write, how long, from which seed."""

    out: Path
    minutes: float
    seed: int
    lr: float
    stage: str
    progress: Progress = field(default_factory=Progress)

    @property
    def fraction(self) -> float:
        return self.progress.seconds / 60 / self.minutes

    @property
    def checkpoint(self) -> Path:
        return self.out / f"{self.stage}.pt"

    def rate(self, warmup: int = 100, flat: float = 0.3) -> float:
        """Learning rate now: a warm-up in steps, then flat, then a cosine down to 3 % by the budget of time."""
        ramp = min(1.0, (self.progress.step + 1) / warmup)
        rest = min(1.0, max(0.0, (self.fraction - flat) / (1 - flat)))
        return self.lr * ramp * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * rest)))

    def log(self, **values: Any) -> None:
        row = {"stage": self.stage, "step": self.progress.step, "minutes": round(self.progress.seconds / 60, 2)}
        row |= {"samples": self.progress.samples, **values}
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)

    def save(self, **states: Any) -> None:
        """Replace the checkpoint in one move."""
        partial = self.checkpoint.with_suffix(".partial")
        torch.save({"progress": vars(self.progress), **states}, partial)
        partial.replace(self.checkpoint)

    def load(self) -> dict[str, Any] | None:
        if not self.checkpoint.exists():
            return None
        states: dict[str, Any] = torch.load(self.checkpoint, weights_only=True)
        self.progress = Progress(**states.pop("progress"))
        return states


def ahead(make: Callable[[], T], depth: int = 3) -> Iterator[T]:
    """Endless `make()` values, prepared by one thread ahead of use."""
    ready: queue.Queue[T] = queue.Queue(depth)

    def work() -> None:
        while True:
            ready.put(make())

    threading.Thread(target=work, daemon=True).start()
    while True:
        yield ready.get()


def train_vision(out: Path, minutes: float, seed: int = 0, lr: float = 2e-3) -> None:
    """Stage "vision": writes `out/start`, a model folder whose tower can see."""
    from repic_cli.embedded import build
    from repic_cli.embedded.optim import optimisers
    from repic_cli.embedded.vision_stage import BATCHES, CellHeads, draw_batch, losses, whiten_patch_embedding

    out.mkdir(parents=True, exist_ok=True)
    run = Run(out, minutes, seed, lr, "vision")
    tokenizer = build.make_tokenizer()
    model = build.make_model(tokenizer, seed)
    tower, embedding = model.model.visual, model.model.language_model.embed_tokens
    heads = CellHeads(embedding, tokenizer)
    named = [*tower.named_parameters(), *heads.named_parameters()]
    optims = optimisers(named, lr, weight_decay=0.02)
    states = run.load()
    if states:
        model.load_state_dict(states["model"])
        heads.load_state_dict(states["heads"])
        for optim, state in zip(optims, states["optims"], strict=True):
            optim.load_state_dict(state)
    else:
        whiten_patch_embedding(tower, np.random.default_rng([seed, 1]))

    def save() -> None:
        run.save(
            model=model.state_dict(), heads=heads.state_dict(), optims=[optim.state_dict() for optim in optims]
        )

    rng = np.random.default_rng([seed, 2, run.progress.step])
    check = np.random.default_rng([seed, 3])
    tests = [draw_batch(check, side, count * 2, "held_out") for side, count in BATCHES]
    batches = ahead(lambda: [draw_batch(rng, side, count, "train") for side, count in BATCHES])
    while run.fraction < 1:
        started = time.perf_counter()
        for optim in optims:
            for group in optim.param_groups:
                group["lr"] = run.rate()
        total = 0.0
        for batch, weight in zip(next(batches), (1.0, 1.0, 0.3), strict=True):
            loss, _ = losses(tower, heads, batch)
            (loss * weight).backward()
            total += float(loss.detach())
            run.progress.samples += len(batch.pixels)
        torch.nn.utils.clip_grad_norm_([parameter for _, parameter in named], 1.0)
        for optim in optims:
            optim.step()
            optim.zero_grad()
        run.progress.step += 1
        run.progress.seconds += time.perf_counter() - started
        if run.progress.step % 100 == 0:
            with torch.no_grad():
                seen = {batch.side: losses(tower, heads, batch)[1] for batch in tests}
            rounded = {f"{side * 28}px": {k: round(v, 3) for k, v in hit.items()} for side, hit in seen.items()}
            run.log(loss=round(total, 3), held_out=rounded)
            save()
    save()
    model.save_pretrained(out / "start")
    build.make_processor(tokenizer).save_pretrained(out / "start")


def train_language(out: Path, minutes: float, seed: int = 0, lr: float = 2e-3, size: int = 96, parts: int = 4) -> None:
    """Stage "language": from `out/start` to `out/model`. `size` lessons a step, in `parts` batches of like lengths.

    Under `torchrun` each process takes `size` lessons of its own, and gradients are averaged.
    """
    from repic_cli.embedded import language_stage as stage
    from repic_cli.embedded.lessons import lesson_stream
    from repic_cli.embedded.optim import optimisers

    group = Workers()
    run = Run(out, minutes, seed, lr, "language")
    model, processor = _load(out / "start")
    encoder = stage.LessonEncoder(processor.tokenizer)
    # The tower can see already; it follows the language model at a third of the pace.
    seeing = [(name, value) for name, value in model.named_parameters() if ".visual." in name]
    talking = [(name, value) for name, value in model.named_parameters() if ".visual." not in name]
    optims = [*optimisers(talking, lr, weight_decay=0.05), *optimisers(seeing, lr / 3, weight_decay=0.02)]
    scales = [1.0, 1.0, 1 / 3, 1 / 3]
    states = run.load()
    if states:
        model.load_state_dict(states["model"])
        for optim, state in zip(optims, states["optims"], strict=True):
            optim.load_state_dict(state)
    model.train()
    lessons = lesson_stream((seed, group.rank, run.progress.step))
    check = lesson_stream((seed, 99), "held_out")
    held_out = stage.batches([encoder.encode(next(check)) for _ in range(384)], encoder.pad, 8)

    def draw() -> list[stage.Batch]:
        return stage.batches([encoder.encode(next(lessons)) for _ in range(size)], encoder.pad, parts)

    def save() -> None:
        run.save(model=model.state_dict(), optims=[optim.state_dict() for optim in optims])
        model.save_pretrained(out / "model")
        processor.save_pretrained(out / "model")

    average, saved = 0.0, run.progress.seconds
    for batches in ahead(draw):
        started = time.perf_counter()
        for optim, scale in zip(optims, scales, strict=True):
            for parameters in optim.param_groups:
                parameters["lr"] = run.rate() * scale
        total = torch.stack([(data.weights * (data.labels != stage.IGNORE)).sum() for data in batches]).sum()
        loss = 0.0
        for data in batches:
            losses, weights, _ = stage.answer_losses(model, data)
            share = (losses * weights).sum() / total
            share.backward()
            loss += float(share.detach())
        group.average(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optim in optims:
            optim.step()
            optim.zero_grad()
        run.progress.step += 1
        run.progress.samples += size * group.count
        run.progress.seconds = group.agree(run.progress.seconds + time.perf_counter() - started)
        average = loss if average == 0.0 else 0.98 * average + 0.02 * loss
        done = run.fraction >= 1
        if group.rank == 0 and run.progress.step % 50 == 0:
            run.log(loss=round(average, 4), lr=round(run.rate(), 6))
        if group.rank == 0 and (done or run.progress.seconds - saved > 240):
            saved = run.progress.seconds
            run.log(held_out=_exam(model, held_out))
            save()
        if done:
            return


def _load(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    return model, AutoProcessor.from_pretrained(folder)


def _exam(model: Any, batches: list[Any]) -> dict[str, float]:
    """Held-out answers by kind of lesson: loss per token, and share of greedy tokens that are right."""
    from repic_cli.embedded import language_stage as stage

    sums: dict[str, list[float]] = {}
    model.eval()
    with torch.no_grad():
        for data in batches:
            losses, _, right = stage.answer_losses(model, data)
            asked = data.labels[:, 1:] != stage.IGNORE
            kinds = np.array(data.kinds)[asked.nonzero()[:, 0].numpy()]
            first = data.weights[:, 1:][asked].numpy() == 5.0
            for kind in set(data.kinds):
                chosen = torch.from_numpy(kinds == kind)
                entry = sums.setdefault(kind, [0.0, 0.0, 0.0])
                entry[0] += float(losses[chosen].sum())
                entry[1] += float(right[chosen].sum())
                entry[2] += int(chosen.sum())
            answers = torch.from_numpy(first)
            entry = sums.setdefault("yes_no", [0.0, 0.0, 0.0])
            # Each yes or no is followed by the end token, which is always right.
            entry[0] += float(losses[answers].sum())
            entry[1] += float(right[answers].sum()) - int(answers.sum()) / 2
            entry[2] += int(answers.sum()) / 2
    model.train()
    return {f"{kind} {name}": round(entry[k] / entry[2], 3) for kind, entry in sorted(sums.items()) for k, name in ((0, "loss"), (1, "right"))}


class Workers:
    """The processes of a `torchrun` launch; one process without it."""

    def __init__(self) -> None:
        import os

        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        if self.count > 1:
            torch.distributed.init_process_group("gloo")

    def average(self, model: Any) -> None:
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat)
        flat /= self.count
        for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def agree(self, value: float) -> float:
        """The largest value of all processes, so that all stop at the same step."""
        if self.count == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64)
        torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
        return float(shared)
