"""Discovery, isolation, duplicates and selection, with packages that pip built."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import repic_plugins
from repic_plugins import hookspecs
from repic_plugins.discovery import normalise
from repic_plugins.errors import OptionError, PluginError
from repic_plugins.examples import example_rollouts
from repic_plugins.manager import DISABLE_VARIABLE, hook_names, load_plugins
from repic_plugins.options import RewardSpec
from repic_plugins.registry import KINDS
from repic_plugins.scoring import close_rewards, score_batch

ROOT = Path(__file__).parents[2]


def problems(registry, distribution):
    return {p.entry_point: p for p in registry.problems if p.distribution == distribution}


def test_built_ins_come_through_the_public_group():
    registry = load_plugins()
    assert {"oct", "vlt", "ict", "length", "format"} <= set(registry.rewards)
    assert {"oct", "vlt", "ict", "caption"} <= set(registry.tasks)
    assert {entry.distribution for entry in registry.rewards.values()} >= {"repic-cli"}
    assert registry.rewards["ict"].tasks == {"ict"}
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["repic"]
    assert {found.name for found in registry.plugins if found.builtin} == set(declared)


def test_hooks_are_those_of_the_specification():
    specified = [name for name, value in vars(hookspecs).items() if hasattr(value, "repic_spec")]
    assert hook_names() == specified
    assert all(getattr(hookspecs, name).__doc__ for name in specified)


def test_an_installed_package_is_found_and_its_reward_scores(install):
    registry = install("repic-haiku")
    entry = registry.rewards["haiku"]
    assert (entry.origin, entry.tasks, entry.entry_point) == ("repic-haiku 0.3.0", {"ict", "caption"}, "haiku")
    assert not problems(registry, "repic-haiku")
    rewards = registry.build_rewards([RewardSpec("haiku", 0.5, {"lines": "1"}), RewardSpec("redness", 0.0)])
    rollouts = example_rollouts()
    scores = score_batch(rewards, rollouts)
    for row, rollout in enumerate(rollouts):
        if rollout.task in ("oct", "vlt"):
            assert scores.column("haiku")[row] != scores.column("haiku")[row]  # not its task: NaN
        else:
            one_line = len(rollout.completion.splitlines()) == 1
            assert scores.column("haiku")[row] == one_line
            assert scores.totals[row] == 0.5 * one_line
    redness = rewards[1].reward
    close_rewards(rewards)
    assert redness.closed


def test_each_broken_plugin_is_reported_and_the_rest_works(install, capsys):
    registry = install("repic-broken", "repic-haiku")
    assert "haiku" in registry.rewards and "works" in registry.rewards and "ict" in registry.tasks
    found = problems(registry, "repic-broken")
    reasons = {name: problem.reason for name, problem in found.items()}
    assert reasons["crashes"] == "RuntimeError: no luck today"
    assert reasons["exits"].startswith("SystemExit")
    assert reasons["missing"].startswith("ModuleNotFoundError")
    assert reasons["half"] == "KeyError: 'the other half'"
    assert "implements no hook" in reasons["no-hook"]
    assert "does not exist: repic_register_reward;" in reasons["unknown-hook"]
    assert "registry" in reasons["wrong-argument"]
    assert "a name is a lower-case letter" in reasons["bad-name"] and "\x1b" not in reasons["bad-name"]
    assert 'tasks must be a sequence such as ("ict",)' in reasons["bad-tasks"]
    assert "tasks must be names of tasks" in reasons["bad-route"]
    assert "not callable" in reasons["bad-factory"]
    assert "registers the reward double twice" in reasons["twice"]
    assert "works" not in found
    for name in ("half", "double", "singular", "lettered"):
        assert name not in registry.rewards
    # What a plugin prints when imported must not get into JSON on stdout.
    captured = capsys.readouterr()
    assert "printed at import" not in captured.out and "printed at import" in captured.err


def test_a_broken_plugin_that_is_selected_is_fatal_and_says_why(install):
    registry = install("repic-broken")
    with pytest.raises(PluginError, match=r"reward half cannot be used: repic-broken 0\.3\.0 .*the other half"):
        registry.build_rewards([RewardSpec("half")])
    with pytest.raises(PluginError, match=r"reward crashes cannot be used: .*no luck today"):
        registry.check_rewards([RewardSpec("crashes")])
    with pytest.raises(PluginError, match=r"unknown reward 'itc'; did you mean ict\?.*not loaded: repic-broken"):
        registry.check_rewards([RewardSpec("itc")])
    with pytest.raises(PluginError, match=r"needs-missing of repic-broken 0\.3\.0 cannot be built: ModuleNotFound"):
        registry.build_rewards([RewardSpec("needs-missing")])
    with pytest.raises(PluginError, match="the factory made str, not a callable"):
        registry.build_rewards([RewardSpec("works"), RewardSpec("makes-text")])


def test_duplicate_names_are_an_error_only_when_selected(install):
    registry = install("repic-haiku", "repic-duplicate")
    assert "haiku" not in registry.rewards and "another" in registry.rewards
    registry.build_rewards([RewardSpec("another"), RewardSpec("judge")])
    with pytest.raises(PluginError, match=r"repic-duplicate 0\.3\.0 and repic-haiku 0\.3\.0; uninstall one"):
        registry.build_rewards([RewardSpec("haiku")])
    duplicates = [p for p in registry.problems if p.kind == "duplicate"]
    assert {(p.distribution, p.entry_point) for p in duplicates} == {
        ("repic-haiku", "haiku"),
        ("repic-duplicate", "duplicate"),
    }


@pytest.mark.parametrize("name", ["repic-duplicate", "Repic_Duplicate", "duplicate", " duplicate , something"])
def test_a_plugin_is_turned_off_by_name(install, monkeypatch, name):
    install("repic-haiku", "repic-duplicate")
    monkeypatch.setenv(DISABLE_VARIABLE, name)
    registry = load_plugins()
    assert registry.rewards["haiku"].distribution == "repic-haiku" and "another" not in registry.rewards
    assert [p.kind for p in problems(registry, "repic-duplicate").values()] == ["disabled"]
    with pytest.raises(PluginError, match="turned off"):
        registry.select("reward", "duplicate")


def test_disabled_can_be_given_as_an_argument(install):
    install("repic-haiku")
    assert "haiku" not in load_plugins(disabled=["repic-haiku"]).rewards


def test_no_plugins_keeps_the_built_ins(install, monkeypatch):
    install("repic-haiku")
    for registry in (load_plugins(enabled=False), _with(monkeypatch, "*"), _with(monkeypatch, "*,repic-cli")):
        assert "haiku" not in registry.rewards
        assert {"oct", "vlt", "ict"} <= set(registry.rewards)
    assert "ict" not in _with(monkeypatch, "builtin_rewards").rewards


def _with(monkeypatch, value):
    monkeypatch.setenv(DISABLE_VARIABLE, value)
    return load_plugins()


def test_unknown_names_list_close_matches(install):
    registry = install("repic-haiku")
    with pytest.raises(PluginError, match=r"unknown reward 'haikus'; did you mean haiku\?"):
        registry.select("reward", "haikus")
    with pytest.raises(PluginError, match=r"unknown task 'zzzzz'; there are caption, ict, oct, vlt"):
        registry.build_task("zzzzz")


def test_options_are_checked_before_anything_is_built(install):
    registry = install("repic-haiku")
    with pytest.raises(OptionError, match="reward haiku has no option 'line'; did you mean lines") as error:
        registry.build_rewards([RewardSpec("redness"), RewardSpec("haiku", options={"line": 2})])
    assert error.value.exit_code == 2
    with pytest.raises(OptionError, match="lines: 'three' is not a whole number"):
        registry.check_rewards([RewardSpec("haiku", options={"lines": "three"})])
    with pytest.raises(OptionError, match=r"reward haiku of repic-haiku 0\.3\.0: ValueError: lines must be at least 1"):
        registry.build_rewards([RewardSpec("haiku", options={"lines": 0})])
    with pytest.raises(OptionError, match="cannot read the templates"):
        registry.build_task("oct", templates="/nowhere/templates.toml")


def test_each_kind_has_its_entries():
    registry = load_plugins(False)
    kinds = [registry.rewards, registry.tasks, registry.detectors, registry.encoders, registry.backbones]
    assert [registry.of_kind(kind) for kind in KINDS] == kinds and len(registry.tasks) == len(list(registry.tasks))


def test_tasks_are_built_with_options():
    task = load_plugins().build_task("ict", reasoning="think")
    assert task.name == "ict" and task.requires == ("references", "answer")


def test_a_malformed_entry_point_file_hides_no_other_plugin(install, tmp_path, monkeypatch):
    for name, text in {
        "no_equals": "[repic]\nthis line has no equals sign\n",
        "no_module": "[repic]\nempty = \n",
        "other_group": "[console_scripts]\nrepic = x:y\n",
    }.items():
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(text)
    (tmp_path / "bytes-1.0.dist-info").mkdir()
    (tmp_path / "bytes-1.0.dist-info/entry_points.txt").write_bytes(b"[repic]\n\xff\xfe = x\n")
    (tmp_path / "nameless-1.0.dist-info").mkdir()
    (tmp_path / "nameless-1.0.dist-info/entry_points.txt").write_text("[repic]\nx = not_a_module\n")
    (tmp_path / "latin-1.0.dist-info").mkdir()
    (tmp_path / "latin-1.0.dist-info/METADATA").write_bytes(b"Name: \xe9t\xe9\n")
    (tmp_path / "latin-1.0.dist-info/entry_points.txt").write_text("[repic]\nx = not_a_module\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = install("repic-haiku")
    assert "haiku" in registry.rewards and "ict" in registry.tasks
    assert "entry_points.txt cannot be read" in problems(registry, "no_equals")["?"].reason
    assert problems(registry, "no_module") and not problems(registry, "other_group")
    assert problems(registry, "unnamed")["x"].reason.startswith("ModuleNotFoundError")


def test_the_same_distribution_twice_on_the_path_counts_once(install, sites, tmp_path, monkeypatch):
    (tmp_path / "copy").symlink_to(sites["repic-haiku"])
    monkeypatch.syspath_prepend(str(tmp_path / "copy"))
    registry = install("repic-haiku")
    assert "haiku" in registry.rewards and not problems(registry, "repic-haiku")


def test_one_module_under_two_entry_points_is_registered_once(install, tmp_path, monkeypatch):
    info = tmp_path / "again-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: again\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[repic]\nagain = repic_haiku\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = install("repic-haiku")
    total = len([p for p in registry.plugins if p.name in ("again", "haiku")])
    assert total == 1 and "haiku" in registry.rewards
    assert any("already registered" in problem.reason for problem in registry.problems)


def test_names_are_normalised_as_packaging_does():
    assert normalise("Repic_Haiku.X") == "repic-haiku-x"


def test_the_package_exports_what_it_says_and_imports_nothing_heavy():
    for name in repic_plugins.__all__:
        assert getattr(repic_plugins, name) is not None
        assert name in dir(repic_plugins)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = repic_plugins.nothing
    code = (
        "import sys; from repic_plugins.manager import load_plugins; registry = load_plugins(False);"
        "registry.check_rewards([]); import repic_plugins.scoring, repic_plugins.testing, repic_plugins.adapters;"
        "heavy = {'torch', 'numpy', 'numba', 'PIL', 'faiss', 'matplotlib', 'transformers'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
