"""Whole runs with shared prompts: the same losses, gradients, rewards and completions as stock TRL, step by step.

Both run in float32. Loss and gradient norm may differ by 1e-4 of their size (Adam divides by small second moments, so
that rounding grows over 20 steps); completions and rewards have to be the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Maker = Callable[..., Any]
STEPS = 20
QUICK = ("lora", "full, trained in two iterations", "half groups", "qwen3_vl")
"""Those that do not have to wait for the slow tests."""
COMBINATIONS: dict[str, dict[str, Any]] = {
    "lora": {},
    "full": {"lora": False},
    "full, trained in two iterations": {"lora": False, "num_iterations": 2},
    "checkpointing": {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}},
    "full, checkpointing": {
        "lora": False,
        "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
    },
    "two batches a step": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2},
    "half groups": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
    "no reference": {"beta": 0.0},
    "top p, padding": {"top_p": 0.9, "pad_to_multiple_of": 8},
    "text only": {"text_only": True},
    "qwen3_vl": {"kind": "qwen3_vl"},
    "qwen3_vl, full": {"kind": "qwen3_vl", "lora": False},
    **{loss: {"loss_type": loss, "num_iterations": 2} for loss in ("bnpo", "dr_grpo", "dapo", "cispo")},
}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in COMBINATIONS]
)
def test_equal_to_stock(name: str, train: Maker) -> None:
    stock, ours = (train(shared, max_steps=STEPS, **COMBINATIONS[name]) for shared in ("off", "on"))
    assert ours.said == []
    assert ours.sampled == stock.sampled
    assert {len(ids) for ids in ours.sampled} == set(range(1, 11))
    assert len(ours.logged) == len(stock.logged) == STEPS
    for mine, theirs in zip(ours.logged, stock.logged, strict=True):
        assert mine.get("reward") == theirs.get("reward")
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-4, abs=1e-6)
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-4)
        # These are means over batches of means over tokens, and which rows make a batch is not as in stock.
        means = () if "gradient_accumulation_steps" in COMBINATIONS[name] else ("entropy", "kl")
        for key in (*means, "completions/mean_length"):
            assert mine.get(key, 0) == pytest.approx(theirs.get(key, 0), rel=1e-4, abs=1e-6)
    assert any(row["grad_norm"] > 1e-3 for row in ours.logged)
