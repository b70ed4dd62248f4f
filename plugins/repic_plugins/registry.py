"""What the loaded plugins offer, by name, and how to build it with options."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from repic_plugins.errors import OptionError, PluginError, RepicError
from repic_plugins.options import RewardSpec, convert_options
from repic_plugins.text import reason, suggest
from repic_plugins.types import Task

if TYPE_CHECKING:
    from repic_plugins.discovery import Found
    from repic_plugins.scoring import BoundReward

KINDS = ("reward", "task", "detector", "encoder", "backbone")
"""What can be registered; the hook of each is `repic_register_<kind>s`."""


@dataclass(frozen=True)
class Entry:
    """One registered factory and the distribution it came from. `tasks`: the tasks it is routed (None: all)."""

    name: str
    factory: Callable[..., Any]
    tasks: frozenset[str] | None
    help: str
    distribution: str
    version: str
    kind: str = "reward"
    entry_point: str = ""

    @property
    def origin(self) -> str:
        """`repic-haiku 0.1`."""
        return f"{self.distribution} {self.version}".strip()


@dataclass(frozen=True)
class PluginProblem:
    """Something wrong with one plugin: who, where and why, cleaned for printing.

    `names` are what it would have offered, as far as that is known: `reward haiku`.
    """

    distribution: str
    version: str
    entry_point: str
    reason: str
    kind: Literal["broken", "duplicate", "disabled"] = "broken"
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} (entry point {self.entry_point}): {self.reason}"


class Entries(Mapping[str, Entry]):
    """The usable entries of one kind, sorted by name. Names that two distributions registered are left out."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        by_name: dict[str, list[Entry]] = {}
        for entry in sorted(entries, key=lambda entry: entry.name):
            by_name.setdefault(entry.name, []).append(entry)
        self._entries = {name: same[0] for name, same in by_name.items() if len(same) == 1}
        self.duplicates = {name: tuple(same) for name, same in by_name.items() if len(same) > 1}

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class PluginRegistry:
    """What `load_plugins` found.

    `plugins` are the entry points that loaded; `unmatched` what was to be turned off but is not there.
    """

    def __init__(
        self,
        entries: Iterable[Entry],
        problems: Sequence[PluginProblem] = (),
        plugins: Sequence[Found] = (),
        unmatched: Sequence[str] = (),
    ) -> None:
        every = list(entries)
        self._kinds = {kind: Entries(entry for entry in every if entry.kind == kind) for kind in KINDS}
        self._problems = tuple(problems)
        self.plugins = tuple(plugins)
        self.unmatched = tuple(unmatched)

    def of_kind(self, kind: str) -> Entries:
        """The entries of one of `KINDS`."""
        return self._kinds[kind]

    @property
    def rewards(self) -> Entries:
        return self._kinds["reward"]

    @property
    def tasks(self) -> Entries:
        return self._kinds["task"]

    @property
    def detectors(self) -> Entries:
        return self._kinds["detector"]

    @property
    def encoders(self) -> Entries:
        return self._kinds["encoder"]

    @property
    def backbones(self) -> Entries:
        return self._kinds["backbone"]

    @cached_property
    def problems(self) -> list[PluginProblem]:
        """Broken, disabled and duplicate plugins; the last once per distribution that registered the name."""
        return [*self._problems, *self._duplicates()]

    def _duplicates(self) -> Iterator[PluginProblem]:
        for kind, entries in self._kinds.items():
            for name, same in entries.duplicates.items():
                for entry in same:
                    rivals = " and ".join(other.origin for other in same if other is not entry)
                    why = f"{kind} {name} is also registered by {rivals}"
                    names = (f"{kind} {name}",)
                    yield PluginProblem(entry.distribution, entry.version, entry.entry_point, why, "duplicate", names)

    def select(self, kind: str, name: str) -> Entry:
        """The entry of that name; `PluginError` when it is unknown, registered twice, or its plugin is broken."""
        entries = self._kinds[kind]
        if name in entries:
            return entries[name]
        if name in entries.duplicates:
            origins = " and ".join(entry.origin for entry in entries.duplicates[name])
            others = [entry.distribution for entry in entries.duplicates[name]]
            raise PluginError(
                f"{kind} {name} is registered by {origins}; "
                f"uninstall one, or turn it off with REPIC_DISABLE_PLUGINS={others[-1]}"
            )
        cause = self._cause(kind, name)
        if cause is not None:
            raise PluginError(f"{kind} {name} cannot be used: {cause}")
        broken = sorted({problem.distribution for problem in self._problems if problem.kind == "broken"})
        also = f" (not loaded: {', '.join(broken)}; see `repic plugins list`)" if broken else ""
        raise PluginError(f"unknown {kind} {name!r}{suggest(name, entries)}{also}")

    def _cause(self, kind: str, name: str) -> PluginProblem | None:
        """The problem that explains why a name is missing: the plugin got as far as registering it, or is called so."""
        for problem in self._problems:
            if f"{kind} {name}" in problem.names or name in (problem.entry_point, problem.distribution):
                return problem
        return None

    def check_rewards(self, selection: Sequence[RewardSpec]) -> list[dict[str, Any]]:
        """Check names and options of a selection without building anything; the typed options of each."""
        checked = []
        for spec in selection:
            entry = self.select("reward", spec.name)
            checked.append(convert_options(entry.factory, spec.options, f"reward {spec.name}"))
        return checked

    def build_rewards(self, selection: Sequence[RewardSpec]) -> list[BoundReward]:
        """Build the selected rewards, in order. All are checked before the first is built."""
        from repic_plugins.scoring import BoundReward, close_rewards

        rewards: list[BoundReward] = []
        try:
            for spec, options in zip(selection, self.check_rewards(selection), strict=True):
                entry = self.rewards[spec.name]
                reward = _build(entry, options)
                if not callable(reward):
                    made = type(reward).__name__
                    raise PluginError(f"reward {spec.name} of {entry.origin}: the factory made {made}, not a callable")
                rewards.append(
                    BoundReward(spec.name, spec.weight, reward, entry.tasks, entry.distribution, entry.version, options)
                )
        except BaseException:
            close_rewards(rewards)
            raise
        return rewards

    def build_task(self, name: str, **options: Any) -> Task:
        """Build a task with options, which are checked against its factory's signature."""
        return self.build("task", name, **options)

    def build(self, kind: str, name: str, **options: Any) -> Any:
        """Build any kind of entry: `build("encoder", "clip", device="cpu")`."""
        entry = self.select(kind, name)
        return _build(entry, convert_options(entry.factory, options, f"{kind} {name}"))


def _build(entry: Entry, options: Mapping[str, Any]) -> Any:
    try:
        return entry.factory(**options)
    except RepicError:
        raise
    except ValueError as error:
        raise OptionError(f"{entry.kind} {entry.name} of {entry.origin}: {reason(error)}") from error
    except Exception as error:
        raise PluginError(f"{entry.kind} {entry.name} of {entry.origin} cannot be built: {reason(error)}") from error
