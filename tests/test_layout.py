"""What is shipped, what imports what, and that the commands people are told to run are the ones we run."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"repic_cli": ROOT, "repic_plugins": ROOT / "plugins", "repic_rewards": ROOT / "rewards"}
CACHES = {".pyc", ".nbi", ".nbc"}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def shipped_files() -> set[str]:
    """The files of the three packages in the checkout, as the wheel should name them."""
    found = set()
    for name, root in PACKAGES.items():
        for path in (root / name).rglob("*"):
            if path.is_file() and path.suffix not in CACHES and "__pycache__" not in path.parts:
                found.add(path.relative_to(root).as_posix())
    return found


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel named by REPIC_WHEEL, or one that is built now."""
    given = os.environ.get("REPIC_WHEEL")
    if given:
        return zipfile.ZipFile(given)
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_wheel_holds_our_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {*PACKAGES, "repic_cli-0.1.0.dist-info"}


def test_wheel_holds_every_file_of_the_packages(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == shipped_files()


@pytest.mark.parametrize(
    "name",
    [
        "repic_cli/py.typed",
        "repic_plugins/py.typed",
        "repic_rewards/py.typed",
        "repic_cli/presets/tiny.toml",
        "repic_cli/presets/paper.toml",
        "repic_plugins/builtin/templates.toml",
        "repic_cli-0.1.0.dist-info/licenses/LICENSE",
    ],
)
def test_wheel_holds_what_is_not_python(wheel: zipfile.ZipFile, name: str) -> None:
    assert name in wheel.namelist()


def test_wheel_holds_the_embedded_models(wheel: zipfile.ZipFile) -> None:
    """A model folder is of no use without its weights, and a git that lost them would still build."""
    names = wheel.namelist()
    assert any(re.fullmatch(r"repic_cli/embedded/model/.*\.safetensors", name) for name in names)
    assert "repic_cli/embedded/model/config.json" in names
    assert any(name.startswith("repic_cli/embedded/encoder/") for name in names)


def test_wheel_is_of_bearable_size(wheel: zipfile.ZipFile) -> None:
    assert sum(entry.compress_size for entry in wheel.infolist()) < 40e6


def test_builtins_register_like_any_plugin() -> None:
    """Through the same entry-point group that other people's plugins use."""
    ours = [entry for entry in entry_points(group="repic") if entry.dist is not None and entry.dist.name == "repic-cli"]
    assert {entry.name: entry.value for entry in ours} == project()["project"]["entry-points"]["repic"]


@pytest.mark.parametrize(
    ("package", "above"),
    [("repic_rewards", {"repic_plugins", "repic_cli"}), ("repic_plugins", {"repic_cli"})],
)
def test_packages_never_import_upwards(package: str, above: set[str]) -> None:
    for path in (PACKAGES[package] / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & above, f"{path}:{getattr(node, 'lineno', 0)}"


def test_trainer_knows_no_reward_by_name() -> None:
    word = re.compile(r"\b(oct|vlt|ict)\b", re.IGNORECASE)
    for path in (ROOT / "repic_cli/training").rglob("*.py"):
        found = [line for line in path.read_text().splitlines() if word.search(line)]
        assert not found, f"{path}: {found}"


def test_constraints_pin_every_direct_dependency_and_name_no_address() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9A-Za-z.]*", line) for line in lines)
    pinned = {line.split("==")[0] for line in lines}
    table = project()["project"]
    wanted = table["dependencies"] + table["optional-dependencies"]["dev"]
    assert {re.match(r"[\w-]+", need)[0].lower() for need in wanted} <= pinned


def test_readme_test_command_is_what_ci_runs() -> None:
    readme = (ROOT / "README.md").read_text()
    command = '.venv/bin/pip install -c constraints.txt -e ".[dev]" && .venv/bin/pytest\n'
    assert f"python3.11 -m venv .venv && {command}" in readme
    steps = (ROOT / ".ci/run").read_text().splitlines()
    assert [step for step in steps if step.startswith(".venv/bin/")] == command.strip().split(" && ")
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_readme_main_command_installs_and_runs_the_demo() -> None:
    command = "python3.11 -m venv .venv && .venv/bin/pip install -c constraints.txt . && .venv/bin/repic demo\n"
    assert command in (ROOT / "README.md").read_text()
