"""CelebA: pictures of people, with who is on each.

    identity_CelebA.txt               000001.jpg 2880
    list_landmarks_align_celeba.txt   a count, the names of ten columns, then 000001.jpg  69  109  106  113 ...
    list_bbox_celeba.txt              a count, `image_id x_1 y_1 width height`, then 000001.jpg 95 71 226 313
    list_attr_celeba.txt              a count, the names of forty attributes, then 000001.jpg -1  1 ...
    list_eval_partition.txt           000001.jpg 0          0 train, 1 valid, 2 test
    img_align_celeba/ or img_celeba/  the pictures, 178 x 218 where aligned

The landmarks belong to the aligned pictures, the boxes to the others. The face is the reference, another picture of
the person the query. Where attributes are there, people of the same sex and hair are the hard negatives.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from repic_cli.data.images import PixelBox
from repic_cli.data.sources.pool import Pair, Pool, Shot
from repic_cli.data.sources.reading import (
    Lowest,
    Scan,
    check_inside,
    first_file,
    in_turn,
    numbers,
    text_lines,
    xywh,
    xyxy,
)
from repic_plugins.errors import DataError

ALIGNED, WILD = "img_align_celeba", "img_celeba"
ALIGNED_SIZE = (178.0, 218.0)
"""Width and height of an aligned picture, in pixels."""
LOOKS = ("Male", "Bald", "Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Eyeglasses")
"""Attributes by which two people are easily taken for each other."""
PERSON = "person"
PARTITIONS = {"train": "0", "val": "1", "valid": "1", "validation": "1", "test": "2"}
_PLACES = ("", "Anno/", "Eval/", "celeba/")


def scan_celeba(root: Path, scan: Scan) -> Pool:
    """What CelebA in `root` offers. Raises `DataError`."""
    file = first_file(root, tuple(f"{place}identity_CelebA.txt" for place in _PLACES), "identity file")
    pool = Pool("celeba", [file])
    pictures = _pictures(root)
    people = _people(file, pool, scan)
    wanted = {name for names in people.values() for name in names}
    partition = [PARTITIONS.get(scan.split, scan.split)]
    rows = _details(root, "list_eval_partition.txt", wanted, pool, scan)
    others = {name for name, words in rows if words != partition}
    faces = dict(_faces(root, pictures, wanted - others, pool, scan))
    looks = dict(_looks(root, wanted - others, pool, scan))
    listed: list[list[Pair]] = []
    for identity, names in people.items():
        names = [name for name in names if name not in others]
        if len(names) < 2:
            pool.left_out["a person without two pictures in the split"] += 1
        pairs = []
        for reference, query in zip(names[0::2], names[1::2], strict=False):
            shot = Shot(pictures / reference, faces.get(reference))
            look = looks.get(reference, PERSON)
            pairs.append(Pair(shot, Shot(pictures / query), f"celeba:{identity}", PERSON, look))
        listed.append(pairs)
    pool.pairs = in_turn(listed)
    if not pool.pairs:
        raise DataError(f"{file}: nobody is on two pictures of the split {scan.split}")
    return pool


def _pictures(root: Path) -> Path:
    for name in (ALIGNED, WILD):
        for place in (root, root / "Img", root / "celeba"):
            folder = place / name
            # The archive unpacks to a folder of the same name within it.
            if folder.is_dir():
                return folder / name if (folder / name).is_dir() else folder
    raise DataError(f"{root}: there is no folder {ALIGNED} or {WILD} in it")


def _people(file: Path, pool: Pool, scan: Scan) -> dict[str, list[str]]:
    """The people whose numbers hash lowest, with their pictures."""
    kept: Lowest[str] = Lowest(f"celeba-{scan.seed}", 2 * scan.limit, members=8)
    for number, line in scan.rows(pool, text_lines(file)):
        try:
            name, identity = _words(line, 1)
            if not identity.isdigit():
                raise ValueError(f"the person must be a number, not {identity!r}")
        except ValueError as error:
            scan.reject(pool, file, f"line {number}", str(error))
            continue
        kept.add(identity, name, name)
    return dict(kept)


def _words(line: str, count: int) -> list[str]:
    """The file name and the `count` values of a line. Raises `ValueError`."""
    words = line.split()
    if len(words) != count + 1:
        raise ValueError(f"must be a file name and {count} value{'s' if count > 1 else ''}, not {len(words)} words")
    check_inside(words[0])
    return words


def _details(
    root: Path, name: str, wanted: Collection[str], pool: Pool, scan: Scan, columns: list[str] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """File name and values of the wanted pictures of a file; nothing if it is not there.

    The names of the columns, of a file that has such a line, are put into `columns`.
    """
    file = next((root / f"{place}{name}" for place in _PLACES if (root / f"{place}{name}").is_file()), None)
    if file is None:
        return
    pool.files.append(file)
    width = 1
    for index, (number, line) in enumerate(text_lines(file)):
        if columns is not None and index < 2:
            columns[:] = [word for word in line.split() if word != "image_id"]
            width = len(columns)
            continue
        try:
            words = _words(line, width)
        except ValueError as error:
            scan.reject(pool, file, f"line {number}", str(error))
            continue
        if words[0] in wanted:
            yield words[0], words[1:]


def _faces(
    root: Path, pictures: Path, wanted: Collection[str], pool: Pool, scan: Scan
) -> Iterator[tuple[str, PixelBox]]:
    """The box of the face on each picture."""
    aligned = pictures.name == ALIGNED
    file = "list_landmarks_align_celeba.txt" if aligned else "list_bbox_celeba.txt"
    for name, words in _details(root, file, wanted, pool, scan, columns=[]):
        try:
            values = [float(word) for word in words]
            yield name, _around(values) if aligned else xywh(values)
        except ValueError as error:
            scan.reject(pool, root / file, name, str(error))


def _around(landmarks: list[float]) -> PixelBox:
    """The box of a face from its eyes, nose and corners of the mouth (x, y of each), within an aligned picture."""
    points = numbers(landmarks, 10, "landmarks")
    xs, ys = points[0::2], points[1::2]
    x, y = sum(xs) / 5, sum(ys) / 5
    reach = max(max(xs) - min(xs), max(ys) - min(ys))
    box = (max(0.0, x - 1.4 * reach), max(0.0, y - 1.7 * reach), x + 1.4 * reach, y + 1.5 * reach)
    width, height = ALIGNED_SIZE
    return xyxy((box[0], box[1], min(width, box[2]), min(height, box[3])))


def _looks(root: Path, wanted: Collection[str], pool: Pool, scan: Scan) -> Iterator[tuple[str, str]]:
    """What each person looks like, in a few attributes."""
    columns: list[str] = []
    for name, words in _details(root, "list_attr_celeba.txt", wanted, pool, scan, columns):
        has = {column for column, word in zip(columns, words, strict=True) if word == "1"}
        yield name, "-".join([PERSON, *(look for look in LOOKS if look in has)])
