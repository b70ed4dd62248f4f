"""Parquet files, row by row and without the columns that are not asked for (a row's picture can be megabytes)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from repic_plugins.errors import DataError
from repic_plugins.text import clean

BATCH = 1000


def parquet_files(root: Path, patterns: Sequence[str] = ("**/*.parquet",)) -> list[Path]:
    """A Parquet file itself, or those below a folder, by name. Raises `DataError` if there is none."""
    if root.is_file():
        return [root]
    if not root.exists():
        raise DataError(f"{root}: no such file or folder")
    for pattern in patterns:
        found = sorted(path for path in root.glob(pattern) if path.is_file())
        if found:
            return found
    raise DataError(f"{root}: there is no Parquet file in it")


def columns_of(path: Path) -> list[str]:
    """The names of the columns. Raises `DataError`."""
    return list(_open(path).schema_arrow.names)


def parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number (from 0) and values of each row. Raises `DataError` for a file that is not whole or lacks a column."""
    import pyarrow as pa

    file = _open(path)
    missing = [column for column in columns if column not in file.schema_arrow.names]
    if missing:
        raise DataError(f"{path}: has no column {missing[0]!r}; there are {', '.join(file.schema_arrow.names)}")
    number = 0
    try:
        for batch in file.iter_batches(batch_size=BATCH, columns=list(columns)):
            for row in batch.to_pylist():
                yield number, row
                number += 1
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: damaged after row {number:,} ({_line(error)})") from error


def picture_bytes(path: Path, column: str, rows: Sequence[int]) -> Iterator[tuple[int, bytes | DataError]]:
    """The bytes of the pictures in these rows; only their row groups are read. A bad cell is an error of its row."""
    import pyarrow as pa

    file = _open(path)
    wanted, start = sorted(set(rows)), 0
    for group in range(file.num_row_groups):
        end = start + file.metadata.row_group(group).num_rows
        here = [row for row in wanted if start <= row < end]
        if here:
            try:
                cells = file.read_row_group(group, columns=[column]).column(0)
            except (pa.ArrowException, OSError) as error:
                raise DataError(f"{path}: damaged in rows {start:,} to {end:,} ({_line(error)})") from error
            for row in here:
                yield row, _bytes(cells[row - start].as_py(), f"{path}: row {row}: {column}")
        start = end


def _bytes(cell: object, where: str) -> bytes | DataError:
    """A picture is an object with `bytes` (as `datasets` writes it), or the bytes themselves."""
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes) or not content:
        return DataError(f"{where}: there is no picture in it")
    return content


def _open(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a whole Parquet file ({_line(error)})") from error


def _line(error: Exception) -> str:
    return clean(error, 120)
