"""Estimates and their intervals."""

from __future__ import annotations

import math
from random import Random

import pytest

from repic_cli.evaluation.statistics import Tally, estimate, over_seeds, paired_change, wilson


def test_wilson_equals_the_published_figures() -> None:
    # Newcombe 1998, table I: 81/263, 15/148, 0/20 and 1/29, score method without continuity correction.
    for hits, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        assert wilson(hits, n) == pytest.approx((low, high), abs=5e-5)


def test_a_yes_no_measure_gets_wilson() -> None:
    got = estimate(Tally((1, 1, 0, 0), (1, 1, 1, 0)))
    assert got.value == pytest.approx(2 / 3)
    assert (got.low, got.high) == wilson(2, 3)
    assert got.n == 3


def test_no_chance_is_nan_not_zero() -> None:
    got = estimate(Tally((0, 0), (0, 0)))
    assert math.isnan(got.value) and math.isnan(got.low) and got.n == 0


def test_names_of_one_picture_do_not_count_as_independent() -> None:
    rng = Random(1)
    hits = tuple(4.0 * (rng.random() < 0.5) for _ in range(50))
    got = estimate(Tally(hits, (4.0,) * 50))
    narrow = wilson(sum(hits), 200)
    assert got.n == 200
    assert got.high - got.low > 1.6 * (narrow[1] - narrow[0])


def test_unanimous_samples_keep_an_interval() -> None:
    got = estimate(Tally((2.0,) * 30, (2.0,) * 30))
    assert got.value == 1 and got.high == 1 and 0.85 < got.low < 0.95


def test_samples_of_one_share_keep_an_interval() -> None:
    # Half of each of six pictures: resampling them can only give a half again.
    half = estimate(Tally((1,) * 6, (2,) * 6))
    assert half.value == 0.5 and (half.low, half.high) == pytest.approx(wilson(3, 6))


def test_the_bootstrap_repeats() -> None:
    tally = Tally((1, 2, 0, 2, 1), (2,) * 5)
    assert estimate(tally, seed=3) == estimate(tally, seed=3)


def test_an_interval_covers_as_often_as_it_says() -> None:
    rng = Random(7)
    covered = 0
    for _ in range(200):
        hits = [float((rng.random() < 0.7) + (rng.random() < 0.7)) for _ in range(60)]
        got = estimate(Tally(tuple(hits), (2.0,) * 60))
        covered += got.low <= 0.7 <= got.high
    assert 180 <= covered <= 199


def test_pairing_makes_a_small_steady_change_visible() -> None:
    rng = Random(5)
    before = [float(rng.randint(0, 3)) for _ in range(80)]
    after = [value + 1.0 for value in before]
    change = paired_change(Tally(tuple(before), (4.0,) * 80), Tally(tuple(after), (4.0,) * 80))
    assert change.value == pytest.approx(0.25)
    assert change.low == pytest.approx(0.25) and change.high == pytest.approx(0.25)


def test_pairing_needs_the_same_samples() -> None:
    with pytest.raises(ValueError, match="same samples"):
        paired_change(Tally((1,), (1,)), Tally((1, 1), (1, 1)))
    with pytest.raises(ValueError, match="hits"):
        Tally((1,), (1, 1))


def test_over_seeds_uses_student() -> None:
    got = over_seeds([0.8, 0.9, 1.0])
    assert got.value == pytest.approx(0.9)
    assert got.high - got.value == pytest.approx(4.303 * 0.1 / math.sqrt(3))
    assert math.isnan(over_seeds([0.5]).low) and over_seeds([]).n == 0
