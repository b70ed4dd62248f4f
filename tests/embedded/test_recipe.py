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
    assert {lesson.kind for lesson in lessons} == {"oct", "vlt", "ict", "caption", "where"}
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
            image_grid_thw=theirs["image_grid_thw"],
            attention_mask=theirs["attention_mask"],
        )
        assert torch.equal(positions[:, 0, :length], torch.tensor(ours.positions).T)
    batch = language_stage.batch([encoder.encode(lesson) for lesson in lessons[:6]], encoder.pad)
    with torch.no_grad():
        losses, _, _ = language_stage.answer_losses(model, batch)
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
    monkeypatch.setattr(recipe, "PARTS", 2)
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


def test_learning_rate_follows_the_budget(tmp_path: Path) -> None:
    layer = torch.nn.Linear(2, 2)
    stage = Stage("x", tmp_path, 1.0, 1.0, {"layer": layer}, [(torch.optim.SGD(layer.parameters(), 1.0), 1.0)])
    assert stage.rate() == pytest.approx(0.01)
    stage.progress.step = 1000
    assert stage.rate() == pytest.approx(1.0)
    stage.progress.seconds = 60.0
    assert stage.rate() == pytest.approx(0.03)
