"""Where the seconds of a step go."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

PHASES = ("load", "prepare", "generate", "logps", "score", "update")
"""Read pictures; make tensors of prompts; sample completions; reference log-probabilities; rewards; loss, backward and
optimiser."""


class Phases:
    """Adds up seconds by phase. A phase within another stops the outer one's clock."""

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._stack: list[str] = []
        self._since = time.perf_counter()

    @contextmanager
    def measure(self, phase: str) -> Iterator[None]:
        """Count the seconds inside as `phase`."""
        self._switch()
        self._stack.append(phase)
        try:
            yield
        finally:
            self._switch()
            self._stack.pop()

    def take(self) -> dict[str, float]:
        """`seconds/<phase>` and their sum as `seconds/step` since the last call; starts anew."""
        self._switch()
        taken = {f"seconds/{phase}": round(seconds, 4) for phase, seconds in self._seconds.items()}
        taken["seconds/step"] = round(sum(self._seconds.values()), 4)
        self._seconds = dict.fromkeys(PHASES, 0.0)
        return taken

    def _switch(self) -> None:
        """Book the time since the last switch to the innermost phase; what is in no phase is the update's."""
        now = time.perf_counter()
        self._seconds[self._stack[-1] if self._stack else "update"] += now - self._since
        self._since = now
