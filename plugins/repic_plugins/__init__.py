"""The public plugin API of repic: `hookimpl`, the types a plugin exchanges with the engine, and the errors.

Everything is imported on first use, so that `import repic_plugins` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repic_plugins.errors import (
        DatabaseError,
        DataError,
        Interrupted,
        ModelError,
        OptionError,
        PluginError,
        RepicError,
        RewardError,
    )
    from repic_plugins.hookspecs import hookimpl, hookspec
    from repic_plugins.types import (
        Answer,
        BackboneFamily,
        Box,
        BoxConvention,
        BoxFrame,
        Detector,
        Encoder,
        ImageRef,
        Names,
        Proposal,
        Record,
        Reference,
        Register,
        Reward,
        RewardFactory,
        Rollout,
        Sample,
        Task,
        TaskFactory,
        YesNo,
    )

__all__ = [
    "Answer",
    "BackboneFamily",
    "Box",
    "BoxConvention",
    "BoxFrame",
    "DataError",
    "DatabaseError",
    "Detector",
    "Encoder",
    "ImageRef",
    "Interrupted",
    "ModelError",
    "Names",
    "OptionError",
    "PluginError",
    "Proposal",
    "Record",
    "Reference",
    "Register",
    "RepicError",
    "Reward",
    "RewardError",
    "RewardFactory",
    "Rollout",
    "Sample",
    "Task",
    "TaskFactory",
    "YesNo",
    "hookimpl",
    "hookspec",
]

_HOOKS = frozenset({"hookimpl", "hookspec"})


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "hookspecs" if name in _HOOKS else "errors" if name.endswith(("Error", "Interrupted")) else "types"
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
