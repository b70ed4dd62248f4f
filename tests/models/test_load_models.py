"""Loading: what is refused, with one line that says why, and what a loaded model is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from repic_cli.models import load
from repic_cli.models.families import FAMILIES, family_of
from repic_cli.models.load import locate, set_pixel_bounds
from repic_plugins.errors import ModelError, PluginError
from repic_plugins.registry import Entry, PluginRegistry
from repic_plugins.types import BackboneFamily


@pytest.fixture
def copy(mini_model: Path, tmp_path: Path) -> Path:
    """The mini model, to be spoilt."""
    return shutil.copytree(mini_model, tmp_path / "model")


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_embedded_is_a_name(mini_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPIC_EMBEDDED_MODEL", str(mini_model))
    backbone = load("embedded")
    assert (backbone.name, backbone.embedded, backbone.convention) == ("embedded", True, "pixels")
    assert load(mini_model).embedded, "its folder is the same model"
    monkeypatch.setenv("REPIC_EMBEDDED_MODEL", "/nowhere/at/all")
    assert not load(mini_model).embedded
    with pytest.raises(ModelError, match="/nowhere/at/all does not exist"):
        load("embedded")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("./nothing/here", "no such folder"),
        ("no-slash", "not a Hub id"),
        ("a/b/c", "no such folder"),
        ("../up", "no such folder"),
        ("", "no such folder"),
    ],
)
def test_neither_folder_nor_id(name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=words):
        locate(name or "%")


def test_file_and_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="not a file"):
        locate(tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=r"no config\.json"):
        locate(tmp_path)


def test_adapter_given_as_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="give it as --adapter"):
        locate(tmp_path)


def test_hub_is_asked_and_the_answer_is_one_line() -> None:
    with pytest.raises(ModelError, match="cannot be had from the Hugging Face Hub") as caught:
        load("nobody/no-such-model")
    assert "\n" not in str(caught.value)


def test_pickled_weights_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match="can run code"):
        load(copy)


def test_remote_code_is_not_run(copy: Path, tmp_path: Path) -> None:
    (copy / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    change(copy / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"})
    with pytest.raises(ModelError) as caught:
        load(copy)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("spoil", ["truncated", "garbage", "config", "text model"])
def test_broken_folder(copy: Path, spoil: str) -> None:
    weights = copy / "model.safetensors"
    if spoil == "truncated":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif spoil == "garbage":
        weights.write_bytes(b"\xff" * 4000)
    elif spoil == "config":
        (copy / "config.json").write_text("{")
    else:
        change(copy / "config.json", model_type="gpt2")
    with pytest.raises(ModelError) as caught:
        load(copy)
    assert str(caught.value).startswith(str(copy))
    assert "\n" not in str(caught.value)


def test_missing_weights_are_not_made_up(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    name = next(name for name in weights if name.endswith("q_proj.weight"))
    del weights[name]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights are missing .*q_proj"):
        load(copy)


def test_type_and_device(mini_model: Path) -> None:
    import torch

    assert load(mini_model, device="cpu").model.dtype == torch.float32
    assert load(mini_model, dtype="bfloat16", device="cpu").model.dtype == torch.bfloat16
    with pytest.raises(ModelError, match="no floating type"):
        load(mini_model, dtype="int8")


def test_fingerprint_is_that_of_the_weights(mini_model: Path) -> None:
    import torch

    # In bfloat16 first: a checkpoint of that type gives the same digits in whatever type it is loaded.
    half = load(mini_model, dtype="bfloat16")
    assert load(mini_model).fingerprint == half.fingerprint
    from repic_cli.models.fingerprint import fingerprint

    with torch.no_grad():
        next(half.model.get_decoder().parameters())[0, 0] += 1
    assert fingerprint(half.model) != half.fingerprint


def test_pixel_bounds(mini_model: Path) -> None:
    backbone = load(mini_model, max_pixels=56 * 56)
    assert backbone.seen((200, 200)) == (56, 56)
    with pytest.raises(ModelError, match="is more than"):
        load(mini_model, min_pixels=100_000)

    class Other:
        image_processor = object()

    with pytest.raises(ModelError, match="do not apply"):
        set_pixel_bounds(Other(), None, 1000, "other")


def registry_with(name: str, factory: object) -> PluginRegistry:
    return PluginRegistry([Entry(name, factory, None, "", "repic-other", "1.0", kind="backbone")])  # type: ignore[arg-type]


def test_families() -> None:
    assert family_of("qwen2_5_vl").convention == "pixels"
    assert family_of("qwen2_vl").convention == "per_mille"
    mine = BackboneFamily("loc1024")
    assert family_of("mine", registry_with("mine", lambda: mine)) is mine
    with pytest.raises(PluginError, match="not a BackboneFamily"):
        family_of("mine", registry_with("mine", lambda: "pixels"))
    with pytest.warns(UserWarning, match="not known how models of type 'strange' write boxes"):
        assert family_of("strange", PluginRegistry([])).convention == "pixels"
    assert all(isinstance(family, BackboneFamily) for family in FAMILIES.values())


def test_plugin_can_load_a_family_itself(mini_model: Path) -> None:
    seen = []

    def loader(place: str, **options: object) -> tuple[object, object]:
        seen.append((place, options))
        inner = load(place)
        return inner.model, inner.processor

    from repic_cli.models import families

    family = BackboneFamily("per_mille", load=loader)
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(families.FAMILIES, "qwen2_5_vl")
        registry = registry_with("qwen2_5_vl", lambda: family)
        patch.setitem(families.FAMILIES, "qwen2_5_vl", BackboneFamily("pixels"))
        assert load(mini_model, registry=registry).convention == "pixels", "our own table comes first"
