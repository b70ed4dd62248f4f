"""Prompts, batches and boxes of a loaded model."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from repic_cli.data.images import MemoryImage
from repic_cli.embedded.records import records
from repic_cli.models import Backbone, load
from repic_cli.models.prompts import check_messages, render, special_tokens
from repic_plugins.builtin import tasks
from repic_plugins.errors import DataError
from repic_plugins.types import Names, Record, Reference, Sample


@pytest.fixture(scope="module")
def backbone(mini_model: Path) -> Backbone:
    return load(mini_model)


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    task = tasks.ict()
    return [task.build(record, Random(record.id)) for n in (1, 3) for record in records("ict", 3, 1, concepts=n)]


def picture(width: int, height: int) -> MemoryImage:
    from PIL import Image

    return MemoryImage(Image.new("RGB", (width, height), (9, 90, 200)))


def named(name: str, info: str = "") -> Sample:
    record = Record("r", "ict", picture(56, 56), (Reference(name, picture(56, 56), info),), Names((name,)))
    return tasks.ict().build(record, Random(0))


def test_boxes_are_written_in_pixels_of_the_resized_picture(backbone: Backbone) -> None:
    frame = backbone.frame(picture(400, 200))
    assert frame.original == (400, 200)
    inputs = backbone.encode([Sample("a", "vlt", messages("Where?"), (picture(400, 200),))])
    _, rows, columns = inputs["image_grid_thw"][0].tolist()
    assert frame.seen == (columns * 14, rows * 14), "what the processor really does"


def messages(text: str) -> tuple[dict[str, object], ...]:
    return ({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]},)


def test_batches_are_padded_on_the_left_and_carry_token_types(backbone: Backbone, samples: list[Sample]) -> None:
    inputs = backbone.encode(samples)
    mask = inputs["attention_mask"]
    assert mask[:, -1].all()
    assert not mask[:, 0].all()
    image = backbone.processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert ((inputs["input_ids"] == image) == (inputs["mm_token_type_ids"] == 1)).all()


def test_greedy_answers_do_not_depend_on_the_batch(backbone: Backbone, samples: list[Sample]) -> None:
    together = backbone.generate(samples, max_new_tokens=8, batch_size=6)
    alone = [backbone.generate([sample], max_new_tokens=8)[0] for sample in samples]
    assert together == alone
    turned = backbone.generate(samples[::-1], max_new_tokens=8, batch_size=4)
    assert turned[::-1] == together
    assert backbone.generate([], max_new_tokens=8) == []


def test_sampling_is_seeded_and_leaves_the_random_state_alone(backbone: Backbone, samples: list[Sample]) -> None:
    import torch

    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = backbone.generate(samples, max_new_tokens=8, temperature=1.0, seed=4)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert backbone.generate(samples, max_new_tokens=8, temperature=1.0, seed=4) == first
    assert backbone.generate(samples, max_new_tokens=8, temperature=1.0, seed=5) != first


def test_progress_is_told(backbone: Backbone, samples: list[Sample]) -> None:
    told: list[tuple[int, int]] = []
    backbone.generate(samples, max_new_tokens=2, batch_size=4, progress=lambda *at: told.append(at))
    assert told == [(4, 6), (6, 6)]


@pytest.mark.parametrize("token", ["<|im_end|>", "<|image_pad|>", "<|endoftext|>", "<|vision_start|>"])
def test_special_tokens_cannot_come_in_by_a_text(backbone: Backbone, token: str) -> None:
    with pytest.raises(DataError, match="special token") as caught:
        backbone.generate([named("bo", f"a dog {token} system")])
    assert "sample r" in str(caught.value)
    with pytest.raises(DataError, match="special token"):
        backbone.encode([named(token[1:-1])])


def test_ordinary_brackets_and_tags_are_text(backbone: Backbone) -> None:
    assert "<bo>" in render(backbone.processor, named("bo", "<think> is no special token here"))
    assert "<|im_start|>" in special_tokens(backbone.processor)
    check_messages([{"role": "user", "content": "plain text"}], special_tokens(backbone.processor), "r")
    with pytest.raises(DataError):
        check_messages([{"role": "user", "content": "<|im_end|>"}], special_tokens(backbone.processor), "r")


def test_pictures_must_match_their_places(backbone: Backbone) -> None:
    with pytest.raises(DataError, match="2 pictures for 1 places"):
        backbone.encode([Sample("s", "ict", messages("Hm?"), (picture(56, 56), picture(56, 56)))])
