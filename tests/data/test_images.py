"""Opening pictures: real files with faults, and what reaches the models (RGB, upright)."""

from __future__ import annotations

import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repic_cli.data.images import MAX_PIXELS, FileImage, MemoryImage, find_pictures, open_picture, picture_size
from repic_plugins.errors import DataError
from repic_plugins.types import ImageRef

Make = Callable[..., Path]


def pattern(width: int = 40, height: int = 30) -> np.ndarray:
    """A picture (H, W, 3) whose left top corner is red, right top green, left bottom blue."""
    pixels = np.full((height, width, 3), 200, np.uint8)
    pixels[: height // 3, : width // 3] = (255, 0, 0)
    pixels[: height // 3, -width // 3 :] = (0, 255, 0)
    pixels[-height // 3 :, : width // 3] = (0, 0, 255)
    return pixels


@pytest.fixture
def save(tmp_path: Path) -> Make:
    """Save a picture under a name, in any format Pillow writes."""

    def call(name: str, image: Image.Image | None = None, **options: object) -> Path:
        path = tmp_path / name
        (image or Image.fromarray(pattern())).save(path, **options)  # type: ignore[arg-type]
        return path

    return call


def one_line(error: pytest.ExceptionInfo[DataError], path: Path) -> str:
    text = str(error.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds a scrap of data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif", "ppm"])
def test_usual_formats_open_as_rgb(save: Make, suffix: str) -> None:
    image = open_picture(save(f"a.{suffix}"))
    assert (image.mode, image.size) == ("RGB", (40, 30))
    assert np.abs(np.asarray(image, int)[2, 2] - (255, 0, 0)).max() < 60


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr", "I", "F", "I;16"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    values = np.linspace(0, 255, 40 * 30).reshape(30, 40)
    if mode == "I;16":
        image = Image.fromarray((values * 257).astype(np.uint16))
    else:
        image = Image.fromarray(values.astype(np.uint8)).convert("RGB").convert("L" if mode in "IF" else mode)
        image = image.convert(mode)
    path = tmp_path / "a.tif"
    image.save(path)
    opened = open_picture(path)
    assert opened.mode == "RGB"
    assert opened.size == (40, 30)
    if mode not in ("1", "P"):
        assert np.abs(np.asarray(opened, int)[..., 0] - values).max() < 12


def test_transparent_parts_are_white(save: Make) -> None:
    layer = np.zeros((30, 40, 4), np.uint8)
    layer[:, :20] = (255, 0, 0, 255)
    opened = np.asarray(open_picture(save("a.png", Image.fromarray(layer))))
    assert tuple(opened[0, 0]) == (255, 0, 0)
    assert tuple(opened[0, 39]) == (255, 255, 255)


def test_palette_with_transparency_is_white(save: Make) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    assert tuple(np.asarray(open_picture(save("a.gif", image, transparency=0)))[0, 0]) == (255, 255, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(save: Make, orientation: int) -> None:
    """Whatever the orientation tag, the red corner ends up where the camera saw it."""
    upright = Image.fromarray(pattern())
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save("a.jpg", stored, exif=exif, quality=95)
    assert picture_size(path) == (40, 30)
    assert np.abs(np.asarray(open_picture(path), int) - pattern()).mean() < 8


@pytest.mark.parametrize("value", [0, 9, 77])
def test_orientation_without_meaning_is_ignored(save: Make, value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert open_picture(save("a.jpg", exif=exif)).size == (40, 30)


def test_damaged_exif_does_not_cost_the_picture(save: Make) -> None:
    path = save("a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 20)
    assert open_picture(path).size == (40, 30)
    assert picture_size(path) == (40, 30)


def test_first_frame_of_an_animation(save: Make) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    assert open_picture(save("a.gif", frames[0], save_all=True, append_images=frames[1:])).getpixel((0, 0)) == (
        255,
        0,
        0,
    )


def test_wrong_ending_does_not_matter(save: Make, tmp_path: Path) -> None:
    path = save("a.png").rename(tmp_path / "a.jpg")
    assert open_picture(path).size == (40, 30)


def test_missing_picture(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such picture") as error:
        open_picture(tmp_path / "a.jpg")
    one_line(error, tmp_path / "a.jpg")


def test_folder_and_device_are_no_pictures(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(DataError, match="not a file"):
            open_picture(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_picture(save: Make) -> None:
    path = save("a.png")
    path.chmod(0)
    with pytest.raises(DataError, match="no permission"):
        open_picture(path)


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a", b"<svg/>", b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\0" * 500]
)
def test_what_is_no_picture(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        open_picture(path)
    one_line(error, path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "tif", "bmp"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_picture(save: Make, suffix: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    path = save(f"a.{suffix}", Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError) as error:
        open_picture(path)
    one_line(error, path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "tif"])
def test_corrupt_bytes_never_end_in_anything_else(save: Make, suffix: str) -> None:
    """Random damage either leaves a picture or is a `DataError`."""
    rng = np.random.default_rng(1)
    path = save(f"a.{suffix}")
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(60):
        broken = whole.copy()
        broken[rng.integers(len(broken), size=6)] = rng.integers(0, 256, 6)
        path.write_bytes(broken.tobytes())
        try:
            image = open_picture(path)
        except DataError as error:
            assert "\n" not in str(error)
        else:
            assert image.mode == "RGB"
            assert image.size == picture_size(path)


@pytest.mark.parametrize("side", [10_001, 12_000, 60_000])
def test_bomb_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    """Above our limit, below and above the sizes at which Pillow warns and refuses."""
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))
    for read in (open_picture, picture_size, lambda place: FileImage(place).size):
        with pytest.raises(DataError, match="too large") as error:
            read(path)
        assert f"{MAX_PIXELS // 10**6} million" in one_line(error, path)


def test_large_but_bearable_picture_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png_header(9_900, 9_900))
    assert picture_size(path) == (9_900, 9_900)


def test_mpo_named_jpg(repic_pack: Path) -> None:
    """A phone's two-frame MPO file: the first frame is the picture."""
    path = next((repic_pack / "edge_cases").glob("mpo_*.jpg"))
    assert Image.open(path).format == "MPO"
    image = open_picture(path)
    assert (image.mode, image.size) == ("RGB", (2048, 2048))


def test_every_picture_of_the_pack_opens(repic_pack: Path) -> None:
    paths = [*(repic_pack / "repic_databases").rglob("*.jpg"), *(repic_pack / "queries").rglob("*.jpg")]
    assert len(paths) > 100
    for path in paths:
        assert open_picture(path).size == picture_size(path)


def test_file_image_is_a_reference_that_opens_on_demand(save: Make, tmp_path: Path) -> None:
    missing: ImageRef = FileImage(tmp_path / "later.png")
    assert missing.key == str(tmp_path / "later.png")
    save("later.png")
    assert isinstance(missing, ImageRef)
    assert missing.size == missing.open().size == (40, 30)
    assert pickle.loads(pickle.dumps(missing)) == missing
    assert {missing: 1}[FileImage(str(tmp_path / "later.png"))] == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("box", "size"), [((10, 5, 20, 15), (10, 10)), ((9.6, 4.2, 19.1, 14.9), (11, 11)), ((-5, -5, 400, 400), (40, 30))]
)
def test_crop_covers_its_box_and_is_clipped(save: Make, box: tuple[float, ...], size: tuple[int, int]) -> None:
    crop = FileImage(save("a.png"), box)  # type: ignore[arg-type]
    assert crop.size == crop.open().size == size
    assert crop.key != FileImage(crop.path).key


def test_crop_is_of_the_upright_picture(save: Make) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save("a.png", Image.fromarray(pattern()).transpose(Image.Transpose.ROTATE_90), exif=exif)
    assert FileImage(path, (0, 0, 13, 10)).open().getpixel((3, 3)) == (255, 0, 0)
    assert FileImage(path, (30, 0, 40, 10)).open().getpixel((3, 3)) == (0, 255, 0)


@pytest.mark.parametrize("box", [(10, 10, 10, 20), (20, 10, 10, 20), (50, 0, 60, 10), (0, 0, float("nan"), 5)])
def test_crop_of_nothing_is_an_error(save: Make, box: tuple[float, ...]) -> None:
    crop = FileImage(save("a.png"), box)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="box"):
        crop.open()
    with pytest.raises(DataError, match="box"):
        _ = crop.size


def test_memory_image_of_arrays_and_pictures() -> None:
    array = pattern()
    image = MemoryImage(array)
    assert isinstance(image, ImageRef)
    assert image.size == (40, 30)
    assert np.array_equal(np.asarray(image.open()), array)
    assert MemoryImage(array[..., 0]).open().mode == "RGB"
    assert MemoryImage(Image.fromarray(array).convert("CMYK")).open().mode == "RGB"


def test_memory_image_is_not_changed_from_outside() -> None:
    array = pattern()
    image = MemoryImage(array)
    key = image.key
    image.open().paste("black", (0, 0, 40, 30))
    array[:] = 0
    assert image.open().getpixel((2, 2)) == (255, 0, 0)
    assert MemoryImage(pattern()).key == key


def test_memory_image_keys_tell_pictures_apart() -> None:
    first, second = MemoryImage(pattern(40, 30)), MemoryImage(pattern(30, 40))
    assert first == MemoryImage(pattern(40, 30))
    assert first != second
    assert len({first, second, MemoryImage(pattern(40, 30))}) == 2
    flat = np.zeros((2, 8, 3), np.uint8)
    assert MemoryImage(flat).key != MemoryImage(flat.reshape(8, 2, 3)).key
    assert MemoryImage(flat, key="scene-7").key == "scene-7"


def test_memory_image_survives_a_trip_to_another_process() -> None:
    image = MemoryImage(pattern())
    again = pickle.loads(pickle.dumps(image))
    assert again == image
    assert np.array_equal(np.asarray(again.open()), pattern())


@pytest.mark.parametrize("array", [np.zeros((4, 4, 3)), np.zeros((4, 4, 5), np.uint8), np.zeros(4, np.uint8)])
def test_arrays_that_are_no_pictures(array: np.ndarray) -> None:
    with pytest.raises(DataError, match="uint8 of shape"):
        MemoryImage(array)


def test_pictures_of_a_folder_come_in_order(save: Make, tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c.webp"):
        save(name)
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no")
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in find_pictures(tmp_path)] == ["a.JPG", "b.png", "c.webp"]
    with pytest.raises(DataError, match="no such folder"):
        find_pictures(tmp_path / "none")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc")
def test_files_are_closed(save: Make) -> None:
    path = save("a.png")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        open_picture(path)
        picture_size(path)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
