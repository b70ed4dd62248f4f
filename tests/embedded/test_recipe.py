"""The recipe: its short cuts equal the library's own path, and a build resumes and ends in an ordinary folder."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from repic_cli.embedded import build, language_stage, recipe, vision_stage
from repic_cli.embedded.lessons import Lesson, lesson_stream
from repic_cli.embedded.optim import optimisers, orthogonalise
from repic_cli.embedded.pictures import encode, patches
from repic_cli.embedded.running import Stage


@pytest.fixture(scope="module")
def parts() -> tuple[Any, Any]:
    tokenizer = build.make_tokenizer()
    return build.make_model(tokenizer, seed=1).eval(), build.make_processor(tokenizer)


@pytest.mark.parametrize("side", [56, 112, 168])
def test_batched_vision_equals_the_tower(parts: tuple[Any, Any], side: int) -> None:
    model, processor = parts
    rng = np.random.default_rng(side)
    images = [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(3)]
    given = processor.image_processor(images=[Image.fromarray(image) for image in images], return_tensors="pt")
    with torch.no_grad():
        theirs = model.model.visual(given["pixel_values"], grid_thw=given["image_grid_thw"]).pooler_output
        ours = encode(model.model.visual, torch.from_numpy(patches(np.stack(images))), side // 14, side // 14)
    assert torch.allclose(
        torch.cat(list(theirs)) if isinstance(theirs, tuple) else theirs, ours.flatten(0, 1), atol=1e-5
    )


def conversation(lesson: Lesson) -> list[dict[str, Any]]:
    images = iter(lesson.images)
    messages: list[dict[str, Any]] = []
    for turn in lesson.turns:
        parts = [
            {"type": "image", "image": next(images).open()} if part["type"] == "image" else dict(part)
            for part in turn.parts
        ]
        messages += [
            {"role": "user", "content": parts},
            {"role": "assistant", "content": [{"type": "text", "text": turn.answer}]},
        ]
    return messages


def test_lessons_are_encoded_as_the_processor_and_model_do(parts: tuple[Any, Any]) -> None:
    model, processor = parts
    encoder = language_stage.LessonEncoder(processor.tokenizer)
    lessons = list(islice(lesson_stream((4,)), 40))
    assert {lesson.kind for lesson in lessons} == {"oct", "vlt", "ict", "caption", "where", "say"}
    for lesson in lessons:
        ours = encoder.encode(lesson)
        theirs = processor.apply_chat_template(
            [conversation(lesson)], tokenize=True, return_dict=True, return_tensors="pt"
        )
        length = len(ours.ids)
        # The template ends with a line break after the last answer, which nothing is learnt from.
        assert theirs["input_ids"][0, :length].tolist() == ours.ids
        positions, _ = model.model.get_rope_index(
            theirs["input_ids"],
            theirs["mm_token_type_ids"],
            image_grid_thw=theirs.get("image_grid_thw"),
            attention_mask=theirs["attention_mask"],
        )
        assert torch.equal(positions[:, 0, :length], torch.tensor(ours.positions).T)
    some = [encoder.encode(lesson) for lesson in lessons[:6]]
    match = language_stage.MatchHead(model.model.language_model.embed_tokens)
    batch = language_stage.batch(some, encoder, max(len(lesson.ids) for lesson in some) + 7)
    with torch.no_grad():
        losses = language_stage.losses(model, match, batch).answers
        expected = []
        for lesson in lessons[:6]:
            inputs = processor.apply_chat_template(
                [conversation(lesson)], tokenize=True, return_dict=True, return_tensors="pt"
            )
            labels = torch.full_like(inputs["input_ids"], -100)
            encoded = encoder.encode(lesson)
            labels[0, : len(encoded.labels)] = torch.tensor(encoded.labels)
            answers = sum(label != -100 for label in encoded.labels)
            expected.append(float(model(**inputs, labels=labels).loss) * answers)
    assert float(losses.sum()) == pytest.approx(sum(expected), rel=1e-5)


def test_lessons_split_by_length_lose_nothing(parts: tuple[Any, Any]) -> None:
    encoder = language_stage.LessonEncoder(parts[1].tokenizer)
    encoded = [encoder.encode(lesson) for lesson in islice(lesson_stream((8,)), 30)]
    batches = language_stage.batches(encoded, encoder)
    assert sorted(kind for data in batches for kind in data.kinds) == sorted(lesson.kind for lesson in encoded)
    assert sum(int((data.labels != -100).sum()) for data in batches) == sum(
        label != -100 for lesson in encoded for label in lesson.labels
    )
    assert all(data.ids.shape[1] % 32 == 0 for data in batches)


def test_cells_know_whose_they_are(parts: tuple[Any, Any]) -> None:
    """Each cell of the last picture has the reference of what it shows; other pictures are not asked."""
    encoder = language_stage.LessonEncoder(parts[1].tokenizer)
    checked = 0
    for lesson in islice(lesson_stream((6,), mix={("ict", 2): 0.5, ("oct", None): 0.5}), 40):
        encoded = encoder.encode(lesson)
        first, pixels = encoded.pictures[-1]
        side = pixels.shape[0] // 28
        assert [column for column, _, _ in encoded.owners] == list(range(first, first + side * side))
        starts = [encoder.text(f"<{name}")[1] for name in lesson.names]
        assert [encoded.ids[index] for index in encoded.references] == starts
        for (x1, y1, x2, y2), name in lesson.shown:
            # The cell in which the object is centred shows it, unless another one is near.
            cell = int((y1 + y2) / 2 // 28) * side + int((x1 + x2) / 2 // 28)
            others = [box for box, _ in lesson.shown if box != (x1, y1, x2, y2)]
            if name and not any(a < x2 + 8 and x1 < c + 8 and b < y2 + 8 and y1 < d + 8 for a, b, c, d in others):
                number = lesson.names.index(name)
                assert encoded.owners[cell][1:] == (number + 1, starts[number])
                checked += 1
    assert checked > 10
    assert not encoder.encode(next(lesson_stream((6,), mix={("vlt", None): 1.0}))).owners


def test_cells_are_matched_with_the_references_of_their_own_lesson(parts: tuple[Any, Any]) -> None:
    """In a batch of lessons with one to three references each, a head that knows the answer is right everywhere."""
    model, processor = parts
    encoder = language_stage.LessonEncoder(processor.tokenizer)
    mix = {("ict", 1): 0.4, ("ict", 3): 0.3, ("vlt", None): 0.3}
    encoded = [encoder.encode(lesson) for lesson in islice(lesson_stream((9,), mix=mix), 12)]
    data = language_stage.batch(encoded, encoder, max(len(lesson.ids) for lesson in encoded))
    hidden = 192
    match = language_stage.MatchHead(model.model.language_model.embed_tokens)
    states = torch.zeros(*data.ids.shape, hidden)
    for row, lesson in enumerate(encoded):
        for number, column in enumerate(lesson.references):
            states[row, column, 3 * row + number] = 1.0
        for column, owner, _ in lesson.owners:
            states[row, column, 3 * row + owner - 1 if owner else hidden - 1] = 1.0
    with torch.no_grad():
        for layer in (match.cell, match.reference):
            layer.weight.copy_(torch.eye(hidden))
            layer.bias.zero_()
        match.nobody.weight.zero_()
        match.nobody.bias.fill_(1.0)
        choice = match.align(states, data).argmax(-1)
    assert torch.equal(choice, data.owners)
    assert int(data.owners.max()) == 3


def test_few_matched_cells_count_as_much_as_the_others() -> None:
    matches = torch.tensor([2.0, 4.0, 1.0, 1.0, 1.0, 1.0])
    somebody = torch.tensor([True, True, False, False, False, False])
    none = torch.zeros(0)

    def loss(which: slice) -> float:
        cells = somebody[which]
        parts = language_stage.Losses(none, none, none, cells, matches[which], cells, 0.5 * matches[which], cells)
        return float(parts.match)

    assert loss(slice(0, 6)) == pytest.approx((4.5 + 1.5) / 2)
    assert loss(slice(2, 6)) == pytest.approx(1.5)
    assert loss(slice(0, 0)) == 0.0


def test_base_is_taught_names_at_times_only() -> None:
    """Naming must be learnt by reinforcement: the base sees captions with and without names."""
    named, captions = 0, 0
    for lesson in islice(lesson_stream((5,), mix={("ict", 1): 1.0}), 300):
        for turn in lesson.turns:
            if "caption" in turn.parts[-1]["text"] and "<" in turn.parts[-1]["text"]:
                captions += 1
                named += "<" in turn.answer
    assert captions > 80
    assert 0.25 < named / captions < 0.75


def test_orthogonalise_flattens_the_spectrum() -> None:
    torch.manual_seed(0)
    for shape in ((3, 40, 16), (2, 16, 40)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
        assert values.min() > 0.5
        assert values.max() < 1.3


def test_every_weight_has_one_optimiser(parts: tuple[Any, Any]) -> None:
    model, _ = parts
    held = [
        id(parameter)
        for optim in optimisers(model.named_parameters(), 1e-3, 0.0)
        for group in optim.param_groups
        for parameter in group["params"]
    ]
    assert sorted(held) == sorted(id(parameter) for parameter in model.parameters())


def test_vision_labels_name_the_object_of_the_cell() -> None:
    batch = vision_stage.draw_batch(np.random.default_rng(0), 56, 4, "train")
    assert batch.cells.shape == (4, 4, 5)
    assert (batch.cells == batch.cells[:, :1]).all()
    scenes = vision_stage.draw_batch(np.random.default_rng(0), 112, 8, "train")
    shown = scenes.cells[..., 0] == 1
    assert shown.any(1).all()
    assert (~scenes.boxes[shown].isnan()).all()
    assert scenes.boxes[~shown].isnan().all()


def test_build_resumes_and_ends_in_an_ordinary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    monkeypatch.setattr(vision_stage, "BATCHES", ((112, 2), (56, 2), (168, 1)))
    monkeypatch.setattr(recipe, "LESSONS", 4)
    monkeypatch.setattr(recipe, "EXAM", 16)
    recipe.train_vision(tmp_path, minutes=0.005)
    recipe.train_language(tmp_path, minutes=0.005)
    first = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    recipe.train_language(tmp_path, minutes=first["minutes"] + 0.03)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] > first["step"]
    assert "yes or no right" in rows[-1]["held_out"]
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
    processor = AutoProcessor.from_pretrained(tmp_path / "model")
    assert sum(parameter.numel() for parameter in model.parameters()) < 5e6
    assert processor.tokenizer.padding_side == "left"


def test_steps_in_bfloat16_change_the_float32_weights(tmp_path: Path) -> None:
    """Steps far smaller than bfloat16 can hold add up, and the copies follow."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 4)
    start = layer.weight.detach().clone()
    parts = torch.nn.ModuleDict({"layer": layer, "again": torch.nn.Sequential(layer)})
    optim = torch.optim.SGD(layer.parameters(), 1.0)
    stage = Stage("x", tmp_path, 1e9, 1e-4, parts, [optim], dtype=torch.bfloat16)
    assert stage.working["layer"] is stage.working["again"][0]

    def backward() -> float:
        loss = stage.working["layer"].weight.sum()
        loss.backward()
        return float(loss.detach())

    stage.progress.step = 1000
    for _ in range(10):
        stage.step(backward, 1)
    assert layer.weight.dtype == torch.float32
    assert stage.working["layer"].weight.dtype == torch.bfloat16
    # The gradient has 16 ones: clipped to a norm of 1, each is a quarter.
    assert torch.allclose(start - layer.weight, torch.full((4, 4), 10 * 1e-4 * 0.25), rtol=1e-2)
    assert torch.equal(stage.working["layer"].weight, layer.weight.bfloat16())
    stage.save()
    with torch.no_grad():
        layer.weight.zero_()
    assert stage.resume()
    assert torch.equal(stage.working["layer"].weight, layer.weight.bfloat16())
    assert bool(layer.weight.any())


def test_learning_rate_follows_the_budget(tmp_path: Path) -> None:
    layer = torch.nn.Linear(2, 2)
    parts = torch.nn.ModuleDict({"layer": layer})
    stage = Stage("x", tmp_path, 1.0, 1.0, parts, [torch.optim.SGD(layer.parameters(), 1.0)])
    assert stage.rate() == pytest.approx(0.01)
    stage.progress.step = 1000
    assert stage.rate() == pytest.approx(1.0)
    stage.progress.seconds = 60.0
    assert stage.rate() == pytest.approx(0.03)
