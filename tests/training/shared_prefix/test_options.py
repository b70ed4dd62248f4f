"""`--shared-prefix`, `--vllm` and their settings, as a user gives them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Repic = Callable[..., tuple[int, str, str]]
Arguments = Callable[..., list[str]]
APART = ("train.per_device_batch_size=1", "train.gradient_accumulation=8")


def test_on_where_it_cannot_be(repic: Repic, train_arguments: Arguments, tmp_path: Path) -> None:
    arguments = train_arguments(tmp_path / "run", "--max-steps", "1", "--shared-prefix", "on", settings=APART)
    code, out, err = repic(*arguments)
    assert (code, out) == (2, "")
    assert "error: --shared-prefix on: no two completions of a prompt meet in a batch of 1" in err
    assert not (tmp_path / "run").exists()


def test_auto_says_once_why_it_is_stock(repic: Repic, train_arguments: Arguments, tmp_path: Path) -> None:
    code, _, err = repic(*train_arguments(tmp_path / "run", "--max-steps", "2", settings=APART))
    assert code == 0, err
    assert err.count("prompts are not shared: no two completions of a prompt meet in a batch of 1") == 1


def test_a_dry_run_says_it_too(repic: Repic, train_arguments: Arguments, tmp_path: Path) -> None:
    code, out, err = repic(*train_arguments(tmp_path / "run", "--dry-run", settings=APART))
    assert code == 0, err
    assert out.count("prompts are not shared: no two completions of a prompt meet in a batch of 1") == 1
    code, out, err = repic(*train_arguments(tmp_path / "run", "--dry-run", "--shared-prefix", "on", settings=APART))
    assert (code, out) == (2, "")
    assert "error: --shared-prefix on: no two completions of a prompt meet in a batch of 1" in err
    code, out, _ = repic(*train_arguments(tmp_path / "run", "--dry-run"))
    assert (code, "not shared" in out) == (0, False)


def test_a_folder_for_features_without_room(repic: Repic, train_arguments: Arguments, tmp_path: Path) -> None:
    settings = ('train.feature_cache_folder="features"',)
    code, out, err = repic(*train_arguments(tmp_path / "run", settings=settings))
    assert (code, out) == (2, "")
    assert "feature_cache_folder needs feature_cache" in err


def test_a_folder_for_features_that_cannot_be(repic: Repic, train_arguments: Arguments, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "features"
    settings = ("train.feature_cache=10", f"train.feature_cache_folder={json.dumps(str(folder))}")
    code, _, err = repic(*train_arguments(tmp_path / "run", "--max-steps", "1", settings=settings))
    assert code == 1
    assert f"error: train.feature_cache_folder: {folder}: cannot be written to" in err


def test_off_and_on_give_the_same_run(
    small_run: Callable[..., Path], read_metrics: Callable[[Path], list[dict[str, Any]]]
) -> None:
    on, off = (small_run("--max-steps", "3", "--shared-prefix", mode, name=mode) for mode in ("on", "off"))
    assert 'shared_prefix = "on"' in (on / "config.toml").read_text()
    for mine, theirs in zip(read_metrics(on), read_metrics(off), strict=True):
        for key in ("loss", "grad_norm", "kl", "entropy", "reward"):
            assert mine[key] == pytest.approx(theirs[key], rel=1e-4, abs=1e-6), key
    completions = [[json.loads(row)["completion"] for row in (run / "samples.jsonl").open()] for run in (on, off)]
    assert completions[0] == completions[1]


def test_features_in_a_folder(small_run: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "features"
    small_run(
        "--max-steps", "1", settings=("train.feature_cache=10", f"train.feature_cache_folder={json.dumps(str(folder))}")
    )
    assert list(folder.glob("*.safetensors"))


@pytest.mark.parametrize("mode", ["colocate", "server"])
def test_vllm_needs_a_gpu(mode: str, repic: Repic, train_arguments: Arguments, tmp_path: Path) -> None:
    code, out, err = repic(*train_arguments(tmp_path / "run", "--vllm", mode, settings=("model.device=cpu",)))
    assert (code, out) == (2, "")
    assert f"error: --vllm {mode}: vLLM " in err
    assert "leave --vllm out" in err
    assert not (tmp_path / "run").exists()


def test_vllm_in_trls_terms(tmp_path: Path) -> None:
    from repic_cli.config import resolve
    from repic_cli.training.arguments import grpo_arguments
    from repic_cli.training.plan import make_plan
    from repic_plugins.manager import load_plugins

    def arguments(**values: Any) -> Any:
        plan = make_plan(resolve(overrides={f"vllm.{key}": value for key, value in values.items()}), load_plugins())
        return grpo_arguments(plan, tmp_path, device="cpu")

    assert not arguments().use_vllm
    found = arguments(mode="colocate", memory=0.4, tensor_parallel=2)
    assert (found.use_vllm, found.vllm_mode, found.vllm_gpu_memory_utilization) == (True, "colocate", 0.4)
    assert (found.vllm_tensor_parallel_size, found.vllm_enable_sleep_mode) == (2, True)
    found = arguments(mode="server", server="http://10.0.0.1:9000")
    assert (found.vllm_mode, found.vllm_server_base_url) == ("server", "http://10.0.0.1:9000")
