"""The hooks a plugin may implement; `repic plugins list --hooks` prints them from here.

Each is called once with a `register(name, factory, *, tasks=None, help="")`. The factory is called with the
options of a run, so a hook must do no work of its own: no downloads, no model, no heavy import.
"""

from __future__ import annotations

import pluggy

from repic_plugins.types import Register

hookspec = pluggy.HookspecMarker("repic")
hookimpl = pluggy.HookimplMarker("repic")


@hookspec
def repic_register_rewards(register: Register) -> None:
    """Rewards: `factory(**options)` returns a callable that scores a batch of rollouts."""


@hookspec
def repic_register_tasks(register: Register) -> None:
    """Tasks: `factory(**options)` returns a `Task`, which turns records into prompts."""


@hookspec
def repic_register_detectors(register: Register) -> None:
    """Detectors: `factory(**options)` returns what proposes boxes of objects in a picture."""


@hookspec
def repic_register_encoders(register: Register) -> None:
    """Encoders: `factory(**options)` returns what turns pictures into vectors for retrieval."""


@hookspec
def repic_register_backbones(register: Register) -> None:
    """Backbones: `factory(**options)` returns what loads a model family and says how it writes boxes."""
