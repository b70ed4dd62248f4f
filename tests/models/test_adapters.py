"""Adapters load wholly or not at all, and merging changes no answer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from repic_cli.models import load
from repic_cli.models.adapters import describe_adapter, lora_config, lora_targets
from repic_plugins.errors import ModelError

TARGETS = ("q_proj", "v_proj", "gate_proj", "down_proj")


@pytest.fixture(scope="module")
def made(mini_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter for the mini model whose weights are not zero."""
    import torch
    from peft import get_peft_model

    backbone = load(mini_model)
    torch.manual_seed(0)
    config = lora_config(backbone.model, r=4, alpha=8, dropout=0.0, targets=TARGETS)
    model = get_peft_model(backbone.model, config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    folder = tmp_path_factory.mktemp("adapter") / "adapter"
    model.save_pretrained(folder)
    describe_adapter(folder, base="mini", fingerprint=backbone.fingerprint)
    return folder


@pytest.fixture
def adapter(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "run/adapter")


def edit(path: Path, change: Callable[[dict[str, object]], None]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def logits(backbone: object) -> object:
    import torch

    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        return backbone.model(input_ids=ids).logits  # type: ignore[attr-defined]


def test_lora_is_on_the_language_model_only(mini_model: Path) -> None:
    import re

    model = load(mini_model).model
    pattern = re.compile(lora_targets(model, TARGETS))
    hit = [name for name, _ in model.named_modules() if pattern.fullmatch(name)]
    assert len(hit) == 2 * len(TARGETS)
    assert not any("visual" in name for name in hit)
    assert any(name.endswith("gate_proj") and "visual" in name for name, _ in model.named_modules())
    with pytest.raises(ModelError, match="no layer called 'nothing'"):
        lora_targets(model, ("q_proj", "nothing"))


def test_adapter_changes_the_model_and_merging_does_not(mini_model: Path, adapter: Path) -> None:
    import torch

    plain, adapted = load(mini_model), load(mini_model, adapter=adapter.parent)
    assert adapted.adapter == str(adapter.parent), "the folder of a run will do"
    before = logits(adapted)
    assert not torch.allclose(logits(plain), before, atol=1e-3)  # type: ignore[arg-type]
    adapted.merge()
    assert not hasattr(adapted.model, "peft_config")
    torch.testing.assert_close(logits(adapted), before, atol=1e-5, rtol=1e-5)
    adapted.merge()  # nothing left to merge


def test_merging_in_half_precision_adds_up_in_full(mini_model: Path, adapter: Path) -> None:
    import torch

    name = "model.language_model.layers.0.self_attn.q_proj.weight"
    exact, half = load(mini_model, adapter=adapter), load(mini_model, adapter=adapter, dtype="bfloat16")
    exact.merge()
    half.merge()
    assert half.model.dtype == torch.bfloat16
    wanted = exact.model.state_dict()[name]
    # One rounding of the sum: at most half a unit in the last of bfloat16's 8 bits, and that of the base itself.
    assert (half.model.state_dict()[name].float() - wanted).abs().max() <= 2 * wanted.abs().max() * 2**-8


def test_not_an_adapter(mini_model: Path, tmp_path: Path, adapter: Path) -> None:
    for given, words in (
        (tmp_path / "nothing", "no such adapter"),
        (mini_model, r"no adapter_config\.json"),
        ("nobody/no-such-adapter", "cannot be had"),
    ):
        with pytest.raises(ModelError, match=words):
            load(mini_model, adapter=given)
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"no adapter_model\.safetensors"):
        load(mini_model, adapter=adapter)


def test_broken_adapter(mini_model: Path, adapter: Path) -> None:
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:300])
    with pytest.raises(ModelError) as caught:
        load(mini_model, adapter=adapter)
    assert "\n" not in str(caught.value)
    (adapter / "adapter_config.json").write_text("[]")
    with pytest.raises(ModelError, match="not a JSON object"):
        load(mini_model, adapter=adapter)
    (adapter / "adapter_config.json").write_text('{"peft_type": "PROMPT_TUNING"}')
    with pytest.raises(ModelError, match="only LoRA adapters"):
        load(mini_model, adapter=adapter)


def test_adapter_of_other_weights(mini_model: Path, adapter: Path) -> None:
    edit(adapter / "repic.json", lambda values: values.update(base="old embedded", fingerprint="0" * 32))
    with pytest.raises(ModelError, match=r"made for old embedded, not for .* other weights"):
        load(mini_model, adapter=adapter)


def test_adapter_of_another_shape(mini_model: Path, adapter: Path) -> None:
    (adapter / "repic.json").unlink()
    edit(adapter / "adapter_config.json", lambda values: values.update(r=8))
    with pytest.raises(ModelError, match="was made for"):
        load(mini_model, adapter=adapter)


@pytest.mark.parametrize(
    ("fault", "words"), [("stray", "have no place in the model"), ("lost", "places in the model got no weight")]
)
def test_weights_that_find_no_place_are_an_error(mini_model: Path, adapter: Path, fault: str, words: str) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(adapter / "adapter_model.safetensors")
    name = sorted(weights)[0]
    value = weights.pop(name)
    if fault == "stray":
        weights[name] = value
        weights[name.replace("layers.0", "layers.7")] = value.clone()
    save_file(weights, adapter / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=words):
        load(mini_model, adapter=adapter)


def test_adapter_of_another_hub_model() -> None:
    from repic_cli.models.adapters import check_base
    from repic_cli.models.backbone import Backbone
    from repic_plugins.types import BackboneFamily

    backbone = Backbone(None, None, BackboneFamily("pixels"), "Qwen/Qwen2.5-VL-7B-Instruct")
    folder = Path("/nowhere")
    for same in ("Qwen/Qwen2.5-VL-7B-Instruct", "unsloth/Qwen2.5-VL-7B-Instruct-bnb-4bit", "/data/qwen", None):
        check_base(backbone, folder, {"base_model_name_or_path": same})
    with pytest.raises(ModelError, match="made for Qwen/Qwen2-VL-7B-Instruct"):
        check_base(backbone, folder, {"base_model_name_or_path": "Qwen/Qwen2-VL-7B-Instruct"})
