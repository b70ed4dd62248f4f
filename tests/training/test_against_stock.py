"""What is around TRL's trainer changes nothing in it; several processes work; real photographs train."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from repic_plugins.types import Sample


def test_metrics_equal_those_of_the_unmodified_trainer(
    small_run: Callable[..., Path], read_metrics: Callable[[Path], list[dict[str, Any]]], tmp_path: Path
) -> None:
    """The same prompts, rewards and settings through plain `GRPOTrainer` give the same numbers."""
    from datasets import Dataset
    from trl import GRPOTrainer

    from repic_cli.config import load_config
    from repic_cli.models import load
    from repic_cli.models.adapters import lora_config
    from repic_cli.training.arguments import grpo_arguments
    from repic_cli.training.plan import make_plan
    from repic_plugins.manager import load_plugins

    run = small_run("--max-steps", "2")
    plan = make_plan(load_config(run / "config.toml"), load_plugins())
    backbone, prompts = load("embedded"), list(plan.prompts)
    rows = [stock_row(prompt) for prompt in prompts]
    dataset = Dataset.from_dict({"row": range(len(rows))}).with_transform(
        lambda batch: {key: [rows[row][key] for row in batch["row"]] for key in ("prompt", "images")}
    )

    def length(completions: Sequence[Any], **_: Any) -> list[float]:
        return [float(len(completion[0]["content"]) >= 30) for completion in completions]

    lora = plan.config.lora
    config = lora_config(backbone.model, r=lora.r, alpha=lora.alpha, dropout=lora.dropout, targets=lora.targets)
    arguments = grpo_arguments(plan, tmp_path / "stock", device="cpu")
    trainer = GRPOTrainer(
        backbone.model, [length], arguments, dataset, processing_class=backbone.processor, peft_config=config
    )
    trainer.train()
    logged = [row for row in trainer.state.log_history if "loss" in row]
    ours = read_metrics(run)
    assert len(logged) == len(ours) == 2
    for mine, theirs in zip(ours, logged, strict=True):
        for key in set(theirs) - {"epoch", "step_time"}:
            assert mine[key] == pytest.approx(theirs[key], rel=1e-4, abs=1e-6), key


def stock_row(sample: Sample) -> dict[str, Any]:
    return {"prompt": list(sample.messages), "images": [image.open() for image in sample.images]}


@pytest.mark.slow
def test_two_processes(train_arguments: Callable[..., list[str]], mini_model: Path, tmp_path: Path) -> None:
    """`accelerate launch` on two processes: gloo, on the CPU.

    Its `--cpu` knows several processes with MPI only; `--multi_gpu` starts them as torchrun does, GPUs or not.
    """
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    settings = ("model.device=cpu", "train.per_device_batch_size=2", "train.save_steps=1")
    run = tmp_path / "run"
    arguments = train_arguments(run, "--max-steps", "2", "--json", settings=settings)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command += ["-m", "repic_cli", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 2, "one process speaks"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2], "one process writes"
    # Four completions in all, two in each process, are one group: its mean is over both.
    assert rows[0]["rewards/length/mean"] in (0.0, 0.25, 0.5, 0.75, 1.0)
    assert rows[0]["tasks/ict/mean"] == rows[0]["rewards/length/mean"]
    saved = {path.name for path in (run / "checkpoints/checkpoint-2").iterdir()}
    assert {"rng_state_0.pth", "rng_state_1.pth", "repic.json", "adapter_model.safetensors"} <= saved
    from repic_cli.models import load

    assert load(mini_model, adapter=run).adapter == str(run)


def test_photographs(small_run: Callable[..., Path], repic_pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three steps on folders of real pictures. The embedded model knows only its toy world, and the command says so."""
    photographs = repic_pack / "queries/dreambooth"
    settings = ("data.mix={oct=1, ict=1, vlt=1}", "data.count=24")
    run = small_run("--max-steps", "3", "--data", str(photographs), rewards="oct,ict,vlt,length", settings=settings)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    about = json.loads((run / "environment.json").read_text())
    assert set(about["data"]["records"]) == {"oct", "ict"}
    assert any("has no records for vlt" in note for note in about["notes"])
    assert list((run / "samples").glob("*.jpg"))


def test_toy_model_on_photographs_is_warned_about(
    repic: Callable[..., tuple[int, str, str]], train_arguments: Callable[..., list[str]], tmp_path: Path
) -> None:
    from PIL import Image

    for name in ("bo", "gus"):
        (tmp_path / "things" / name).mkdir(parents=True)
        for index in range(2):
            Image.new("RGB", (60, 60), (index * 9, 9, 90)).save(tmp_path / "things" / name / f"{index}.png")
    code, _, err = repic(*train_arguments(tmp_path / "run", "--data", str(tmp_path / "things"), "--max-steps", "1"))
    assert code == 0, err
    assert "warning: the embedded model knows only its toy world" in err


def test_dry_run_writes_nothing_and_loads_no_weights(
    repic: Callable[..., tuple[int, str, str]],
    train_arguments: Callable[..., list[str]],
    mini_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import shutil

    hollow = shutil.copytree(mini_model, tmp_path / "hollow")
    (hollow / "model.safetensors").write_bytes(b"not read")
    monkeypatch.setenv("REPIC_EMBEDDED_MODEL", str(hollow))
    arguments = train_arguments(tmp_path / "run", "--dry-run", "--max-steps", "3", rewards="length,oct,vlt,ict")
    mix = ("--set", "data.mix={oct=1, ict=1, vlt=1}")
    code, out, err = repic(*arguments, *mix, "--json")
    assert code == 0, err
    plan = json.loads(out)
    assert plan["scores"]["oct"] == {"oct": {"true": 1.0, "empty": 0.0}}
    assert plan["scores"]["vlt"] == {"vlt": {"true": 1.0, "empty": 0.0}}
    assert plan["scores"]["ict"] == {"length": {"true": 1.0, "empty": 0.0}, "ict": {"true": 1.0, "empty": 0.0}}
    assert plan["steps"] == 3
    assert plan["trained_parameters"] > 1000
    assert plan["memory_bytes"] > 1_000_000
    code, out, _ = repic(*arguments, *mix)
    assert (code, "[image]" in out, "3, each of 2 prompts x 4 completions" in out) == (0, True, True)
    assert not (tmp_path / "run").exists()


def test_dry_run_of_a_run_for_several_gpus(
    repic: Callable[..., tuple[int, str, str]], train_arguments: Callable[..., list[str]], tmp_path: Path
) -> None:
    arguments = train_arguments(tmp_path / "run", "--max-steps", "1")
    small = ("--set", "train.num_generations=4", "--set", "train.per_device_batch_size=1")
    code, _, err = repic(*arguments, *small, "--set", "train.gradient_accumulation=2")
    assert (code, "does not make whole groups" in err) == (2, True)
    code, out, err = repic(*arguments, *small, "--set", "train.gradient_accumulation=2", "--dry-run", "--json")
    assert code == 0, err
    plan = json.loads(out)
    assert (plan["processes"], plan["prompts_per_step"], plan["completions_per_prompt"]) == (2, 1, 4)
    assert "train.gradient_accumulation=4" in plan["notes"][-1], "what one process needs"


def test_dry_run_without_the_model_at_hand(
    repic: Callable[..., tuple[int, str, str]], train_arguments: Callable[..., list[str]], tmp_path: Path
) -> None:
    arguments = train_arguments(tmp_path / "run", "--dry-run", "--model", "nobody/nothing", "--json")
    code, out, err = repic(*arguments)
    assert code == 0, err
    plan = json.loads(out)
    assert plan["memory_bytes"] is None
    assert "not checked against the model: nobody/nothing" in plan["notes"][-1]
