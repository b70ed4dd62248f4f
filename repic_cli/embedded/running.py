"""What both stages of the recipe share: a budget of minutes, a checkpoint, a log, several processes, and bfloat16."""

from __future__ import annotations

import copy
import json
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from repic_cli.embedded.optim import step_dtype

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

    `parts` are the modules in float32 that the optimisers change and the checkpoint keeps; `working` are those that
    steps compute with: copies in `dtype`, or the parts themselves.
    """

    name: str
    out: Path
    minutes: float
    lr: float
    parts: nn.ModuleDict
    optims: Sequence[torch.optim.Optimizer]
    workers: Workers = field(default_factory=Workers)
    progress: Progress = field(default_factory=Progress)
    dtype: torch.dtype = field(default_factory=step_dtype)
    working: nn.ModuleDict = field(init=False)

    def __post_init__(self) -> None:
        self.working = self.parts
        if self.dtype != torch.float32:
            self.working = copy.deepcopy(self.parts)
            # Parameters only: the frequencies of the rotary embedding need float32.
            for parameter in self.working.parameters():
                parameter.data = parameter.data.to(self.dtype)

    @property
    def fraction(self) -> float:
        """The share of the budget that is spent."""
        return self.progress.seconds / 60 / self.minutes

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.parts.parameters())

    @torch.no_grad()
    def _gather(self) -> None:
        """Gradients of the working copies become those of the parts."""
        for parameter, copied in zip(self.parameters, self.working.parameters(), strict=True):
            if copied is not parameter and copied.grad is not None:
                parameter.grad, copied.grad = copied.grad.float(), None

    @torch.no_grad()
    def refresh(self) -> None:
        """Working copies take the values of the parts."""
        for parameter, copied in zip(self.parameters, self.working.parameters(), strict=True):
            if copied is not parameter:
                copied.copy_(parameter)

    def rate(self, warmup: int = 100, flat: float = 0.3) -> float:
        """The learning rate now: a warm-up in steps, then flat, then a cosine down to 3 % by the budget of time."""
        ramp = min(1.0, (self.progress.step + 1) / warmup)
        rest = min(1.0, max(0.0, (self.fraction - flat) / (1 - flat)))
        return self.lr * ramp * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * rest)))

    def step(self, backward: Callable[[], float], samples: int) -> float:
        """One optimiser step on the gradients that `backward` makes; gives the loss that it returns."""
        started = time.perf_counter()
        for optim in self.optims:
            for group in optim.param_groups:
                group["lr"] = self.rate()
        loss = backward()
        self._gather()
        parameters = self.parameters
        self.workers.average(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optim in self.optims:
            optim.step()
            optim.zero_grad()
        self.refresh()
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
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        optims = [optim.state_dict() for optim in self.optims]
        torch.save({"progress": vars(self.progress), "optims": optims, "parts": parts}, partial)
        partial.replace(self.checkpoint)

    def resume(self) -> bool:
        """Go on from the checkpoint, if there is one."""
        if not self.checkpoint.exists():
            return False
        states = torch.load(self.checkpoint, weights_only=True)
        self.progress = Progress(**states["progress"])
        for name, part in self.parts.items():
            part.load_state_dict(states["parts"][name])
        for optim, state in zip(self.optims, states["optims"], strict=True):
            optim.load_state_dict(state)
        self.refresh()
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
