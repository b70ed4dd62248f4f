"""Somebody else's reward trains, has its own curve, and its faults are told."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

FIXTURES = Path(__file__).parents[1] / "fixtures"
Repic = Callable[..., tuple[int, str, str]]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Makes a fixture package look installed: its modules and what pip writes beside them."""
    site = tmp_path / "site"

    def install(package: str) -> None:
        module = package.replace("-", "_")
        shutil.copytree(FIXTURES / package / "src", site, dirs_exist_ok=True)
        about = site / f"{module}-0.3.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.3.0\n")
        (about / "entry_points.txt").write_text(f"[repic]\nit = {module}\n")
        monkeypatch.syspath_prepend(str(site))
        importlib.invalidate_caches()

    yield install
    for name in ("repic_haiku", "repic_faulty"):
        sys.modules.pop(name, None)


def test_reward_of_a_plugin_trains_and_has_its_own_curve(
    plugin: Callable[[str], None], small_run: Callable[..., Path]
) -> None:
    plugin("repic-haiku")
    run = small_run("--max-steps", "2", rewards="judge=2,redness,length=0")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        for name in ("judge", "redness", "length"):
            assert row[f"rewards/{name}/mean"] == pytest.approx(row[f"tasks/ict/rewards/{name}"])
        total = 2 * row["rewards/judge/mean"] + row["rewards/redness/mean"]
        assert row["tasks/ict/mean"] == row["reward"] == pytest.approx(total, abs=1e-6), "weight 0 is only logged"
    about = json.loads((run / "environment.json").read_text())
    assert about["rewards"]["judge"] == "repic-haiku 0.3.0"


@pytest.mark.parametrize(
    ("reward", "words"),
    [
        ("wrong_length", "returned 7 scores for 8 rollouts"),
        ("number", "returned float"),
        ("raises_in_batches", "one at a time, please"),
    ],
)
def test_faulty_reward_stops_the_run(
    plugin: Callable[[str], None],
    repic: Repic,
    train_arguments: Callable[..., list[str]],
    tmp_path: Path,
    reward: str,
    words: str,
) -> None:
    plugin("repic-faulty")
    code, _, err = repic(*train_arguments(tmp_path / "run", "--max-steps", "2", rewards=f"length,{reward}"))
    last = err.splitlines()[-1]
    assert code == 4, err
    assert f"reward {reward} (repic-faulty 0.3.0)" in last
    assert words in last
    assert "at sample train-ict" in last or "the first at sample train-ict" in last
    assert not (tmp_path / "run").exists(), "a run that never made a step leaves nothing"


def test_faulty_groups_can_be_skipped_and_are_counted(
    plugin: Callable[[str], None], repic: Repic, train_arguments: Callable[..., list[str]], tmp_path: Path
) -> None:
    plugin("repic-faulty")
    more: tuple[Any, ...] = ("--max-steps", "2", "--on-reward-error", "skip", "--json")
    code, out, err = repic(*train_arguments(tmp_path / "run", *more, rewards="length,wrong_length"))
    assert code == 0, err
    assert json.loads(out)["failures"] == {"wrong_length": 2}
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["groups/dropped"] for row in rows] == [1.0, 1.0]
    assert [row["rewards/length/mean"] for row in rows] == [None, None], "a dropped group has no values at all"
    assert [row["kl"] for row in rows] == [0.0, 0.0], "and teaches nothing"
    assert "All reward functions returned None" not in err
