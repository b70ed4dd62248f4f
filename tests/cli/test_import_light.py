"""Help must come at once: nothing heavy is imported before a command needs it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

import repic_cli
import repic_plugins

HEAVY = {
    "PIL", "accelerate", "datasets", "faiss", "gradio", "matplotlib", "numba", "open_clip", "pandas", "peft", "scipy",
    "torch", "torchvision", "transformers", "trl",
}  # fmt: skip
HELP_SECONDS = 0.15


def modules_after(code: str) -> set[str]:
    """The top-level names of `sys.modules` of a fresh process that ran `code`."""
    code += "\nimport sys, json; print('\\n' + json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout.splitlines()[-1]))


def modules_of(package: str, root: Path) -> list[str]:
    """All modules below a package, as import names."""
    names = []
    for path in sorted(root.rglob("*.py")):
        parts = [package, *path.relative_to(root).with_suffix("").parts]
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def test_root_help_imports_only_typer() -> None:
    code = "from repic_cli.app import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    loaded = modules_after(code)
    assert not loaded & (HEAVY | {"numpy", "pydantic", "pluggy", "rich", "yaml", "repic_rewards"})


def test_root_help_loads_no_plugin_and_no_command() -> None:
    code = "from repic_cli.app import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += (
        "import sys; bad = [m for m in sys.modules if m.startswith(('repic_plugins.builtin', 'repic_cli.commands.'))]"
    )
    modules_after(code + "\nassert not bad, bad")


def test_modules_of_the_command_line_are_light() -> None:
    """The root, the configuration and every command's module; their functions import what they use."""
    commands = modules_of("repic_cli.commands", Path(repic_cli.__file__).parent / "commands")
    names = ["repic_cli.app", "repic_cli.config", "repic_cli.data.images", "repic_cli.data.names", *commands]
    assert not modules_after("\n".join(f"import {name}" for name in names)) & HEAVY


def test_plugin_api_is_light() -> None:
    names = modules_of("repic_plugins", Path(repic_plugins.__file__).parent)
    assert not modules_after("\n".join(f"import {name}" for name in names)) & HEAVY


def help_seconds() -> tuple[float, float]:
    """Wall and processor time of one `repic --help`, in seconds."""
    repic = Path(sys.executable).with_name("repic")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([repic, "--help"], capture_output=True, check=True, env=clean)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_root_help_is_quick() -> None:
    """The best of a few warm runs. On a machine with more work than cores, processor time counts, not waiting."""
    if not Path(sys.executable).with_name("repic").exists():
        pytest.skip("the repic script is not beside this Python")
    help_seconds()
    runs = []
    for _ in range(15):
        runs.append(help_seconds())
        if min(wall for wall, _ in runs) <= HELP_SECONDS:
            break
    best_wall, best_processor = (min(column) for column in zip(*runs, strict=True))
    busy = os.getloadavg()[0] > (os.cpu_count() or 1)
    assert best_wall <= HELP_SECONDS or (busy and best_processor <= HELP_SECONDS), (best_wall, best_processor)
