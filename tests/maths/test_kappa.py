"""Cohen's kappa against scikit-learn, by hand, and where it is undefined."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from steersman.errors import InputError
from steersman.maths.agreement import cohen_kappa

PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@given(PAIRS)
def test_kappa_is_that_of_scikit_learn_where_it_is_defined(pairs):
    first, second = zip(*pairs, strict=True)
    found = cohen_kappa(first, second, resamples=50)
    assert found.n == len(pairs)
    assert found.agreement == pytest.approx(np.mean([a == b for a, b in pairs]))
    if len(set(first)) == len(set(second)) == 1:
        assert (found.kappa, found.low, found.high) == (None, None, None)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found.kappa == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)
    if 1 in (len(set(first)), len(set(second))):
        assert (found.kappa, found.low, found.high) == (0, None, None)
        return
    assert found.low is not None
    assert found.high is not None
    assert -1 <= found.low <= found.high <= 1


def test_kappa_by_hand():
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: p = 35/50, e = (25*30 + 25*20)/2500 = 1/2.
    first = [True] * 25 + [False] * 25
    second = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    found = cohen_kappa(first, second)
    assert found.kappa == pytest.approx(0.4, abs=1e-12)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.4 < found.high


@given(PAIRS)
def test_the_two_judges_and_the_two_answers_may_change_places(pairs):
    first, second = zip(*pairs, strict=True)
    found = cohen_kappa(first, second, resamples=10).kappa
    assert cohen_kappa(second, first, resamples=10).kappa == pytest.approx(found)
    assert cohen_kappa([not a for a in first], [not b for b in second], resamples=10).kappa == pytest.approx(found)


def test_the_extremes():
    half = [True, False] * 10
    assert cohen_kappa(half, half).kappa == 1
    assert cohen_kappa(half, [not a for a in half]).kappa == -1
    assert cohen_kappa(half, [True] * 20).kappa == 0
    for constant in ([True] * 20, [False] * 20):
        same = cohen_kappa(constant, constant)
        assert (same.agreement, same.kappa) == (1.0, None)
        opposite = cohen_kappa(constant, [not a for a in constant])
        assert (opposite.agreement, opposite.kappa) == (0.0, None)


def test_the_interval_is_that_of_texts_drawn_again():
    generator = np.random.default_rng(0)
    first = generator.random(80) < 0.4
    second = np.where(generator.random(80) < 0.2, ~first, first)
    found = cohen_kappa(first.tolist(), second.tolist(), seed=1, resamples=4_000)
    drawn = []
    for _ in range(1_000):
        rows = generator.integers(80, size=80)
        drawn.append(cohen_kappa_score(first[rows], second[rows]))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.04)


def test_the_interval_covers_what_it_says():
    # Independent judges: kappa is 0 in truth.
    generator = np.random.default_rng(1)
    covered = 0
    for trial in range(300):
        first, second = generator.random((2, 60)) < np.array([[0.3], [0.5]])
        found = cohen_kappa(first.tolist(), second.tolist(), seed=trial, resamples=300)
        covered += found.low <= 0 <= found.high
    assert 0.90 <= covered / 300 <= 0.99


def test_the_seed_is_all_that_is_drawn():
    first, second = [True, False, True, True, False], [True, True, False, True, False]
    assert cohen_kappa(first, second, 3) == cohen_kappa(first, second, 3)


@pytest.mark.parametrize(("first", "second"), [([], []), ([True], []), ([True], [True, False])])
def test_unlike_numbers_are_refused(first, second):
    with pytest.raises(InputError, match=f"same texts, got {len(first)} and {len(second)}"):
        cohen_kappa(first, second)
