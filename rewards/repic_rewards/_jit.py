"""How every kernel is compiled: cached on disk, without the GIL, on plain arrays."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile `function` on its first call; later processes read the machine code from the cache.

    Division by zero gives inf or NaN as in numpy: a check in each loop would keep it from being vectorised.
    """
    options = {"nogil": True, "error_model": "numpy"}
    try:
        compiled: F = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither __pycache__ nor a folder of the user can be written: compile in each process
        compiled = numba.njit(**options)(function)
    stats = getattr(compiled, "stats", None)
    if stats is not None and stats.cache_path:
        drop_stale(Path(stats.cache_path))
    return compiled


@cache
def drop_stale(folder: Path) -> None:
    """Remove machine code that is older than any module of this package.

    numba compares a kernel with its own file alone, but kernels of one module call those of others.
    """
    sources = list(Path(__file__).parent.glob("*.py"))
    newest = max(source.stat().st_mtime for source in sources)
    modules = {source.stem for source in sources}
    with suppress(OSError):  # another process may be at it, or the folder belongs to somebody else
        for index in folder.glob("*.nbi"):
            if index.name.split(".")[0] in modules and index.stat().st_mtime < newest:
                index.unlink()
