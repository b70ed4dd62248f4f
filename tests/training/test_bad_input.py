"""What cannot be trained gets one clear line and its exit code, and nothing is written."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Repic = Callable[..., tuple[int, str, str]]
Arguments = Callable[..., list[str]]


def record(folder: Path, **changes: object) -> Path:
    """A record file with one good record, but for the changes."""
    Image.new("RGB", (60, 60)).save(folder / "good.png")
    reference = {"name": "bo", "image": "good.png", "info": changes.pop("info", "")}
    row = {"task": "ict", "image": "good.png", "references": [reference], "answer": {"names": ["bo"]}}
    path = folder / "data.jsonl"
    path.write_text(json.dumps({**row, **changes}))
    return path


def refused(outcome: tuple[int, str, str], code: int, *words: str) -> None:
    assert outcome[0] == code, outcome[2]
    assert outcome[1] == ""
    lines = [line for line in outcome[2].splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1, outcome[2]
    assert all(word in lines[0] for word in words), lines[0]


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--rewards", "ocd"), 3, ("unknown reward", "did you mean oct")),
        (("--rewards", "length=much"), 2, ("weight of length",)),
        (("--reward-option", "length.minimum=3"), 2, ("no option", "minimum", "min")),
        (("--reward-option", "length.min=three"), 2, ("min", "three")),
        (("--reward-option", "vlt.mode=paper"), 2, ("vlt", "not selected")),
        (("--set", "train.betta=1"), 2, ("train.betta", "train.beta")),
        (("--set", "train.num_generations=3"), 2, ("does not make whole groups",)),
        (("--preset", "papier"), 2, ("papier", "did you mean paper")),
        (("--config", "nothing.toml"), 2, ("nothing.toml",)),
        (("--templates", "nothing.toml"), 2, ("nothing.toml",)),
        (("--data", "nothing"), 5, ("nothing: no such record file or folder",)),
        (("--model", "./nothing"), 7, ("./nothing: no such folder",)),
        (("--adapter", "./nothing"), 7, ("./nothing: no such adapter",)),
        (("--set", "lora.targets=x_proj"), 7, ("lora.targets", "x_proj")),
        (("--set", "data.mix={oct=1}"), 2, ("data.mix",)),
        (("--set", "data.options={icd={}}"), 3, ("unknown task", "icd")),
        (("--max-steps", "0"), 2, ("train.max_steps",)),
        (("--report-to", "wanddb"), 2, ("wanddb", "wandb")),
        (("--report-to", "comet_ml"), 2, ("comet_ml", "not installed")),
    ],
)
def test_bad_options(
    repic: Repic, train_arguments: Arguments, tmp_path: Path, more: tuple[str, ...], code: int, words: tuple[str, ...]
) -> None:
    outcome = repic(*train_arguments(tmp_path / "run", "--max-steps", "1", *more))
    refused(outcome, code, *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "haiku"}, ("data.jsonl: row 1", "haiku")),
        ({"colour": 1}, ("data.jsonl: row 1", "unknown field 'colour'")),
        ({"image": "missing.png"}, ("missing.png: no such picture",)),
        ({"image": "corrupt.png"}, ("corrupt.png", "truncated or corrupt")),
        ({"image": "bomb.png"}, ("bomb.png", "too large")),
        ({"references": [{"name": "<|im_end|>", "image": "good.png"}]}, ("data.jsonl: row 1", "name")),
        ({"info": "hello <|im_end|> system"}, ("special token", "<|im_end|>")),
        ({"info": "a <|image_pad|>"}, ("special token", "<|image_pad|>")),
    ],
)
def test_bad_data(
    repic: Repic, train_arguments: Arguments, tmp_path: Path, changes: dict[str, object], words: tuple[str, ...]
) -> None:
    data = record(tmp_path, **changes)
    Image.new("1", (11_000, 11_000)).save(tmp_path / "bomb.png")
    noise = Image.effect_noise((64, 64), 50).convert("RGB")
    noise.save(tmp_path / "corrupt.png")
    whole = (tmp_path / "corrupt.png").read_bytes()
    (tmp_path / "corrupt.png").write_bytes(whole[: len(whole) // 2])
    refused(repic(*train_arguments(tmp_path / "run", "--data", str(data), "--max-steps", "1")), 5, *words)
    assert not (tmp_path / "run").exists()


def test_prompt_that_is_too_long(repic: Repic, train_arguments: Arguments, tmp_path: Path) -> None:
    more = ("--max-steps", "1", "--set", "train.max_prompt_length=5")
    refused(repic(*train_arguments(tmp_path / "run", *more)), 5, "every prompt has more than")
    code, _, err = repic(*train_arguments(tmp_path / "run", "--max-steps", "1", "--set", "train.max_prompt_length=80"))
    assert code == 0, err
    assert "left out" in err


def test_output_that_is_taken(repic: Repic, train_arguments: Arguments, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/mine.txt").write_text("keep me")
    refused(repic(*train_arguments(tmp_path / "run", "--max-steps", "1")), 2, "not empty")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_adapter_of_another_model(
    repic: Repic, train_arguments: Arguments, small_run: Callable[..., Path], mini_model: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    run = small_run("--max-steps", "1", name="first")
    other = shutil.copytree(mini_model, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file({k: v + torch.ones_like(v) for k, v in weights.items()}, other / "model.safetensors", {"format": "pt"})
    more = ("--model", str(other), "--adapter", str(run), "--max-steps", "1")
    refused(repic(*train_arguments(tmp_path / "run", *more)), 7, "was made for embedded", "other weights")
    assert not (tmp_path / "run").exists()


def test_full_disk(train_arguments: Arguments, tmp_path: Path) -> None:
    """Simulated by a limit on the size of files: writing beyond it fails as it does on a full disk, with EFBIG."""
    limit = 40_000

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    run = tmp_path / "run"
    more = ("--max-steps", "3", "--set", "train.save_steps=1", "--set", "lora.r=64")
    done = subprocess.run(
        [sys.executable, "-m", "repic_cli", *train_arguments(run, *more)],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=limited,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert f"{run}: cannot write the run: the disk is full" in errors[0]
    assert "Traceback" not in done.stderr
    assert not list(run.rglob("checkpoint-*/repic.json")), "half a checkpoint is none"
    assert not (run / "adapter").exists()
