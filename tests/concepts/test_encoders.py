"""Encoders: unit vectors, the shipped folder in open_clip's own format, strangers' folders refused."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from repic_cli.concepts.encoders import FOLDER, build_encoder, open_clip_encoder
from repic_plugins.errors import ModelError, OptionError, PluginError
from repic_plugins.registry import PluginRegistry

if TYPE_CHECKING:
    from repic_cli.concepts.encoders import OpenClipEncoder


def colours(*names: str) -> list[Image.Image]:
    return [Image.new("RGB", (50, 30), name) for name in names]


def test_vectors_have_unit_length_and_keep_the_order(encoder: OpenClipEncoder) -> None:
    vectors = encoder.encode(colours("red", "green", "red"))
    assert vectors.shape == (3, encoder.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-5)
    assert vectors[0] @ vectors[1] < 0.95


def test_no_picture_gives_no_vector(encoder: OpenClipEncoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.dimension)


def test_batches_do_not_change_vectors(registry: PluginRegistry, encoder: OpenClipEncoder) -> None:
    small = registry.build("encoder", "embedded", batch_size=2)
    pictures = colours("red", "green", "blue", "white", "black")
    np.testing.assert_allclose(small.encode(pictures), encoder.encode(pictures), atol=1e-5)
    assert small.id == encoder.id
    assert encoder.id.startswith("embedded@")


def test_the_folder_is_open_clips_own_format(encoder: OpenClipEncoder) -> None:
    """Without our code: open_clip's factory and its preprocessing give the same vectors."""
    import open_clip
    import torch

    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{FOLDER}", return_transform=True)
    model.eval()
    (picture,) = colours("orange")
    with torch.no_grad():
        plain = model.encode_image(preprocess(picture)[None], normalize=True).numpy()
    np.testing.assert_allclose(plain, encoder.encode([picture]), atol=1e-5)


def test_the_folder_is_small_and_says_what_it_is() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 8e6
    rows = [json.loads(line) for line in (FOLDER / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["held_out"]["top-1"] >= 0.9
    assert "encoder_recipe.py" in (FOLDER / "README.md").read_text()


def test_our_loading_leaves_no_log_handler(registry: PluginRegistry) -> None:
    before = list(logging.getLogger().handlers)
    build_encoder(registry, "embedded", "cpu")
    assert logging.getLogger().handlers == before


@pytest.mark.parametrize(
    ("choice", "error", "message"),
    [
        ("embeded", PluginError, "did you mean embedded"),
        ("ViT-L-14-336", OptionError, "MODEL:WEIGHTS such as"),
        ("ViT-L-14-33:openai", OptionError, "no model 'ViT-L-14-33'; did you mean ViT-L-14-336"),
        ("ViT-L-14-336:open", OptionError, "has no weights 'open'; did you mean openai"),
        ("/no/such/folder", ModelError, "no open_clip_config.json there"),
    ],
)
def test_unknown_encoders(registry: PluginRegistry, choice: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build_encoder(registry, choice)


def test_weights_that_cannot_be_had(registry: PluginRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"RN50:yfcc15m cannot be loaded .* use --encoder embedded"):
        build_encoder(registry, "RN50:yfcc15m")


def test_a_folder_of_ones_own(registry: PluginRegistry, encoder: OpenClipEncoder, tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "mine")
    own = build_encoder(registry, str(tmp_path / "mine"))
    assert own.id == f"mine@{encoder.id.split('@')[1]}"
    np.testing.assert_allclose(own.encode(colours("red")), encoder.encode(colours("red")), atol=1e-5)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("open_clip_config.json", b"{", "cannot be loaded"),
        ("open_clip_config.json", b'{"model_cfg": {}}', "cannot be loaded"),
        ("open_clip_model.safetensors", b"\x80\x04pickle", "cannot be loaded"),
        ("pytorch_model.bin", b"\x80\x04pickle", "no pickled weights"),
    ],
)
def test_a_broken_folder(registry: PluginRegistry, tmp_path: Path, file: str, content: bytes, message: str) -> None:
    shutil.copytree(FOLDER, tmp_path / "mine")
    (tmp_path / "mine" / file).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        build_encoder(registry, str(tmp_path / "mine"))


def test_a_folder_that_would_fetch_a_tower(registry: PluginRegistry, tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "mine")
    config = json.loads((FOLDER / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] = {"hf_model_name": "someone/something"}
    (tmp_path / "mine" / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="its text tower comes from the Hub"):
        build_encoder(registry, str(tmp_path / "mine"))


def test_a_device_that_is_not_there(registry: PluginRegistry) -> None:
    with pytest.raises(ModelError, match="cannot be put on"):
        build_encoder(registry, "embedded", "cuda:93")


@pytest.fixture
def siglip(tmp_path: Path) -> Path:
    """A tiny model built as SigLIP 2 is in open_clip: a timm tower with attention pooling, squashed pictures."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    real = open_clip.get_model_config("ViT-B-16-SigLIP2")
    tower = {**real["vision_cfg"], "timm_model_name": "test_vit", "image_size": 160}
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1, "no_causal_mask": True}
    config = {**real, "embed_dim": 64, "vision_cfg": tower, "text_cfg": {**text, "proj_type": "linear"}}
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    folder = tmp_path / "siglip"
    folder.mkdir()
    torch.manual_seed(0)
    arguments = {key: value for key, value in config.items() if key != "custom_text"}
    save_file(open_clip.CustomTextCLIP(**arguments).state_dict(), folder / "open_clip_model.safetensors")
    content = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    return folder


def test_siglip_is_read_as_open_clip_reads_it(siglip: Path) -> None:
    import open_clip
    import torch

    ours = open_clip_encoder(model=str(siglip), device="cpu")
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{siglip}", return_transform=True)
    model.eval()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 200, 3), np.uint8))
    with torch.no_grad():
        plain = model.encode_image(preprocess(picture)[None], normalize=True).numpy()
    np.testing.assert_allclose(plain, ours.encode([picture]), atol=1e-5)
    half = open_clip_encoder(model=str(siglip), device="cpu", dtype="bfloat16").encode([picture])
    assert half.dtype == np.float32
    assert float((half * plain).sum()) > 0.99
    with pytest.raises(OptionError, match="dtype 'int8'"):
        open_clip_encoder(model=str(siglip), dtype="int8")


def test_siglip_goes_by_its_name(registry: PluginRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OptionError, match="has no weights 'web'; did you mean webli"):
        build_encoder(registry, "ViT-B-16-SigLIP2:web")


def test_smaller_batches_when_memory_is_short(encoder: OpenClipEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    pictures, sizes = colours("red", "green", "blue", "white", "black"), []
    whole = encoder._vectors

    def short(images: list[Image.Image]) -> np.ndarray:
        sizes.append(len(images))
        if len(images) > most:
            raise torch.OutOfMemoryError("no room")
        return whole(images)

    expected = encoder.encode(pictures)
    monkeypatch.setattr(encoder, "_vectors", short)
    monkeypatch.setattr(encoder, "batch_size", 4)
    most = 1
    np.testing.assert_allclose(encoder.encode(pictures), expected, atol=1e-5)
    assert sizes == [4, 2, 1, 1, 1, 1, 1]
    most = 0
    with pytest.raises(ModelError, match="no memory for one picture"):
        encoder.encode(pictures)
