"""Proposals: things on a flat background are found, windows cover the rest."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from repic_cli.concepts.detectors import windows
from repic_cli.concepts.geometry import overlap, square
from repic_cli.concepts.salient import components, salient_boxes
from repic_cli.embedded.world import identities, pick, render_scene
from repic_plugins.errors import OptionError
from repic_plugins.registry import PluginRegistry


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("count", [1, 3])
def test_things_of_the_world_are_found(count: int) -> None:
    rng = np.random.default_rng(count)
    found = total = 0
    for _ in range(20):
        scene = render_scene(rng, pick(rng, identities("held_out"), count))
        boxes = salient_boxes(Image.fromarray(scene.image))
        found += sum(any(overlap(placed.box, box)[0] > 0.6 for box in boxes) for placed in scene.objects)
        total += count
    assert found / total >= 0.9


def test_a_picture_without_flat_background_has_no_salient_box() -> None:
    assert salient_boxes(noise(200, 100)) == []


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (300, 5), (64, 64)])
def test_an_empty_picture_has_no_salient_box(size: tuple[int, int]) -> None:
    assert salient_boxes(Image.new("RGB", size, "olive")) == []


def test_components_are_told_apart() -> None:
    mask = np.zeros((7, 9), bool)
    mask[1:3, 1:3] = mask[3, 3] = True  # touching by a corner
    mask[5, 5:9] = True
    assert sorted(components(mask)) == [(1, 1, 4, 4), (5, 5, 9, 6)]


def test_a_winding_component_is_one() -> None:
    mask = np.array([[1, 0, 1, 0, 1], [1, 0, 1, 0, 1], [1, 1, 1, 1, 1]], bool)
    assert components(mask) == [(0, 0, 5, 3)]


@pytest.mark.parametrize("size", [(100, 100), (300, 100), (101, 57)])
@pytest.mark.parametrize("scale", [1.0, 0.6, 0.4])
def test_windows_cover_the_picture(size: tuple[int, int], scale: float) -> None:
    covered = np.zeros((size[1], size[0]), bool)
    for x1, y1, x2, y2 in windows(size, scale):
        assert 0 <= x1 < x2 <= size[0] + 1e-6
        assert 0 <= y1 < y2 <= size[1] + 1e-6
        assert x2 - x1 == pytest.approx(y2 - y1)
        covered[int(y1) : round(y2), int(x1) : round(x2)] = True
    assert covered.all()


def test_grid_gives_things_or_windows(registry: PluginRegistry) -> None:
    detector = registry.build("detector", "grid")
    scene = render_scene(np.random.default_rng(0), identities("held_out")[:2])
    assert len(detector.propose(Image.fromarray(scene.image))) == 3
    many = detector.propose(noise(90, 60))
    assert many[0].box == (0, 0, 90, 60)
    assert len(many) > 10
    bare = registry.build("detector", "grid", scales="1", salient="no").propose(noise(60, 60))
    assert [proposal.box for proposal in bare] == [(0, 0, 60, 60)] * 2


def test_whole_gives_the_picture(registry: PluginRegistry) -> None:
    (proposal,) = registry.build("detector", "whole").propose(noise(30, 20))
    assert proposal.box == (0, 0, 30, 20)


@pytest.mark.parametrize("scales", ["0", "2", "0.5,-1"])
def test_scales_are_checked(registry: PluginRegistry, scales: str) -> None:
    with pytest.raises(OptionError, match="scales must lie between"):
        registry.build("detector", "grid", scales=scales)


def test_squares_lie_in_the_picture() -> None:
    assert square((10, 20, 20, 60), (100, 100)) == (0, 20, 40, 60)
    assert square((80, 80, 100, 100), (100, 100), 1.0) == (60, 60, 100, 100)
    assert square((0, 0, 90, 50), (90, 50)) == (0, 0, 90, 50)
    assert square((40, 40, 60, 60), (100, 100), shift=(0.5, 0)) == (50, 40, 70, 60)


def test_overlap_of_boxes() -> None:
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx((1 / 3, 0.5))
    assert overlap((0, 0, 10, 10), (2, 2, 4, 4)) == pytest.approx((0.04, 1.0))
    assert overlap((0, 0, 1, 1), (1, 1, 2, 2)) == (0, 0)
    assert overlap((0, 0, 0, 0), (0, 0, 1, 1)) == (0, 0)
