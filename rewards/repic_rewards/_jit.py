"""How every kernel is compiled: cached on disk, without the GIL, on plain arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile `function` on its first call; later processes read the machine code from the cache.

    numba falls back to a folder of the user when the package's own `__pycache__` cannot be written. Division by zero
    gives inf or NaN as in numpy: a check in each loop would keep it from being vectorised.
    """
    compiled: F = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return compiled
