"""Intervals against published values, coverage by simulation, pairing by construction."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.errors import InputError
from steersman.maths.statistics import mean_interval, paired_difference, resolution, wilson

# Newcombe (1998), Statistics in Medicine 17:857, table I, method 3 (score, without continuity correction).
NEWCOMBE = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]


@pytest.mark.parametrize(("successes", "n", "low", "high"), NEWCOMBE)
def test_wilson_gives_newcombes_published_intervals(successes, n, low, high):
    estimate = wilson(successes, n)
    assert (round(estimate.low, 4), round(estimate.high, 4)) == (low, high)
    assert (estimate.value, estimate.n) == (successes / n, n)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_symmetric_and_holds_the_rate(counts):
    successes, n = counts
    estimate, turned = wilson(successes, n), wilson(n - successes, n)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.low == pytest.approx(1 - turned.high, abs=1e-12)
    assert wilson(successes, n, level=0.99).high >= estimate.high
    assert wilson(successes * 4, n * 4).high - wilson(successes * 4, n * 4).low < estimate.high - estimate.low


def test_wilson_solves_its_equation():
    estimate = wilson(7, 40)
    for bound in (estimate.low, estimate.high):
        assert abs(estimate.value - bound) == pytest.approx(1.959964 * math.sqrt(bound * (1 - bound) / 40), rel=1e-6)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_impossible_counts(successes, n):
    with pytest.raises(InputError, match=f"got {successes} of {n}"):
        wilson(successes, n)


def test_the_bootstrap_covers_the_mean():
    """Of 300 samples of 40 from a skewed law, about 95 % of intervals hold the mean (percentile: a little under)."""
    draw = np.random.default_rng(0)
    held = 0
    for trial in range(300):
        estimate = mean_interval(draw.exponential(1.0, 40).tolist(), seed=trial, resamples=400)
        held += estimate.low <= 1.0 <= estimate.high
    assert 0.89 <= held / 300 <= 0.98


def test_the_bootstrap_is_near_the_normal_interval_of_many_items():
    values = np.random.default_rng(1).normal(2.0, 3.0, 2_000)
    estimate = mean_interval(values.tolist())
    half = 1.96 * values.std(ddof=1) / math.sqrt(2_000)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.high - estimate.low == pytest.approx(2 * half, rel=0.1)
    assert estimate.n == 2_000


def test_the_bootstrap_is_seeded_and_touches_no_global_generator():
    values = [0.1, 0.5, 2.0, 3.0, 8.0]
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - the global generator is what must not move
    assert mean_interval(values, seed=3) == mean_interval(values, seed=3)
    assert mean_interval(values, seed=3) != mean_interval(values, seed=4)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@pytest.mark.parametrize("values", [[2.0], [3.0, 3.0, 3.0]])
def test_values_without_spread_have_an_interval_without_width(values):
    estimate = mean_interval(values)
    assert estimate.low == estimate.value == estimate.high == values[0]


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_no_mean_without_finite_values(values):
    with pytest.raises(InputError, match="at least one finite value"):
        mean_interval(values)


def test_a_paired_difference_is_narrower_than_an_unpaired_one():
    draw = np.random.default_rng(2)
    before = draw.normal(0.0, 1.0, 100)
    after = before + 0.2 + draw.normal(0.0, 0.1, 100)
    paired = paired_difference(after.tolist(), before.tolist())
    shuffled = paired_difference(after.tolist(), draw.permutation(before).tolist())
    assert paired.value == pytest.approx(shuffled.value)
    assert paired.high - paired.low < (shuffled.high - shuffled.low) / 3
    assert paired.low > 0.1


def test_a_setting_against_itself_differs_by_nothing():
    estimate = paired_difference([1.0, 0.0, 1.0], [1.0, 0.0, 1.0])
    assert (estimate.value, estimate.low, estimate.high, estimate.n) == (0.0, 0.0, 0.0, 3)
    with pytest.raises(InputError, match="the same items in both settings, got 2 and 3"):
        paired_difference([1.0, 0.0], [1.0, 0.0, 1.0])


def test_resolution_is_the_textbook_sample_size_turned_round():
    # (1.96 + 0.8416)^2 * 2 * 0.25 / 0.2^2 = 98.1: about 98 items a group tell 40 % from 60 % (unpooled worst case).
    assert resolution(98) == pytest.approx(0.2, abs=1e-3)
    assert resolution(400) == pytest.approx(resolution(100) / 2)
    assert resolution(60, rate=0.05) < resolution(60)
    assert resolution(1) == 1.0
    with pytest.raises(InputError, match="at least one item, got 0"):
        resolution(0)


def test_a_difference_of_the_resolution_is_seen_four_times_in_five():
    draw, n = np.random.default_rng(3), 200
    shift = resolution(n)
    high, low = (draw.binomial(n, 0.5 + sign * shift / 2, 4_000) / n for sign in (1, -1))
    error = np.sqrt((high * (1 - high) + low * (1 - low)) / n)
    assert np.mean((high - low) / error > 1.96) == pytest.approx(0.8, abs=0.04)
