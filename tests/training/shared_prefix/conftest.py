"""Tiny random models of both families, and batches of completions as TRL has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from repic_cli.training.shared_prefix.forward import Rows
from repic_cli.training.shared_prefix.pictures import Picture

IMAGE, VIDEO, BEGIN, END, PAD = 60, 61, 62, 63, 0
WORDS = 60
Maker = Callable[..., Any]


def _text(kind: str, layers: int) -> dict[str, Any]:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": layers, "vocab_size": 64}
    sizes |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": PAD}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    rope = {"rope_type": "default", "rope_theta": 1e4}
    if kind == "qwen2_5_vl":
        return {**sizes, **heads, "rope_parameters": {**rope, "mrope_section": [1, 1, 2]}}
    return {**sizes, **heads, "head_dim": 8, "rope_parameters": {**rope, "mrope_section": [1, 1, 2]}}


def _vision(kind: str) -> dict[str, Any]:
    sizes = {"depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 32}
    if kind == "qwen2_5_vl":
        return {**sizes, "patch_size": 4, "window_size": 16, "fullatt_block_indexes": [1]}
    return {**sizes, "patch_size": 4, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}


@pytest.fixture(scope="session")
def make_model() -> Maker:
    """A random model: `kind` qwen2_5_vl or qwen3_vl. The same seed gives the same weights."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    families = {
        "qwen2_5_vl": (Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration),
        "qwen3_vl": (Qwen3VLConfig, Qwen3VLForConditionalGeneration),
    }

    def make(kind: str = "qwen2_5_vl", dtype: torch.dtype = torch.float64, layers: int = 3, seed: int = 0) -> Any:
        config_class, model_class = families[kind]
        tokens = {"image_token_id": IMAGE, "video_token_id": VIDEO}
        marks = {"vision_start_token_id": BEGIN, "vision_end_token_id": END}
        config = config_class(text_config=_text(kind, layers), vision_config=_vision(kind), **tokens, **marks)
        torch.manual_seed(seed)
        model = model_class(config).to(dtype)
        with torch.no_grad():  # the usual scale of 0.02 hides what attention does
            for weight in model.parameters():
                if weight.ndim > 1:
                    weight.mul_(8)
        return model

    return make


@dataclass
class Batch:
    """Prompts with completions, as TRL's padded tensors and as ours."""

    rows: Rows
    groups: list[range]
    stock: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="session")
def make_batch() -> Maker:
    """A batch of random prompts. `prompts`: for each (words, grids of its pictures); `lengths`: of its completions."""

    def make(
        prompts: Sequence[tuple[int, Sequence[tuple[int, int]]]],
        lengths: Sequence[Sequence[int]],
        dtype: torch.dtype = torch.float64,
        seed: int = 0,
    ) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        completion = max(max(of_one) for of_one in lengths)
        asked, shown = [], []
        for words, grids in prompts:
            pictures, ids, kinds = [], [1], [0]
            for height, width in grids:
                pixels = torch.randn(height * width, 3 * 2 * 4 * 4, generator=generator, dtype=dtype)
                key = bytes([len(shown), len(pictures)])
                pictures.append(Picture(len(shown) * 9 + len(pictures), key, pixels, (1, height, width)))
                tokens = height * width // 4
                ids += [BEGIN, *[IMAGE] * tokens, END]
                kinds += [0, *[1] * tokens, 0]
            ids += torch.randint(1, WORDS, (words,), generator=generator).tolist()
            asked.append((ids, kinds + [0] * words))
            shown.append(pictures)
        width = max(len(ids) for ids, _ in asked)
        table: dict[str, list[list[int]]] = {"ids": [], "mask": [], "kinds": []}
        pictures_of_rows, groups = [], []
        for (ids, kinds), pictures, of_one in zip(asked, shown, lengths, strict=True):
            groups.append(range(len(table["ids"]), len(table["ids"]) + len(of_one)))
            for length in of_one:
                before, behind = [0] * (width - len(ids)), [0] * (completion - length)
                words_of_answer = torch.randint(1, WORDS, (length,), generator=generator).tolist()
                table["ids"].append(before + ids + words_of_answer + behind)
                table["mask"].append(before + [1] * (len(ids) + length) + behind)
                table["kinds"].append(before + kinds + [0] * completion)
                pictures_of_rows.append(pictures)
        tensors = {name: torch.tensor(values) for name, values in table.items()}
        some = [picture for row in pictures_of_rows for picture in row]
        rows = Rows(
            tensors["ids"], tensors["mask"], completion, tensors["kinds"] if some else None, pictures_of_rows
        )
        stock: dict[str, Any] = {"input_ids": rows.input_ids, "attention_mask": rows.attention_mask}
        if some:
            stock["pixel_values"] = torch.cat([picture.pixels for picture in some])
            stock["image_grid_thw"] = torch.tensor([picture.grid for picture in some])
            stock["mm_token_type_ids"] = rows.kinds
        return Batch(rows, groups, stock)

    return make


@pytest.fixture(scope="session")
def stock_logps() -> Maker:
    """Log-probabilities and entropies as TRL computes them, in one forward pass."""

    def compute(model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        labels = batch.rows.input_ids.masked_fill(batch.rows.attention_mask == 0, -100)
        labels[:, : batch.rows.width] = -100
        outputs = model(**batch.stock, labels=labels, fused_lm_head=True)
        return outputs.log_probs[:, -batch.rows.completion :], outputs.entropy[:, -batch.rows.completion :]

    return compute
