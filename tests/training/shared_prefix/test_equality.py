"""Packed forward passes give the numbers of stock ones, and their gradients, to the last digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from trl.trainer.utils import add_fused_lm_head

from repic_cli.training.shared_prefix.attention import use_shared_attention
from repic_cli.training.shared_prefix.forward import body_of, shared_logps
from repic_cli.training.shared_prefix.pictures import Pictures, encoder_outputs, pixels_of

Maker = Callable[..., Any]
FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
TWO_PROMPTS = ([(5, [(4, 4), (4, 8)]), (9, [(8, 4)])], [[5, 1, 7, 4], [3, 7, 2, 2]])
"""Two prompts of different lengths and pictures, four ragged completions each."""
BATCHES = {
    "one prompt": ([(6, [(4, 8)])], [[4, 4, 4, 4]]),
    "ragged, left padding, two prompts": TWO_PROMPTS,
    "text only": ([(12, []), (3, [])], [[5, 2, 6], [1, 6, 3]]),
    "one prompt without pictures beside one with": ([(12, []), (3, [(4, 4)])], [[5, 2], [6, 3]]),
    "an empty completion": ([(6, [(4, 4)]), (4, [(4, 4)])], [[4, 0, 2], [0, 3, 3]]),
    "a prompt without completions": ([(6, [(4, 4)]), (4, [(4, 4)])], [[0, 0], [3, 2]]),
    "a prompt of one token": ([(0, [])], [[3, 5]]),
    "groups of one": ([(6, [(4, 4)]), (4, [])], [[3], [5]]),
}


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms, rotary embeddings and the fused head compute in float32 whatever the model's type is; here in float64.

    Otherwise the sum of eight rounded gradients would be compared with the rounded sum.
    """

    def wide(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            args = tuple(torch.float64 if value is torch.float32 else value for value in args)
            return function(*args, **{k: torch.float64 if v is torch.float32 else v for k, v in kwargs.items()})

        return call

    for name in ("zeros", "full"):
        monkeypatch.setattr(torch, name, wide(getattr(torch, name)))
    monkeypatch.setattr(torch.Tensor, "to", wide(torch.Tensor.to))
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


@pytest.fixture
def prepared(make_model: Maker) -> Callable[..., Any]:
    """A model as the trainer has it."""

    def prepare(kind: str = "qwen2_5_vl", lora: bool = False, **options: Any) -> Any:
        model = make_model(kind, **options)
        add_fused_lm_head(model, temperature=0.7, outputs=("log_probs", "entropy"))
        use_shared_attention(model)
        if lora:
            from peft import LoraConfig, get_peft_model

            targets = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|up_proj)"
            model = get_peft_model(model, LoraConfig(r=4, target_modules=targets, init_lora_weights=False))
            model = model.to(options.get("dtype", torch.float64))
        return model.train()

    return prepare


def gradients(model: Any, logps: torch.Tensor, entropies: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of a loss that depends on each value differently."""
    model.zero_grad()
    weights = torch.linspace(0.3, 1.7, logps.numel(), dtype=logps.dtype).view_as(logps)
    (logps * weights + 0.1 * entropies * weights.flip(0)).sum().backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def relative(mine: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """The largest difference of any weight's gradient, relative to that gradient."""
    assert mine.keys() == theirs.keys()
    return max(float((mine[name] - theirs[name]).norm() / theirs[name].norm().clamp(min=1e-6)) for name in theirs)


def difference(mine: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((mine - theirs).detach().abs().max())


def pixels(pictures: Any) -> dict[str, Any]:
    return pixels_of(pictures, "cpu")


def check(model: Any, batch: Any, stock_logps: Maker, see: Any = pixels) -> None:
    expected = stock_logps(model, batch)
    theirs = gradients(model, *expected)
    found = shared_logps(model, body_of(model), batch.rows, batch.groups, see)
    assert found is not None
    assert found[1] is not None
    ours = gradients(model, found[0], found[1])
    for mine, stock in zip((found[0], found[1]), expected, strict=True):
        assert mine.shape == stock.shape
        assert difference(mine, stock) <= 1e-10
        assert bool(stock.any())
    assert relative(ours, theirs) <= 1e-10


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("name", BATCHES)
def test_equal_to_stock(kind: str, name: str, prepared: Maker, make_batch: Maker, stock_logps: Maker) -> None:
    check(prepared(kind), make_batch(*BATCHES[name]), stock_logps)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("reentrant", [False, True])
def test_with_lora_and_checkpointing(
    kind: str, reentrant: bool, prepared: Maker, make_batch: Maker, stock_logps: Maker
) -> None:
    """The layout is there again when a layer is run a second time, and features of a frozen tower are as good."""
    model = prepared(kind, lora=True)
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    table = Pictures()

    def see(pictures: Any) -> dict[str, Any]:
        return encoder_outputs(table.features(body_of(model), pictures))

    batch = make_batch(*TWO_PROMPTS)
    check(model, batch, stock_logps, see)
    check(model, batch, stock_logps, see)
    assert table.seen == 3, "each picture once"


def test_branches_that_see_each_other_are_noticed(
    prepared: Maker, make_batch: Maker, stock_logps: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: with one wrong mask the numbers differ by far more than is allowed."""
    from repic_cli.training.shared_prefix import attention

    def causal_over_all(query: Any, key: Any, value: Any, layout: Any, **options: Any) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, enable_gqa=True, scale=options["scale"]
        )

    monkeypatch.setattr(attention, "two_piece", causal_over_all)
    model, batch = prepared(), make_batch(*TWO_PROMPTS)
    with pytest.raises(AssertionError):
        check(model, batch, stock_logps)
    found = shared_logps(model, body_of(model), batch.rows, batch.groups, pixels)
    assert found is not None
    assert difference(found[0], stock_logps(model, batch)[0]) > 1e-3


def test_nothing_to_compute(prepared: Maker, make_batch: Maker) -> None:
    model, batch = prepared(), make_batch([(6, [])], [[2, 1]])
    batch.rows.attention_mask[:, batch.rows.width :] = 0
    assert shared_logps(model, body_of(model), batch.rows, batch.groups, pixels) is None


def test_other_forward_passes_are_left_alone(make_model: Maker, prepared: Maker, make_batch: Maker) -> None:
    batch = make_batch(*TWO_PROMPTS)
    stock, ours = make_model(), prepared()
    assert ours.config.text_config._attn_implementation != stock.config.text_config._attn_implementation
    torch.testing.assert_close(ours(**batch.stock).logits, stock(**batch.stock).logits, rtol=0, atol=0)


@pytest.mark.parametrize("autocast", [False, True])
def test_in_bfloat16_no_further_from_the_truth_than_stock(
    autocast: bool, prepared: Maker, make_batch: Maker, stock_logps: Maker
) -> None:
    """Weights in bfloat16, or float32 weights computed with in bfloat16."""
    batch = make_batch(*TWO_PROMPTS, dtype=torch.float32)
    truth = stock_logps(prepared(dtype=torch.float32), batch)[0]
    model = prepared(dtype=torch.float32 if autocast else torch.bfloat16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        stock = stock_logps(model, batch)[0]
        found = shared_logps(model, body_of(model), batch.rows, batch.groups, pixels)
    assert found is not None
    far, theirs = (float((logps - truth).abs().mean()) for logps in (found[0], stock))
    assert 1e-4 < far < 1.5 * theirs < 0.5
