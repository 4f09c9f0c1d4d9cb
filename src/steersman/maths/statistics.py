# scipy ships no types.
# pyright: strict, reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
"""Statistics of steered results: intervals for rates, bootstrap for means and paired differences, power.

Everything is on the same items for every setting, so differences are paired (design contract 7). Intervals are 95 %
unless said otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap, norm

from steersman.errors import InputError

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value with its interval and the number of items it rests on."""

    value: float
    low: float
    high: float
    n: int


def wilson(successes: int, n: int, level: float = LEVEL) -> Estimate:
    """Return a rate with its Wilson score interval.

    Args:
        successes: how many of the items, 0 to n.
        n: items, at least 1.
        level: coverage, 0 to 1.

    Raises:
        InputError: for no items or impossible counts.

    Source: Wilson (1927), JASA 22:209; recommended for small n by Brown, Cai and DasGupta (2001).
    """
    if n < 1 or not 0 <= successes <= n:
        raise InputError(f"expected 0 <= successes <= n with n >= 1, got {successes} of {n}")
    z = float(norm.ppf((1 + level) / 2))
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (rate * (1 - rate) / n + z * z / (4 * n * n)) ** 0.5
    return Estimate(
        rate, max(0.0, centre - half) if successes else 0.0, min(1.0, centre + half) if successes < n else 1.0, n
    )


def mean_interval(values: Sequence[float], seed: int = 0, level: float = LEVEL, resamples: int = 2_000) -> Estimate:
    """Return a mean with its bootstrap percentile interval.

    Args:
        values: one per item, at least 1, finite.
        seed: of the resampling.
        level: coverage.
        resamples: bootstrap draws.

    Raises:
        InputError: for no items or a value that is not finite.

    Source: Efron and Tibshirani (1993), chapter 13.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0 or not np.isfinite(array).all():
        bad = np.count_nonzero(~np.isfinite(array))
        raise InputError(f"expected at least one finite value, got {array.size} with {bad} not finite")
    mean = float(array.mean())
    if array.size == 1 or np.ptp(array) == 0:
        return Estimate(mean, mean, mean, int(array.size))
    result = bootstrap(
        (array,),
        np.mean,
        confidence_level=level,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    interval = result.confidence_interval
    return Estimate(mean, float(interval.low), float(interval.high), int(array.size))


def paired_difference(after: Sequence[float], before: Sequence[float], seed: int = 0, level: float = LEVEL) -> Estimate:
    """Return the mean of `after - before` over the same items, with its bootstrap interval.

    Raises:
        InputError: when the two do not hold the same number of items.
    """
    if len(after) != len(before):
        raise InputError(f"expected the same items in both settings, got {len(after)} and {len(before)}")
    return mean_interval([a - b for a, b in zip(after, before, strict=True)], seed, level)


def resolution(n: int, level: float = LEVEL, power: float = 0.8, rate: float = 0.5) -> float:
    """Return the smallest difference between two unpaired rates near `rate` that n items each resolve, in [0, 1].

    Args:
        n: items in each of the two settings.
        level: one minus the two-sided error rate.
        power: probability of seeing the difference when it is there.
        rate: where the variance is taken; 0.5 is the worst case.
    """
    if n < 1:
        raise InputError(f"expected at least one item, got {n}")
    reach = float(norm.ppf((1 + level) / 2) + norm.ppf(power))
    return min(1.0, reach * (2 * rate * (1 - rate) / n) ** 0.5)
