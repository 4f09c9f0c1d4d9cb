# scipy ships no types.
# pyright: strict, reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
"""Statistics of steered results: intervals for rates, means and paired differences.

Everything is on the same items for every setting, so differences are paired (design contract 7). Intervals are 95 %
unless said otherwise; `docs/statistics.md` shows how often each holds the truth.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

from steersman.errors import InputError
from steersman.maths.resampling import bootstrap_moments

LEVEL = 0.95

RESAMPLES = 10_000
"""Bootstrap draws: an interval adjusted for 20 comparisons still has a dozen of them beyond either end."""

WIDEST = 2.0
"""How far a bootstrap interval may reach, in half-widths of Student's. Where hardly any value differs from the others,
some resamples have next to no spread and would carry an end to infinity."""


@dataclass(frozen=True)
class Estimate:
    """A value with its interval and the number of items it rests on."""

    value: float
    low: float
    high: float
    n: int

    @property
    def sign(self) -> int:
        """1 or -1 where the interval leaves out zero, else 0."""
        return (self.low > 0) - (self.high < 0)

    def turned(self) -> "Estimate":
        """Return the estimate of minus the same quantity."""
        return Estimate(-self.value, -self.high, -self.low, self.n)


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


def mean_interval(values: Sequence[float], seed: int = 0, level: float = LEVEL, resamples: int = RESAMPLES) -> Estimate:
    """Return a mean with its bootstrap interval; see `mean_intervals`.

    Args:
        values: one per item, at least 1, finite.
        seed: of the resampling.
        level: coverage.
        resamples: bootstrap draws.

    Raises:
        InputError: for no items or a value that is not finite.
    """
    return mean_intervals([values], [[level]], seed, resamples)[0][0]


def mean_intervals(
    columns: Sequence[Sequence[float]],
    levels: Sequence[Sequence[float]],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[list[Estimate]]:
    """Return the means of many columns, each with an interval at each of its levels.

    The interval is the bootstrap-t: quantiles of `(mean* - mean) / (s* / sqrt n)` over resamples take the place of
    Student's, and follow the skew of the values. An end is never nearer to the mean than Student's, which few or coarse
    values would make too narrow, and never more than twice as far. Values that are all equal have an interval without
    width: they say nothing of their spread.

    Args:
        columns: values, one per item, at least 1, finite; columns of one length share their draws.
        levels: for each column the coverages that are asked for.
        seed: of the resampling.
        resamples: bootstrap draws.

    Raises:
        InputError: for a column without items or with a value that is not finite.

    Source: Efron and Tibshirani (1993), section 12.5; Hesterberg (2015), "What teachers should know about the
    bootstrap", The American Statistician 69:371, sections 4 and 5, for why the percentile interval is too narrow.
    """
    arrays = [finite(values) for values in columns]
    found: dict[int, list[Estimate]] = {}
    by_length: dict[int, list[int]] = {}
    for index, array in enumerate(arrays):
        if np.ptp(array) == 0:
            found[index] = [Estimate(float(array[0]), float(array[0]), float(array[0]), array.size)] * len(
                levels[index]
            )
        else:
            by_length.setdefault(array.size, []).append(index)
    for n, members in by_length.items():
        means = np.array([arrays[i].mean() for i in members])
        spreads = np.array([arrays[i].std(ddof=1) for i in members])
        scaled = (np.stack([arrays[i] for i in members], axis=1) - means) / spreads
        moved, squares = bootstrap_moments(scaled, seed, resamples)
        variances = np.maximum(squares - moved**2, 0.0) / (n - 1)
        # A resample without spread lies as far out as its mean says, whatever the quotient.
        ratios = moved / np.sqrt(np.maximum(variances, 1e-12))
        for place, index in enumerate(members):
            unit = float(spreads[place]) / n**0.5
            found[index] = [
                _studentised(float(means[place]), unit, ratios[:, place], n, level) for level in levels[index]
            ]
    return [found[index] for index in range(len(arrays))]


def _studentised(mean: float, unit: float, ratios: NDArray[np.float64], n: int, level: float) -> Estimate:
    plain = float(student.ppf((1 + level) / 2, n - 1))
    first, last = (float(each) for each in np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2]))
    # The far tail of the ratios belongs to the near end: a high ratio says that the mean came out too high.
    down, up = (min(max(reach, plain), WIDEST * plain) for reach in (last, -first))
    return Estimate(mean, mean - down * unit, mean + up * unit, n)


def paired_difference(after: Sequence[float], before: Sequence[float], seed: int = 0, level: float = LEVEL) -> Estimate:
    """Return the mean of `after - before` over the same items, with its bootstrap interval.

    Raises:
        InputError: when the two do not hold the same number of items.
    """
    return mean_interval(changes(after, before), seed, level)


def paired_rate_difference(after: Sequence[float], before: Sequence[float], level: float = LEVEL) -> Estimate:
    """Return the difference of two rates over the same items, with Tango's score interval.

    Formula: the differences D whose score test against the data is not significant,
    `|b - c - n D| <= z sqrt(n (2 q + D (1 - D)))`, with b items that only `after` has, c that only `before` has, and q
    the most likely share of the latter given D. Items on which both agree count in n alone. Where no item changed the
    interval is `z^2 / (n + z^2)` either way: 6 points at n = 60.

    Args:
        after: 0 or 1 for every item.
        before: the same for the other setting.
        level: coverage.

    Raises:
        InputError: for other values, no items, or unlike numbers of items.

    Source: Tango (1998), Statistics in Medicine 17:891; recommended by Fagerland, Lydersen and Laake (2014), Statistics
    in Medicine 33:2850.
    """
    gained, lost = discordant(after, before)
    return tango(gained, lost, len(after), level)


def tango(gained: int, lost: int, n: int, level: float = LEVEL) -> Estimate:
    """Return `(gained - lost) / n` with Tango's score interval; see `paired_rate_difference`.

    Args:
        gained: items that only the later setting has.
        lost: items that only the earlier one has.
        n: all items.
        level: coverage.

    Raises:
        InputError: for impossible counts.
    """
    if n < 1 or gained < 0 or lost < 0 or gained + lost > n:
        raise InputError(f"expected gained + lost <= n with n >= 1, got {gained} + {lost} of {n}")
    reach = float(norm.ppf((1 + level) / 2))
    value = (gained - lost) / n
    edge = 1 - 1e-12  # at the very end the variance is zero

    def beyond(other: float) -> float:
        return _score(gained, lost, n, other)

    low, high = -1.0, 1.0
    if beyond(-edge) > reach:
        low = _crossing(beyond, reach, -edge, value)
    if beyond(edge) < -reach:
        high = _crossing(beyond, -reach, value, edge)
    return Estimate(value, min(low, value), max(high, value), n)


def _crossing(falling: Callable[[float], float], level: float, low: float, high: float) -> float:
    """Return where a falling function passes a level, to double precision."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > level else (low, middle)
    return (low + high) / 2


def _score(gained: int, lost: int, n: int, other: float) -> float:
    middle = -gained - lost + (2 * n - gained + lost) * other
    root = max(middle * middle + 8 * n * lost * other * (1 - other), 0.0) ** 0.5
    variance = n * ((root - middle) / (2 * n) + other * (1 - other))
    away = gained - lost - n * other
    return away / variance**0.5 if variance > 0 else float(np.sign(away)) * 1e9


def discordant(after: Sequence[float], before: Sequence[float]) -> tuple[int, int]:
    """Return how many items only `after` has, and how many only `before`.

    Raises:
        InputError: for values other than 0 and 1, no items, or unlike numbers of items.
    """
    moved = finite(changes(after, before))
    if not set(after) | set(before) <= {0, 1}:
        raise InputError("expected 0 or 1 for every item of a rate, got other values")
    return int((moved > 0).sum()), int((moved < 0).sum())


def changes(after: Sequence[float], before: Sequence[float]) -> list[float]:
    """Return `after - before`, item by item.

    Raises:
        InputError: when the two do not hold the same number of items.
    """
    if len(after) != len(before):
        raise InputError(f"expected the same items in both settings, got {len(after)} and {len(before)}")
    return [a - b for a, b in zip(after, before, strict=True)]


def finite(values: Sequence[float]) -> NDArray[np.float64]:
    """Return values as an array.

    Raises:
        InputError: for no values or one that is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0 or not np.isfinite(array).all():
        bad = np.count_nonzero(~np.isfinite(array))
        raise InputError(f"expected at least one finite value, got {array.size} with {bad} not finite")
    return array
