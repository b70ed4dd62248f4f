"""A GRPO step, stock TRL against shared prompts, side by side: `python benchmarks/grpo_step.py [--points 650:64:8]`.

Same random model, prompts, pictures, seeds and settings (LoRA on the language model, KL to the base, gradient
checkpointing), through TRL's own `train()`. The two take turns; the least of the repeats counts. On a CPU it is CPU
seconds on one thread, on a GPU seconds by the clock. `saved` are the tensors that the update's forward pass keeps for
its backward pass, without checkpointing (CPU); on a GPU it is the peak of allocated memory in the whole step.

`--model-config 3b` or `7b` is the architecture of Qwen2.5-VL with random weights: nothing is downloaded. The limits
beside the measurements count tokens and floating point operations, of the same phases.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import argparse
import gc
import json
import logging
import platform
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins"), str(ROOT / "rewards")]

PICTURES = 4
"""Pictures of a prompt: three references and the query."""
PATCH = 28
"""Pixels of a picture token's side."""
TEXT = {
    "small": {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6, "num_attention_heads": 4},
    "3b": {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16},
    "7b": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28},
}
KEY_HEADS = {"small": 2, "3b": 2, "7b": 4}
VISION: dict[str, dict[str, Any]] = {
    "small": {
        "depth": 4,
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_heads": 4,
        "fullatt_block_indexes": [1, 3],
    },
    "3b": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16},
    "7b": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16},
}
PHASES = ("step", "prepare", "generate", "logps", "update")


@dataclass(frozen=True)
class Point:
    """About so many prompt tokens, completion tokens, completions per prompt."""

    prompt: int
    completion: int
    group: int

    @classmethod
    def parse(cls, text: str) -> Point:
        return cls(*(int(part) for part in text.split(":")))

    def __str__(self) -> str:
        return f"{self.prompt}/{self.completion}/{self.group}"


@dataclass
class Measured:
    """Seconds of each phase and bytes, per step; what the steps came to."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    memory: int = 0
    prompt: int = 0
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    completions: list[Any] = field(default_factory=list)

    def better(self, other: Measured | None) -> Measured:
        """The quicker one, by the whole step."""
        return self if other is None or self.seconds["step"] < other.seconds["step"] else other


class Clock:
    """CPU seconds of this process, or on a GPU seconds until it is idle."""

    def __init__(self, device: str) -> None:
        self.cuda = device.startswith("cuda")

    def __call__(self) -> float:
        if self.cuda:
            import torch

            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()


# What is trained ------------------------------------------------------------------------------------------------------


def make_model(name: str, dtype: str, device: str) -> Any:
    """Random weights; the same each time."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = _processor().tokenizer
    text: dict[str, Any] = {**TEXT[name], "num_key_value_heads": KEY_HEADS[name], "tie_word_embeddings": name != "7b"}
    text["vocab_size"] = {"small": len(tokenizer), "3b": 151936, "7b": 152064}[name]
    side = text["hidden_size"] // text["num_attention_heads"] // 2
    sections = [side // 4, side * 3 // 8, side - side // 4 - side * 3 // 8]
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": sections}
    vision = {**VISION[name], "out_hidden_size": text["hidden_size"], "patch_size": PATCH // 2}
    names = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    keys = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    tokens = dict(zip(keys, tokenizer.convert_tokens_to_ids(names), strict=True))
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=name != "7b", **tokens)
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with torch.device(device):
            model = Qwen2_5_VLForConditionalGeneration._from_config(config, attn_implementation="sdpa")
    finally:
        torch.set_default_dtype(before)
    model.generation_config.eos_token_id = None  # every completion has its full length
    return model


def _processor() -> Any:
    from repic_cli.embedded.build import make_processor, make_tokenizer

    processor = make_processor(make_tokenizer())
    processor.image_processor.size = {"shortest_edge": PATCH**2, "longest_edge": 10**8}
    return processor


def make_rows(point: Point, number: int) -> list[dict[str, Any]]:
    """Prompts of four square pictures of noise, and words up to the length that is asked for."""
    import numpy as np
    from PIL import Image

    side = max(1, int(((point.prompt - 40) / PICTURES) ** 0.5))
    words = max(1, point.prompt - PICTURES * (side * side + 2) - 12)
    noise, rows = np.random.default_rng(0), []
    for _ in range(number):
        shape = (PATCH * side, PATCH * side, 3)
        pictures = [Image.fromarray(noise.integers(0, 256, shape, dtype=np.uint8)) for _ in range(PICTURES)]
        content = [*({"type": "image"} for _ in pictures), {"type": "text", "text": " ".join(["red"] * words)}]
        rows.append({"prompt": [{"role": "user", "content": content}], "images": pictures})
    return rows


# What is measured -----------------------------------------------------------------------------------------------------


def timed(base: type, clock: Clock) -> type:
    """The trainer with its phases measured."""
    import torch

    class Timed(base):
        measured: Measured

        @contextmanager
        def _phase(self, name: str) -> Iterator[None]:
            begin = clock()
            yield
            self.measured.seconds[name] += clock() - begin

        def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
            self.measured.prompt = max(len(ids) for ids in prompt_ids)
            with self._phase("generate"):
                return super()._generate_single_turn(prompt_ids, *args, **kwargs)

        def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
            if torch.is_grad_enabled():
                return super()._get_per_token_logps_and_entropies(*args, **kwargs)
            with self._phase("logps"):
                return super()._get_per_token_logps_and_entropies(*args, **kwargs)

        def _generate_and_score_completions(self, *args: Any, **kwargs: Any) -> Any:
            with self._phase("prepare"):
                return super()._generate_and_score_completions(*args, **kwargs)

        def _send_telemetry(self) -> None:
            """Nothing is reported."""

    return Timed


def measure(base: type, options: dict[str, Any], point: Point, args: argparse.Namespace) -> Measured:
    """Train for some steps. The first picture of a step is opened with it, so its time is in it."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback, ProgressCallback
    from trl import GRPOConfig

    clock = Clock(args.device)
    rows = make_rows(point, args.prompts * args.steps)
    measured = Measured()
    config = GRPOConfig(
        tempfile.mkdtemp(prefix="grpo-step-"),
        use_cpu=not clock.cuda,
        per_device_train_batch_size=point.group * args.prompts,
        num_generations=point.group,
        max_completion_length=point.completion,
        max_steps=args.steps,
        shuffle_dataset=False,
        learning_rate=1e-5,
        beta=0.04,
        bf16=args.dtype == "bfloat16",
        gradient_checkpointing=args.checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if args.checkpointing else None,
        report_to=[],
        logging_steps=1,
        save_strategy="no",
    )

    def reward(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
        measured.completions.extend(completion_ids)
        return [sum(ids) % 11 / 11 for ids in completion_ids]

    targets = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
    trainer = timed(base, clock)(
        make_model(args.model_config, args.dtype, args.device),
        [reward],
        config,
        Dataset.from_dict({"row": range(len(rows))}).with_transform(
            lambda batch: {key: [rows[row][key] for row in batch["row"]] for key in ("prompt", "images")}
        ),
        processing_class=_processor(),
        peft_config=None if args.full else LoraConfig(r=args.rank, lora_alpha=2 * args.rank, target_modules=targets),
        **options,
    )
    for noisy in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(noisy)
    trainer.measured = measured
    if clock.cuda:
        torch.cuda.reset_peak_memory_stats()
    begin = clock()
    trainer.train()
    seconds = measured.seconds
    seconds["step"] = clock() - begin
    seconds["update"] = seconds["step"] - seconds["prepare"]  # forward and backward of the policy, and the optimiser
    seconds["prepare"] -= seconds["generate"] + seconds["logps"]  # text and pictures to tensors, and rewards
    for name in PHASES:
        seconds[name] /= args.steps
    logged = [row for row in trainer.state.log_history if "loss" in row]
    measured.losses, measured.norms = ([row[key] for row in logged] for key in ("loss", "grad_norm"))
    measured.memory = torch.cuda.max_memory_allocated() if clock.cuda else saved_bytes(trainer)
    del trainer
    gc.collect()
    return measured


def saved_bytes(trainer: Any) -> int:
    """What a forward pass of the update keeps for the backward pass, weights not counted."""
    import torch

    weights = {weight.untyped_storage().data_ptr() for weight in trainer.model.parameters()}
    kept: dict[int, int] = {}
    alive: list[torch.Tensor] = []  # so that no storage's place is used again

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    trainer.model.gradient_checkpointing_disable()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = super(type(trainer), trainer)._compute_loss(trainer.model, trainer._buffered_inputs[0])
    del loss
    return sum(kept.values())


# What could be --------------------------------------------------------------------------------------------------------


def limits(name: str, prompt: int, point: Point, checkpointing: bool) -> dict[str, float]:
    """How many times fewer tokens and operations sharing needs: for a pass over prompt and completions, for sampling,
    and for the whole step (sampling, reference, policy with its backward pass at twice the cost)."""
    text, vision = TEXT[name], VISION[name]
    hidden, keys = text["hidden_size"], KEY_HEADS[name] / text["num_attention_heads"]
    layer = hidden * hidden * (2 + 2 * keys) + 3 * hidden * text["intermediate_size"]
    length, group = point.completion, point.group

    def work(tokens: float, pairs: float) -> float:
        """Multiplications of all layers: weights on tokens, and attention between pairs of tokens."""
        return float(text["num_hidden_layers"] * (tokens * layer + 2 * pairs * hidden))

    def causal(new: float, before: float = 0) -> float:
        return new * before + new * new / 2

    side = int(((prompt - 40) / PICTURES) ** 0.5)
    patches, width = PICTURES * side * side * 4, vision["hidden_size"]
    look = vision["depth"] * patches * (4 * width * width + 3 * width * vision["intermediate_size"])
    stock = group * work(prompt + length, causal(prompt + length))
    shared = work(prompt, causal(prompt)) + group * work(length, causal(length, prompt))
    decoding = group * work(length, causal(length, prompt))
    passes = 4 if checkpointing else 3
    stock_sampling = group * (work(prompt, causal(prompt)) + look) + decoding
    shared_sampling = work(prompt, causal(prompt)) + decoding
    return {
        "tokens": group * (prompt + length) / (prompt + group * length),
        "logps": (stock + group * look) / shared,
        "update": (passes * stock + group * look) / (passes * shared),
        "generate": stock_sampling / (shared_sampling + look),
        "step": (stock_sampling + (passes + 1) * stock + 2 * group * look)
        / (shared_sampling + (passes + 1) * shared + look),
    }


def compare(point: Point, args: argparse.Namespace) -> dict[str, Any]:
    """One row of the table."""
    from trl import GRPOTrainer

    from repic_cli.training.shared_prefix.trainer import SharedPrefixTrainer

    stock: Measured | None = None
    ours: Measured | None = None
    for _ in range(args.repeats):
        stock = measure(GRPOTrainer, {}, point, args).better(stock)
        ours = measure(SharedPrefixTrainer, {"shared_prefix": "on"}, point, args).better(ours)
    assert stock is not None
    assert ours is not None
    off = lambda mine, theirs: max(abs(a - b) / max(abs(b), 1e-6) for a, b in zip(mine, theirs, strict=True))  # noqa: E731
    return {
        "point": str(point),
        "prompt": ours.prompt,
        "stock": dict(stock.seconds),
        "ours": dict(ours.seconds),
        "ratio": {name: stock.seconds[name] / ours.seconds[name] for name in PHASES},
        "limit": limits(args.model_config, ours.prompt, point, args.checkpointing),
        "memory": {"stock": stock.memory, "ours": ours.memory, "share": ours.memory / stock.memory},
        "loss": {"stock": stock.losses, "ours": ours.losses},
        "grad_norm": {"stock": stock.norms, "ours": ours.norms, "difference": off(ours.norms, stock.norms)},
        "same_completions": sum(a == b for a, b in zip(stock.completions, ours.completions, strict=True))
        / len(stock.completions),
    }


COLUMNS = (
    "P / C / G",
    "step, stock",
    "step, shared",
    "ratio (limit)",
    "prepare",
    "sample",
    "log-probs",
    "update",
    "memory",
    "grad_norm differs by",
    "same completions",
)


def table(rows: Sequence[dict[str, Any]], about: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        f"{about['model']}, {about['machine']}, {about['versions']}; {about['settings']}",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---" * len(COLUMNS) + "|",
    ]
    for row in rows:
        ratio, limit, memory = row["ratio"], row["limit"], row["memory"]
        against = {name: f"{ratio[name]:.1f}x ({limit[name]:.1f}x)" for name in limit if name in ratio}
        cells = [
            f"{row['prompt']}/{row['point'].split('/', 1)[1]}",
            f"{row['stock']['step']:.2f} s",
            f"{row['ours']['step']:.2f} s",
            f"**{against['step']}**",
            f"{ratio['prepare']:.1f}x",
            against["generate"],
            against["logps"],
            against["update"],
            f"{memory['stock'] / 2**20:,.0f} -> {memory['ours'] / 2**20:,.0f} MiB ({memory['share']:.2f})",
            f"{row['grad_norm']['difference']:.0e}",
            f"{row['same_completions']:.0%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def describe(args: argparse.Namespace) -> dict[str, Any]:
    from importlib.metadata import version

    from repic_cli.training.environment import hardware

    found = hardware(args.device)
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "trl"))
    what = "full fine-tuning" if args.full else f"LoRA r {args.rank}"
    checkpointing = "with" if args.checkpointing else "without"
    return {
        "model": f"random Qwen2.5-VL {args.model_config}",
        "machine": found.get("gpu") or f"{found['cpu'] or platform.machine()}, one thread",
        "versions": versions,
        "settings": f"{args.dtype}, {what}, {checkpointing} checkpointing, {args.prompts} prompt a step, KL",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", default="650:64:8", help="P:C:G, comma-separated")
    parser.add_argument("--model-config", choices=sorted(TEXT), default="small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="default: float32 on a CPU, else bfloat16")
    parser.add_argument("--prompts", type=int, default=1, help="prompts in a step")
    parser.add_argument("--steps", type=int, default=1, help="steps in a run")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each")
    parser.add_argument("--rank", type=int, default=16, help="of LoRA")
    parser.add_argument("--full", action="store_true", help="train all weights instead of LoRA")
    parser.add_argument("--no-checkpointing", dest="checkpointing", action="store_false")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    args.dtype = args.dtype or ("float32" if args.device == "cpu" else "bfloat16")

    import torch
    from transformers.utils import logging as transformers_logging

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    transformers_logging.disable_progress_bar()
    if args.device == "cpu":
        torch.set_num_threads(1)
    about, rows = describe(args), []
    compare(Point(80, 4, 2), argparse.Namespace(**{**vars(args), "repeats": 1, "steps": 1}))  # to warm up
    for text in args.points.split(","):
        rows.append(compare(Point.parse(text), args))
        print(table(rows[-1:], about), flush=True)
        for path, content in (
            (args.json, json.dumps({**about, "rows": rows}, indent=1)),
            (args.markdown, table(rows, about)),
        ):
            if path:
                path.write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
