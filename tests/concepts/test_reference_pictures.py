"""Reference pictures: decoded, made small and plain, and named by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repic_cli.concepts.pictures import MAX_SIDE, is_file_name, read_picture
from repic_plugins.errors import DataError

Photo = Callable[..., Path]


def test_lossless_pictures_stay_lossless(photo: Photo) -> None:
    path = photo("a.png")
    picture = read_picture(path)
    np.testing.assert_array_equal(np.asarray(picture.image), np.asarray(Image.open(path)))
    assert picture.file == hashlib.sha256(picture.data).hexdigest() + ".png"
    assert is_file_name(picture.file)


def test_photographs_become_jpeg_and_the_image_is_what_the_file_holds(photo: Photo, tmp_path: Path) -> None:
    picture = read_picture(photo("a.jpg"))
    (tmp_path / picture.file).write_bytes(picture.data)
    assert picture.file.endswith(".jpg")
    np.testing.assert_array_equal(np.asarray(picture.image), np.asarray(Image.open(tmp_path / picture.file)))


def test_the_same_pixels_are_the_same_file(photo: Photo) -> None:
    assert read_picture(photo("a.png")).file == read_picture(photo("b.bmp")).file
    assert read_picture(photo("a.png")).file != read_picture(photo("a.png", seed=1)).file


def test_metadata_stays_behind(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Camera of Thao"
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg", exif=exif)
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.size == (20, 40)
    assert b"Camera" not in picture.data
    assert not picture.image.getexif()


def test_large_pictures_are_reduced(tmp_path: Path) -> None:
    Image.new("RGB", (3000, 1500), "red").save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").size == (MAX_SIDE, MAX_SIDE // 2)


def test_transparency_becomes_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").image.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"<svg/>", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_what_is_no_picture(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png: "):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a.png", "0" * 64, "0" * 64 + ".gif", "0" * 64 + ".png/..", 5, b"x"]
)
def test_names_of_other_files(name: object) -> None:
    assert not is_file_name(name)


def test_pictures_of_a_phone_with_two_frames_and_odd_names(repic_pack: Path, tmp_path: Path) -> None:
    mpo = next((repic_pack / "edge_cases").glob("mpo*.jpg"))
    odd = tmp_path / "scarlet witch, 'x' (1).JPG"
    odd.write_bytes(mpo.read_bytes())
    picture = read_picture(odd)
    assert picture.size == (2048, 2048)
    assert picture.source == odd.name
