"""docs/data.md says what the code does: hyperparameters, sources, and the paper's preset on built records."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from repic_cli.config import PRESETS, resolve
from repic_cli.data.formats.importing import METHODS
from repic_cli.data.sources.known import LICENCES

Run = Callable[..., tuple[int, str, str]]
DOCS = Path(__file__).parents[2] / "docs/data.md"
SETTING = re.compile(r"`([a-z_]+(?:\.[a-z0-9_]+)+) = ([^`]+)`")


def table() -> dict[str, str]:
    """The settings of the table's third column."""
    found: dict[str, str] = {}
    for line in DOCS.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4:
            found |= dict(SETTING.findall(cells[2]))
    return found


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and name not in ("data.mix", "data.references"):
            yield from leaves(value, f"{name}.")
        else:
            yield name, value


def shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, dict):
        return ",".join(f"{key}={weight:g}" for key, weight in value.items())
    return ",".join(value) if isinstance(value, list | tuple) else str(value)


def test_every_setting_of_the_table_is_the_presets() -> None:
    settings = dict(leaves(resolve("paper").model_dump()))
    found = table()
    assert len(found) > 30
    assert found == {key: shown(settings[key]) for key in found}


def test_every_setting_of_the_preset_is_in_the_table() -> None:
    preset = tomllib.loads((PRESETS / "paper.toml").read_text())
    assert {key for key, _ in leaves(preset)} <= set(table())


def test_every_source_and_method_is_in_the_docs() -> None:
    text = DOCS.read_text()
    assert all(f"| `{name}` |" in text for name in LICENCES)
    assert all(f"| `{name}`" in text for name in METHODS)


@pytest.fixture
def built(repic: Run, sources: dict[str, Path], tmp_path: Path) -> Path:
    places = [part for name, place in sources.items() for part in (f"--{name}", place)]
    assert repic("data", "build", "paper", *places, "--count", 30, "--out", tmp_path / "data")[0] == 0
    return tmp_path / "data"


def test_papers_preset_on_built_records(
    repic: Run, built: Path, mini_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan of the paper's run, with a model of its family: right answers are paid in full, empty ones nothing.

    Pictures of 320 x 240 are made smaller, so that boxes are written in other pixels than those of the file.
    """
    monkeypatch.setenv("REPIC_EMBEDDED_MODEL", str(mini_model))
    arguments = ("train", "--preset", "paper", "--model", "embedded", "--data", built, "--dry-run", "--json")
    code, out, err = repic(*arguments, "--set", "model.max_pixels=20000")
    assert code == 0, err
    plan = json.loads(out)
    assert set(plan["data"]["records"]) == {"oct", "vlt", "ict"}
    assert plan["scores"] == {task: {task: {"true": 1.0, "empty": 0.0}} for task in ("oct", "vlt", "ict")}
    assert plan["completions_per_prompt"] == 8


def test_boxes_are_written_in_pixels_of_the_resized_picture(built: Path, mini_model: Path) -> None:
    """And read back into those of the file, which is where records have them (Qwen2.5-VL)."""
    from repic_cli.models.families import family_of
    from repic_cli.models.load import load_processor, locate, set_pixel_bounds
    from repic_plugins.manager import load_plugins
    from repic_rewards.parsing import parse_boxes

    processor = load_processor(locate(str(mini_model)))
    set_pixel_bounds(processor, None, 20000, "mini")
    family = family_of("qwen2_5_vl", load_plugins())
    assert family.convention == "pixels" and family.seen is not None
    rows = [json.loads(line) for line in (built / "records.jsonl").read_text().splitlines()]
    row = next(row for row in rows if row["task"] == "vlt")
    from repic_cli.data.images import picture_size

    size = picture_size(row["image"])
    seen = family.seen(processor, size)
    assert seen[0] * seen[1] <= 20000 < size[0] * size[1]
    scale = (seen[0] / size[0], seen[1] / size[1]) * 2
    written = [round(value * factor) for value, factor in zip(row["answer"]["box"], scale, strict=True)]
    (read,) = parse_boxes(str(written), "pixels", seen, size)
    assert read == pytest.approx(row["answer"]["box"], abs=1.5)
