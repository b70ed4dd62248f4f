"""The kernels twice: compiled, as everybody runs them, and as plain Python, so that coverage sees their lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType, SimpleNamespace

import numba
import numpy as np
import pytest

MODULES = ("boxes", "ict", "indexing", "matching", "names", "search", "tokens", "unicode_tables")


def _plain_modules() -> dict[str, ModuleType]:
    """Fresh copies of the modules, in which numba's decorator does nothing."""
    ours = [name for name in sys.modules if name.split(".")[0] == "repic_rewards"]
    kept = {name: sys.modules.pop(name) for name in ours}
    numba.config.DISABLE_JIT = True
    try:
        return {name: import_module(f"repic_rewards.{name}") for name in MODULES}
    finally:
        numba.config.DISABLE_JIT = False
        for name in [name for name in sys.modules if name.split(".")[0] == "repic_rewards"]:
            del sys.modules[name]
        sys.modules.update(kept)


@pytest.fixture(scope="session")
def plain() -> SimpleNamespace:
    return SimpleNamespace(**_plain_modules(), compiled=False)


@pytest.fixture(scope="session")
def compiled() -> SimpleNamespace:
    modules = {name: import_module(f"repic_rewards.{name}") for name in MODULES}
    return SimpleNamespace(**modules, compiled=True)


@pytest.fixture(scope="session", params=["compiled", "plain"])
def rewards(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    """The modules of `repic_rewards`, compiled and plain."""
    # Hashes wrap around in 64 bits on purpose; numpy warns of it where there is no compiled code.
    with np.errstate(over="ignore"):
        yield request.getfixturevalue(request.param)
