# scipy ships no types.
# pyright: strict, reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
"""What a number of items can resolve: the width of an interval, and the difference that is found in 80 % of studies.

The two are not the same. A difference as large as the interval's half-width is found in only half of all studies.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, nct, norm
from scipy.stats import t as student

from steersman.errors import InputError
from steersman.maths.statistics import LEVEL

POWER = 0.8
"""The customary chance of finding what is there."""


@dataclass(frozen=True)
class Resolution:
    """What n items resolve, in rates as fractions of 1.

    Args:
        n: items of each setting.
        half_width: of the 95 % interval of a difference.
        difference: the smallest true one that is found with the power asked for.
        words: the same in a sentence.
    """

    n: int
    half_width: float
    difference: float
    words: str


def resolved(n: int, discordance: float | None = None, level: float = LEVEL, power: float = POWER) -> Resolution:
    """Return what n items resolve between two rates, with the sentence that says it.

    Args:
        n: items, at least 1.
        discordance: share of the items that differ between the settings, where they are the same items; `None` for
            independent items and rates near one half, the worst case.
        level: one minus the two-sided error rate.
        power: chance of finding the difference when it is there.

    Raises:
        InputError: for no items, or a share outside 0 to 1.
    """
    if discordance is None:
        half, smallest = half_width(n, level), resolution(n, level, power)
        what = "of two independent rates near one half"
    else:
        half = half_width(n, level, discordance)
        smallest = paired_resolution(n, discordance, level, power)
        what = f"on the same items, of which {discordance:.0%} change,"
    digits = 0 if n < 200 else 1  # one item in 60 is 1.7 points: decimals would be invented
    words = f"n = {n}: a difference {what} has an interval of ±{100 * half:.{digits}f} points; "
    if smallest < 1:
        words += f"a true difference of {100 * smallest:.{digits}f} points is found in {power:.0%} of studies"
    else:
        words += f"no true difference, however large, is found in {power:.0%} of studies"
    return Resolution(n, half, smallest, words)


def half_width(n: int, level: float = LEVEL, discordance: float = 0.5) -> float:
    """Return half the width of the interval of a difference near zero: `z sqrt(discordance / n)`, at most 1.

    Args:
        n: items of each setting.
        level: coverage.
        discordance: share of the items that differ between the settings; 0.5 for independent rates near one half, the
            worst case.
    """
    _check(n, discordance)
    return min(1.0, float(norm.ppf((1 + level) / 2)) * (discordance / n) ** 0.5)


def resolution(n: int, level: float = LEVEL, power: float = POWER, rate: float = 0.5) -> float:
    """Return the smallest difference between two unpaired rates near `rate` that n items each resolve, in [0, 1].

    Args:
        n: items in each of the two settings.
        level: one minus the two-sided error rate.
        power: probability of seeing the difference when it is there.
        rate: where the variance is taken; 0.5 is the worst case.
    """
    _check(n, rate)
    reach = float(norm.ppf((1 + level) / 2) + norm.ppf(power))
    return min(1.0, reach * (2 * rate * (1 - rate) / n) ** 0.5)


def paired_power(n: int, difference: float, discordance: float, level: float = LEVEL) -> float:
    """Return the chance that McNemar's exact test finds a difference of two rates on the same items, exactly.

    Args:
        n: items, at least 1.
        difference: the true one, -1 to 1.
        discordance: share of the items expected to differ between the settings, at least the difference's size.
        level: one minus the two-sided error rate.

    Raises:
        InputError: for impossible shares.
    """
    _check(n, discordance)
    if abs(difference) > discordance + 1e-12:
        raise InputError(f"expected a discordance of at least the difference, got {discordance} and {difference}")
    if discordance < 1e-12:
        return 0.0
    changed = np.arange(n + 1)
    chance = binom.pmf(changed, n, discordance)
    changed, chance = changed[chance > 1e-12], chance[chance > 1e-12]
    # The largest number of items on the smaller side that is still significant; -1 where none is.
    largest = binom.ppf((1 - level) / 2, changed, 0.5)
    largest = np.where(binom.cdf(largest, changed, 0.5) <= (1 - level) / 2, largest, largest - 1)
    gained = min(1.0, (discordance + difference) / 2 / discordance)
    found = binom.cdf(largest, changed, gained) + binom.cdf(largest, changed, 1 - gained)
    return float((chance * found).sum())


def paired_resolution(n: int, discordance: float, level: float = LEVEL, power: float = POWER) -> float:
    """Return the smallest difference of two rates on the same items that McNemar's exact test finds, in [0, 1].

    A difference larger than the discordance makes as many items differ as it needs.

    Args:
        n: items, at least 1.
        discordance: share of the items that differ between the settings, such as the one observed.
        level: one minus the two-sided error rate.
        power: chance of finding it; 1 is returned where not even a difference of 1 is found so often.

    Raises:
        InputError: for no items, or a share outside 0 to 1.
    """
    _check(n, discordance)
    return _smallest(lambda size: paired_power(n, size, max(size, discordance), level) >= power, 1.0)


def mean_power(n: int, difference: float, deviation: float, level: float = LEVEL) -> float:
    """Return the chance that a paired t-test finds a mean difference; the sign-flip test's is close to it.

    Args:
        n: items, at least 2.
        difference: the true mean of the differences.
        deviation: their standard deviation, above 0.
        level: one minus the two-sided error rate.

    Raises:
        InputError: for fewer items, or no deviation.
    """
    if n < 2 or not deviation > 0:
        raise InputError(f"expected at least 2 items and a positive deviation, got {n} and {deviation}")
    reach, shift = student.ppf((1 + level) / 2, n - 1), abs(difference) / deviation * n**0.5
    chance = float(nct.sf(reach, n - 1, shift) + nct.cdf(-reach, n - 1, shift))
    return 1.0 if chance != chance else chance  # scipy gives up where the difference is enormous


def mean_resolution(n: int, deviation: float, level: float = LEVEL, power: float = POWER) -> float:
    """Return the smallest mean of paired differences that is found, in the values' own unit.

    Args:
        n: items, at least 2.
        deviation: the differences' standard deviation, above 0.
        level: one minus the two-sided error rate.
        power: chance of finding it.

    Raises:
        InputError: for fewer items, or no deviation.
    """
    most = 1_000 * deviation
    return _smallest(lambda size: mean_power(n, size, deviation, level) >= power, most)


def _smallest(enough: Callable[[float], bool], most: float) -> float:
    low, high = 0.0, most
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check(n: int, share: float) -> None:
    if n < 1:
        raise InputError(f"expected at least one item, got {n}")
    if not 0 <= share <= 1:
        raise InputError(f"expected a share from 0 to 1, got {share}")
