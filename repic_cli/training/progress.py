"""Progress on the terminal: a bar with the means of rewards, or a line now and then where there is no terminal."""

from __future__ import annotations

import os
import sys
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

WINDOW = 12
"""Steps over which the shown means are taken; single steps swing too much to read."""
_PREFIX, _SUFFIX = "rewards/", "/mean"


class Display:
    """What a run says while it runs, on stderr. With `quiet` it says nothing but warnings."""

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        from rich.console import Console as RichConsole

        self.console = console or RichConsole(file=sys.stderr, highlight=False, soft_wrap=True)
        self.quiet = quiet
        self._windows: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=WINDOW))
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._steps = 0

    def say(self, text: str) -> None:
        """One line of information."""
        if not self.quiet:
            self.console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """One line that a user should not miss."""
        self.console.print(f"warning: {text}", style="yellow", markup=False)

    def say_now(self, text: str) -> None:
        """One line from within a signal handler, where Rich may be in the middle of something: straight to stderr."""
        if not self.quiet:
            os.write(2, f"\n{text}\n".encode())

    def start(self, done: int, steps: int) -> None:
        """Show the bar, if this is a terminal."""
        self._steps = steps
        if self.quiet or not self.console.is_terminal:
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=24),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[means]}", markup=False),
        )
        self._progress = Progress(*columns, console=self.console, transient=False)
        self._progress.start()
        self._task = self._progress.add_task("train", total=steps, completed=done, means="")

    def row(self, row: Mapping[str, Any]) -> None:
        """Take in a line of `metrics.jsonl`."""
        for name, value in reward_means(row).items():
            self._windows[name].append(value)
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=row["step"], means=self._means(row))
        elif not self.quiet and (row["step"] % 10 == 0 or row["step"] in (1, self._steps)):
            self.say(f"step {row['step']}/{self._steps}  {self._means(row)}")

    def stop(self) -> None:
        """Leave the bar as it is."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _means(self, row: Mapping[str, Any]) -> str:
        """`a 0.71  b 0.40  kl 0.012  3.2 s`: moving averages of the rewards, then the step's own values."""
        parts = [f"{name} {sum(values) / len(values):.2f}" for name, values in self._windows.items()]
        if row.get("kl") is not None:
            parts.append(f"kl {row['kl']:.3f}")
        parts.append(f"{row.get('completions/mean_length') or 0:.0f} tokens")
        parts.append(f"{row.get('seconds/step') or 0:.1f} s")
        return "  ".join(parts)


def reward_means(row: Mapping[str, Any]) -> dict[str, float]:
    """Reward -> its mean in a line of `metrics.jsonl`, without those that applied to nothing."""
    return {
        key[len(_PREFIX) : -len(_SUFFIX)]: float(value)
        for key, value in row.items()
        if key.startswith(_PREFIX) and key.endswith(_SUFFIX) and value is not None
    }
