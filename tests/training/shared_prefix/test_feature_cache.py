"""Features kept beyond a batch are those that the tower would make, within bounds, and of the right tower."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from repic_cli.training.shared_prefix.feature_cache import FeatureCache
from repic_cli.training.shared_prefix.pictures import Features, Picture, Pictures, look

Maker = Callable[..., Any]


@pytest.fixture(params=["memory", "folder"])
def make_cache(request: pytest.FixtureRequest, tmp_path: Path) -> Maker:
    def make(limit: int = 2**20) -> FeatureCache:
        return FeatureCache(limit, tmp_path / "features" if request.param == "folder" else None)

    return make


def pictures(number: int) -> list[Picture]:
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(16, 3 * 2 * 4 * 4, generator=generator) for _ in range(number)]
    return [Picture(index, bytes([index]), pixels, (1, 4, 4)) for index, pixels in enumerate(made)]


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl"])
def test_found_again(kind: str, make_model: Maker, make_cache: Maker) -> None:
    body, cache, shown = make_model(kind, torch.float32).model, make_cache(), pictures(3)
    first, second = Pictures(cache), Pictures(cache)
    made = first.features(body, shown)
    found = second.features(body, [shown[2], shown[0], shown[2]])
    assert (first.seen, second.seen, cache.found) == (3, 0, 2)
    for mine, theirs in zip(found, [made[2], made[0], made[2]], strict=True):
        torch.testing.assert_close(mine.tokens, theirs.tokens, rtol=0, atol=0)
        assert len(mine.deep) == len(theirs.deep) == (2 if kind == "qwen3_vl" else 0)
        assert all(torch.equal(a, b) for a, b in zip(mine.deep, theirs.deep, strict=True))


def test_another_tower_has_its_own(make_model: Maker, make_cache: Maker) -> None:
    cache, shown = make_cache(), pictures(1)
    Pictures(cache).features(make_model(dtype=torch.float32).model, shown)
    other = make_model(dtype=torch.float32)
    with torch.no_grad():
        next(other.model.visual.parameters()).add_(0.1)
    table = Pictures(cache)
    (found,) = table.features(other.model, shown)
    assert (table.seen, cache.found) == (1, 0)
    torch.testing.assert_close(found.tokens, look(other.model, shown)[0].tokens)


def test_bounded(make_model: Maker, make_cache: Maker) -> None:
    """What was used last stays."""
    tower = make_model(dtype=torch.float32).model.visual
    cache, features = make_cache(4 * 4000), Features(torch.zeros(1000))
    for key in (b"a", b"b", b"c"):
        cache.keep(tower, key, features)
    assert cache.find(tower, b"a") is not None
    for key in (b"d", b"e"):
        cache.keep(tower, key, features)
    there = [key for key in (b"a", b"b", b"c", b"d", b"e") if cache.find(tower, key) is not None]
    assert b"b" not in there
    assert {b"a", b"e"} <= set(there)
    assert 2 <= len(there) <= 4
    cache.keep(tower, b"huge", Features(torch.zeros(10_000)))
    assert cache.find(tower, b"huge") is None


def test_files_survive_the_process_and_broken_ones_are_made_again(make_model: Maker, tmp_path: Path) -> None:
    body, shown = make_model(dtype=torch.float32).model, pictures(2)
    Pictures(FeatureCache(2**20, tmp_path)).features(body, shown)
    one, two = sorted(tmp_path.glob("*.safetensors"))
    one.write_bytes(b"half a file")
    table, cache = Pictures(FeatureCache(2**20, tmp_path)), FeatureCache(2**20, tmp_path)
    found = table.features(body, shown)
    assert table.seen == 1
    torch.testing.assert_close(found[0].tokens, look(body, shown)[0].tokens)
    again = Pictures(cache)
    again.features(body, shown)
    assert (again.seen, cache.found) == (0, 2)
    assert {path.name for path in tmp_path.iterdir()} == {one.name, two.name}


def test_a_run_with_a_cache_is_equal_and_looks_less(train: Maker) -> None:
    """Six prompts, gone over twice; rounding aside, the run is the same."""
    cache = FeatureCache(2**24)
    plain, kept = train("on", max_steps=6), train("on", max_steps=6, feature_cache=cache)
    assert (plain.trainer.pictures.seen, kept.trainer.pictures.seen) == (30, 15)
    assert kept.sampled == plain.sampled
    for mine, theirs in zip(kept.logged, plain.logged, strict=True):
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-4)
