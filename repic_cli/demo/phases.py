"""What the terminal shows while the demo works: one line a phase, with a bar while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

Tell = Callable[[int, int], None]
"""Called with the parts done and those in all."""


class Phases:
    """Numbers the phases and keeps their seconds. Says nothing but these lines; a pipe gets no bar."""

    def __init__(self, console: Console, count: int) -> None:
        self.console, self.count, self.number = console, count, 0
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, what: str, *, bar: bool = True) -> Iterator[Tell]:
        """Run a phase; gives the function that moves its bar. `bar=False`: the phase shows progress of its own."""
        begin = time.monotonic()
        heading = self._heading(what)
        if bar and self.console.is_terminal:
            with self._bar(heading) as tell:
                yield tell
        else:
            self.console.print(heading, markup=False)
            yield lambda done, total: None
        self.seconds[what] = round(time.monotonic() - begin, 1)
        self.console.print(f"      done in {self.seconds[what]:.0f} s", markup=False, style="dim")

    def kept(self, what: str) -> None:
        """A phase that was done before."""
        self.console.print(f"{self._heading(what)}: already there", markup=False)

    def _heading(self, what: str) -> str:
        self.number += 1
        return f"[{self.number}/{self.count}] {what}"

    @contextmanager
    def _bar(self, heading: str) -> Iterator[Tell]:
        from rich.markup import escape
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeRemainingColumn(compact=True),
        )
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(escape(heading), total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)
