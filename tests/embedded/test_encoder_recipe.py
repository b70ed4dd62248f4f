"""The recipe of the image encoder: fair pictures, a build that resumes, a folder that open_clip loads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repic_cli.concepts.encoders import open_clip_encoder
from repic_cli.embedded.encoder_recipe import SIDE, crop, draw_views, equal_error, train_encoder
from repic_cli.embedded.world import Identity, identities


def test_views_show_each_identity_twice() -> None:
    views = draw_views(np.random.default_rng(0), "held_out", count=12, empty=3)
    assert views.references.shape == views.crops.shape == (12, SIDE, SIDE, 3)
    assert 1 <= len(views.empty) <= 3
    members = {Identity(*map(int, row)) for row in views.who}
    assert len(members) == 12
    assert members <= set(identities("held_out"))


def test_half_of_a_batch_are_look_alikes() -> None:
    who = draw_views(np.random.default_rng(1), "train", count=20).who
    differences = (who[:, None] != who[None]).sum(-1) + 4 * np.eye(20, dtype=int)
    assert (differences.min(1) == 1).mean() >= 0.5


def test_crops_are_what_the_encoder_sees() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    expected = Image.fromarray(picture).crop((2, 3, 30, 31)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(crop(picture, (2.2, 3.4, 29.8, 31.3)), np.asarray(expected))


def test_equal_error_of_scores() -> None:
    assert equal_error([0.8, 0.9, 1.0], [0.1, 0.2, 0.3]) == 0
    assert equal_error([0.1, 0.9], [0.1, 0.9]) == pytest.approx(0.5)


def test_a_build_resumes_and_gives_a_folder(tmp_path: Path) -> None:
    train_encoder(tmp_path, minutes=1e-4, examined=10)
    (first,) = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    folder = train_encoder(tmp_path, minutes=first["minutes"] + 1e-2, examined=10)
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] > first["step"] == 1
    assert f"| step | {rows[-1]['step']} |" in (folder / "README.md").read_text()
    encoder = open_clip_encoder(model=str(folder))
    assert encoder.encode([Image.new("RGB", (64, 64))]).shape == (1, 128)
