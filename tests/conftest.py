"""What all tests share: the coverage bar of a whole run, no network, and the test pictures that some tests need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before anything imports transformers: a test that would ask a hub has to fail at once, not after a time-out.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(__file__).resolve().parents[1]
COVERAGE_BAR = 95
"""Per cent of the lines of repic_rewards and repic_plugins that the whole suite has to run."""


def is_whole_run(config: pytest.Config) -> bool:
    """Whether every test is asked for: no path, no -k, -m, --lf or --deselect."""
    option = config.option
    chosen = (option.keyword, option.markexpr, option.lf, option.deselect, option.ignore, option.collectonly)
    return config.args_source is pytest.Config.ArgsSource.TESTPATHS and not any(chosen)


def pytest_configure(config: pytest.Config) -> None:
    coverage = config.pluginmanager.getplugin("_cov")
    if coverage is not None and is_whole_run(config):
        coverage.options.cov_fail_under = COVERAGE_BAR
        coverage.cov_controller.cov_report = {"term-missing": "skip-covered"}


@pytest.fixture(scope="session")
def repic_pack() -> Path:
    """The folder of real pictures and databases that the developers test with; it is not part of the repository."""
    for place in (
        os.environ.get("REPIC_TEST_PACK"),
        ROOT / "shared/data/repic_pack",
        ROOT.parent / "shared/data/repic_pack",
    ):
        if place and Path(place).is_dir():
            return Path(place)
    pytest.skip("the pack of real pictures is not here (set REPIC_TEST_PACK to its folder)")
