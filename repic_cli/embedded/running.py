"""What both stages of the recipe share: a budget of minutes, a checkpoint, a log, and several processes."""

from __future__ import annotations

import json
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

T = TypeVar("T")


@dataclass
class Progress:
    """How far a stage is; saved with every checkpoint. `seconds` counts training only."""

    step: int = 0
    seconds: float = 0.0
    samples: int = 0


class Workers:
    """The processes of a `torchrun` launch; one process without it."""

    def __init__(self) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        if self.count > 1:
            torch.distributed.init_process_group("gloo")

    def average(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by its mean over the processes."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
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


@dataclass
class Stage:
    """One stage of the recipe while it runs.

    `parts` are the modules whose state the checkpoint keeps; `optims` are the optimisers, each with the factor of
    the learning rate it works at.
    """

    name: str
    out: Path
    minutes: float
    lr: float
    parts: Mapping[str, nn.Module]
    optims: Sequence[tuple[torch.optim.Optimizer, float]]
    workers: Workers = field(default_factory=Workers)
    progress: Progress = field(default_factory=Progress)

    @property
    def fraction(self) -> float:
        """The share of the budget that is spent."""
        return self.progress.seconds / 60 / self.minutes

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [p for optim, _ in self.optims for group in optim.param_groups for p in group["params"]]

    def rate(self, warmup: int = 100, flat: float = 0.3) -> float:
        """The learning rate now: a warm-up in steps, then flat, then a cosine down to 3 % by the budget of time."""
        ramp = min(1.0, (self.progress.step + 1) / warmup)
        rest = min(1.0, max(0.0, (self.fraction - flat) / (1 - flat)))
        return self.lr * ramp * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * rest)))

    def step(self, backward: Callable[[], float], samples: int) -> float:
        """One optimiser step on the gradients that `backward` makes; gives the loss that it returns."""
        started = time.perf_counter()
        for optim, scale in self.optims:
            for group in optim.param_groups:
                group["lr"] = self.rate() * scale
        loss = backward()
        parameters = self.parameters
        self.workers.average(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optim, _ in self.optims:
            optim.step()
            optim.zero_grad()
        self.progress.step += 1
        self.progress.samples += samples * self.workers.count
        self.progress.seconds = self.workers.agree(self.progress.seconds + time.perf_counter() - started)
        return loss

    def log(self, **values: Any) -> None:
        """Append a line to `log.jsonl` and print it."""
        row = {"stage": self.name, "step": self.progress.step, "minutes": round(self.progress.seconds / 60, 2)}
        row |= {"samples": self.progress.samples, **values}
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)

    @property
    def checkpoint(self) -> Path:
        return self.out / f"{self.name}.pt"

    def save(self) -> None:
        """Replace the checkpoint in one move."""
        partial = self.checkpoint.with_suffix(".partial")
        states = {name: part.state_dict() for name, part in self.parts.items()}
        optims = [optim.state_dict() for optim, _ in self.optims]
        torch.save({"progress": vars(self.progress), "optims": optims, **states}, partial)
        partial.replace(self.checkpoint)

    def resume(self) -> bool:
        """Go on from the checkpoint, if there is one."""
        if not self.checkpoint.exists():
            return False
        states = torch.load(self.checkpoint, weights_only=True)
        self.progress = Progress(**states["progress"])
        for name, part in self.parts.items():
            part.load_state_dict(states[name])
        for (optim, _), state in zip(self.optims, states["optims"], strict=True):
            optim.load_state_dict(state)
        return True


def ahead(make: Callable[[], T], depth: int = 3) -> Iterator[T]:
    """Endless `make()` values, prepared by one thread ahead of use."""
    ready: queue.Queue[T] = queue.Queue(depth)

    def work() -> None:
        while True:
            ready.put(make())

    threading.Thread(target=work, daemon=True).start()
    while True:
        yield ready.get()
