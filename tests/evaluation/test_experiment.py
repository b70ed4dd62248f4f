"""Measure, train, measure again: kept parts, time limits, and runs that were cut off."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from repic_cli.config import RunConfig, resolve
from repic_cli.evaluation.experiment import AFTER, BEFORE, TRAIN, Experiment, weights_digest
from repic_cli.evaluation.results import ResultFolder
from repic_cli.evaluation.study import study_table, summarise, write_study
from repic_cli.training.progress import Display
from repic_plugins.errors import DataError
from repic_plugins.manager import load_plugins


def config(model: Path, steps: int) -> RunConfig:
    """A run of a few cheap steps on noise."""
    small = {
        "model.name": str(model),
        "lora.r": 4,
        "data.count": 16,
        "train.max_steps": steps,
        "train.num_generations": 2,
        "train.per_device_batch_size": 4,
        "train.max_completion_length": 8,
        "train.save_steps": 1,
    }
    return resolve("tiny", overrides=small)


def experiment(folder: Path, model: Path, steps: int = 2) -> Experiment:
    return Experiment(ResultFolder(folder), config(model, steps), load_plugins(enabled=False), count=2, seed=1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, mini_model: Path) -> Experiment:
    """An experiment of which everything is done."""
    one = experiment(tmp_path_factory.mktemp("experiment"), mini_model)
    one.measure(BEFORE, one.load(trained=False))
    one.train(Display(quiet=True))
    one.measure(AFTER, one.load(trained=True))
    return one


def test_the_parts_are_kept(finished: Experiment) -> None:
    before, after = finished.scores(BEFORE), finished.scores(AFTER)
    assert before is not None and after is not None and list(before) == list(after)
    assert before.info["seed"] == 1 and before["recall_4"].n == 8
    kept = finished.folder.load(TRAIN)
    assert kept is not None and kept["steps"] == 2 and not kept["out_of_time"]
    written = (finished.run / "metrics.jsonl").stat().st_mtime_ns
    assert finished.train() == kept
    assert (finished.run / "metrics.jsonl").stat().st_mtime_ns == written


def test_a_run_killed_after_its_end_is_not_trained_again(finished: Experiment, tmp_path: Path) -> None:
    again = experiment(tmp_path, Path(finished.config.model.name))
    shutil.copytree(finished.run, again.run)
    assert again.train(Display(quiet=True))["steps"] == 2


def test_time_that_is_up_ends_training_in_order(tmp_path: Path, mini_model: Path) -> None:
    one = experiment(tmp_path, mini_model, steps=50)
    result = one.train(Display(quiet=True), seconds=0.0)
    assert result["out_of_time"] and result["steps"] == 2
    assert (one.run / "adapter" / "adapter_model.safetensors").is_file()
    assert (one.run / "curves.png").is_file()


def test_a_torso_of_a_run_is_started_anew(tmp_path: Path, mini_model: Path) -> None:
    one = experiment(tmp_path, mini_model, steps=1)
    one.run.mkdir()
    (one.run / "config.toml").write_text("preset = 'tiny'\n")
    (one.run / "metrics.jsonl").write_text(json.dumps({"step": 7, "kl": 1.0}) + "\n")
    assert one.train(Display(quiet=True))["steps"] == 1


def test_the_digest_tells_weights_apart(mini_model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(mini_model, tmp_path / "copy")
    assert weights_digest(str(copy)) == weights_digest(str(mini_model))
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert weights_digest(str(copy)) != weights_digest(str(mini_model))
    assert weights_digest("some/hub-id") == "some/hub-id"


def test_a_study_is_a_table_of_means(finished: Experiment, tmp_path: Path) -> None:
    before, after = finished.scores(BEFORE), finished.scores(AFTER)
    settings = {"seed": 0, "count": 2, "rewards": "oct", "steps": 2}
    runs = [
        {"settings": {**settings, "seed": seed}, "training": {}, "before": before, "after": after} for seed in (0, 1)
    ]
    result = summarise(runs)
    assert result["measures"]["recall_4"]["n"] == 16
    assert result["measures"]["recall_4"]["change"]["mean"] == pytest.approx(0)
    write_study(result, tmp_path / "docs" / "study.json")
    assert json.loads((tmp_path / "docs" / "study.json").read_text()) == result
    assert "| name recall, 1 concept |" in (tmp_path / "docs" / "study.md").read_text()
    assert len(study_table(result, headline=True)) < len(study_table(result))


def test_broken_metrics_are_named(tmp_path: Path, finished: Experiment) -> None:
    again = experiment(tmp_path, Path(finished.config.model.name))
    shutil.copytree(finished.run, again.run)
    (again.run / "metrics.jsonl").write_text("x\n{}\n")
    with pytest.raises(DataError, match=r"metrics\.jsonl"):
        again.train(Display(quiet=True))
