"""Write a new plugin package: `repic plugins new NAME`."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from string import Template

from repic_plugins.errors import DataError, OptionError
from repic_plugins.text import NAME_RULE, clean, is_name

OWN_PACKAGES = ("repic_cli", "repic_plugins", "repic_rewards")

_PYPROJECT = """\
[build-system]
requires = ["hatchling>=1.26"]
build-backend = "hatchling.build"

[project]
name = "$distribution"
version = "0.1.0"
description = "The reward $name for repic."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["repic-cli"]

# This line is what makes repic find the package: the group is repic, the value the module with the hooks.
[project.entry-points.repic]
$name = "$module"

[tool.hatch.build.targets.wheel]
packages = ["src/$module"]

[tool.pytest.ini_options]
testpaths = ["tests"]
"""

_MODULE = '''\
"""Reward captions of a wanted number of lines."""

from __future__ import annotations

from collections.abc import Sequence

from repic_plugins import Register, Reward, Rollout, hookimpl


def $function(*, lines: int = 3) -> Reward:
    """1.0 when the caption has exactly `lines` lines, else 0.0."""
    if lines < 1:
        raise ValueError(f"lines must be at least 1, not {lines}")

    def score(rollouts: Sequence[Rollout]) -> list[float]:
        counts = [len(rollout.completion.splitlines()) for rollout in rollouts]
        return [float(count == lines) for count in counts]

    return score


@hookimpl
def repic_register_rewards(register: Register) -> None:
    register("$name", $function, tasks=("ict", "caption"))
'''

_TEST = '''\
"""Tests of the reward $name. Run them with `pytest` after `pip install -e .`."""

import pytest
from repic_plugins.manager import load_plugins
from repic_plugins.testing import check_reward, example_rollouts

from $module import $function


def test_counts_lines():
    rollouts = example_rollouts(["caption"])
    counts = [len(rollout.completion.splitlines()) for rollout in rollouts]
    assert {1, 3} <= set(counts)
    for lines in (1, 3):
        wanted = [float(count == lines) for count in counts]
        assert $function(lines=lines)(rollouts) == wanted


def test_keeps_the_promises_of_a_reward():
    check_reward($function, tasks=("ict", "caption"), lines=1)


def test_refuses_a_limit_that_no_caption_meets():
    with pytest.raises(ValueError, match="at least 1"):
        $function(lines=0)


def test_repic_finds_it():
    assert load_plugins().rewards["$name"].distribution == "$distribution"
'''

_README = """\
# $distribution

The reward `$name` for repic.

    pip install -e .
    repic plugins check $name
    repic rewards show $name
    repic train --rewards oct,vlt,ict,$name=0.2 --reward-option $name.lines=1
    pytest
"""


def write_plugin(name: str, folder: Path | None = None) -> Path:
    """Write the package of a reward `name` into `folder` (default: `repic-NAME` here) and return the folder.

    All or nothing: it is written beside the folder and then moved. Raises `OptionError` for a bad name, and
    `DataError` when the folder holds something or cannot be written.
    """
    if not is_name(name):
        raise OptionError(f"{clean(repr(name), 80)} cannot name a plugin: a name is {NAME_RULE}")
    stem = name.replace("_", "-").removeprefix("repic-").strip("-")
    target = folder or Path(f"repic-{stem}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target}: is there and not empty; name another folder: repic plugins new {name} FOLDER")
    module = f"repic_{stem.replace('-', '_')}"
    if module in OWN_PACKAGES or not stem:
        raise OptionError(f"{name} would make the package {module}, which is repic's own; choose another name")
    # The suffix keeps names such as float or lambda from shadowing what the module needs.
    function = f"{name.replace('-', '_')}_reward"
    values = {"name": name, "distribution": f"repic-{stem}", "module": module, "function": function}
    try:
        _write(target, values)
    except OSError as error:
        raise DataError(f"{target}: cannot be written: {error.strerror or error}") from error
    return target


def _write(target: Path, values: dict[str, str]) -> None:
    files = {
        "pyproject.toml": _PYPROJECT,
        "README.md": _README,
        f"src/{values['module']}/__init__.py": _MODULE,
        f"src/{values['module']}/py.typed": "",
        f"tests/test_{values['module'].removeprefix('repic_')}.py": _TEST,
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".repic-new-", dir=target.parent))
    try:
        for path, text in files.items():
            file = draft / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(Template(text).substitute(values), encoding="utf-8")
        draft.chmod(0o777 & ~_umask())
        draft.replace(target)  # an empty target is replaced
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
