"""Published tables and the formulas written plainly, against the package's statistics."""

import math

import pytest
from scipy import stats

from steersman.maths.significance import mcnemar, sign_flip
from steersman.maths.statistics import mean_interval, tango


@pytest.mark.parametrize(
    ("gained", "lost", "n", "low", "high"),
    [
        (1, 7, 21, -0.5173, -0.0263),  # Bentur et al. (2009), as in Fagerland, Lydersen and Laake (2014): 0.026 to 0.52
        (0, 0, 30, -0.1135, 0.1135),  # z^2 / (n + z^2), from the formula
    ],
)
def test_tangos_intervals_as_published(gained, lost, n, low, high):
    found = tango(gained, lost, n)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))


@pytest.mark.parametrize(("gained", "lost", "n"), [(5, 2, 40), (12, 3, 60), (1, 9, 25), (30, 25, 100)])
def test_tangos_ends_solve_the_score_equation_with_the_likelihoods_own_maximum(gained, lost, n):
    """The nuisance share q is found by maximising the likelihood on a fine grid, not by the closed form."""
    for end in (tango(gained, lost, n).low, tango(gained, lost, n).high):
        shares = [i / 200_000 for i in range(1, 200_000) if i / 200_000 + end > 0 and 2 * i / 200_000 + end < 1]

        def likelihood(q, end=end):
            return gained * math.log(q + end) + lost * math.log(q) + (n - gained - lost) * math.log(1 - 2 * q - end)

        q = max(shares, key=likelihood)
        score = (gained - lost - n * end) / math.sqrt(n * (2 * q + end * (1 - end)))
        assert abs(score) == pytest.approx(1.959964, abs=1e-3)


def test_mcnemars_test_is_scipys_binomial_test():
    for gained, lost in ((1, 7), (0, 6), (12, 3), (5, 5)):
        assert mcnemar(gained, lost) == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)


def test_the_mid_p_value_as_published():
    # Fagerland, Lydersen and Laake (2013), table 2: airway hyper-responsiveness, exact 0.0703, mid-p 0.0391.
    assert mcnemar(1, 7) == pytest.approx(0.0703, abs=5e-5)
    assert mcnemar(1, 7, mid=True) == pytest.approx(0.0391, abs=5e-5)


def test_the_sign_flip_test_on_darwins_maize():
    """Fisher (1935), section 21: 1,726 of 32,768 sign patterns reach the observed sum of 314 either way."""
    eighths = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    assert sum(eighths) == 314
    assert sign_flip([float(value) for value in eighths]) == pytest.approx(1726 / 32768, abs=0.007)


def test_the_bootstrap_t_is_never_inside_students_interval():
    values = [2.1, 0.3, 5.5, 1.7, 0.2, 9.4, 3.3, 0.9, 1.1, 2.6, 0.4, 14.2]
    found = mean_interval(values)
    mean, error = sum(values) / 12, stats.sem(values)
    plain = stats.t.interval(0.95, 11, mean, error)
    assert found.low <= plain[0] + 1e-12
    assert found.high > plain[1]  # the long tail is on the right
    assert found.high - mean <= 2 * (plain[1] - mean) + 1e-12
