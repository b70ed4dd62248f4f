"""What happens beside training: metrics and samples written, a wish to stop heeded."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from repic_cli.training.run_folder import append_rows

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import TrainerControl, TrainerState

    from repic_cli.training.schedule import Schedule

Row = dict[str, Any]


class MetricsWriter(TrainerCallback):
    """Appends each logged step to `metrics.jsonl`, then hands it to `watchers` (progress, samples)."""

    def __init__(self, path: Path, watchers: list[Callable[[Row], None]]) -> None:
        self.path, self.watchers = path, watchers

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: Row | None = None, **_: Any
    ) -> None:
        if logs is None or "loss" not in logs or not state.is_world_process_zero:
            return
        row = metrics_row(state.global_step, logs)
        append_rows(self.path, [row])
        for watch in self.watchers:
            watch(row)


def metrics_row(step: int, logs: Mapping[str, Any]) -> Row:
    """A line of `metrics.jsonl`: the step first; null for what had no value in it."""
    return {"step": step} | {key: _finite(value) for key, value in logs.items() if key != "step"}


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(value, float) and value != value else value


class StopRequest(TrainerCallback):
    """Turns the first Ctrl-C (or SIGTERM) into an orderly end, after the step and with a checkpoint. The second stops.

    With several processes all stop after the same step, whichever of them got the signal. `say` is called from within
    the signal handler.
    """

    def __init__(self, schedule: Schedule, say: Callable[[str], None]) -> None:
        self.schedule, self.say = schedule, say
        self.requested = self.stopped = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        self.say("stopping: this step is finished and saved first (once more to stop at once)")

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._agreed(args) and self.schedule.is_boundary(state.global_step):
            self.stopped = True
            control.should_save = control.should_training_stop = True

    def _agreed(self, args: Any) -> bool:
        if args.world_size == 1:
            return self.requested
        wish = torch.tensor([float(self.requested)], device=args.device)
        torch.distributed.all_reduce(wish)
        return bool(wish.item())
