"""A run that was killed, stopped or extended goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repic_cli.commands.train import complete_resume, resumed
from repic_cli.config import resolve
from repic_cli.training.run_folder import mark_checkpoint

Run = Callable[..., Path]
Repic = Callable[..., tuple[int, str, str]]
Metrics = Callable[[Path], list[dict[str, Any]]]


def wait_for_step(run: Path, step: int, process: subprocess.Popen[str]) -> None:
    """Until `metrics.jsonl` has the line of a step."""
    path = run / "metrics.jsonl"
    while not (path.is_file() and path.read_text().count("\n") >= step):
        if process.poll() is not None:
            pytest.fail(f"the run ended early: {process.stderr.read() if process.stderr else ''}")
        time.sleep(0.05)


def start(arguments: list[str]) -> subprocess.Popen[str]:
    """`repic` in a process of its own, with as many threads as this one."""
    import torch

    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "repic_cli", *arguments]
    return subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.slow
def test_killed_or_stopped_runs_go_on_to_the_same_metrics(
    small_run: Run, repic: Repic, train_arguments: Callable[..., list[str]], read_metrics: Metrics, tmp_path: Path
) -> None:
    whole = small_run("--max-steps", "7", name="whole")
    expected = read_metrics(whole)

    killed = tmp_path / "killed"
    process = start(train_arguments(killed, "--max-steps", "7"))
    wait_for_step(killed, 3, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(read_metrics(killed)) < 7
    # What a kill in the middle of writing leaves: a checkpoint without its mark, a line without its end.
    shutil.copytree(whole / "checkpoints/checkpoint-6", killed / "checkpoints/checkpoint-99")
    (killed / "checkpoints/checkpoint-99/repic.json").unlink()
    with (killed / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    code, _, err = repic("train", "--resume", str(killed))
    assert code == 0, err
    assert read_metrics(killed) == expected
    assert not (killed / "checkpoints/checkpoint-99").exists()
    assert json.loads((killed / "environment.json").read_text())["resumed"][0]["step"] in (2, 4)

    stopped = tmp_path / "stopped"
    process = start(train_arguments(stopped, "--max-steps", "7"))
    wait_for_step(stopped, 1, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert f"go on with: repic train --resume {stopped}" in err.splitlines()[-1]
    assert (stopped / "adapter/adapter_model.safetensors").is_file()
    assert repic("train", "--resume", str(stopped))[0] == 0
    assert read_metrics(stopped) == expected
    weights = [(run / "adapter/adapter_model.safetensors").read_bytes() for run in (whole, killed, stopped)]
    assert weights[0] == weights[1] == weights[2]


@pytest.mark.parametrize(
    "settings",
    [
        ("data.count=3",),  # the data are gone through more than once
        ("train.num_iterations=2", "train.save_steps=1"),  # completions are used twice: no checkpoint in between
        ("train.gradient_accumulation=2", "train.per_device_batch_size=4"),
    ],
)
def test_extended_run_equals_a_longer_one(
    small_run: Run, repic: Repic, read_metrics: Metrics, settings: tuple[str, ...]
) -> None:
    settings = (*settings, "train.scheduler=constant")  # others depend on how many steps there will be
    whole = small_run("--max-steps", "4", name="whole", settings=settings)
    parts = small_run("--max-steps", "2", name="parts", settings=settings)
    code, _, err = repic("train", "--resume", str(parts), "--max-steps", "4")
    assert code == 0, err
    assert read_metrics(parts) == read_metrics(whole)
    saved = {path.name for path in (whole / "checkpoints").iterdir()}
    assert saved == {"checkpoint-2", "checkpoint-4"}


def test_only_the_wanted_checkpoints_are_kept(small_run: Run) -> None:
    run = small_run("--max-steps", "3", settings=("train.save_steps=1", "train.save_limit=2"))
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"checkpoint-2", "checkpoint-3"}


def test_what_cannot_go_on_says_why(
    small_run: Run, repic: Repic, train_arguments: Callable[..., list[str]], tmp_path: Path
) -> None:
    run = small_run("--max-steps", "2")
    for arguments, words in (
        (("--resume", str(run)), "complete (2 steps)"),
        (("--resume", str(run), "--seed", "3"), "leave out train.seed"),
        (("--resume", str(run), "--set", "train.beta=1"), "leave out --set"),
        (("--resume", str(tmp_path / "nothing")), "no run in this folder"),
        (("--resume", str(run), "--max-steps", "0"), "--max-steps must be 1 or more"),
    ):
        code, _, err = repic("train", *arguments)
        assert (code, err.count("\n")) == (2, 1), err
        assert words in err
    code, _, err = repic(*train_arguments(run))
    assert (code, "there is a run in this folder" in err, f"--resume {run}" in err) == (2, True, True)
    shutil.rmtree(run / "checkpoints")
    code, _, err = repic("train", "--resume", str(run), "--max-steps", "4")
    assert (code, "no complete checkpoint" in err) == (2, True)


def test_run_with_other_data_cannot_go_on(small_run: Run, repic: Repic) -> None:
    run = small_run("--max-steps", "2")
    config = run / "config.toml"
    config.write_text(config.read_text().replace("count = 12", "count = 11"))
    code, _, err = repic("train", "--resume", str(run), "--max-steps", "4")
    assert (code, "the data has changed" in err) == (2, True), err


def test_resume_may_stand_alone() -> None:
    assert complete_resume(["--resume"]) == ["--resume=last"]
    assert complete_resume(["--resume", "--max-steps", "3"]) == ["--resume=last", "--max-steps", "3"]
    assert complete_resume(["--resume", "runs/a"]) == ["--resume", "runs/a"]


def test_reporting_and_steps_may_be_given_anew(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(resolve(sets=["train.report_to=wandb,tensorboard"]).to_toml())
    mark_checkpoint(tmp_path / "checkpoints/checkpoint-2", step=2, processes=1, data="d")
    for given, expected in ((None, ("wandb", "tensorboard")), ("none", ()), ("mlflow", ("mlflow",))):
        _, settings = resumed(str(tmp_path), {"train.max_steps": 7, "train.report_to": given})
        assert (settings.train.max_steps, settings.train.report_to) == (7, expected)


def test_resume_alone_takes_the_newest_run(
    small_run: Run, repic: Repic, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = repic("train", "--resume")
    assert (code, "no run under runs/" in err) == (2, True)
    run = small_run("--max-steps", "1", name="runs/mine", settings=("train.save_steps=1",))
    code, _, err = repic("train", "--resume", "--max-steps", "2")
    assert code == 0, err
    assert (run / "checkpoints/checkpoint-2").is_dir()
