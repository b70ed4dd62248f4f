"""Subjects200K: Parquet files with two generated pictures of one thing side by side in each row.

    image                 a picture, both halves in it, with a margin around each
    collection            collection_1, collection_2 (512 pixels a half) or collection_3 (1024)
    quality_assessment    compositeStructure, objectConsistency, imageQuality: 0 to 5 each, or null
    description           item, category, description_0 (left), description_1 (right), description_valid

As its authors advise, rows serve whose three marks are all 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repic_cli.data.images import PixelBox
from repic_cli.data.sources.pool import Pair, Pool, Shot
from repic_cli.data.sources.reading import Lowest, Scan, field_of, is_number
from repic_cli.data.sources.tables import parquet_files, parquet_rows
from repic_plugins.errors import DataError

MARKS = ("compositeStructure", "objectConsistency", "imageQuality")
LEAST_MARK = 5
_BORDER = 8 / 528  # of a half that carries its own border


def scan_subjects200k(root: Path, scan: Scan) -> Pool:
    """What Subjects200K in `root` offers (a folder with Parquet files, or one of them). Raises `DataError`."""
    pool = Pool("subjects200k", parquet_files(root, ("data/train-*.parquet", "**/*train*.parquet", "**/*.parquet")))
    kept: Lowest[Pair] = Lowest(f"subjects200k-{scan.seed}", scan.limit)
    for path in pool.files:
        for number, row in scan.rows(pool, parquet_rows(path, ("quality_assessment", "description"))):
            try:
                if not _good(row["quality_assessment"]):
                    pool.left_out[f"marks below {LEAST_MARK}"] += 1
                    continue
                pair = _pair(path, number, row["description"])
            except ValueError as error:
                scan.reject(pool, path, f"row {number}", str(error))
                continue
            kept.add(f"{path.stem}:{number}", "", pair)
    pool.pairs = [pair for _, pairs in kept for pair in pairs]
    if not pool.pairs:
        raise DataError(f"{root}: no row has marks of {LEAST_MARK} in all of {', '.join(MARKS)}")
    return pool


def _good(marks: object) -> bool:
    if marks is None:
        return False
    if not isinstance(marks, Mapping):
        raise ValueError(f"quality_assessment must be an object, not a {type(marks).__name__}")
    return all(is_number(marks.get(mark)) and marks[mark] >= LEAST_MARK for mark in MARKS)


def _pair(path: Path, number: int, description: Any) -> Pair:
    item = field_of(description, "item", str).strip()
    category = str(description.get("category") or "object").strip().casefold()
    if not item:
        raise ValueError("description: item is empty")
    # Where the halves lie is known when the picture is opened: see `halves`. Rows of one item count as one thing: two
    # lounge chairs of one make are no example of different things.
    left, right = (Shot(path, row=number, column="image", half=half) for half in (0, 1))
    return Pair(left, right, f"subjects200k:{item.casefold()}", item.casefold(), category)


def halves(size: tuple[int, int]) -> tuple[PixelBox, PixelBox]:
    """The two pictures in one of `size` (width, height), without their margins. Raises `ValueError`.

    Margins differ by release: one of p pixels around and between two squares of n gives 2n + 3p by n + 2p, so that p
    is what is missing to twice the height. Where nothing is missing, each half carries its own border.
    """
    width, height = size
    margin = 2 * height - width
    if margin < 0 or 3 * margin >= height:
        raise ValueError(f"{width} x {height} pixels are not two squares side by side")
    if margin == 0:
        margin = round(height * _BORDER)
        side, second = height - 2 * margin, height + margin
    else:
        side = height - 2 * margin
        second = side + 2 * margin
    left = (float(margin), float(margin), float(margin + side), float(margin + side))
    return left, (float(second), float(margin), float(second + side), float(margin + side))
