"""Pickle files without their danger: only lists, dicts, texts, numbers and NumPy scalars are built, nothing is called.

A pickle is a program. `pickle.load` runs whatever it names; here every name but a few of NumPy's is refused.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from repic_cli.data.sources.reading import open_file
from repic_plugins.errors import DataError
from repic_plugins.text import clean

MAX_BYTES = 1 << 30
_NUMPY = {("numpy", "dtype")} | {(module, "scalar") for module in ("numpy.core.multiarray", "numpy._core.multiarray")}


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # how old protocols write bytes
            return _encode
        if (module, name) not in _NUMPY:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        import numpy as np
        from numpy._core.multiarray import scalar

        return np.dtype if name == "dtype" else scalar

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to objects elsewhere")


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding}")
    return text.encode("latin1")


def read_pickle(path: Path) -> Any:
    """The plain values in a pickle file of Python 2 or 3.

    Raises `DataError` if it holds anything else (it is not run), is larger than `MAX_BYTES` or damaged.
    """
    with open_file(path) as file:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: a pickle of more than {MAX_BYTES >> 20} MiB is not read")
        try:
            return _plain(_Plain(file, encoding="latin1").load(), {})
        # Damaged pickles raise nearly anything.
        except Exception as error:
            kind = "refused, a pickle may hold plain values only" if "asks for" in str(error) else "damaged"
            raise DataError(f"{path}: {kind} ({clean(error, 120)})") from error


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """NumPy's scalars as numbers; texts of Python 2, read byte by byte, as the UTF-8 that they are.

    What stands in several places is made once (`done`): a few bytes can say a list of lists of lists ... of itself.
    """
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, list | tuple):
        done[id(value)] = made = []
        made += [_plain(item, done) for item in value]
        return made
    if isinstance(value, dict):
        pairs: dict[Any, Any] = {}
        done[id(value)] = pairs
        pairs.update((_plain(key, done), _plain(item, done)) for key, item in value.items())
        return pairs
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        try:
            return value.encode("latin1").decode("utf-8")
        except (UnicodeEncodeError, UnicodeDecodeError):
            return value
    if value is None or isinstance(value, bool | int | float):
        return value
    if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0:
        return value.item()
    raise pickle.UnpicklingError(f"it asks for a {type(value).__name__}")
