"""LoRA adapters: where they go, loading them strictly, and merging them without loss.

The paper's authors lost 6 to 8 points of recall in merging. The two known causes are guarded against here: weights that
silently do not load because the module tree changed, and merging in bfloat16.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repic_cli.models.load import HUB_ID, first_line
from repic_plugins.errors import ModelError

if TYPE_CHECKING:
    from repic_cli.models.backbone import Backbone

CONFIG, WEIGHTS, OURS = "adapter_config.json", "adapter_model.safetensors", "repic.json"


def lora_targets(model: Any, targets: Sequence[str]) -> str:
    """A regular expression for the language model's layers of these names, and none of the vision tower's.

    `gate_proj`, `up_proj` and `down_proj` exist in Qwen's vision MLP too, so a list of names would train that as well.
    Raises `ModelError` if a name matches no layer.
    """
    decoder = model.get_decoder()
    prefix = next((name for name, module in model.named_modules() if module is decoder), None)
    if not prefix:
        raise ModelError("the model does not say where its language model is, so LoRA cannot be put on it alone")
    for target in targets:
        pattern = re.compile(rf"{re.escape(prefix)}\..*\.{re.escape(target)}")
        if not any(pattern.fullmatch(name) for name, _ in model.named_modules()):
            raise ModelError(f"lora.targets: the language model has no layer called {target!r}")
    return rf"{re.escape(prefix)}\..*\.({'|'.join(re.escape(target) for target in targets)})"


def lora_config(model: Any, *, r: int, alpha: int, dropout: float, targets: Sequence[str]) -> Any:
    """A `peft.LoraConfig` for the language model only."""
    from peft import LoraConfig

    return LoraConfig(
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        bias="none",
        task_type="CAUSAL_LM",
        target_modules=lora_targets(model, targets),
    )


def attach(backbone: Backbone, adapter: str | Path, *, trainable: bool = False) -> None:
    """Load an adapter onto the backbone's model.

    Raises `ModelError` if it is missing or broken, was made for another base, or if any of its weights finds no place.
    """
    folder = adapter_folder(adapter)
    config = read_config(folder)
    check_base(backbone, folder, config)
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT only warns of missing weights; `_check_loaded` makes it an error
        try:
            wrapped = PeftModel.from_pretrained(backbone.model, str(folder), is_trainable=trainable)
        except (RuntimeError, ValueError, KeyError) as error:
            raise ModelError(_mismatch(backbone, folder, first_line(error))) from error
        except Exception as error:
            raise ModelError(f"{folder}: the adapter cannot be loaded: {first_line(error)}") from error
    _check_loaded(backbone, folder, wrapped)
    backbone.model = wrapped if trainable else wrapped.eval()
    backbone.adapter = str(adapter)


def adapter_folder(adapter: str | Path) -> Path:
    """The folder of an adapter: itself, the `adapter` folder of a run, or a download. Raises `ModelError`."""
    path = Path(adapter).expanduser()
    if (path / "adapter" / CONFIG).is_file():
        path = path / "adapter"
    if path.is_dir():
        for name in (CONFIG, WEIGHTS):
            if not (path / name).is_file():
                raise ModelError(f"{path}: not an adapter in PEFT format (no {name})")
        return path
    if path.exists() or not HUB_ID.fullmatch(str(adapter)):
        raise ModelError(f"{adapter}: no such adapter; give a run folder, an adapter folder or a Hub id")
    return _download(str(adapter))


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS, OURS]))
    except Exception as error:
        raise ModelError(
            f"{name}: no such folder, and cannot be had from the Hugging Face Hub ({first_line(error)})"
        ) from error
    for file in (CONFIG, WEIGHTS):
        if not (folder / file).is_file():
            raise ModelError(f"{name}: not an adapter in PEFT format (no {file})")
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """`adapter_config.json`. Raises `ModelError` if it cannot be read or is no LoRA adapter."""
    config = _read_json(folder / CONFIG)
    if config.get("peft_type") != "LORA":
        raise ModelError(f"{folder}: only LoRA adapters can be loaded, not {config.get('peft_type')!r}")
    return config


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read: {first_line(error)}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: not a JSON object")
    return value


def check_base(backbone: Backbone, folder: Path, config: dict[str, Any]) -> None:
    """Raise `ModelError` if the adapter tells that it was made for other weights than the backbone's.

    Adapters of ours carry a fingerprint of their base. Others tell a name: two Hub ids are compared, a path says
    nothing.
    """
    mine = _read_json(folder / OURS) if (folder / OURS).is_file() else {}
    made_for = mine.get("base") or config.get("base_model_name_or_path") or ""
    if mine.get("fingerprint"):
        if mine["fingerprint"] != backbone.fingerprint:
            raise ModelError(_mismatch(backbone, folder, "its base has other weights", made_for))
        return
    names = [name.rpartition("/")[2].casefold() for name in (str(made_for), backbone.name)]
    both_on_hub = all(HUB_ID.fullmatch(name) for name in (str(made_for), backbone.name))
    if both_on_hub and not Path(str(made_for)).exists() and names[0] not in names[1] and names[1] not in names[0]:
        raise ModelError(_mismatch(backbone, folder, "the names differ", made_for))


def _mismatch(backbone: Backbone, folder: Path, why: str, made_for: object = "") -> str:
    if not made_for:
        made_for = _read_json(folder / CONFIG).get("base_model_name_or_path") or "another model"
    return f"{folder}: the adapter was made for {made_for}, not for {backbone.name} ({why}); give --model with its base"


def _check_loaded(backbone: Backbone, folder: Path, wrapped: Any) -> None:
    """Every weight of the file must have found its place, and every place its weight."""
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, framework="pt") as file:
        given = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    placed = {
        key: tuple(value.shape)
        for key, value in get_peft_model_state_dict(wrapped, save_embedding_layers=False).items()
    }
    stray, empty = sorted(given.keys() - placed.keys()), sorted(placed.keys() - given.keys())
    for keys, what in ((stray, "weights have no place in the model"), (empty, "places in the model got no weight")):
        if keys:
            why = f"{len(keys)} of its {what}" if keys is stray else f"{len(keys)} {what}"
            raise ModelError(_mismatch(backbone, folder, f"{why}, the first is {keys[0]}"))


def merge(model: Any) -> Any:
    """The model with its adapter put into the weights: added in float32, checked for NaN, cast back.

    Merging in bfloat16 rounds most of an adapter away, because its entries are small against the weights.
    """
    if not hasattr(model, "peft_config"):
        return model
    dtype = model.dtype
    try:
        merged = model.float().merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise ModelError(f"the adapter cannot be merged: {first_line(error)}") from error
    return merged.to(dtype)


def describe_adapter(folder: Path, *, base: str, fingerprint: str) -> None:
    """Write beside an adapter what it was trained on."""
    (folder / OURS).write_text(json.dumps({"base": base, "fingerprint": fingerprint}, indent=1) + "\n")
