"""Intervals against published values, coverage by simulation, pairing by construction."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from steersman.errors import InputError
from steersman.maths.statistics import (
    Estimate,
    mean_interval,
    mean_intervals,
    paired_difference,
    paired_rate_difference,
    tango,
    wilson,
)

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


LAWS = {
    "normal": (lambda draw, n: draw.normal(0.0, 1.0, n), 0.0),
    "heavy tails": (lambda draw, n: draw.standard_t(3, n), 0.0),
    "skewed": (lambda draw, n: draw.exponential(1.0, n), 1.0),
    "coarse": (lambda draw, n: draw.choice([-1.0, 0.0, 0.0, 0.0, 1.0], n), 0.0),
    "half zero": (lambda draw, n: draw.normal(0.5, 1.0, n) * (draw.random(n) < 0.5), 0.25),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n", [30, 100])
def test_intervals_of_means_hold_the_mean_in_95_percent(law, n):
    draw, (sample, truth) = np.random.default_rng(n), LAWS[law]
    found = mean_intervals([sample(draw, n).tolist() for _ in range(1_000)], [(0.95,)] * 1_000, resamples=2_000)
    held = sum(each.low <= truth <= each.high for (each,) in found)
    assert 0.92 <= held / 1_000 <= 0.98  # 93 to 97 %, and twice the simulation's own error


def test_the_bootstrap_is_near_the_normal_interval_of_many_items():
    values = np.random.default_rng(1).normal(2.0, 3.0, 2_000)
    estimate = mean_interval(values.tolist())
    half = 1.96 * values.std(ddof=1) / math.sqrt(2_000)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.high - estimate.low == pytest.approx(2 * half, rel=0.1)
    assert estimate.n == 2_000


def test_the_bootstrap_is_seeded_and_touches_no_global_generator():
    values = np.random.default_rng(6).exponential(1.0, 40).tolist()
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


def test_a_columns_interval_does_not_depend_on_the_others():
    draw = np.random.default_rng(4)
    columns = [draw.normal(0.0, 1.0, n).tolist() for n in (50, 20, 50, 7, 50, *[50] * 9)]
    together = mean_intervals(columns, [(0.95, 0.99)] * len(columns), seed=1, resamples=500)
    for column, (narrow, wide) in zip(columns, together, strict=True):
        assert mean_interval(column, 1, resamples=500) == narrow
        assert mean_interval(column, 1, 0.99, resamples=500) == wide
        assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


def test_many_items_are_drawn_in_blocks_like_few():
    values = np.random.default_rng(5).normal(0.0, 1.0, 5_000)
    found = mean_interval(values.tolist(), resamples=1_000)
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(5_000), rel=0.1)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40), st.floats(0.1, 10.0), st.floats(-100.0, 100.0))
def test_intervals_of_means_move_and_grow_with_the_values(values, scale, shift):
    if np.ptp(values) < 1e-3:
        return
    plain = mean_interval(values, resamples=200)
    moved = mean_interval([scale * value + shift for value in values], resamples=200)
    size = np.ptp(values) * scale + abs(shift)
    assert moved.low == pytest.approx(scale * plain.low + shift, abs=1e-6 * size)
    assert moved.high == pytest.approx(scale * plain.high + shift, abs=1e-6 * size)


def test_one_odd_value_among_many_equal_ones_gives_no_endless_interval():
    found = mean_interval([0.0] * 29 + [1.0])
    assert found.low < 0.04 < found.high < 0.3


# Differences of rates on the same items.


COUNTS = (
    st.integers(1, 60)
    .flatmap(lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(n)))
    .filter(lambda counts: counts[0] + counts[1] <= counts[2])
)


@given(COUNTS)
def test_tangos_interval_holds_the_difference_and_turns_with_it(counts):
    gained, lost, n = counts
    found, turned = tango(gained, lost, n), tango(lost, gained, n)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert (found.low, found.high) == (pytest.approx(-turned.high, abs=1e-9), pytest.approx(-turned.low, abs=1e-9))
    wider = tango(gained, lost, n, level=0.99)
    assert wider.low <= found.low
    assert found.high <= wider.high


@pytest.mark.parametrize("n", [30, 60, 2_000])
def test_where_no_item_changed_the_interval_is_not_without_width(n):
    z = 1.959964
    assert paired_rate_difference([1.0] * n, [1.0] * n).high == pytest.approx(z * z / (n + z * z), rel=1e-6)


# Chances of gaining and losing an item: no difference, small and large ones, rates near 0 and 1.
CHANCES = [(0.05, 0.05), (0.1, 0.1), (0.25, 0.25), (0.3, 0.1), (0.5, 0.3), (0.2, 0.0), (0.9, 0.02), (0.1, 0.0)]


@pytest.mark.parametrize(
    ("chances", "n"), [*((chances, 30) for chances in CHANCES), (CHANCES[0], 80), (CHANCES[3], 80)]
)
def test_tangos_interval_holds_the_truth_in_95_percent_exactly_computed(chances, n):
    up, down = chances
    covered = 0.0
    for changed in range(n + 1):
        outer = binom.pmf(changed, n, up + down)
        if outer < 1e-4:
            continue
        inner = binom.pmf(np.arange(changed + 1), changed, up / (up + down))
        for gained in np.flatnonzero(inner > 1e-4):
            found = tango(int(gained), changed - int(gained), n)
            covered += outer * inner[gained] * (found.low <= up - down <= found.high)
    few = n * (up + down) < 5  # so few changes are so coarse that only a cautious interval keeps its promise
    assert 0.93 <= covered <= (1.0 if few else 0.975)


@pytest.mark.parametrize(("gained", "lost", "n"), [(0, 0, 0), (-1, 0, 3), (0, -1, 3), (2, 2, 3)])
def test_tango_refuses_impossible_counts(gained, lost, n):
    with pytest.raises(InputError, match=r"expected gained \+ lost <= n"):
        tango(gained, lost, n)


def test_a_rate_has_zeros_and_ones_on_the_same_items():
    with pytest.raises(InputError, match="0 or 1 for every item"):
        paired_rate_difference([0.5, 1.0], [0.0, 1.0])
    with pytest.raises(InputError, match="the same items in both settings, got 1 and 2"):
        paired_rate_difference([1.0], [0.0, 1.0])


def test_an_estimate_knows_its_sign_and_its_opposite():
    assert [Estimate(0.0, low, high, 9).sign for low, high in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1))] == [1, -1, 0]
    assert Estimate(1.0, 0.5, 2.0, 9).turned() == Estimate(-1.0, -2.0, -0.5, 9)
