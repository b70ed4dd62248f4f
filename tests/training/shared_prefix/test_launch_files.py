"""The launch files say what accelerate and torchrun understand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

LAUNCH = Path(__file__).resolve().parents[3] / "launch"


@pytest.mark.parametrize("path", sorted(LAUNCH.glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_it(path: Path) -> None:
    """Unknown keys are errors there."""
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    config = load_config_from_file(str(path))
    assert config.num_processes == 8
    known = {action.dest for action in launch_command_parser()._actions}
    values = yaml.safe_load(path.read_text())
    for key in (*values.get("fsdp_config", ()), *values.get("deepspeed_config", ())):
        assert key in known, key


def test_layers_to_wrap_are_the_models_own() -> None:
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen3VLForConditionalGeneration

    text = (LAUNCH / "fsdp2.yaml").read_text()
    for family in (Qwen2_5_VLForConditionalGeneration, Qwen3VLForConditionalGeneration):
        assert ",".join(family._no_split_modules) in text


@pytest.mark.slow
def test_two_nodes(
    train_arguments: Callable[..., list[str]],
    free_port: Callable[[], int],
    tmp_path: Path,
    read_metrics: Callable[..., Any],
) -> None:
    """The script, started twice on this machine: two nodes of one process each, over the loopback interface."""
    settings = ("model.device=cpu", "train.save_steps=1")
    arguments = train_arguments(tmp_path / "run", "--max-steps", "2", settings=settings)[1:]
    # Later options win, so the script's batch size is the one that counts unless it is given again.
    small = ["--set", "train.per_device_batch_size=4"]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "GPUS": "1", "PORT": str(free_port())}
    variables["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    nodes = [
        subprocess.Popen(
            [str(LAUNCH / "two_nodes.sh"), rank, "127.0.0.1", *arguments, *small],
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in ("0", "1")
    ]
    try:
        for node in nodes:
            said, _ = node.communicate(timeout=600)
            assert node.returncode == 0, said[-5000:]
            assert "prompts are not shared" not in said
    finally:
        for node in nodes:
            node.kill()
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == [1, 2]
