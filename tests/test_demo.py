"""The demo: its folder, its pictures, and the whole loop on the embedded model."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from repic_cli.demo.scenes import CONCEPTS, QUERIES, make_things, read_queries, write_queries
from repic_cli.embedded.world import identities


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
