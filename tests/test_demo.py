"""The demo: its folder, its pictures, and the whole loop on the embedded model."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from repic_cli.demo.engine import Demo, DemoOptions, DemoResult, again
from repic_cli.demo.page import lead
from repic_cli.demo.phases import Phases
from repic_cli.demo.scenes import CONCEPTS, QUERIES, make_things, read_queries, write_queries
from repic_cli.demo.summary import print_summary
from repic_cli.embedded.world import identities
from repic_cli.evaluation.scores import KINDS, Measure, WorldScores
from repic_cli.evaluation.statistics import Tally
from repic_plugins.manager import load_plugins


def test_the_things_are_held_out_and_all_are_in_some_picture(tmp_path: Path) -> None:
    things, members = make_things(3)
    assert set(members) <= set(identities("held_out"))
    assert len({thing.name for thing in things}) == len(set(members)) == CONCEPTS
    queries = write_queries(tmp_path, 3, things, members)
    assert read_queries(tmp_path) == queries and len(queries) == len(QUERIES)
    shown = [item["name"] for query in queries for item in query.objects if item["name"]]
    assert sorted(shown) == sorted(thing.name for thing in things)
    for query, (own, strangers) in zip(queries, QUERIES, strict=True):
        assert len(query.objects) == own + strangers
        with Image.open(query.path) as picture:
            assert all(box[2] <= picture.width for box in (item["box"] for item in query.objects))


def test_the_same_seed_draws_the_same_pictures(tmp_path: Path) -> None:
    for name in ("a", "b"):
        things, members = make_things(5)
        write_queries(tmp_path / name, 5, things, members)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def repic(*arguments: str, model: Path) -> subprocess.Popen[str]:
    """Start `repic` on another embedded model, in a process group of its own."""
    environment = {**os.environ, "REPIC_EMBEDDED_MODEL": str(model), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "repic_cli", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_a_stopped_demo_says_how_to_go_on_and_does(tmp_path: Path, mini_model: Path) -> None:
    folder = tmp_path / "my demo"
    arguments = ("demo", "--output", str(folder), "--count", "4", "--minutes", "60")
    process = repic(*arguments, "--max-steps", "400", model=mini_model)
    metrics = folder / "run" / "metrics.jsonl"
    while process.poll() is None and not (metrics.is_file() and metrics.read_text().count("\n") >= 2):
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    again = f"Go on with: repic demo --output {shlex.quote(str(folder))} --count 4 --max-steps 400"
    assert errors.rstrip().endswith(again)
    steps = metrics.read_text().count("\n")

    # What the line says, but with a time limit: the test does not want 400 steps.
    process = repic(*shlex.split(again)[4:], "--minutes", "0.5", "--json", model=mini_model)
    output, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    assert errors.count("already there") == 2
    result = json.loads(output)
    assert result["training"]["steps"] > steps and result["training"]["out_of_time"]
    assert set(result["before"]["measures"]) == set(KINDS)
    assert len(result["queries"]) == len(QUERIES)
    page = (folder / "report.html").read_text()
    assert "name recall, 1 concept" in page and all(query["file"] for query in result["queries"])
    assert page.count('class="query"') == len(QUERIES)


def test_a_demo_in_a_used_folder_is_one_line(tmp_path: Path, mini_model: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    process = repic("demo", "--output", str(tmp_path), model=mini_model)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2
    assert errors.splitlines() == [
        f"error: {tmp_path}: not an empty folder, and not one of repic's; give another --output"
    ]


def test_the_command_to_go_on_names_what_differs(tmp_path: Path) -> None:
    assert again(DemoOptions(Path("a b"))) == "repic demo --output 'a b'"
    assert again(DemoOptions(Path("d"), seed=3, max_steps=5)) == "repic demo --output d --seed 3 --max-steps 5"


def test_less_time_is_left_for_training_when_measuring_takes_long(tmp_path: Path) -> None:
    options = DemoOptions(tmp_path, minutes=5.0)
    demo = Demo(options, load_plugins(enabled=False), Console(quiet=True))
    assert 250 < demo.seconds_for_training() <= 275
    demo.folder.save("before.json", {"info": {"seconds": 100.0}, "measures": {}})
    assert 140 < demo.seconds_for_training() <= 165


def test_phases_are_numbered_with_or_without_a_terminal() -> None:
    for terminal in (False, True):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None)
        phases = Phases(console, 2)
        phases.kept("drawing [red] things")
        with phases.phase("measuring [/red]") as tell:
            tell(3, 4)
        text = console.file.getvalue()
        assert "[1/2] drawing [red] things: already there" in text
        assert "[2/2] measuring [/red]" in text and ("75%" in text) == terminal
        assert phases.seconds["measuring [/red]"] < 5


def test_the_end_of_a_demo_tells_scores_captions_and_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = Tally((1.0, 0.0), (1.0, 1.0))
    scores = WorldScores({name: Measure(name, tally) for name in KINDS})
    row = {"file": "photo2.png", "objects": [], "before": {"caption": "[a] star"}, "after": {"caption": "<bo>"}}
    training = {"steps": 7, "seconds": 61.0, "out_of_time": True, "rewards": {}}
    result = DemoResult(tmp_path, scores, scores, training, [row, row], {"all": 1.0}, [("repic x", "Do x:")])
    print_summary(result)
    text = capsys.readouterr().out
    for part in (
        "name recall, 1 concept",
        "before: [a] star",
        "after:  <bo>",
        "after 7 steps",
        "repic x",
        "report.html",
    ):
        assert part in text
    assert json.loads(json.dumps(result.as_json()))["training"]["steps"] == 7
    assert "7 steps" in lead(result) and "1 min 1 s" in lead(result)
