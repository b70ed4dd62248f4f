"""The picture world: deterministic, split by identity, and with true labels."""

from __future__ import annotations

import numpy as np
import pytest

from repic_cli.embedded.world import (
    BACKGROUNDS,
    LIGHTS,
    Identity,
    identities,
    lookalike,
    pick,
    position_words,
    render_reference,
    render_scene,
)


def test_splits_are_disjoint_and_large() -> None:
    train, held_out = identities("train"), identities("held_out")
    assert not set(train) & set(held_out)
    assert len(train) + len(held_out) == len(identities()) == 1024
    assert len(held_out) > 150


def test_phrase_has_article_for_the_accessory() -> None:
    assert Identity(3, 0, 1, 1).phrase == "red striped star with a crown"
    assert Identity(0, 1, 0, 3).phrase == "green plain circle with an antenna"
    assert Identity(0, 1, 0, 0).phrase == "green plain circle"


def test_same_seed_same_picture() -> None:
    members = pick(np.random.default_rng(3), identities("train"), 3)
    one = render_scene(np.random.default_rng(7), members)
    two = render_scene(np.random.default_rng(7), members)
    other = render_scene(np.random.default_rng(8), members)
    assert np.array_equal(one.image, two.image)
    assert one.objects == two.objects
    assert not np.array_equal(one.image, other.image)


@pytest.mark.parametrize("count", range(1, 8))
def test_scene_holds_each_object_once_and_boxes_do_not_hide_one_another(count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(20):
        members = pick(rng, identities(), count)
        scene = render_scene(rng, members)
        side = scene.image.shape[0]
        assert sorted(placed.identity for placed in scene.objects) == sorted(members)
        assert scene.background in BACKGROUNDS
        assert scene.light in LIGHTS
        centers = [placed.center for placed in scene.objects]
        for index, placed in enumerate(scene.objects):
            x1, y1, x2, y2 = placed.box
            assert 0 <= x1 < x2 <= side
            assert 0 <= y1 < y2 <= side
            assert x1 < placed.center[0] < x2
            assert y1 < placed.center[1] < y2
            assert placed.position == position_words(*placed.center, side)
            for other in centers[:index]:
                assert np.hypot(placed.center[0] - other[0], placed.center[1] - other[1]) > 20


def test_box_is_tight_around_what_was_drawn() -> None:
    """Against a plain background, the pixels that differ are those of the box."""
    plain = Identity(1, 0, 0, 0)  # a red square
    for seed in range(10):
        scene = render_scene(np.random.default_rng(seed), [plain])
        (placed,) = scene.objects
        red = scene.image[..., 0].astype(int) - scene.image[..., 1:].max(-1)
        ys, xs = np.nonzero(red > 60)
        x1, y1, x2, y2 = placed.box
        # The outline, one pixel wide, is dark and belongs to the box.
        assert abs(xs.min() - x1) <= 2 and abs(ys.min() - y1) <= 2
        assert abs(xs.max() + 1 - x2) <= 2 and abs(ys.max() + 1 - y2) <= 2


def test_lookalike_differs_in_one_attribute() -> None:
    rng = np.random.default_rng(0)
    for identity in pick(rng, identities("train"), 20):
        other = lookalike(rng, identity, identities("train"))
        assert sum(a != b for a, b in zip(identity.attributes, other.attributes, strict=True)) == 1


def test_reference_shows_colour_in_the_middle() -> None:
    blue = Identity(0, 2, 0, 0)
    picture = render_reference(np.random.default_rng(0), blue)
    assert picture.shape == (56, 56, 3)
    middle = picture[24:32, 24:32].reshape(-1, 3).mean(0)
    assert middle.argmax() == 2
