"""Where prompts are shared, what that saves, and what happens where they cannot be."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Any

import pytest
import torch

from repic_cli.training.shared_prefix.trainer import shuffle_groups
from repic_plugins.errors import OptionError

Maker = Callable[..., Any]


def test_each_picture_is_processed_and_seen_once(train: Maker) -> None:
    """Two prompts of four completions a step, in two iterations: stock shows each picture to the tower 24 times."""
    run = train("on", num_iterations=2, max_steps=4, shuffle_dataset=False)
    shown = (2 + 2) + (2 + 3)  # the pictures of two batches of two prompts
    assert run.trainer.pixels.processed == shown
    assert run.trainer.pictures.seen == shown
    assert len(run.logged) == 4


def test_processed_pictures_are_kept_within_bounds(train: Maker) -> None:
    run = train("on", max_steps=6)
    assert run.trainer.pixels.processed == 15, "six prompts, asked twice: three of two pictures, three of three"
    assert run.trainer.pictures.seen == 30


@pytest.mark.parametrize("package", ["trl", "transformers"])
@pytest.mark.parametrize("version", ["1.0.0", "99.0.0"])
def test_untested_version(package: str, version: str, train: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, and stock is used; or an error where sharing was demanded."""
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: version if name == package else real(name))
    run = train("auto")
    assert not run.trainer.shares
    (line,) = run.said
    assert line.startswith(f"prompts are not shared: {package} {version} is outside of the versions it was tested with")
    assert line.endswith("; stock TRL is used")
    assert run.trainer.pixels.processed == 0
    with pytest.raises(OptionError, match=f"--shared-prefix on: {package} {version}"):
        train("on")


def test_completions_of_a_prompt_that_never_meet(train: Maker) -> None:
    few = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}
    run = train("auto", **few)
    assert run.said == [
        "prompts are not shared: no two completions of a prompt meet in a batch of 1: train.per_device_batch_size "
        "should be a multiple of train.num_generations = 4; stock TRL is used"
    ]
    assert run.sampled == train("off", **few).sampled


def test_copies_of_a_prompt_with_other_pictures_are_not_taken_for_one(train: Maker) -> None:
    """Pictures that are changed at random, under equal words: each copy is a prompt of its own."""
    from PIL import Image

    class Fickle(dict[str, Any]):
        shade = 0

        def __getitem__(self, key: str) -> Any:
            if key != "images":
                return super().__getitem__(key)
            Fickle.shade += 1
            return [Image.new("RGB", (56, 56), (Fickle.shade, 0, 0))]

    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}

    def rows() -> list[dict[str, Any]]:
        Fickle.shade = 0
        return [Fickle(prompt=[message], images=None) for _ in range(2)]

    ours, stock = (train(shared, rows=rows(), max_steps=3) for shared in ("auto", "off"))
    assert ours.said == [
        "prompts are not shared: no two completions of a prompt stand together in a batch; stock TRL is used"
    ]
    assert ours.sampled == stock.sampled
    assert len(ours.logged) == 3
    for mine, theirs in zip(ours.logged, stock.logged, strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-4, abs=1e-6)
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-4)
    assert ours.trainer.pixels.processed == 24


def test_groups_stay_together_and_the_random_numbers_are_those_of_stock() -> None:
    from trl.trainer.utils import shuffle_sequence_dict

    batch = {"prompt": torch.arange(12) // 4, "row": torch.arange(12), "names": list("abcdefghijkl")}
    batch |= {"nothing": None, "number": torch.tensor(3)}
    torch.manual_seed(0)
    shuffle_sequence_dict(batch)
    after = torch.rand(1)
    seen = set()
    for seed in range(50):
        torch.manual_seed(seed)
        mixed = shuffle_groups(batch, 4)
        assert [set(part.tolist()) for part in mixed["prompt"].split(4)] in ([{a}, {b}, {c}] for a, b, c in ORDERS)
        assert "".join(mixed["names"]) == "".join("abcdefghijkl"[row] for row in mixed["row"])
        assert (mixed["nothing"], mixed["number"]) == (None, torch.tensor(3))
        seen.add(tuple(mixed["prompt"].tolist()))
        if seed == 0:
            assert torch.equal(torch.rand(1), after)
    assert len(seen) == 6


ORDERS = [(a, b, 3 - a - b) for a in range(3) for b in range(3) if a != b]
