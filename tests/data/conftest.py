"""The public data sets in their true formats, a dozen small pictures each, and a way to run the command."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

Outcome = tuple[int, str, str]
WIDTH, HEIGHT = 320, 240
CATEGORIES = ((1, "person"), (17, "cat"), (18, "dog"), (44, "bottle"))
"""As in COCO: numbers with gaps."""


def picture(seed: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """A picture that no other seed has."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(int(v) for v in rng.integers(0, 255, 3)))
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = int(rng.integers(0, size[0] - 40)), int(rng.integers(0, size[1] - 40))
        box = (x, y, x + int(rng.integers(20, 120)), y + int(rng.integers(20, 120)))
        pen.ellipse(box, fill=tuple(int(v) for v in rng.integers(0, 255, 3)))
    return image


def save(path: Path, seed: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed, size).save(path)
    return path


def encoded(image: Image.Image, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def annotation(number: int, image: int, category: int, box: list[float], **more: Any) -> dict[str, Any]:
    x, y, width, height = box
    polygon = [x, y, x + width, y, x + width, y + height, x, y + height]
    about = {"area": width * height, "iscrowd": 0, "image_id": image, "bbox": box, "category_id": category}
    return {"segmentation": [polygon], **about, "id": number, **more}


def detection_rows(count: int, name: Callable[[int], str], **flags: Any) -> dict[str, Any]:
    """Two things of different categories in each picture; a small one and a crowd that may not be taken."""
    images, annotations = [], []
    for i in range(count):
        about = {"license": 3, "url": "", "height": HEIGHT, "width": WIDTH, "id": 100 + i}
        images.append({**about, "file_name": name(i)})
        first, second = CATEGORIES[i % 4][0], CATEGORIES[(i + 1) % 4][0]
        annotations += [
            annotation(10 * i, 100 + i, first, [10.5, 20.25, 100.0, 120.0], **flags),
            annotation(10 * i + 1, 100 + i, second, [190.0, 90.0, 90.0, 100.0], **flags),
            annotation(10 * i + 2, 100 + i, second, [5.0, 5.0, 12.0, 12.0], **flags),
        ]
    crowd = {"counts": [3, 5, 2], "size": [HEIGHT, WIDTH]}
    annotations.append(annotation(9000, 100, 1, [0.0, 0.0, 200.0, 200.0], iscrowd=1, segmentation=crowd, **flags))
    categories = [{"supercategory": "thing", "id": number, "name": text} for number, text in CATEGORIES]
    info = {"description": "COCO 2017 Dataset", "version": "1.0", "year": 2017}
    return {"info": info, "licenses": [], "images": images, "annotations": annotations, "categories": categories}


def make_coco(root: Path, count: int = 12, year: int = 2017) -> Path:
    """annotations/instances_train2017.json and train2017/."""

    def name(index: int) -> str:
        return f"COCO_train2014_{index + 1:012d}.jpg" if year == 2014 else f"{index + 1:012d}.jpg"

    rows = detection_rows(count, name)
    for index, row in enumerate(rows["images"]):
        save(root / f"train{year}" / row["file_name"], 1000 + index)
    write_json(root / f"annotations/instances_train{year}.json", rows)
    return root


def make_objects365(root: Path, count: int = 12) -> Path:
    """zhiyuan_objv2_train.json, whose file names are not where the pictures lie."""
    rows = detection_rows(
        count,
        lambda i: f"images/v{1 + i % 2}/patch{i % 3}/objects365_v{1 + i % 2}_{i:08d}.jpg",
        isfake=0,
        isreflected=0,
    )
    rows = {key: rows[key] for key in ("images", "annotations", "categories", "licenses")}
    for row in rows["annotations"]:
        del row["segmentation"]
    rows["annotations"] += [{**rows["annotations"][0], "id": 9001, "isfake": 1}]
    for index, row in enumerate(rows["images"]):
        save(root / "train" / "/".join(row["file_name"].split("/")[-2:]), 2000 + index)
    write_json(root / "annotations/zhiyuan_objv2_train.json", rows)
    return root


def make_celeba(root: Path, people: int = 6) -> Path:
    """The text files in their columns, and the aligned pictures: two of each person, and one of a person alone."""
    names = [f"{i + 1:06d}.jpg" for i in range(2 * people + 3)]
    person = [2880 + i // 2 for i in range(2 * people)] + [9999, 77, 77]
    for index, name in enumerate(names):
        save(root / "img_align_celeba" / name, 3000 + index, (178, 218))
    (root / "identity_CelebA.txt").write_text("".join(f"{n} {p}\n" for n, p in zip(names, person, strict=True)))
    head = f"{len(names)}\n"
    points = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    rows = "".join(f"{n} {69 + i % 3}  109  106  113   77  142   73  152  108  154\n" for i, n in enumerate(names))
    (root / "list_landmarks_align_celeba.txt").write_text(f"{head}{points}\n{rows}")
    rows = "".join(f"{n}    95  71 226  313\n" for n in names)
    (root / "list_bbox_celeba.txt").write_text(f"{head}image_id x_1 y_1 width height\n{rows}")
    rows = "".join(f"{n} {' 1' if i % 4 < 2 else '-1'} {'-1' if i % 2 else ' 1'}\n" for i, n in enumerate(names))
    (root / "list_attr_celeba.txt").write_text(f"{head}Male Smiling \n{rows}")
    # The last person belongs to the test split.
    rows = "".join(f"{n} {2 if p == 77 else 0}\n" for n, p in zip(names, person, strict=True))
    (root / "list_eval_partition.txt").write_text(rows)
    return root


def subject_row(seed: int, item: str, category: str, mark: int = 5, margin: int = 8, side: int = 128) -> dict[str, Any]:
    """A row with both pictures side by side, as in collections 1 and 2 (512 pixels there)."""
    both = Image.new("RGB", (2 * side + 3 * margin, side + 2 * margin), "white")
    both.paste(picture(seed, (side, side)), (margin, margin))
    both.paste(picture(seed + 500, (side, side)), (side + 2 * margin, margin))
    texts = {"item": item, "description_0": f"A {item} at home.", "description_1": f"A {item} outside."}
    return {
        "image": {"bytes": encoded(both, "PNG"), "path": None},
        "collection": "collection_2",
        "quality_assessment": {"compositeStructure": 5, "objectConsistency": mark, "imageQuality": 5},
        "description": {**texts, "category": category, "description_valid": True},
    }


def make_subjects200k(root: Path) -> Path:
    """data/train-00000-of-00002.parquet and its second part; one row below the mark, one without marks."""
    items = ("Eames Lounge Chair", "Oak Table", "Red Kettle", "Blue Mug", "Toy Truck", "Brass Lamp")
    rows = [subject_row(4000 + i, item, "Furniture" if i < 2 else "Household") for i, item in enumerate(items)]
    rows += [subject_row(4100, "Bad Chair", "Furniture", mark=3), {**rows[0], "quality_assessment": None}]
    write_parquet(root / "data/train-00000-of-00002.parquet", rows[:4])
    write_parquet(root / "data/train-00001-of-00002.parquet", rows[4:])
    return root


def reference(number: int, index: int, split: str = "train") -> dict[str, Any]:
    sentences = [
        {
            "tokens": ["the", "left", "one"],
            "raw": "The left one.",
            "sent_id": 2 * number,
            "sent": f"the left one {number}",
        },
        {"tokens": ["round"], "raw": "round", "sent_id": 2 * number + 1, "sent": f"round thing {number}"},
    ]
    return {
        "sent_ids": [2 * number, 2 * number + 1],
        "file_name": f"COCO_train2014_{index + 1:012d}_{number}.jpg",
        "ann_id": 10 * index,
        "ref_id": number,
        "image_id": 100 + index,
        "split": split,
        "sentences": sentences,
        "category_id": CATEGORIES[index % 4][0],
    }


def make_refcoco(root: Path, count: int = 12) -> Path:
    """refcoco/ and refcocog/ as their authors publish them, with NumPy numbers in the pickle as some copies have."""
    rows = detection_rows(count, lambda i: f"COCO_train2014_{i + 1:012d}.jpg")
    for name, split_by in (("refcoco", "unc"), ("refcocog", "umd")):
        refs = [reference(i, i, "train" if i % 5 else "val") for i in range(count)]
        refs[0]["ann_id"] = np.int64(refs[0]["ann_id"])
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / f"refs({split_by}).p").write_bytes(pickle.dumps(refs, protocol=2))
        write_json(root / name / "instances.json", rows)
    return root


def make_refcoco_parquet(root: Path, count: int = 12) -> Path:
    """The copy on the Hub whose pictures are COCO's: annotations as JSON texts."""
    data = detection_rows(count, lambda i: f"COCO_train2014_{i + 1:012d}.jpg")
    rows = []
    for i in range(count):
        x, y, width, height = data["annotations"][3 * i]["bbox"]
        texts = {"raw_anns": json.dumps(data["annotations"][3 * i]), "raw_image_info": json.dumps(data["images"][i])}
        place = f"coco/train2014/{data['images'][i]['file_name']}"
        rows.append({**reference(i, i), **texts, "image_path": place, "bbox": [x, y, x + width, y + height]})
    write_parquet(root / "data/train-00000-of-00001.parquet", rows)
    return root


def write_json(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=3)
    return path


@pytest.fixture
def repic(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command in this process: exit code, stdout, stderr."""
    from repic_cli.app import main

    def run(*args: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return run


MAKERS = {
    "coco": make_coco,
    "objects365": make_objects365,
    "celeba": make_celeba,
    "subjects200k": make_subjects200k,
    "refcoco": make_refcoco,
}


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """What makes the data sets and their parts, for tests that need one of their own."""
    parts = {"refcoco_parquet": make_refcoco_parquet, "subject_row": subject_row, "picture": picture, "save": save,
             "encoded": encoded, "json": write_json, "parquet": write_parquet}  # fmt: skip
    return SimpleNamespace(**MAKERS, **parts)


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each source; not to be changed."""
    root = tmp_path_factory.mktemp("sources")
    made = {name: make(root / name) for name, make in MAKERS.items()}
    make_coco(made["coco"], year=2014)
    return made
