"""Metrics are read and drawn."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from repic_cli.reports.curves import moving_average, panels_of, plot_curves
from repic_cli.reports.metrics import read_metrics
from repic_plugins.errors import DataError


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    rows: list[dict[str, object]] = []
    for step in range(1, 31):
        row: dict[str, object] = {"step": step, "kl": 0.01 * step, "completions/mean_length": 30.0}
        row["rewards/$bad_name^/mean"] = 0.5
        # A reward without a value at a step is logged as null.
        row["rewards/ict/mean"] = None if step % 3 == 0 else step / 30
        row["tasks/ict/reward"] = step / 30
        rows.append(row)
    return write(tmp_path / "metrics.jsonl", rows)


def test_every_reward_and_task_is_a_line(metrics: Path) -> None:
    panels = {panel.title: panel for panel in panels_of(metrics)}
    assert set(panels["Rewards (mean)"].lines) == {"$bad_name^", "ict"}
    assert set(panels["Total reward per task (mean)"].lines) == {"ict"}
    assert "Entropy (nats per token)" not in panels


def test_steps_without_a_value_are_left_out(metrics: Path) -> None:
    ict = read_metrics(metrics).rewards["ict"]
    assert len(ict.steps) == 20 and 3 not in ict.steps


def test_the_picture_is_a_png_of_some_size(metrics: Path, tmp_path: Path) -> None:
    from PIL import Image

    path = plot_curves(metrics, tmp_path / "new" / "curves.png")
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.width > 1000
        assert len(set(picture.convert("RGB").resize((200, 200)).get_flattened_data())) > 50


def test_a_line_cut_off_by_a_kill_is_skipped(metrics: Path) -> None:
    with metrics.open("a") as file:
        file.write('{"step": 31, "kl"')
    assert read_metrics(metrics).all["kl"].steps[-1] == 30


@pytest.mark.parametrize("text", ["", "[1]\n", "{]\n{}\n", '{"step": 1}\n'])
def test_a_broken_file_names_itself(tmp_path: Path, text: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=r"metrics\.jsonl"):
        read_metrics(path)
    with pytest.raises(DataError, match=r"missing\.jsonl"):
        read_metrics(tmp_path / "missing.jsonl")


def test_moving_average_of_few_and_of_unknown_values() -> None:
    assert moving_average([1.0, 1.0, 4.0], 3) == [1.0, 2.0, 2.5]
    assert moving_average([]) == []
    assert moving_average([1.0, math.nan], 3) == [1.0, 1.0]
    assert math.isnan(moving_average([math.nan], 3)[0])
