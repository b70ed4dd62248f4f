"""Folders that keep the results of phases."""

from __future__ import annotations

from pathlib import Path

import pytest

from repic_cli.evaluation.results import ResultFolder
from repic_plugins.errors import DataError, OptionError

SETTINGS = {"seed": 0, "count": 8}


def test_a_folder_is_opened_again_with_the_same_settings_only(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "demo")
    assert not folder.open(SETTINGS)
    assert folder.open(SETTINGS)
    with pytest.raises(OptionError, match=r"seed 0, not 1.*--output"):
        folder.open({**SETTINGS, "seed": 1})


def test_a_folder_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(OptionError, match="not one of repic"):
        ResultFolder(tmp_path).open(SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(OptionError, match="not one of repic"):
        ResultFolder(tmp_path / "thesis.tex").open(SETTINGS)


def test_phase_results_are_kept_and_broken_ones_are_named(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path)
    assert folder.load("before.json") is None
    folder.save("before.json", {"x": 1})
    assert folder.load("before.json") == {"x": 1}
    for broken in ("{", "[1]"):
        (tmp_path / "before.json").write_text(broken)
        with pytest.raises(DataError, match=r"before\.json.*delete it"):
            folder.load("before.json")
