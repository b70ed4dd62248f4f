"""An adapter in the weights gives the same numbers, and leaves no trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from repic_cli.training.shared_prefix.merging import merged

TARGETS = r".*language_model.*\.(q_proj|v_proj|up_proj)"


@pytest.fixture
def adapted(make_model: Callable[..., Any]) -> Callable[..., Any]:
    def adapt(dtype: torch.dtype = torch.float32, **options: Any) -> Any:
        torch.manual_seed(1)
        config = LoraConfig(r=4, target_modules=TARGETS, init_lora_weights=False, **options)
        return get_peft_model(make_model(dtype=dtype), config, autocast_adapter_dtype=False).to(dtype).train()

    return adapt


def test_same_logits_and_untouched_weights(adapted: Callable[..., Any]) -> None:
    model, ids = adapted(), torch.tensor([[3, 5, 8, 13]])
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    expected = model(input_ids=ids).logits
    plain = model.get_base_model()
    with model.disable_adapter():
        without = model(input_ids=ids).logits
    with merged(model) as done:
        assert done
        seen: list[str] = []
        for name, module in plain.named_modules():
            if name.endswith("lora_A.default"):
                module.register_forward_hook(lambda *_, name=name: seen.append(name))
        torch.testing.assert_close(model(input_ids=ids).logits, expected)
        assert seen == [], "no adapter is computed"
    assert float((without - expected).detach().abs().max()) > 0.1
    after = model.state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert torch.equal(model(input_ids=ids).logits, expected)
    assert seen


def test_weights_come_back_after_an_error(adapted: Callable[..., Any]) -> None:
    model, ids = adapted(), torch.tensor([[3, 5]])
    expected = model(input_ids=ids).logits
    with pytest.raises(KeyboardInterrupt), merged(model):
        raise KeyboardInterrupt
    assert torch.equal(model(input_ids=ids).logits, expected)


@pytest.mark.parametrize("options", [{"dtype": torch.bfloat16}, {"lora_dropout": 0.1}, {"use_dora": True}], ids=str)
def test_left_alone(options: dict[str, Any], adapted: Callable[..., Any]) -> None:
    """What would be rounded, or computed in another way."""
    with merged(adapted(**options)) as done:
        assert not done


def test_a_head_that_shares_its_weight_with_the_embeddings(make_model: Callable[..., Any]) -> None:
    """The adapter of the head would be in the embeddings too."""
    model = make_model(dtype=torch.float32)
    model.lm_head.weight = model.get_input_embeddings().weight
    model = get_peft_model(model, LoraConfig(r=4, target_modules=["lm_head"], init_lora_weights=False)).eval()
    ids = torch.tensor([[3, 5, 8]])
    expected = model(input_ids=ids).logits
    with merged(model) as done:
        assert not done
        assert torch.equal(model(input_ids=ids).logits, expected)


def test_nothing_to_merge(make_model: Callable[..., Any]) -> None:
    with merged(make_model()) as done:
        assert not done
