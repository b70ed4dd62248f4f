"""Real plugin packages, built with pip and hatchling from tests/fixtures, and put on the path where a test asks."""

from __future__ import annotations

import importlib
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from repic_plugins.manager import DISABLE_VARIABLE, load_plugins
from repic_plugins.registry import PluginRegistry

FIXTURES = Path(__file__).parents[1] / "fixtures"
PACKAGES = ("repic-haiku", "repic-duplicate", "repic-broken", "repic-faulty", "repic-hostile")


@pytest.fixture(scope="session")
def sites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Package name -> a folder into which its wheel is installed, as `pip install --target` does."""
    root = tmp_path_factory.mktemp("plugin-packages")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    command += ["--wheel-dir", str(root / "wheels"), *(str(FIXTURES / package) for package in PACKAGES)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    folders = {}
    for package in PACKAGES:
        (wheel,) = (root / "wheels").glob(f"{package.replace('-', '_')}-*.whl")
        folders[package] = root / package
        zipfile.ZipFile(wheel).extractall(folders[package])
    return folders


@pytest.fixture
def install(sites: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., PluginRegistry]]:
    """`install("repic-haiku")` makes the packages importable for the length of a test and loads all plugins."""
    monkeypatch.delenv(DISABLE_VARIABLE, raising=False)

    def put(*packages: str) -> PluginRegistry:
        for package in packages:
            monkeypatch.syspath_prepend(str(sites[package]))
        importlib.invalidate_caches()
        return load_plugins()

    yield put
    modules = tuple(package.replace("-", "_") for package in PACKAGES)
    for name in [name for name in sys.modules if name.partition(".")[0] in modules]:
        del sys.modules[name]


@pytest.fixture
def repic(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command in this process: exit code, stdout, stderr."""
    from repic_cli.app import main

    def run(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(list(args))
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return run
