"""Tests of paired differences by hand-computed values, by simulation under the null, and against each other."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.errors import InputError
from steersman.maths.significance import benjamini_hochberg, holm, mcnemar, sign_flip, sign_flips

CHANCES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12)


def test_mcnemars_test_is_a_coin():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 0) == pytest.approx(2 / 32)
    assert mcnemar(1, 7) == mcnemar(7, 1) == pytest.approx(2 * (1 + 8) / 256)
    assert mcnemar(4, 4) == 1.0
    assert mcnemar(5, 0, mid=True) == pytest.approx(1 / 32)
    with pytest.raises(InputError, match="counts of at least 0, got -1 and 2"):
        mcnemar(-1, 2)


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_mid_p_value_is_never_the_larger_one(gained, lost):
    assert 0 < mcnemar(gained, lost, mid=True) <= mcnemar(gained, lost) <= 1


@given(st.lists(st.floats(-5.0, 5.0), min_size=1, max_size=9))
def test_few_differences_go_through_every_sign_pattern(values):
    largest = max(map(abs, values))
    sums = [sum(s * v for s, v in zip(signs, values, strict=True))
            for signs in itertools.product((1, -1), repeat=len(values))]  # fmt: skip
    beyond = sum(abs(each) >= abs(sum(values)) - 1e-12 * len(values) * largest for each in sums)
    assert sign_flip(values) == pytest.approx(beyond / len(sums))


def test_random_sign_patterns_come_near_all_of_them():
    values = np.random.default_rng(0).normal(0.4, 1.0, 14)
    exact = sign_flip(values.tolist())
    # A fifteenth value too small to matter takes it over the limit.
    assert sign_flip([*values, 1e-9]) == pytest.approx(exact, abs=4 * math.sqrt(exact / 10_000))


def test_the_sign_flip_of_zeros_and_ones_is_mcnemars_test():
    differences = [1.0] * 9 + [-1.0] * 2 + [0.0] * 40
    assert sign_flip(differences) == pytest.approx(mcnemar(9, 2))


def test_a_p_value_is_never_zero_and_the_sign_plays_no_part():
    values = [1.0] * 40
    assert sign_flip(values) == sign_flip([-value for value in values]) == pytest.approx(1 / 10_001)
    assert sign_flip([0.0] * 40) == 1.0


@pytest.mark.parametrize("n", [8, 40])
def test_under_the_null_one_in_twenty_is_significant(n):
    draw = np.random.default_rng(n)
    columns = [draw.standard_t(4, n).tolist() for _ in range(2_000)]
    found = sum(p <= 0.05 for p in sign_flips(columns, draws=1_000))
    assert 0.035 <= found / 2_000 <= 0.065


def test_a_columns_p_value_does_not_depend_on_the_others():
    draw = np.random.default_rng(1)
    columns = [draw.normal(0.2, 1.0, n).tolist() for n in (30, 25, 30, 5, *[30] * 8)]
    together = sign_flips(columns, seed=3, draws=999)
    assert together == [sign_flip(column, seed=3, draws=999) for column in columns]
    assert together != sign_flips(columns, seed=4, draws=999)


def test_corrections_by_hand():
    values = [0.01, 0.04, 0.03, 0.005]
    assert holm(values) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert benjamini_hochberg(values) == pytest.approx([0.02, 0.04, 0.04, 0.02])


@given(CHANCES)
def test_corrections_keep_order_and_bounds(values):
    for adjust in (holm, benjamini_hochberg):
        adjusted = adjust(values)
        assert all(p <= q <= 1 for p, q in zip(values, adjusted, strict=True))
        order = sorted(range(len(values)), key=lambda i: values[i])
        assert [adjusted[i] for i in order] == sorted(adjusted)
        assert all(q == pytest.approx(p) for p, q in zip(values, adjusted, strict=True) if len(values) == 1)
    assert all(b <= h + 1e-12 for b, h in zip(benjamini_hochberg(values), holm(values), strict=True))
    assert min(holm(values)) == pytest.approx(min(1.0, len(values) * min(values)))  # Bonferroni's


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_no_correction_of_what_is_no_p_value(adjust):
    assert adjust([]) == []
    with pytest.raises(InputError, match="p-values from 0 to 1"):
        adjust([0.2, 1.2])
