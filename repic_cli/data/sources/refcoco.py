"""RefCOCO, RefCOCO+ and RefCOCOg: boxes in COCO pictures and what people called them. One split is read: train.

As their authors publish them, in folders refcoco/, refcoco+/ and refcocog/ (or one of them alone):

    refs(unc).p, refs(umd).p   a pickle: [{"ref_id", "ann_id", "image_id", "split", "file_name",
                               "sentences": [{"sent", "raw", "tokens", "sent_id"}]}]
    instances.json             COCO's JSON: the boxes by `ann_id`, the pictures by `image_id`

Or as Parquet files, as they are found on the Hugging Face Hub: with `raw_anns` and `raw_image_info` (JSON texts) and
`sentences`, the pictures being COCO's; or with the picture in the row: `image`, `bbox` (x, y, width, height), `answer`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repic_cli.data.images import PixelBox
from repic_cli.data.sources.detection import COCO, Locator
from repic_cli.data.sources.pickles import read_pickle
from repic_cli.data.sources.pool import Pool, Region, Shot
from repic_cli.data.sources.reading import Lowest, Scan, field_of, inside, json_items, xywh
from repic_cli.data.sources.tables import columns_of, parquet_files, parquet_rows
from repic_plugins.errors import DataError, OptionError

SETS = ("refcoco", "refcoco+", "refcocog")
SPLITS = {"refcocog": ("refs(umd).p", "refs(google).p")}
"""Which split file is read. The UNC and UMD ones keep the pictures of training and test apart."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One referred thing before its box and picture are looked up."""

    ann: str
    picture: str
    file_name: str
    phrases: tuple[str, ...]


def scan_refcoco(root: Path, coco: Path | None, scan: Scan) -> Pool:
    """What the RefCOCO sets in `root` offer; `coco` is the folder of COCO, whose pictures they use. Raises `DataError`,
    `OptionError` if `coco` is needed and None."""
    pool = Pool("refcoco")
    folders = [folder for folder in (root, *(root / name for name in SETS)) if _refs(folder)]
    kept: Lowest[Region] = Lowest(f"refcoco-{scan.seed}", scan.limit)
    if folders:
        for folder in folders:
            _scan_authors(folder, _coco(coco, root), kept, pool, scan)
    else:
        pool.files = parquet_files(root, (f"**/{scan.split}-*.parquet", f"**/{scan.split}*.parquet"))
        for path in pool.files:
            _scan_parquet(path, root, coco, kept, pool, scan)
    pool.regions = [_joined(regions) for _, regions in kept]
    if not pool.regions:
        raise DataError(f"{root}: there is nothing of the split {scan.split} in it")
    return pool


def _joined(regions: Sequence[Region]) -> Region:
    """One thing with all that it is called: the sets have many things in common, even phrases."""
    phrases = dict.fromkeys(phrase for region in regions for phrase in region.phrases)
    return replace(regions[0], phrases=tuple(phrases))


def _refs(folder: Path) -> Path | None:
    wanted = SPLITS.get(folder.name, ("refs(unc).p", "refs(umd).p", "refs(google).p"))
    return next((folder / name for name in wanted if (folder / name).is_file()), None)


def _coco(coco: Path | None, root: Path) -> Locator:
    if coco is None:
        raise OptionError(f"{root}: its pictures are those of COCO (train2014); say with --coco where they are")
    base = coco if coco.is_dir() else coco.parent.parent
    # COCO of 2017 has the same pictures under shorter names: see `_find`.
    return Locator(base, (*COCO.folders, "images/mscoco/images/train2014"))


def _scan_authors(folder: Path, where: Locator, kept: Lowest[Region], pool: Pool, scan: Scan) -> None:
    file, boxes_file = _refs(folder), folder / "instances.json"
    assert file is not None
    pool.files += [file, boxes_file]
    references: Lowest[Reference] = Lowest(f"refcoco-{scan.seed}", scan.limit)
    listed = read_pickle(file)
    if not isinstance(listed, list):
        raise DataError(f"{file}: must hold a list of references, not a {type(listed).__name__}")
    for number, row in scan.rows(pool, enumerate(listed, 1)):
        try:
            if field_of(row, "split", str) != scan.split:
                pool.left_out["of another split"] += 1
                continue
            found = _reference(row)
            references.add(found.ann, str(row["ref_id"]), found)
        except (ValueError, KeyError) as error:
            scan.reject(pool, file, f"reference {number}", f"{error}")
    wanted = [reference for _, group in references for reference in group]
    boxes = _boxes(boxes_file, {reference.ann for reference in wanted}, pool, scan)
    names = _names(boxes_file, {reference.picture for reference in wanted})
    for index, reference in enumerate(wanted):
        box, name = boxes.get(reference.ann), names.get(reference.picture, reference.file_name)
        if box is None:
            scan.reject(pool, file, f"reference to annotation {reference.ann}", f"it is not in {boxes_file.name}")
            continue
        shot = Shot(_find(where, name))
        region = Region(shot, box, reference.phrases, f"coco:{reference.ann}")
        kept.add(region.identity, f"{folder.name}:{index}", region)


def _reference(row: Mapping[str, Any]) -> Reference:
    phrases = tuple(_phrase(item) for item in field_of(row, "sentences", list))
    return Reference(str(row["ann_id"]), str(row["image_id"]), str(row.get("file_name", "")), _usable(phrases))


def _phrase(sentence: object) -> str:
    return " ".join(field_of(sentence, "sent", str).split())


def _usable(phrases: tuple[str, ...]) -> tuple[str, ...]:
    kept = tuple(dict.fromkeys(phrase for phrase in phrases if phrase))
    if not kept:
        raise ValueError("no sentence says anything")
    return kept


def _boxes(file: Path, wanted: set[str], pool: Pool, scan: Scan) -> dict[str, PixelBox]:
    boxes: dict[str, PixelBox] = {}
    for number, row in json_items(file, "annotations"):
        try:
            key = str(field_of(row, "id", object))
            if key in wanted:
                boxes[key] = xywh(row.get("bbox"))
        except ValueError as error:
            scan.reject(pool, file, f"annotations, item {number}", str(error))
    return boxes


def _names(file: Path, wanted: set[str]) -> dict[str, str]:
    rows = (
        (str(row.get("id")), row.get("file_name")) for _, row in json_items(file, "images") if isinstance(row, dict)
    )
    return {key: name for key, name in rows if key in wanted and isinstance(name, str)}


def _find(where: Locator, name: str) -> Path:
    """A picture of COCO by its name of 2014 (`COCO_train2014_000000000009.jpg`) or of 2017 (`000000000009.jpg`)."""
    path = where.find(inside(name))
    short = name.rpartition("_")[2]
    return path if path.is_file() or short == name else where.find(inside(short))


def _scan_parquet(path: Path, root: Path, coco: Path | None, kept: Lowest[Region], pool: Pool, scan: Scan) -> None:
    columns = columns_of(path)
    if "raw_anns" in columns:
        rows = parquet_rows(path, ["ref_id", "ann_id", "split", "sentences", "raw_anns", "raw_image_info"])
        make = _with_annotations(_coco(coco, root))
    else:
        rows = parquet_rows(path, ["question_id", "answer", "bbox"])
        make = _with_picture
    for number, row in scan.rows(pool, rows):
        try:
            if row.get("split", scan.split) != scan.split:
                pool.left_out["of another split"] += 1
                continue
            region = make(path, number, row)
        except (ValueError, KeyError) as error:
            scan.reject(pool, path, f"row {number}", str(error))
            continue
        kept.add(region.identity, f"{path.stem}:{number}", region)


def _with_annotations(where: Locator) -> Callable[[Path, int, Mapping[str, Any]], Region]:
    def make(path: Path, number: int, row: Mapping[str, Any]) -> Region:
        annotation, picture = (json.loads(field_of(row, name, str)) for name in ("raw_anns", "raw_image_info"))
        phrases = _usable(tuple(_phrase(item) for item in field_of(row, "sentences", list)))
        shot = Shot(_find(where, field_of(picture, "file_name", str)))
        return Region(shot, xywh(field_of(annotation, "bbox", list)), phrases, f"coco:{row['ann_id']}")

    return make


def _with_picture(path: Path, number: int, row: Mapping[str, Any]) -> Region:
    phrases = _usable(tuple(" ".join(str(text).split()) for text in field_of(row, "answer", list)))
    return Region(Shot(path, row=number, column="image"), xywh(row["bbox"]), phrases, f"refcoco:{row['question_id']}")
