"""Runs of `repic train` on a model of 100,000 weights: real ones, but of seconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

Outcome = tuple[int, str, str]
SETTINGS = (
    "data.count=12",
    "data.mix={ict=1}",
    "lora.r=4",
    "train.per_device_batch_size=8",
    "train.num_generations=4",
    "train.max_completion_length=12",
    "train.save_steps=2",
    "rewards.options.length.min=30",
)
"""Two prompts of four completions a step. Completions of noise vary in length, so that there is something to learn."""


@pytest.fixture(scope="session")
def train_arguments() -> Callable[..., list[str]]:
    """The command line of a small run. `settings` come after the usual ones."""

    def make(output: Path, *more: str, settings: Sequence[str] = (), rewards: str = "length") -> list[str]:
        sets = [part for setting in (*SETTINGS, *settings) for part in ("--set", setting)]
        return ["train", "--rewards", rewards, "--output", str(output), *sets, *more]

    return make


@pytest.fixture(scope="session")
def read_metrics() -> Callable[[Path], list[dict[str, Any]]]:
    """The lines of `metrics.jsonl` without what differs between equal runs: the seconds."""

    def read(run: Path) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [{key: v for key, v in row.items() if "seconds" not in key and key != "step_time"} for row in rows]

    return read


@pytest.fixture(autouse=True)
def small_model(mini_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `--model embedded` means in these tests."""
    monkeypatch.setenv("REPIC_EMBEDDED_MODEL", str(mini_model))


@pytest.fixture
def repic(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command in this process: exit code, stdout, stderr."""
    from repic_cli.app import main

    def run(*args: str) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(list(args))
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return run


@pytest.fixture
def small_run(
    repic: Callable[..., Outcome], train_arguments: Callable[..., list[str]], tmp_path: Path
) -> Callable[..., Path]:
    """A run that has to succeed; its folder."""

    def run(*more: str, name: str = "run", **options: Any) -> Path:
        code, _, err = repic(*train_arguments(tmp_path / name, *more, **options))
        assert code == 0, err
        return tmp_path / name

    return run
