"""COCO and Objects365: instance annotations in COCO's JSON, which for Objects365 is several gigabytes long.

    {"images": [{"id", "file_name", "width", "height", ...}], "annotations": [{"id", "image_id", "category_id",
     "bbox": [x, y, width, height], "iscrowd", ...}], "categories": [{"id", "name"}]}

Objects365 adds `isfake` and `isreflected`, and its `file_name` (`images/v1/patch8/x.jpg`) is seldom where the picture
lies (`train/patch8/x.jpg`). Neither says which things of two pictures are the same, so the reference is a part of the
query picture, as in the paper (section 3.2); a hard negative is a picture with another thing of the same category.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path, PurePosixPath
from random import Random
from typing import Any

from repic_cli.data.images import PixelBox
from repic_cli.data.sources.pool import Group, Pair, Part, Pool, Shot
from repic_cli.data.sources.reading import Lowest, Scan, field_of, first_file, inside, is_number, json_items, xywh
from repic_plugins.errors import DataError

MIN_SIDE = 64.0
"""Shortest side of a reference, in pixels: smaller things cannot be recognised."""
MIN_SHARE, MAX_SHARE = 0.01, 0.7
"""Least and largest share of the picture that a thing may take; one that fills it shows nothing else to look for."""
MAX_OVERLAP = 0.25
"""Most of the smaller of two things that the other may cover when both are to be named."""
MAX_PARTS = 3
"""The paper shows at most three references."""
_SPARE = 3  # pictures kept for each one asked for: many have no thing that serves


@dataclass(frozen=True)
class Layout:
    """Where a data set keeps its files: patterns of the annotation file, folders of pictures, and what to leave out."""

    name: str
    annotations: tuple[str, ...]
    folders: tuple[str, ...]
    flags: tuple[str, ...]


COCO = Layout(
    "coco",
    ("annotations/instances_train2017.json", "annotations/instances_train2014.json", "annotations/instances_*.json",
     "instances_*.json"),
    ("train2017", "train2014", "val2017", "val2014", "images", "images/train2017", "images/train2014"),
    ("iscrowd",),
)  # fmt: skip
OBJECTS365 = Layout(
    "objects365",
    ("annotations/zhiyuan_objv2_train.json", "zhiyuan_objv2_train.json", "train/zhiyuan_objv2_train.json",
     "annotations/*objects365*train*.json", "annotations/zhiyuan_objv2_*.json", "*obj*.json"),
    ("train", "images/train", "images", "val", "images/val"),
    ("iscrowd", "isfake", "isreflected"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Thing:
    """One annotation that may serve."""

    id: str
    category: str
    box: PixelBox


def scan_coco(root: Path, scan: Scan) -> Pool:
    """What COCO in `root` offers (the folder, or an annotation file). Raises `DataError`."""
    return _scan(root, COCO, scan)


def scan_objects365(root: Path, scan: Scan) -> Pool:
    """What Objects365 in `root` offers (the folder, or an annotation file). Raises `DataError`."""
    return _scan(root, OBJECTS365, scan)


def _scan(root: Path, layout: Layout, scan: Scan) -> Pool:
    file = root if root.is_file() else first_file(root, layout.annotations, "annotation file")
    # `annotations/` lies beside the pictures; a file of its own lies above them.
    base = file.parent.parent if file.parent.name == "annotations" else file.parent
    pool = Pool(layout.name, [file])
    categories = _categories(file)
    things = _things(file, categories, layout, pool, scan)
    where = Locator(base, layout.folders)
    for path, size, found in _pictures(file, things, where, pool, scan):
        _add(pool, path, [thing for thing in found if _serves(thing, size, pool)], scan.seed)
    if not pool.pairs:
        raise DataError(f"{file}: no picture has a thing that could be a reference")
    return pool


def _categories(file: Path) -> dict[str, str]:
    names: dict[str, str] = {}
    for number, row in json_items(file, "categories"):
        try:
            names[str(row["id"])] = field_of(row, "name", str)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file}: categories, item {number}: {error}") from error
    if not names:
        raise DataError(f"{file}: there is no list 'categories' in it")
    return names


def _things(file: Path, categories: Mapping[str, str], layout: Layout, pool: Pool, scan: Scan) -> Lowest[Thing]:
    """The annotations that may serve, of the pictures whose ids hash lowest."""
    kept: Lowest[Thing] = Lowest(f"{layout.name}-{scan.seed}", _SPARE * scan.limit)
    for number, row in scan.rows(pool, json_items(file, "annotations")):
        try:
            picture = str(_id(row, "image_id"))
            if any(row.get(flag) for flag in layout.flags):
                pool.left_out["a crowd, a drawing or a reflection"] += 1
                continue
            x1, y1, x2, y2 = box = xywh(row.get("bbox"))
            category = categories.get(str(_id(row, "category_id")))
            if category is None:
                raise ValueError(f"category_id {row['category_id']} is none of the categories")
        except ValueError as error:
            scan.reject(pool, file, f"annotations, item {number}", str(error))
            continue
        if min(x2 - x1, y2 - y1) < MIN_SIDE:
            pool.left_out[f"smaller than {MIN_SIDE:g} pixels"] += 1
        elif kept.wants(picture):
            kept.add(picture, str(row.get("id", number)), Thing(str(row.get("id", number)), category, box))
    if not pool.rows:
        raise DataError(f"{file}: there is no list 'annotations' in it")
    return kept


def _id(row: Any, name: str) -> int | str:
    value: int | str = field_of(row, name, object)  # type: ignore[assignment]
    if not isinstance(value, int | str):
        raise ValueError(f"{name} must be a number, not {value!r}")
    return value


def _pictures(
    file: Path, things: Lowest[Thing], where: Locator, pool: Pool, scan: Scan
) -> Iterator[tuple[Path, tuple[float, float], list[Thing]]]:
    """The pictures of the things in the order of their hashes, at most `scan.limit`, with their sizes."""
    rows: dict[str, tuple[Path, tuple[float, float]]] = {}
    for number, row in json_items(file, "images"):
        try:
            key = str(_id(row, "id"))
            if key not in things:
                continue
            size = (row.get("width"), row.get("height"))
            if not all(is_number(side) and side > 0 for side in size):
                raise ValueError(f"width and height must be positive numbers, not {size}")
            rows[key] = (where.find(inside(field_of(row, "file_name", str))), size)
        except ValueError as error:
            scan.reject(pool, file, f"images, item {number}", str(error))
    if not rows:
        raise DataError(f"{file}: no picture of its list 'images' has an annotation that serves")
    count = 0
    for key, found in things:
        if key in rows and count < scan.limit:
            count += 1
            yield *rows[key], found


class Locator:
    """Finds pictures whose file names are relative to one of several folders; what served last is tried first."""

    def __init__(self, root: Path, folders: Sequence[str]) -> None:
        self.places = [root, *(root / folder for folder in folders if (root / folder).is_dir())]

    def find(self, name: PurePosixPath) -> Path:
        """The picture's path; if it is nowhere, the likeliest place (the builder then says that it is missing)."""
        # Objects365: images/v1/patch8/x.jpg lies in train/patch8/x.jpg.
        forms = [name, *(PurePosixPath(*name.parts[-n:]) for n in (2, 1) if n < len(name.parts))]
        for place in self.places:
            for form in forms:
                if (place / form).is_file():
                    self.places.remove(place)
                    self.places.insert(0, place)
                    return place / form
        return self.places[min(1, len(self.places) - 1)] / forms[-1]


def _serves(thing: Thing, size: tuple[float, float], pool: Pool) -> bool:
    x1, y1, x2, y2 = thing.box
    share = (x2 - x1) * (y2 - y1) / (size[0] * size[1])
    if MIN_SHARE <= share <= MAX_SHARE:
        return True
    pool.left_out["takes too little or too much of its picture"] += 1
    return False


def _add(pool: Pool, path: Path, things: list[Thing], seed: int) -> None:
    """A pair, and where the picture shows several different things, a group."""
    if not things:
        return
    whole = Shot(path)
    parts = [Part(Shot(path, thing.box), f"{pool.source}:{thing.id}", thing.category) for thing in things]
    first = parts[0]
    pool.pairs.append(Pair(first.shot, whole, first.identity, first.category, first.category))
    rng = Random(f"{pool.source}-{seed}-{path.name}")
    for size in range(min(MAX_PARTS, len(parts)), 1, -1):
        choices = [chosen for chosen in combinations(parts[:8], size) if _distinct(chosen)]
        if choices:
            pool.groups.append(Group(whole, tuple(rng.choice(choices))))
            break


def _distinct(parts: Sequence[Part]) -> bool:
    """Whether no two are of one category or cover each other much."""
    return all(
        one.category != other.category and _overlap(one.shot.box, other.shot.box) <= MAX_OVERLAP
        for one, other in combinations(parts, 2)
    )


def _overlap(one: PixelBox | None, other: PixelBox | None) -> float:
    """The part of the smaller box that lies in the other."""
    if one is None or other is None:
        return 1.0
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    least = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return max(0.0, width) * max(0.0, height) / least
