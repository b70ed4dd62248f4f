"""Discover plugins, load each on its own, and keep what they register.

Entry points are loaded one by one, because `PluginManager.load_setuptools_entrypoints` stops at the first that
fails; and a plugin that fails half-way through its hooks is taken out as a whole (pluggy >= 1.7).
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pluggy

from repic_plugins import hookspecs
from repic_plugins.discovery import Found, find_entry_points, normalise
from repic_plugins.registry import KINDS, Entry, PluginProblem, PluginRegistry
from repic_plugins.text import NAME_RULE, clean, is_name, reason

DISABLE_VARIABLE = "REPIC_DISABLE_PLUGINS"
ALL = "*"
"""In `REPIC_DISABLE_PLUGINS`: all plugins of third parties, as `--no-plugins` does."""


def load_plugins(enabled: bool = True, disabled: Iterable[str] = ()) -> PluginRegistry:
    """Load the built-ins and, if `enabled`, the plugins of third parties.

    `disabled` and the variable `REPIC_DISABLE_PLUGINS` (comma-separated) name entry points or distributions to
    leave out; those that name nothing are in `PluginRegistry.unmatched`. Never raises for a broken plugin: see
    `PluginRegistry.problems`.
    """
    names = [name.strip() for name in (*disabled, *os.environ.get(DISABLE_VARIABLE, "").split(",")) if name.strip()]
    off = {normalise(name) for name in names}
    everything_off = not enabled or ALL in names
    loader = _Loader()
    known: set[str] = set()
    for found in find_entry_points():
        # Only one by one can built-ins be turned off, so that `*` or `repic-cli` never leaves a run without rewards.
        keys = {normalise(found.name)} if found.builtin else {normalise(found.name), normalise(found.distribution)}
        known |= keys
        if everything_off and not found.builtin:
            loader.problems.append(_problem(found, "turned off with all plugins of third parties", kind="disabled"))
        elif off & keys:
            loader.problems.append(_problem(found, f"turned off by name ({DISABLE_VARIABLE})", kind="disabled"))
        else:
            loader.load(found)
    unmatched = tuple(name for name in dict.fromkeys(names) if name != ALL and normalise(name) not in known)
    return PluginRegistry(loader.entries, tuple(loader.problems), tuple(loader.loaded), unmatched)


def _problem(found: Found, why: str, **fields: Any) -> PluginProblem:
    return PluginProblem(found.distribution, found.version, found.name, why, **fields)


class PluginFault(Exception):
    """Why one plugin cannot be used; becomes its `PluginProblem`."""


@dataclass
class _Loader:
    """One pass over the entry points."""

    entries: list[Entry] = field(default_factory=list)
    problems: list[PluginProblem] = field(default_factory=list)
    loaded: list[Found] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.manager = pluggy.PluginManager("repic")
        self.manager.add_hookspecs(hookspecs)

    def load(self, found: Found) -> None:
        """Import, register and call one plugin; on any failure leave a problem and no trace."""
        collected: list[Entry] = []
        plugin: object = None
        try:
            # What a plugin prints here must not get into `--json` output.
            with contextlib.redirect_stdout(sys.stderr):
                plugin = _import(found)
                self._register(plugin, found)
                self._call_hooks(plugin, found, collected)
        # SystemExit: a module that calls sys.exit() when imported must not end `repic`.
        except (Exception, SystemExit) as error:
            why = clean(error) if isinstance(error, PluginFault) else reason(error)
            names = tuple(f"{entry.kind} {entry.name}" for entry in collected)
            self.problems.append(_problem(found, why, names=names))
            self._forget(f"{found.distribution}:{found.name}")
        else:
            self.loaded.append(found)
            self.entries += collected

    def _register(self, plugin: object, found: Found) -> None:
        if self.manager.is_registered(plugin):
            raise PluginFault("this module is already registered by another entry point")
        self.manager.register(plugin, name=f"{found.distribution}:{found.name}")
        callers = self.manager.get_hookcallers(plugin) or []
        for caller in callers:
            if not caller.has_spec():
                known = ", ".join(hook_names())
                raise PluginFault(f"implements a hook that does not exist: {caller.name}; the hooks are {known}")
        if not callers:
            what = f"module {plugin.__name__}" if isinstance(plugin, ModuleType) else type(plugin).__name__
            raise PluginFault(f"{what} implements no hook; mark the function with @repic_plugins.hookimpl")

    def _call_hooks(self, plugin: object, found: Found, collected: list[Entry]) -> None:
        others = [other for other in self.manager.get_plugins() if other is not plugin]
        for hook, kind in zip(hook_names(), KINDS, strict=True):
            self.manager.subset_hook_caller(hook, others)(register=_registrar(found, kind, collected))

    def _forget(self, name: str) -> None:
        if self.manager.has_plugin(name):
            self.manager.unregister(name=name)


def _import(found: Found) -> object:
    if found.entry_point is None:
        raise PluginFault(found.problem)
    return found.entry_point.load()


def _registrar(found: Found, kind: str, collected: list[Entry]) -> Callable[..., None]:
    """The `register` that one hook of one plugin is handed."""

    def register(name: str, factory: Callable[..., Any], *, tasks: Iterable[str] | None = None, help: str = "") -> None:
        if not is_name(name):
            raise PluginFault(f"registers the name {clean(repr(name), 80)}; a name is {NAME_RULE}")
        if not callable(factory):
            raise PluginFault(f"{name}: the factory is not callable but {type(factory).__name__}")
        if any(entry.kind == kind and entry.name == name for entry in collected):
            raise PluginFault(f"registers the {kind} {name} twice")
        routes, about = _routes(name, tasks), _help(factory, help)
        collected.append(Entry(name, factory, routes, about, found.distribution, found.version, kind, found.name))

    return register


def _routes(name: str, tasks: Iterable[str] | None) -> frozenset[str] | None:
    if tasks is None:
        return None
    # A bare string would silently become the set of its letters.
    if isinstance(tasks, str):
        raise PluginFault(f'{name}: tasks must be a sequence such as ("{clean(tasks, 40)}",), not a string')
    routes = frozenset(tasks)
    if not routes or not all(is_name(task) for task in routes):
        raise PluginFault(f"{name}: tasks must be names of tasks, or None for all")
    return routes


def _help(factory: Callable[..., Any], text: str) -> str:
    return clean(text or (getattr(factory, "__doc__", None) or "").strip().split("\n\n")[0])


def hook_names() -> list[str]:
    """The hooks a plugin may implement, in the order in which they are called."""
    return [f"repic_register_{kind}s" for kind in KINDS]
