"""Schedules, run folders, phases, samples and the display, each by itself."""

from __future__ import annotations

import io
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from repic_cli.config import resolve
from repic_cli.data.images import FileImage
from repic_cli.training.callbacks import metrics_row
from repic_cli.training.failures import explained
from repic_cli.training.phases import Phases
from repic_cli.training.progress import Display, reward_means
from repic_cli.training.run_folder import RunFolder, append_rows, mark_checkpoint
from repic_cli.training.samples import SampleWriter, choose
from repic_cli.training.schedule import make_schedule
from repic_plugins.builtin.rewards import vlt
from repic_plugins.errors import OptionError, RepicError
from repic_plugins.examples import PlainImage
from repic_plugins.scoring import BoundReward, score_batch
from repic_plugins.serial import read_rollouts
from repic_plugins.types import Box, BoxFrame, Rollout


def test_steps_from_epochs() -> None:
    config = resolve("paper", sets=["train.epochs=2"])
    schedule = make_schedule(config, 2000, 8)
    assert (schedule.prompts, schedule.completions, schedule.steps) == (2, 8, 2000), "the paper's run"
    assert schedule.rows == 4000
    assert make_schedule(resolve(sets=["train.epochs=0.01"]), 100, 1).steps == 1, "never none"
    with pytest.raises(OptionError, match="does not make whole groups"):
        make_schedule(config, 2000, 3)


def test_schedule_with_several_iterations() -> None:
    schedule = make_schedule(resolve(sets=["train.num_iterations=3", "train.max_steps=7"]), 100, 1)
    assert schedule.rows == 3 * schedule.prompts, "three new batches for seven steps"
    assert [step for step in range(1, 8) if schedule.is_boundary(step)] == [3, 6]


def checkpoint(folder: RunFolder, step: int, *, complete: bool = True) -> Path:
    path = folder.checkpoints / f"checkpoint-{step}"
    path.mkdir(parents=True)
    if complete:
        mark_checkpoint(path, step=step, processes=2, data="d")
    return path


def test_checkpoints(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.last_checkpoint() is None
    for step in (2, 10, 4):
        checkpoint(folder, step)
    checkpoint(folder, 12, complete=False)
    (folder.checkpoints / "checkpoint-2/repic.json").write_text('{"step": ')
    last = folder.last_checkpoint()
    assert last is not None
    assert (last.step, last.processes, last.data) == (10, 2, "d"), "the highest whole one, not the last by name"
    folder.drop_torsos()
    assert {path.name for path in folder.checkpoints.iterdir()} == {"checkpoint-4", "checkpoint-10"}
    folder.keep_checkpoints(None)
    folder.keep_checkpoints(1)
    assert {path.name for path in folder.checkpoints.iterdir()} == {"checkpoint-10"}


def test_rewinding_takes_out_later_and_broken_lines(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    append_rows(folder.metrics, [{"step": 1, "kl": None}, {"step": 2}])
    append_rows(folder.metrics, [{"step": 3}])
    with folder.metrics.open("a") as file:
        file.write('{"step": 2, "lo')
    folder.rewind(2)
    assert folder.metrics.read_text() == '{"step": 1, "kl": null}\n{"step": 2}\n'
    assert not folder.samples.exists()


def test_rewinding_keeps_texts_with_odd_line_separators(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    append_rows(folder.samples, [{"step": 1, "completion": "one\u2028two\u0085three\nfour"}, {"step": 2}])
    before = folder.samples.read_text(encoding="utf-8")
    folder.rewind(2)
    assert folder.samples.read_text(encoding="utf-8") == before


def test_samples_score_as_they_did_in_training(tmp_path: Path) -> None:
    """A box is written for the picture as the model saw it, so the sizes have to be kept with it."""
    frame = BoxFrame("pixels", (56, 56), (112, 112))
    box = Rollout(
        "a", "vlt", "where?", "[0, 0, 28, 28]", 9, Box(0, 0, 56, 56), (PlainImage(112, 112),), frame, {"n": 1}
    )
    rewards = [BoundReward("vlt", 1.0, vlt())]
    scores = score_batch(rewards, [box])
    assert scores.totals.tolist() == [1.0]
    SampleWriter(RunFolder(tmp_path), lambda: ([box], scores), count=1, steps=1).write(1)
    kept = read_rollouts(RunFolder(tmp_path).samples, lambda path: FileImage(tmp_path / path))
    assert replace(kept[0], images=()) == replace(box, images=())
    assert kept[0].images[0].size == (112, 112)
    assert score_batch(rewards, kept).totals.tolist() == [1.0]


def test_folders_for_new_runs(tmp_path: Path) -> None:
    RunFolder(tmp_path / "new").check_free()
    RunFolder(tmp_path).check_free()
    (tmp_path / "other").write_text("")
    with pytest.raises(OptionError, match="not empty"):
        RunFolder(tmp_path).check_free()
    with pytest.raises(OptionError, match="is a file"):
        RunFolder(tmp_path / "other").check_free()
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(OptionError, match="there is a run in this folder; delete it"):
        RunFolder(tmp_path).check_free()
    checkpoint(RunFolder(tmp_path), 3)
    with pytest.raises(OptionError, match=f"go on with it by --resume {tmp_path}"):
        RunFolder(tmp_path).check_free()


def test_inner_phases_stop_the_clock_of_outer_ones() -> None:
    phases = Phases()
    with phases.measure("prepare"):
        time.sleep(0.02)
        with phases.measure("generate"):
            time.sleep(0.05)
    time.sleep(0.03)
    seconds = phases.take()
    assert seconds["seconds/generate"] >= 0.05
    assert seconds["seconds/prepare"] >= 0.02
    assert seconds["seconds/update"] >= 0.03, "what is in no phase"
    assert seconds["seconds/step"] == pytest.approx(sum(list(seconds.values())[:-1]), abs=1e-3)
    assert phases.take()["seconds/generate"] == 0


def test_samples_are_of_different_prompts_and_tasks() -> None:
    rollouts = [Rollout(name, name[0], "", "", 1) for name in ("a1", "a1", "a2", "a2", "b1", "b1", "b1")]
    assert choose(rollouts, 3) == [0, 4, 2], "the first of each prompt, tasks in turn"
    assert choose(rollouts, 5) == [0, 4, 2, *choose(rollouts, 5)[3:]]
    assert sorted(choose(rollouts, 99)) == list(range(7))
    assert choose(rollouts, 0) == []


def test_rows_hold_no_nan() -> None:
    row = metrics_row(3, {"loss": float("nan"), "kl": 0.5, "step": 99, "x": None})
    assert json.dumps(row, allow_nan=False) == '{"step": 3, "loss": null, "kl": 0.5, "x": null}'


def test_display_without_a_terminal() -> None:
    out = io.StringIO()
    display = Display(console=Console(file=out, soft_wrap=True))
    display.start(0, 30)
    for step in range(1, 31):
        value = None if step % 2 else step / 30
        display.row({"step": step, "rewards/[x]/mean": value, "kl": 0.01, "seconds/step": 2.0})
    display.stop()
    lines = out.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["1/30", "10/30", "20/30", "30/30"]
    assert "[x] 0.63" in lines[-1], "mean of the last twelve values"
    assert reward_means({"rewards/a/mean": 1, "rewards/a/std": 2, "rewards/b/mean": None}) == {"a": 1.0}


def test_display_on_a_terminal_and_quiet() -> None:
    out = io.StringIO()
    display = Display(console=Console(file=out, force_terminal=True, width=100))
    display.start(2, 4)
    display.row({"step": 3, "rewards/a/mean": 0.25, "kl": None})
    display.stop()
    assert "a 0.25" in out.getvalue()
    out = io.StringIO()
    quiet = Display(quiet=True, console=Console(file=out))
    quiet.say("nothing")
    quiet.start(0, 1)
    quiet.row({"step": 1})
    quiet.warn("something")
    assert out.getvalue() == "warning: something\n"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "the disk is full"),
        (RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/3"), "the disk is full"),
        (RuntimeError("Error while serializing: I/O error: File too large (os error 27)"), "the disk is full"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "train.per_device_batch_size"),
    ],
)
def test_errors_of_the_machine_are_explained(tmp_path: Path, error: Exception, words: str) -> None:
    folder = RunFolder(tmp_path)
    checkpoint(folder, 3)
    with pytest.raises(RepicError) as caught, explained(folder):
        raise error
    assert words in str(caught.value)
    assert f"go on with: repic train --resume {tmp_path}" in str(caught.value)
    shutil.rmtree(folder.checkpoints)
    with pytest.raises(RepicError) as caught, explained(folder):
        raise error
    assert "--resume" not in str(caught.value)


def test_other_errors_are_left_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"^mat1 and mat2$"), explained(RunFolder(tmp_path)):
        raise RuntimeError("mat1 and mat2")
    with pytest.raises(OptionError), explained(RunFolder(tmp_path)):
        raise OptionError("x")
