"""Pictures that are seen once give the features they would have given each time."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from repic_cli.embedded.records import records
from repic_cli.models import Backbone, load
from repic_cli.training.vision_memo import remember_pictures
from repic_plugins.builtin import tasks


@pytest.fixture
def backbone(mini_model: Path) -> Backbone:
    loaded = load(mini_model, device="cpu")
    loaded.model.requires_grad_(False)
    return loaded


def inputs_of(backbone: Backbone, copies: int = 3) -> Any:
    samples = [tasks.ict().build(record, Random(0)) for record in records("ict", 3, 1, concepts=2)]
    return backbone.encode([sample for sample in samples for _ in range(copies)])


def test_features_are_the_same_and_each_picture_is_seen_once(backbone: Backbone) -> None:
    import torch

    inputs, body = inputs_of(backbone), backbone.model.model
    with torch.no_grad():
        expected = body.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"]).pooler_output
        logits = backbone.model(**inputs).logits
    memo = remember_pictures(backbone.model)
    assert memo is not None
    seen: list[int] = []
    tower = body.visual.forward

    def counting(pixels: torch.Tensor, grid_thw: torch.Tensor, **options: Any) -> Any:
        seen.append(len(grid_thw))
        return tower(pixels, grid_thw=grid_thw, **options)

    body.visual.forward = counting
    with torch.inference_mode():
        found = body.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"]).pooler_output
    assert len(found) == 27
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(backbone.model(**inputs).logits, logits)
    assert seen == [9], "three prompts of three pictures, however often they are asked for"
    memo.clear()
    backbone.generate([tasks.ict().build(record, Random(0)) for record in records("ict", 1, 1, concepts=2)], 2)
    assert seen == [9, 3]


def test_gradients_flow_past_remembered_features(backbone: Backbone) -> None:
    import torch

    inputs = inputs_of(backbone, copies=1)
    weight = backbone.model.get_decoder().layers[0].mlp.up_proj.weight
    weight.requires_grad_(True)
    backbone.model(**inputs).logits.sum().backward()
    expected = weight.grad.clone()
    weight.grad = None
    remember_pictures(backbone.model)
    with torch.inference_mode():
        backbone.model(**inputs)
    backbone.model(**inputs).logits.sum().backward()
    torch.testing.assert_close(weight.grad, expected)


def test_left_alone_where_the_tower_is_trained(backbone: Backbone) -> None:
    next(backbone.model.model.visual.parameters()).requires_grad_(True)
    assert remember_pictures(backbone.model) is None
    backbone.model.requires_grad_(False)
    backbone.model.config.model_type = "qwen3_vl"
    assert remember_pictures(backbone.model) is None
