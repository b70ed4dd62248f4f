"""pip installs plugin packages into a clean virtual environment, and repic finds them there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from repic_plugins.manager import DISABLE_VARIABLE

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Run a command with the Python of a new environment that sees this one's packages, as its own parent."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin/python"
    ask = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip())
    # addsitedir, unlike a plain path, follows the .pth file of an editable install of repic-cli.
    parent = sysconfig.get_path("purelib")
    (site / "parent.pth").write_text(f"import site; site.addsitedir({parent!r})\n")
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", DISABLE_VARIABLE)}

    def run(*args: str, cwd: Path = folder) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(python), *args], capture_output=True, text=True, timeout=300, env=env, cwd=cwd)

    run.python = python
    return run


def pip(clean, *args):
    command = [sys.executable, "-m", "pip", "--python", str(clean.python), *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def install(clean, *packages):
    pip(clean, "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", *map(str, packages))


def names(clean):
    done = clean("-m", "repic_cli", "rewards", "list", "--json")
    assert done.returncode == 0, done.stderr
    return {entry["name"] for entry in json.loads(done.stdout)}


def test_a_reward_comes_and_goes_with_its_package(clean):
    assert "ict" in names(clean) and "haiku" not in names(clean)
    install(clean, FIXTURES / "repic-haiku")
    assert "haiku" in names(clean)
    done = clean("-m", "repic_cli", "plugins", "check", "repic-haiku")
    assert done.returncode == 0, done.stderr
    pip(clean, "uninstall", "--quiet", "--yes", "repic-haiku")
    assert "haiku" not in names(clean)


def test_a_new_plugin_installs_and_its_own_tests_pass(clean, tmp_path):
    folder = tmp_path / "repic-brief"
    done = clean("-m", "repic_cli", "plugins", "new", "brief", str(folder))
    assert done.returncode == 0, done.stderr
    install(clean, folder)
    done = clean("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
    done = clean("-m", "repic_cli", "plugins", "check", "brief", "--option", "brief.lines=1")
    assert done.returncode == 0, done.stdout + done.stderr
    done = clean("-m", "ruff", "check", "--isolated", "--select", "E,F,I,UP,B", ".", cwd=folder)
    assert done.returncode == 0, done.stdout
