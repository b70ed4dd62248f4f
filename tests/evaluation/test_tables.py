"""Scores as values and as tables."""

from __future__ import annotations

import io
import json
import math

import pytest

from repic_cli.evaluation.scores import KINDS, Measure, WorldScores, change
from repic_cli.evaluation.statistics import Tally
from repic_cli.evaluation.tables import markdown_table, rich_table, show, show_change, verdict


def scores(recall: int, binding: int | None = 5) -> WorldScores:
    """Ten captions: `recall` of them name their concept; None: no name was said with a place."""
    placed = (1.0,) * 10 if binding is not None else (0.0,) * 10
    return WorldScores(
        {
            "recall_1": Measure("recall_1", Tally((1.0,) * recall + (0.0,) * (10 - recall), (1.0,) * 10)),
            "binding_1": Measure(
                "binding_1", Tally((1.0,) * (binding or 0) + (0.0,) * (10 - (binding or 0)), placed), 0.6
            ),
            "length": Measure("length", Tally((100.0,) * 10, (1.0,) * 10)),
        },
        {"seed": 3},
    )


def test_scores_survive_json() -> None:
    one = scores(4, None)
    text = json.dumps(one.to_dict(), allow_nan=False)
    back = WorldScores.from_dict(json.loads(text))
    assert back == one
    assert json.loads(text)["measures"]["recall_1"]["value"] == 0.4
    assert json.loads(text)["measures"]["binding_1"]["value"] is None


def test_scores_without_samples_cannot_come_back() -> None:
    with pytest.raises(ValueError, match="recall_1"):
        WorldScores.from_dict(scores(4).to_dict(samples=False))


def test_values_are_per_cent_and_units_are_not() -> None:
    one = scores(4)
    assert show(one["recall_1"], KINDS["recall_1"]).startswith("40.0 [")
    assert show(one["length"], KINDS["length"]).startswith("100.0 [")
    assert show(scores(4, None)["binding_1"], KINDS["binding_1"]) == "-"


def test_a_change_is_judged_by_its_interval_and_direction() -> None:
    moved = change(scores(0), scores(10), "recall_1")
    assert show_change(moved, KINDS["recall_1"]) == "+100.0 [+100.0, +100.0]"
    assert verdict(moved, KINDS["recall_1"]) == "better"
    assert verdict(moved, KINDS["unasked"]) == "worse"
    assert verdict(moved, KINDS["length"]) == ""
    same = change(scores(4), scores(4), "recall_1")
    assert verdict(same, KINDS["recall_1"]) == ""
    assert math.isnan(change(scores(4, None), scores(4), "binding_1").value)


def test_tables_have_a_row_for_each_measure() -> None:
    from rich.console import Console

    console = Console(width=140, record=True, file=io.StringIO())
    console.print(rich_table(scores(4), scores(9)))
    text = console.export_text()
    assert text.count("concept") == 2 and "before" in text and "90.0 [" in text
    narrow = rich_table(scores(4), scores(9), width=80)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(narrow)
    text = console.export_text()
    assert "90.0 " in text and "90.0 [" not in text and "+50.0 [" in text
    assert max(map(len, text.splitlines())) <= 80 and "said names at the right" in text
    lines = markdown_table(scores(4), scores(9)).splitlines()
    assert len(lines) == 2 + 3 and lines[0].count("|") == lines[2].count("|") == 7
    assert len(markdown_table(scores(4), headline=True).splitlines()) == 2 + 2
