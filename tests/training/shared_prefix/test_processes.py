"""One, two processes, and two nodes: the same curves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

Maker = Callable[..., Any]
SCRIPT = Path(__file__).with_name("_fixed_rollouts.py")
ROOT = Path(__file__).resolve().parents[3]
RUNS: dict[str, dict[str, Any]] = {
    "lora": {"lora": True, "beta": 0.1},
    "full, checkpointing, two iterations": {
        "lora": False,
        "beta": 0.0,
        "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "num_iterations": 2,
    },
}


def launch(commands: Sequence[Sequence[str]]) -> None:
    """Run processes side by side; all have to succeed."""
    paths = os.pathsep.join(str(ROOT / part) for part in ("", "plugins", "rewards"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for command in commands
    ]
    try:
        for one in started:
            said, _ = one.communicate(timeout=600)
            assert one.returncode == 0, said[-5000:]
    finally:
        for one in started:
            one.kill()


def torchrun(*options: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--master_addr", "127.0.0.1", *options]


@pytest.fixture(scope="session")
def curves(tiny_folder: Maker, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """What a run logs when it is started with these launchers (none: one process); one process is run once."""
    known: dict[str, Any] = {}

    def run(name: str, launchers: Sequence[list[str]] = ()) -> Any:
        if not launchers and name in known:
            return known[name]
        output = tmp_path_factory.mktemp("processes") / "logged.json"
        options = json.dumps({"max_steps": 4, **RUNS[name]})
        script = [str(SCRIPT), str(tiny_folder("qwen2_5_vl")), options, str(output)]
        launch([[*launcher, *script] for launcher in launchers or [[sys.executable]]])
        found = json.loads(output.read_text())
        if not launchers:
            known[name] = found
        return found

    return run


def assert_equal(found: Any, alone: Any, processes: int) -> None:
    assert (alone["processes"], found["processes"]) == (1, processes)
    assert len(found["rows"]) == len(alone["rows"]) == 4
    for mine, theirs in zip(found["rows"], alone["rows"], strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-4, abs=1e-6)
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-4)
        assert mine.get("reward") == pytest.approx(theirs.get("reward"))


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_two_processes(name: str, curves: Maker, free_port: Callable[[], int]) -> None:
    two = curves(name, [torchrun("--nproc_per_node", "2", "--master_port", str(free_port()))])
    assert two["kind"].endswith("MULTI_CPU")
    assert_equal(two, curves(name), 2)


@pytest.mark.slow
def test_two_nodes(curves: Maker, free_port: Callable[[], int]) -> None:
    """Two launchers that find each other over the loopback interface, as two machines would over the network."""
    both = ["--nnodes", "2", "--nproc_per_node", "1", "--master_port", str(free_port())]
    nodes = [torchrun(*both, "--node_rank", rank) for rank in ("0", "1")]
    assert_equal(curves("lora", nodes), curves("lora"), 2)


@pytest.mark.slow
def test_sharded_over_two_processes(tiny_folder: Maker, free_port: Callable[[], int]) -> None:
    """FSDP2 with checkpointing: a packed pass of the sharded model has the gradients of stock passes of a whole one."""
    launcher = torchrun("--nproc_per_node", "2", "--master_port", str(free_port()))
    launch([[*launcher, str(SCRIPT.with_name("_sharded.py")), str(tiny_folder("qwen2_5_vl"))]])
