"""`repic rewards`, `tasks` and `plugins`: what they print, for people and for scripts, and their exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from repic_cli.app import COMMANDS
from repic_plugins import hookspecs
from repic_plugins.manager import DISABLE_VARIABLE, hook_names
from repic_plugins.serial import rollout_to_json
from repic_plugins.testing import example_rollouts
from repic_plugins.text import clean, suggest

GROUPS = {"rewards": ("list", "show", "score"), "tasks": ("list", "show"), "plugins": ("list", "new", "check")}


def lines(rollouts):
    return "".join(json.dumps(rollout_to_json(rollout)) + "\n" for rollout in rollouts)


@pytest.fixture
def samples(tmp_path):
    file = tmp_path / "samples.jsonl"
    file.write_text(lines(example_rollouts()), encoding="utf-8")
    return file


@pytest.mark.parametrize("group", GROUPS)
def test_every_command_has_help_with_an_example(repic, group):
    code, out, _ = repic(group, "--help")
    assert code == 0 and COMMANDS[group] in out and f"Example: repic {group}" in out
    for command in GROUPS[group]:
        code, out, _ = repic(group, command, "--help")
        assert code == 0 and f"Example: repic {group} {command}" in " ".join(out.split()), out


def test_rewards_are_listed_with_their_origin(repic, install):
    install("repic-haiku")
    code, out, err = repic("rewards", "list")
    assert code == 0 and not err
    for name in ("oct", "vlt", "ict", "length", "format", "haiku", "captions of exactly three lines"):
        assert name in out
    code, out, _ = repic("rewards", "list", "--json")
    entries = {entry["name"]: entry for entry in json.loads(out)}
    assert entries["haiku"] == {
        "name": "haiku",
        "tasks": ["caption", "ict"],
        "help": "captions of exactly three lines",
        "distribution": "repic-haiku",
        "version": "0.3.0",
        "options": [{"name": "lines", "type": "whole number", "default": 3, "required": False}],
    }


def test_problems_are_noted_beside_the_list(repic, install):
    install("repic-broken")
    code, out, err = repic("rewards", "list")
    assert code == 0 and "works" in out
    assert "note: there are problems with repic-broken; see `repic plugins list`" in err


def test_no_plugins_lists_the_built_ins_only(repic, install):
    install("repic-haiku")
    _, out, _ = repic("--no-plugins", "rewards", "list", "--json")
    names = {entry["name"] for entry in json.loads(out)}
    assert "ict" in names and "haiku" not in names


def test_a_reward_is_shown_with_its_options(repic, install):
    install("repic-haiku")
    code, out, _ = repic("rewards", "show", "haiku")
    assert code == 0 and "from repic-haiku 0.3.0" in out and "whole number" in out and "tasks: caption, ict" in out
    assert "--rewards haiku=1.0 --reward-option haiku.lines=3" in out
    code, out, _ = repic("rewards", "show", "ict", "--json")
    options = {option["name"]: option for option in json.loads(out)["options"]}
    assert options["mode"]["type"] == "strict|paper" and options["min_chars"]["default"] == 100
    assert repic("rewards", "show", "itc") == (3, "", "error: unknown reward 'itc'; did you mean ict?\n")


def test_saved_completions_are_scored_offline(repic, install, samples, tmp_path):
    install("repic-haiku")
    output = tmp_path / "scores.jsonl"
    args = ["rewards", "score", str(samples), "--rewards", "oct,vlt,ict,length=0.2,haiku=0,judge=0"]
    args += ["--reward-option", "ict.min_chars=20", "--reward-option", "haiku.lines=1"]
    code, out, err = repic(*args, "--output", str(output))
    assert code == 0 and not err
    assert "flat groups" in out and "total" in out
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(rows) == len(example_rollouts())
    assert rows[0]["scores"]["oct"] == 1.0 and rows[0]["scores"]["ict"] is None and rows[0]["total"] == 1.0
    code, out, _ = repic(*args, "--json")
    report = json.loads(out)
    assert report["rollouts"] == len(rows) and report["dropped"] == 0 and report["errors"] == []
    assert {"reward", "task", "count", "mean", "std", "min", "max", "flat_groups"} == set(report["summary"][0])


def test_pictures_are_found_beside_the_file(repic, install, tmp_path):
    from PIL import Image

    install("repic-haiku")
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "red.png")
    line = {"sample_id": "a", "task": "ict", "prompt": "p", "completion": "red", "images": ["red.png"]}
    file = tmp_path / "samples.jsonl"
    file.write_text(json.dumps(line))
    code, out, _ = repic("rewards", "score", str(file), "--rewards", "redness", "--json")
    assert code == 0 and json.loads(out)["summary"][0]["mean"] == 1.0
    file.write_text(json.dumps({**line, "images": ["missing.png"]}))
    code, _, err = repic("rewards", "score", str(file), "--rewards", "redness")
    assert code == 4 and "missing.png" in err and err.count("\n") == 1


def test_a_failing_reward_stops_or_is_skipped(repic, install, tmp_path):
    install("repic-faulty")
    file = tmp_path / "samples.jsonl"
    line = {"sample_id": "s1", "task": "ict", "prompt": "p", "completion": "fine"}
    file.write_text(json.dumps(line) + "\n" + json.dumps({**line, "sample_id": "s2", "completion": "bad"}))
    score = ("rewards", "score", str(file), "--rewards", "nan")
    assert repic(*score) == (
        4,
        "",
        "error: reward nan (repic-faulty 0.3.0) returned nan, not a finite number or None, at sample s2\n",
    )
    code, out, err = repic(*score, "--on-reward-error", "skip")
    assert code == 0 and "total" in out and "dropped 1 rollouts; failures: nan 1; the first: reward nan" in err
    code, out, _ = repic(*score, "--on-reward-error", "skip", "--json")
    assert code == 0 and json.loads(out)["dropped"] == 1 and len(json.loads(out)["errors"]) == 1
    code, _, err = repic("rewards", "score", str(file), "--rewards", "slow", "--timeout", "0.05")
    assert code == 4 and "took longer than 0.05 s" in err


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--rewards", "itc"], 3, "error: unknown reward 'itc'; did you mean ict?"),
        (["--rewards", "ict=heavy"], 2, "error: --rewards: the weight of ict must be a number"),
        (["--rewards", "ict", "--reward-option", "ict.min_char=3"], 2, "did you mean min_chars?"),
        (["--rewards", "ict", "--reward-option", "ict.min_chars=few"], 2, "'few' is not a whole number"),
        (["--rewards", "ict", "--reward-option", "oct.mode=paper"], 2, "reward 'oct' is not selected"),
        (["--rewards", "ict", "--on-reward-error", "ignore"], 2, "write stop or skip"),
        (["--rewards", "ict", "--timeout", "0"], 2, "--timeout"),
        ([], 2, "--rewards"),
    ],
)
def test_bad_options_are_one_line(repic, samples, args, code, message):
    got, out, err = repic("rewards", "score", str(samples), *args)
    assert got == code and not out and message in err and err.count("\n") == 1 and "Traceback" not in err


def test_errors_call_an_option_what_the_user_called_it(repic):
    code, _, err = repic("tasks", "show", "ict", "--option", "reasoning")
    assert (code, err) == (2, "error: --option 'reasoning': write OPTION=VALUE, as in reasoning=think\n")
    code, _, err = repic("plugins", "check", "ict", "--option", "min_chars=3")
    assert code == 2 and err.startswith("error: --option 'min_chars=3': write NAME.OPTION=VALUE")


def test_bad_files_are_one_line_and_leave_nothing(repic, tmp_path, samples):
    code, _, err = repic("rewards", "score", str(tmp_path / "none.jsonl"), "--rewards", "ict")
    assert code == 5 and "none.jsonl: no such file" in err and err.count("\n") == 1
    samples.write_text("{}\n")
    code, _, err = repic("rewards", "score", str(samples), "--rewards", "ict", "--output", str(tmp_path / "out.jsonl"))
    assert code == 5 and "line 1: sample_id must be text" in err
    samples.write_text(lines(example_rollouts()))
    code, _, err = repic(
        "rewards", "score", str(samples), "--rewards", "ict", "--output", str(tmp_path / "no/out.jsonl")
    )
    assert code == 1 and "no such file" in err and err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["samples.jsonl"]


def test_tasks_are_listed_and_shown(repic):
    code, out, _ = repic("tasks", "list", "--json")
    tasks = {task["name"]: task for task in json.loads(out)}
    assert code == 0 and {"oct", "vlt", "ict", "caption"} <= set(tasks) and "ict" in tasks["ict"]["rewards"]
    assert "visual localisation" in repic("tasks", "list")[1]
    code, out, _ = repic("tasks", "show", "ict", "--option", "reasoning=think")
    assert code == 0 and "<think>" in out and "a record needs: references, answer" in out and "[picture]" in out
    code, out, _ = repic("tasks", "show", "vlt", "--json")
    assert code == 0 and any("the red ball" in line for line in json.loads(out)["prompt"])
    assert "a record needs: only a picture" in repic("tasks", "show", "caption")[1]
    assert repic("tasks", "show", "otc")[0] == 3
    code, _, err = repic("tasks", "show", "ict", "--option", "reasoning=feel")
    assert code == 2 and "not one of none, think, observe" in err


def test_plugins_are_listed_with_what_is_wrong(repic, install):
    install("repic-haiku", "repic-duplicate", "repic-broken")
    code, out, _ = repic("plugins", "list", "--json")
    rows = {(row["distribution"], row["entry_point"], row["status"]): row for row in json.loads(out)}
    assert code == 0
    haiku = rows["repic-haiku", "haiku", "ok"]
    assert haiku["registers"] == ["reward judge", "reward redness", "reward haiku"]
    assert (
        rows["repic-haiku", "haiku", "duplicate"]["reason"]
        == "reward haiku is also registered by repic-duplicate 0.3.0"
    )
    assert ("repic-duplicate", "duplicate", "duplicate") in rows
    assert rows["repic-broken", "crashes", "broken"]["reason"] == "RuntimeError: no luck today"
    code, out, _ = repic("plugins", "list")
    assert code == 0 and "no luck today" in out and "broken" in out


def test_plugins_that_are_turned_off_are_listed(repic, install, monkeypatch):
    install("repic-haiku")
    monkeypatch.setenv(DISABLE_VARIABLE, "repic-haiku")
    rows = json.loads(repic("plugins", "list", "--json")[1])
    assert [row["status"] for row in rows if row["distribution"] == "repic-haiku"] == ["disabled"]


@pytest.mark.parametrize(("value", "lost"), [("repic-haiko, haiku,*", "repic-haiko"), ("repic-haiku,*", "")])
def test_names_that_turn_off_nothing_are_told(repic, install, monkeypatch, value, lost):
    install("repic-haiku")
    monkeypatch.setenv(DISABLE_VARIABLE, value)
    for command in (("plugins", "list", "--json"), ("rewards", "list")):
        code, _, err = repic(*command)
        assert code == 0
        assert err == (f"note: {DISABLE_VARIABLE} turns off nothing by the name of {lost}\n" if lost else "")


def test_the_list_of_hooks_is_that_of_the_specification(repic, install):
    install("repic-haiku")
    code, out, _ = repic("plugins", "list", "--hooks", "--json")
    rows = json.loads(out)
    assert code == 0 and [row["hook"] for row in rows] == hook_names()
    for row in rows:
        assert row["help"] == " ".join(getattr(hookspecs, row["hook"]).__doc__.split())
    assert rows[0]["used_by"] == ["repic-cli", "repic-haiku"]
    out = repic("plugins", "list", "--hooks")[1]
    assert all(hook in out for hook in hook_names())


def test_a_plugin_is_checked(repic, install):
    install("repic-haiku", "repic-faulty", "repic-duplicate", "repic-broken")
    code, out, _ = repic("plugins", "check", "redness")
    assert code == 0 and "batch does not matter" in out and "FAILED" not in out
    code, out, _ = repic("plugins", "check", "another", "--json")
    assert code == 0 and all(row["passed"] for row in json.loads(out))
    code, out, err = repic("plugins", "check", "relative")
    assert code == 4 and "FAILED" in out
    assert err.splitlines()[-1].startswith("error: reward relative fails the check 'batch does not matter'")
    assert repic("plugins", "check", "repic-faulty", "--timeout", "0.1")[0] == 4
    code, out, _ = repic("plugins", "check", "ict")
    assert code == 0 and "task" in out and "reward" in out
    code, _, err = repic("plugins", "check", "slow", "--option", "slow.seconds=soon")
    assert code == 2 and "is not a number" in err
    assert repic("plugins", "check", "slow", "--option", "slow.seconds=0.001")[0] == 0
    code, _, err = repic("plugins", "check", "crashes")
    assert code == 3 and "no luck today" in err
    code, _, err = repic("plugins", "check", "haiku")
    assert code == 3 and "repic-duplicate 0.3.0 and repic-haiku 0.3.0" in err
    code, _, err = repic("plugins", "check", "redbess")
    assert code == 3 and "did you mean redness?" in err


def test_hostile_metadata_cannot_touch_the_terminal(repic, install):
    install("repic-hostile", "repic-broken")
    for args in (
        ["rewards", "list"],
        ["rewards", "show", "hostile"],
        ["plugins", "list"],
        ["plugins", "check", "hostile"],
        ["rewards", "list", "--json"],
        ["rewards", "show", "hostile", "--json"],
        ["rewards", "show", "No Name\x1b[31m"],
    ):
        _, out, err = repic(*args)
        for text in (out, err):
            assert not any(ord(character) < 32 and character != "\n" for character in text), args
            assert "\u202e" not in text and "noise at import" not in out
    out = " ".join(repic("rewards", "show", "hostile")[1].split())
    assert "nice reward error: fake line [link=x]y[/link]" in out and "[red]markup[/red]" in out


def test_text_is_cleaned():
    assert clean("a\x1b[31mb\x1b]0;title\x07c\x00\u200bd\r\n e\x9b") == "abcd e"
    assert clean("x" * 400, 10) == "x" * 9 + "…"
    assert suggest("a", []) == "" and suggest("zzz", ["b", "a"]) == "; there are a, b"


def test_a_new_plugin_is_written_all_or_nothing(repic, tmp_path, monkeypatch, install):
    install("repic-haiku")
    monkeypatch.chdir(tmp_path)
    code, out, _ = repic("plugins", "new", "no-emoji")
    assert code == 0 and "pip install -e repic-no-emoji && repic plugins check no-emoji" in out
    folder = tmp_path / "repic-no-emoji"
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        "README.md",
        "pyproject.toml",
        "src/repic_no_emoji/__init__.py",
        "src/repic_no_emoji/py.typed",
        "tests/test_no_emoji.py",
    }
    assert folder.stat().st_mode & 0o777 == 0o777 & ~_umask()
    code, _, err = repic("plugins", "new", "no-emoji")
    assert code == 5 and "is there and not empty" in err
    for name in ("Bad", "a b", "../x", "x" * 65, "\x1b[31m", ""):
        code, _, err = repic("plugins", "new", name)
        assert code == 2 and "cannot name a plugin" in err and "\x1b" not in err
    for name in ("cli", "plugins", "rewards", "repic-"):
        assert repic("plugins", "new", name)[0] == 2
    code, _, err = repic("plugins", "new", "haiku")
    assert code == 3 and "already registered by repic-haiku 0.3.0" in err
    (tmp_path / "file").write_text("")
    code, _, err = repic("plugins", "new", "other", "file/folder")
    assert code == 5 and "cannot be written" in err
    assert {path.name for path in tmp_path.iterdir()} == {"repic-no-emoji", "file"}
    (tmp_path / "empty").mkdir()
    code, out, _ = repic("plugins", "new", "other", "empty", "--json")
    assert code == 0 and json.loads(out) == {"name": "other", "folder": "empty"}
    assert (tmp_path / "empty/pyproject.toml").exists()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_it_works_as_a_process_too(sites):
    env = {**os.environ, "PYTHONPATH": str(sites["repic-haiku"])}
    done = subprocess.run(
        [sys.executable, "-m", "repic_cli", "rewards", "list", "--json"],
        capture_output=True,
        text=True,
        env=env,
        timeout=120,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr
    assert "haiku" in {entry["name"] for entry in json.loads(done.stdout)}
