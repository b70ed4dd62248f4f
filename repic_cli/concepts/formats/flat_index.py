"""The vectors of a flat faiss index, read without faiss.

faiss takes the sizes in a file at their word, and a damaged or hostile one can make it ask for any memory or worse.
The flat index, the only kind that holds the vectors as they are, is a short header and the numbers.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

from repic_plugins.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_HEADER = struct.Struct("<4siqqqBi")  # kind, dimension, count, two unused, trained, metric
_LENGTH = struct.Struct("<Q")
_KINDS = (b"IxF2", b"IxFI")
_MAX_DIMENSION = 65536


def read_flat_index(path: str | Path) -> NDArray[np.float32]:
    """The vectors (N, D) of an `IndexFlatL2` or `IndexFlatIP` file. Raises `DataError` for every other file."""
    import numpy as np

    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size or head[:4] not in _KINDS:
            raise DataError(f"{path}: not a flat faiss index")
        _, dimension, count, *_ = _HEADER.unpack(head)
        length = file.read(_LENGTH.size)
        numbers = count * dimension
        # Compared with the file before a byte is reserved for them.
        room = size - _HEADER.size - _LENGTH.size
        fits = (
            0 < dimension <= _MAX_DIMENSION and count >= 0 and length == _LENGTH.pack(numbers) and room == 4 * numbers
        )
        if not fits:
            raise DataError(f"{path}: a damaged faiss index: its sizes do not fit the file")
        values = np.fromfile(file, "<f4", numbers)
    return values.reshape(count, dimension).astype(np.float32, copy=False)
