"""How many steps a run has, and how many prompts they need."""

from __future__ import annotations

import math
from dataclasses import dataclass

from repic_cli.config_sections import RunConfig


@dataclass(frozen=True)
class Schedule:
    """`prompts` new prompts are answered every `iterations` steps, and each group has `completions` answers.

    A checkpoint can only be taken where `iterations` steps end: in between, completions wait to be used again.
    """

    steps: int
    prompts: int
    completions: int
    iterations: int
    processes: int

    @property
    def rows(self) -> int:
        """Prompts of the whole run."""
        return self.prompts * math.ceil(self.steps / self.iterations)

    def is_boundary(self, step: int) -> bool:
        """Whether a run can stop after `step` and go on later as if it had not."""
        return step % self.iterations == 0


def make_schedule(config: RunConfig, records: int, processes: int) -> Schedule:
    """The schedule of a run over so many records; raises `OptionError` if a step does not hold whole groups."""
    prompts = config.check_batch(processes)
    iterations = config.train.num_iterations
    steps = config.train.max_steps
    if steps is None:
        steps = max(1, int(config.train.epochs * records / prompts)) * iterations
    return Schedule(steps, prompts, config.train.num_generations, iterations, processes)
