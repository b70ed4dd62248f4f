"""Data sets that the `datasets` library reads: saved to disk, Parquet files, a folder of pictures, or the Hub.

A column holds the picture. With a column of labels, pictures of one label show one thing; with columns of boxes and
phrases, rows are regions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from repic_cli.data.names import safe_name
from repic_cli.data.sources.pool import Pair, Pool, Region, Shot
from repic_cli.data.sources.reading import Lowest, Scan, in_turn, xywh, xyxy
from repic_plugins.errors import DataError, OptionError
from repic_plugins.text import clean, reason


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column is what."""

    image: str = "image"
    label: str = "label"
    phrase: str = ""
    box: str = ""
    box_format: Literal["xyxy", "xywh"] = "xyxy"
    names: bool = False
    """Whether the labels are names of things, to be called by."""


class DataSet:
    """One split of a data set, opened once."""

    def __init__(self, name: str, place: str, split: str, columns: Columns) -> None:
        self.name, self.place, self.split, self.columns = name, place, split, columns
        self.rows = _load(place, split)
        features = self.rows.features
        wanted = [columns.image, *((columns.phrase, columns.box) if columns.phrase else (columns.label,))]
        missing = [column for column in wanted if column not in features]
        if missing:
            raise DataError(f"{place}: has no column {missing[0]!r}; there are {', '.join(map(clean, features))}")

    def scan(self, scan: Scan) -> Pool:
        """What the data set offers. Raises `DataError`."""
        pool = Pool(self.name, [Path(self.place)] if Path(self.place).exists() else [])
        if self.columns.phrase:
            self._regions(pool, scan)
        else:
            self._pairs(pool, scan)
        if not pool.pairs and not pool.regions:
            raise DataError(f"{self.place}: no two pictures have the same {self.columns.label}")
        return pool

    def fetch(self, path: Path, column: str, rows: Sequence[int]) -> Iterator[tuple[int, bytes | DataError]]:
        """The bytes of pictures by their rows."""
        from datasets import Image

        try:
            pictures = self.rows.select_columns([column]).cast_column(column, Image(decode=False))
        except Exception as error:  # as many kinds as there are types of columns
            raise DataError(f"{self.place}: the column {column!r} holds no pictures ({clean(error, 120)})") from error
        for row in sorted(set(rows)):
            cell = pictures[row][column] or {}
            content, place = cell.get("bytes"), cell.get("path")
            if not content and place and Path(place).is_file():
                content = Path(place).read_bytes()
            yield row, content or DataError(f"{self.place}: row {row}: {column}: there is no picture in it")

    def _shot(self, row: int) -> Shot:
        return Shot(Path(self.place), row=row, column=self.columns.image)

    def _pairs(self, pool: Pool, scan: Scan) -> None:
        column = self.columns.label
        feature = self.rows.features[column]
        kept: Lowest[int] = Lowest(f"{pool.source}-{scan.seed}", scan.limit, members=8)
        for number, row in enumerate(scan.rows(pool, iter(self.rows.select_columns([column])))):
            label = row[column]
            if label is None or not str(label).strip():
                scan.reject(pool, Path(self.place), f"row {number}", f"{column} is empty")
                continue
            text = feature.int2str(label) if hasattr(feature, "int2str") and isinstance(label, int) else str(label)
            kept.add(text, str(number), number)
        listed: list[list[Pair]] = []
        for label, rows in kept:
            if len(rows) < 2:
                pool.left_out["the only picture of its label"] += 1
                continue
            name = safe_name(label) if self.columns.names else ""
            identity = f"{pool.source}:{label}"
            both = combinations(map(self._shot, rows), 2)
            listed.append([Pair(first, second, identity, "", "", name) for first, second in both])
        pool.pairs = in_turn(listed)

    def _regions(self, pool: Pool, scan: Scan) -> None:
        read = xyxy if self.columns.box_format == "xyxy" else xywh
        columns = [self.columns.phrase, self.columns.box]
        kept: Lowest[Region] = Lowest(f"{pool.source}-{scan.seed}", scan.limit)
        for number, row in enumerate(scan.rows(pool, iter(self.rows.select_columns(columns)))):
            given = row[self.columns.phrase]
            listed = given if isinstance(given, list) else [given]
            phrases = tuple(" ".join(str(text).split()) for text in listed if text and str(text).strip())
            try:
                if not phrases:
                    raise ValueError(f"{self.columns.phrase} is empty")
                region = Region(self._shot(number), read(row[self.columns.box]), phrases, f"{pool.source}:{number}")
            except ValueError as error:
                scan.reject(pool, Path(self.place), f"row {number}", str(error))
                continue
            kept.add(str(number), "", region)
        pool.regions = [region for _, regions in kept for region in regions]


def _load(place: str, split: str) -> Any:
    """A `datasets.Dataset`. Raises `DataError`, `OptionError` if there is no such split."""
    import datasets

    datasets.disable_progress_bars()
    path = Path(place)
    try:
        if path.is_file():
            loaded = datasets.load_dataset(_builder(path), data_files=str(path))
        elif (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file():
            loaded = datasets.load_from_disk(place)
        elif path.is_dir() and any(path.rglob("*.parquet")):
            loaded = datasets.load_dataset("parquet", data_dir=place)
        elif path.is_dir():
            loaded = datasets.load_dataset("imagefolder", data_dir=place)
        else:
            loaded = datasets.load_dataset(place)
    # The library raises nearly anything: of its own, of pyarrow, of the network.
    except Exception as error:
        raise DataError(f"hf:{clean(place, 200)}: cannot be read ({clean(reason(error), 200)})") from error
    if isinstance(loaded, datasets.Dataset):
        return loaded
    if split not in loaded:
        raise OptionError(f"hf:{place}: has no split {split!r}; there are {', '.join(loaded)} (--split)")
    return loaded[split]


def _builder(path: Path) -> str:
    builders = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv", ".arrow": "arrow"}
    if path.suffix.lower() not in builders:
        raise OptionError(f"{path}: not a file that `datasets` reads; there are {', '.join(builders)}")
    return builders[path.suffix.lower()]
