"""`id2filename.json` and `image.faiss`: vectors, each with the path of the picture that it is of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from repic_cli.concepts.drafts import Report
from repic_cli.concepts.formats.files import read_json
from repic_plugins.errors import DataError
from repic_plugins.text import clean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

IDS, INDEX = "id2filename.json", "image.faiss"
ENCODER, DIMENSION = "ViT-L-14-336:openai", 768
"""What RePIC and RAP make their vectors with; the files do not say."""


class NamedVectors:
    """The vectors of a folder; none if a file is missing or cannot be used, which the report tells.

    `names` maps the number of each usable vector to the path of its picture, as it is written.
    """

    def __init__(self, folder: Path, report: Report) -> None:
        self.names: dict[int, str] = {}
        self._vectors: NDArray[np.float32] | None = None
        paths = [folder / IDS, folder / INDEX]
        if not all(path.is_file() for path in paths):
            missing = " and ".join(path.name for path in paths if not path.is_file())
            report.note(f"no vectors: {missing} not there")
            return
        try:
            self._read(paths[0], paths[1], report)
        except DataError as error:
            report.note(f"no vectors: {error}")

    def get(self, number: int) -> NDArray[np.float32]:
        """A vector (D,) of unit length."""
        assert self._vectors is not None
        vector: NDArray[np.float32] = self._vectors[number]
        return vector

    def _read(self, ids: Path, index: Path, report: Report) -> None:
        import numpy as np

        from repic_cli.concepts.formats.flat_index import read_flat_index

        named = read_json(ids)
        vectors = read_flat_index(index)
        report.vectors = len(vectors)
        pairs = (
            list(enumerate(named))
            if isinstance(named, list)
            else list(named.items())
            if isinstance(named, dict)
            else []
        )
        names = {int(number): path for number, path in pairs if str(number).isdecimal() and isinstance(path, str)}
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        for number in range(len(vectors)):
            if number not in names:
                report.skip(f"vector {number}", f"{ids.name} has no path for it")
            elif not (np.isfinite(lengths[number]) and lengths[number] > 1e-6):
                report.skip(f"vector {number}", f"of {clean(names[number], 200)}: no direction (zero, or no numbers)")
            else:
                self.names[number] = names[number]
        without = sorted(set(names) - set(range(len(vectors))))
        if without:
            report.skip(ids.name, f"{len(without)} paths have no vector (the first: {clean(names[without[0]], 200)})")
        other = np.isfinite(lengths) & (lengths > 1e-6) & (np.abs(lengths - 1) > 1e-3)
        if other.any():
            report.repair(index.name, f"{int(other.sum())} vectors were not of unit length; brought to it")
            vectors[other] = (vectors[other] / lengths[other, None]).astype(np.float32)
        self._vectors = vectors
