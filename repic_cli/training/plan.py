"""Everything about a run that can be known without the model: rewards, tasks, records, prompts, steps."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from repic_cli.data.prompts import Prompts
from repic_cli.data.source import Loaded, load_records
from repic_cli.training.schedule import Schedule, make_schedule
from repic_plugins.options import factory_options, parse_rewards, with_options
from repic_plugins.scoring import BoundReward, check_routing
from repic_plugins.types import Record, Task

if TYPE_CHECKING:
    from repic_cli.config_sections import DataSection, RunConfig
    from repic_plugins.registry import PluginRegistry


@dataclass(frozen=True)
class Plan:
    """What a run will do. `notes`: one line for each thing that was left out of the data."""

    config: RunConfig
    rewards: Sequence[BoundReward]
    tasks: Mapping[str, Task]
    loaded: Loaded
    schedule: Schedule
    notes: tuple[str, ...]

    @property
    def records(self) -> tuple[Record, ...]:
        return self.loaded.records

    @cached_property
    def prompts(self) -> Prompts:
        """The prompts of the run, in order."""
        return Prompts(self.records, self.tasks, self.schedule.rows, self.config.data.seed)

    @cached_property
    def digest(self) -> str:
        """Changes when records or their order do; a run goes on with the same data only."""
        digest = hashlib.blake2b(digest_size=16)
        for record in self.records:
            images = [record.image.key, *(reference.image.key for reference in record.references)]
            digest.update(repr((record.id, record.task, record.answer, record.phrase, images)).encode())
        return digest.hexdigest()

    def without(self, dropped: Collection[str], note: str) -> Plan:
        """The plan without the records of these ids."""
        kept = tuple(record for record in self.records if record.id not in dropped)
        schedule = make_schedule(self.config, len(kept), self.schedule.processes)
        return replace(self, loaded=replace(self.loaded, records=kept), schedule=schedule, notes=(*self.notes, note))


class Tasks(Mapping[str, Task]):
    """The installed tasks by name, each built when it is first asked for: most runs use few of them."""

    def __init__(self, registry: PluginRegistry, section: DataSection) -> None:
        self._registry, self._section = registry, section
        self._built: dict[str, Task] = {}

    def __getitem__(self, name: str) -> Task:
        if name not in self._registry.tasks:
            raise KeyError(name)
        if name not in self._built:
            self._built[name] = self._registry.build_task(name, **self._options(name))
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry.tasks)

    def __len__(self) -> int:
        return len(self._registry.tasks)

    def _options(self, name: str) -> dict[str, Any]:
        """The task's own options; `data.templates` goes to every task that takes templates."""
        options = dict(self._section.options.get(name, {}))
        taken, _ = factory_options(self._registry.tasks[name].factory)
        if self._section.templates is not None and "templates" in taken:
            options.setdefault("templates", self._section.templates)
        return options


class Requires(Mapping[str, Collection[str]]):
    """Task -> the record fields it needs."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    def __getitem__(self, name: str) -> Collection[str]:
        return self._tasks[name].requires

    def __contains__(self, name: object) -> bool:
        return name in set(self._tasks)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)


def make_plan(config: RunConfig, registry: PluginRegistry, processes: int = 1) -> Plan:
    """Resolve a run. Raises the `RepicError` of whatever does not fit; close the plan's rewards when done."""
    from repic_plugins.scoring import close_rewards

    config.check_batch(processes)
    specs = parse_rewards(config.rewards.selection)
    for spec in specs:  # a misspelt name makes its options look lost, so names come first
        registry.select("reward", spec.name)
    specs = with_options(specs, config.rewards.options)
    for name in config.data.options:
        registry.select("task", name)
    tasks = Tasks(registry, config.data)
    rewards = registry.build_rewards(specs)
    try:
        wanted = {task for task in tasks if any(reward.applies(task) and reward.weight for reward in rewards)}
        loaded = load_records(config.data, Requires(tasks), wanted)
        check_routing(rewards, loaded.tasks)
        schedule = make_schedule(config, len(loaded.records), processes)
        return Plan(config, rewards, tasks, loaded, schedule, loaded.notes)
    except BaseException:
        close_rewards(rewards)
        raise
