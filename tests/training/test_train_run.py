"""What a run leaves behind, and that equal runs are equal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from repic_cli.config import load_config
from repic_cli.training.phases import PHASES

Run = Callable[..., Path]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, mini_model: Path) -> Iterator[Path]:
    """One run of three steps on two tasks, which the tests below look at."""
    from repic_cli.app import main

    settings = ["data.count=12", "data.mix={ict=1, vlt=1}", "lora.r=4", "train.per_device_batch_size=8"]
    settings += ["train.num_generations=4", "train.max_completion_length=12", "rewards.options.length.min=30"]
    folder = tmp_path_factory.mktemp("finished") / "run"
    sets = [part for setting in settings for part in ("--set", setting)]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setenv("REPIC_EMBEDDED_MODEL", str(mini_model))
        main(["train", "--rewards", "length=0.5,vlt", "--output", str(folder), "--max-steps", "3", *sets])
    assert stopped.value.code in (0, None)
    yield folder


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_files_of_a_run(finished: Path) -> None:
    files = {"config.toml", "environment.json", "metrics.jsonl", "samples.jsonl", "curves.png"}
    assert {path.name for path in finished.iterdir()} == files | {"samples", "adapter", "checkpoints"}
    assert (finished / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_configuration_is_written_as_it_was_resolved(finished: Path) -> None:
    config = load_config(finished / "config.toml")
    assert config.output == finished
    assert config.rewards.selection == "length=0.5,vlt"
    assert config.train.num_generations == 4


def test_environment(finished: Path) -> None:
    about = json.loads((finished / "environment.json").read_text())
    assert about["seed"] == 0
    assert {"torch", "trl", "peft", "transformers"} <= set(about["packages"])
    assert about["rewards"]["length"].startswith("repic-cli")
    assert about["hardware"]["cores"] >= 1
    assert about["model"]["fingerprint"]
    assert about["data"]["records"] == {"ict": 6, "vlt": 6}


def test_metrics_have_a_row_for_each_step_with_every_curve(finished: Path) -> None:
    metrics = rows(finished / "metrics.jsonl")
    assert [row["step"] for row in metrics] == [1, 2, 3]
    keys = {key for row in metrics for key in row}
    assert {"loss", "grad_norm", "learning_rate", "kl", "entropy", "frac_reward_zero_std"} <= keys
    assert {"completions/mean_length", "clip_ratio/region_mean", "rewards/length/mean", "rewards/vlt/mean"} <= keys
    assert {"tasks/ict/mean", "tasks/vlt/mean", "tasks/ict/rewards/length", "tasks/vlt/rewards/vlt"} <= keys
    assert {f"seconds/{phase}" for phase in (*PHASES, "step")} <= keys


def test_metrics_tell_nothing_for_what_did_not_apply(finished: Path) -> None:
    for row in rows(finished / "metrics.jsonl"):
        both = {task for task in ("ict", "vlt") if f"tasks/{task}/mean" in row}
        assert both, "a step has at least one task"
        assert "tasks/vlt/rewards/length" not in row, "length is not routed to boxes"
        if "vlt" not in both:
            assert row["rewards/vlt/mean"] is None, "None, not 0"
    first = rows(finished / "metrics.jsonl")[0]
    if "tasks/ict/mean" in first:
        assert first["tasks/ict/mean"] == pytest.approx(0.5 * first["rewards/length/mean"])


def test_samples_show_completions_with_rewards_and_pictures(finished: Path) -> None:
    samples = rows(finished / "samples.jsonl")
    assert {row["step"] for row in samples} == {1, 2, 3}
    assert len(samples) == 12
    for row in samples:
        assert row["prompt"].count("[image]") == len(row["images"])
        assert all((finished / image).is_file() for image in row["images"])
        assert set(row["rewards"]) == {"length" if row["task"] == "ict" else "vlt"}
    # The first of each prompt comes before the second of any.
    assert len({row["sample_id"] for row in samples if row["step"] == 1}) == 2


def test_adapter_loads_without_us(finished: Path, mini_model: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    base = AutoModelForImageTextToText.from_pretrained(mini_model)
    model = PeftModel.from_pretrained(base, finished / "adapter")
    trained = {name: weight for name, weight in model.named_parameters() if "lora_" in name}
    assert trained
    assert all("language_model" in name and "visual" not in name for name in trained)
    assert any(torch.any(weight != 0) for name, weight in trained.items() if "lora_B" in name), "nothing was learned"


def test_adapter_has_a_card_and_names_its_base(finished: Path) -> None:
    card = (finished / "adapter/README.md").read_text()
    assert card.startswith("---\n")
    assert "length x 0.5 (min=30" in card
    assert "toy model" in card
    assert json.loads((finished / "adapter/adapter_config.json").read_text())["base_model_name_or_path"] == "embedded"
    assert not list(finished.rglob(".*")), "nothing unfinished is left"


def test_same_seed_same_run(small_run: Run, read_metrics: Callable[[Path], list[dict[str, Any]]]) -> None:
    first, second = small_run("--max-steps", "2", name="a"), small_run("--max-steps", "2", name="b")
    other = small_run("--max-steps", "2", "--seed", "5", name="c")
    assert read_metrics(first) == read_metrics(second)
    weights = [(run / "adapter/adapter_model.safetensors").read_bytes() for run in (first, second, other)]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_json_summary_is_all_of_stdout(
    repic: Callable[..., tuple[int, str, str]], train_arguments: Callable[..., list[str]], tmp_path: Path
) -> None:
    code, out, _ = repic(*train_arguments(tmp_path / "run", "--max-steps", "1", "--json"))
    assert code == 0
    summary = json.loads(out)
    assert summary["steps"] == 1
    assert Path(summary["adapter"]).is_dir()
    assert set(summary["rewards"]["length"]) == {"first", "last"}


def test_run_can_start_from_an_adapter_and_go_on(
    small_run: Run, repic: Callable[..., tuple[int, str, str]], read_metrics: Callable[[Path], list[dict[str, Any]]]
) -> None:
    first = small_run("--max-steps", "2", name="first")
    constant = ("train.scheduler=constant",)
    whole = small_run("--max-steps", "4", "--adapter", str(first), name="whole", settings=constant)
    assert read_metrics(whole)[0]["kl"] == pytest.approx(0, abs=1e-6), "the KL is to the adapter it started from"
    parts = small_run("--max-steps", "2", "--adapter", str(first), name="parts", settings=constant)
    assert repic("train", "--resume", str(parts), "--max-steps", "4")[0] == 0
    assert read_metrics(parts) == read_metrics(whole)


def test_trainer_names_no_reward_or_task() -> None:
    import re

    import repic_cli.training

    for path in Path(repic_cli.training.__file__).parent.glob("*.py"):
        assert not re.search(r"\b(oct|vlt|ict)\b", path.read_text()), path.name
