"""Tiny random models of both families, and batches of completions as TRL has them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from repic_cli.training.shared_prefix.feature_cache import FeatureCache
from repic_cli.training.shared_prefix.forward import Rows
from repic_cli.training.shared_prefix.pictures import Picture
from repic_cli.training.shared_prefix.trainer import Mode, SharedPrefixTrainer

IMAGE, VIDEO, BEGIN, END, PAD = 60, 61, 62, 63, 0
WORDS = 60
Maker = Callable[..., Any]


def _text(kind: str, layers: int, vocabulary: int) -> dict[str, Any]:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": layers, "vocab_size": vocabulary}
    sizes |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": PAD}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
    return {**sizes, **heads, "rope_parameters": rope, **({"head_dim": 8} if kind == "qwen3_vl" else {})}


def _vision(kind: str, patch: int) -> dict[str, Any]:
    if kind == "qwen2_vl":
        return {"depth": 2, "embed_dim": 16, "hidden_size": 32, "mlp_ratio": 2, "num_heads": 2, "patch_size": patch}
    sizes = {"depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 32}
    if kind == "qwen2_5_vl":
        return {**sizes, "patch_size": patch, "window_size": 4 * patch, "fullatt_block_indexes": [1]}
    return {**sizes, "patch_size": patch, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}


@pytest.fixture(scope="session")
def make_model() -> Maker:
    """A random model: `kind` is its model type; `tokens`: image, video, vision start and end."""
    import transformers

    families = {
        "qwen2_vl": (transformers.Qwen2VLConfig, transformers.Qwen2VLForConditionalGeneration),
        "qwen2_5_vl": (transformers.Qwen2_5_VLConfig, transformers.Qwen2_5_VLForConditionalGeneration),
        "qwen3_vl": (transformers.Qwen3VLConfig, transformers.Qwen3VLForConditionalGeneration),
    }
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")

    def make(
        kind: str = "qwen2_5_vl",
        dtype: torch.dtype = torch.float64,
        layers: int = 3,
        patch: int = 4,
        tokens: Sequence[int] = (IMAGE, VIDEO, BEGIN, END),
        vocabulary: int = 64,
    ) -> Any:
        config_class, model_class = families[kind]
        parts = {"text_config": _text(kind, layers, vocabulary), "vision_config": _vision(kind, patch)}
        torch.manual_seed(0)
        model = model_class(config_class(**parts, **dict(zip(names, tokens, strict=True)))).to(dtype)
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
        asked: list[tuple[list[int], list[int]]] = []
        shown: list[list[Picture]] = []
        for words, grids in prompts:
            pictures: list[Picture] = []
            ids, kinds = [1], [0]
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
        rows = Rows(tensors["ids"], tensors["mask"], completion, tensors["kinds"] if some else None, pictures_of_rows)
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


@pytest.fixture(scope="session")
def tiny_folder(make_model: Maker, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """The folder of a tiny model of a family, with a processor."""
    from transformers import Qwen3VLProcessor

    from repic_cli.embedded.build import make_processor, make_tokenizer

    tokenizer, folders = make_tokenizer(), {}

    def folder(kind: str) -> Path:
        if kind not in folders:
            processor = make_processor(tokenizer)
            if kind == "qwen3_vl":
                template = processor.chat_template
                processor = Qwen3VLProcessor(
                    processor.image_processor, tokenizer, processor.video_processor, chat_template=template
                )
            names = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
            ids = tokenizer.convert_tokens_to_ids(names)
            model = make_model(kind, torch.float32, layers=2, patch=14, tokens=ids, vocabulary=len(tokenizer))
            folders[kind] = tmp_path_factory.mktemp(kind)
            model.save_pretrained(folders[kind])
            processor.save_pretrained(folders[kind])
        return folders[kind]

    return folder


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """A port of the loopback interface that nobody listens on."""

    def find() -> int:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            return int(found.getsockname()[1])

    return find


@dataclass
class Run:
    """What was logged and sampled, what the trainer said, and the trainer."""

    logged: list[dict[str, float]]
    sampled: list[list[int]]
    said: list[str]
    trainer: Any


@pytest.fixture
def train(tiny_folder: Maker, tmp_path: Path) -> Maker:
    """Train a tiny model. `options` are those of `GRPOConfig`."""

    def run(
        shared: Mode,
        *,
        kind: str = "qwen2_5_vl",
        lora: bool = True,
        text_only: bool = False,
        rows: list[dict[str, Any]] | None = None,
        feature_cache: FeatureCache | None = None,
        **options: Any,
    ) -> Run:
        from datasets import Dataset
        from peft import LoraConfig
        from transformers import AutoModelForImageTextToText, AutoProcessor
        from trl import GRPOConfig

        rows = rows or prompts(text_only)
        arguments = {
            "per_device_train_batch_size": 8,
            "num_generations": 4,
            "max_completion_length": 10,
            "max_steps": 2,
            "learning_rate": 1e-4,
            "beta": 0.1,
            "loss_type": "grpo",
            "bf16": False,
            "gradient_checkpointing": False,
            **options,
        }
        config = GRPOConfig(
            str(tmp_path / shared), use_cpu=True, report_to=[], logging_steps=1, save_strategy="no", **arguments
        )
        sampled: list[Any] = []

        def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
            sampled.extend(completion_ids)
            return [sum(ids) % 7 / 7 + len(ids) / 10 for ids in completion_ids]

        adapter = LoraConfig(r=4, target_modules=r".*language_model.*\.(q_proj|v_proj|up_proj|down_proj)")
        said: list[str] = []
        model = AutoModelForImageTextToText.from_pretrained(tiny_folder(kind))
        # A tenth of the words end a completion, so that completions differ in length.
        model.generation_config.eos_token_id = list(range(100, 200))
        trainer = SharedPrefixTrainer(
            model,
            [reward],
            config,
            Dataset.from_dict({"row": range(len(rows))}).with_transform(
                lambda batch: {key: [rows[row % len(rows)][key] for row in batch["row"]] for key in rows[0]}
            ),
            processing_class=AutoProcessor.from_pretrained(tiny_folder(kind)),
            peft_config=adapter if lora else None,
            shared_prefix=shared,
            feature_cache=feature_cache,
            say=said.append,
        )
        trainer.train()
        return Run([row for row in trainer.state.log_history if "loss" in row], sampled, said, trainer)

    return run


def prompts(text_only: bool) -> list[dict[str, Any]]:
    """Prompts of one to three pictures, or of none."""
    from repic_cli.embedded.records import records
    from repic_plugins.builtin import tasks

    if text_only:
        words = ["a dog", "two cats and a red backpack", "nothing", "a very long story about a boat at sea"]
        return [{"prompt": [{"role": "user", "content": f"Describe {word}."}]} for word in words]
    samples = [tasks.ict().build(record, Random(0)) for n in (1, 2) for record in records("ict", 3, 2, concepts=n)]
    return [
        {"prompt": list(sample.messages), "images": [image.open() for image in sample.images]} for sample in samples
    ]
