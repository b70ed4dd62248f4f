"""The demo: its folder, its pictures, and the whole loop on the embedded model."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from repic_cli.demo.folder import DemoFolder
from repic_cli.demo.scenes import CONCEPTS, QUERIES, make_things, read_queries, write_queries
from repic_cli.embedded.world import identities
from repic_plugins.errors import DataError, OptionError

SETTINGS = {"seed": 0, "count": 8}


def test_a_folder_is_opened_again_with_the_same_settings_only(tmp_path: Path) -> None:
    folder = DemoFolder(tmp_path / "demo")
    assert not folder.open(SETTINGS)
    assert folder.open(SETTINGS)
    with pytest.raises(OptionError, match=r"seed 0 instead of 1.*--output"):
        folder.open({**SETTINGS, "seed": 1})


def test_a_folder_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(OptionError, match="not a demo"):
        DemoFolder(tmp_path).open(SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(OptionError, match="not a demo"):
        DemoFolder(tmp_path / "thesis.tex").open(SETTINGS)


def test_phase_results_are_kept_and_broken_ones_are_named(tmp_path: Path) -> None:
    folder = DemoFolder(tmp_path)
    assert folder.load("before.json") is None
    folder.save("before.json", {"x": 1})
    assert folder.load("before.json") == {"x": 1}
    for broken in ("{", "[1]"):
        (tmp_path / "before.json").write_text(broken)
        with pytest.raises(DataError, match=r"before\.json.*delete it"):
            folder.load("before.json")


def test_the_things_are_held_out_and_all_are_in_some_picture(tmp_path: Path) -> None:
    things, members = make_things(3)
    assert set(members) <= set(identities("held_out"))
    assert len({thing.name for thing in things}) == len(set(members)) == CONCEPTS
    queries = write_queries(tmp_path, 3, things, members)
    assert read_queries(tmp_path) == queries and len(queries) == len(QUERIES)
    shown = [item["name"] for query in queries for item in query.objects if item["name"]]
    assert sorted(shown) == sorted(thing.name for thing in things)
    for query, (own, strangers) in zip(queries, QUERIES, strict=True):
        assert len(query.objects) == own + strangers
        with Image.open(query.path) as picture:
            assert all(box[2] <= picture.width for box in (item["box"] for item in query.objects))


def test_the_same_seed_draws_the_same_pictures(tmp_path: Path) -> None:
    for name in ("a", "b"):
        things, members = make_things(5)
        write_queries(tmp_path / name, 5, things, members)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
