# scipy ships no types.
# pyright: strict, reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
"""Tests of paired differences, and what a p-value becomes where several settings were tried."""

from collections.abc import Callable, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from steersman.errors import InputError
from steersman.maths.resampling import flipped_sums
from steersman.maths.statistics import finite

DRAWS = 10_000
"""Random sign patterns; the smallest p-value they can give is 1 in 10,001."""

EXACT = 14
"""Values other than zero up to which all sign patterns (16,384) are gone through."""


def mcnemar(gained: int, lost: int, *, mid: bool = False) -> float:
    """Return the two-sided p-value of McNemar's exact test: whether as many items were gained as lost.

    Formula: with d = gained + lost, twice the chance that a fair coin thrown d times shows min(gained, lost) heads or
    fewer, at most 1. The mid-p value counts half the chance of just that number: closer to the nominal rate, which the
    exact test stays below, but not bound by it.

    Args:
        gained: items that only the later setting has.
        lost: items that only the earlier one has.
        mid: the mid-p value.

    Raises:
        InputError: for negative counts.

    Source: McNemar (1947), Psychometrika 12:153; Fagerland, Lydersen and Laake (2013), BMC Medical Research Methodology
    13:91, for the mid-p value.
    """
    if gained < 0 or lost < 0:
        raise InputError(f"expected counts of at least 0, got {gained} and {lost}")
    changed, fewer = gained + lost, min(gained, lost)
    tail = float(binom.cdf(fewer, changed, 0.5))
    if mid:
        tail -= float(binom.pmf(fewer, changed, 0.5)) / 2
    return min(1.0, 2 * tail)


def sign_flip(differences: Sequence[float], seed: int = 0, draws: int = DRAWS) -> float:
    """Return the two-sided p-value of the sign-flip test: whether paired differences lie about zero; see `sign_flips`.

    Args:
        differences: one per item, at least 1, finite.
        seed: of the sign patterns.
        draws: how many, where all are too many.

    Raises:
        InputError: for no items or a value that is not finite.
    """
    return sign_flips([differences], seed, draws)[0]


def sign_flips(columns: Sequence[Sequence[float]], seed: int = 0, draws: int = DRAWS) -> list[float]:
    """Return the two-sided p-value of the sign-flip test for every column of paired differences.

    Were the settings exchangeable, each item's difference could as well have had the other sign. The p-value is the
    share of sign patterns whose sum lies as far from zero as the one seen: of all patterns where at most 14 differences
    are not zero, else of random ones, the one seen counted among them.

    Args:
        columns: differences, one per item, at least 1, finite; columns of one length share their sign patterns.
        seed: of the sign patterns.
        draws: how many, where all are too many.

    Raises:
        InputError: for a column without items or with a value that is not finite.

    Source: Fisher (1935), "The design of experiments", section 21; Phipson and Smyth (2010), Statistical Applications
    in Genetics and Molecular Biology 9:39, for counting the one seen.
    """
    arrays = [finite(values) for values in columns]
    found: dict[int, float] = {}
    by_length: dict[int, list[int]] = {}
    for index, array in enumerate(arrays):
        if np.count_nonzero(array) <= EXACT:
            found[index] = _every_pattern(array[array != 0])
        else:
            by_length.setdefault(array.size, []).append(index)
    for members in by_length.values():
        # Each by its largest, so that the sums of tiny differences are compared as exactly as others.
        stacked = np.stack([arrays[i] / np.abs(arrays[i]).max() for i in members], axis=1)
        sums = flipped_sums(stacked, seed, draws)
        for place, index in enumerate(members):
            beyond = _beyond(sums[:, place], float(stacked[:, place].sum()), stacked.shape[0])
            found[index] = (1 + beyond) / (1 + draws)
    return [found[index] for index in range(len(arrays))]


def _every_pattern(values: NDArray[np.float64]) -> float:
    if not values.size:
        return 1.0
    scaled = values / np.abs(values).max()
    sums = np.zeros(1)
    for value in scaled:
        sums = np.concatenate([sums + value, sums - value])
    return _beyond(sums, float(scaled.sum()), values.size) / len(sums)


def _beyond(sums: NDArray[np.float64], seen: float, n: int) -> int:
    # Sums that are equal on paper differ by rounding, which grows with n; they count as equal.
    return int(np.count_nonzero(np.abs(sums) >= abs(seen) - 1e-12 * n))


def holm(values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values: reject those below 0.05, and the chance of any false one is at most 0.05.

    Args:
        values: p-values of one family, 0 to 1.

    Raises:
        InputError: for a value outside 0 to 1.

    Source: Holm (1979), Scandinavian Journal of Statistics 6:65.
    """
    adjusted = [0.0] * len(values)
    least = 0.0
    for place, index in enumerate(_ordered(values)):
        least = max(least, min(1.0, (len(values) - place) * values[index]))
        adjusted[index] = least
    return adjusted


def benjamini_hochberg(values: Sequence[float]) -> list[float]:
    """Return Benjamini and Hochberg's adjusted p-values: of those below 0.05, at most 5 % are false on average.

    Args:
        values: p-values of one family, independent or positively dependent, 0 to 1.

    Raises:
        InputError: for a value outside 0 to 1.

    Source: Benjamini and Hochberg (1995), Journal of the Royal Statistical Society B 57:289.
    """
    adjusted = [0.0] * len(values)
    most = 1.0
    for place, index in reversed(list(enumerate(_ordered(values)))):
        most = min(most, len(values) / (place + 1) * values[index])
        adjusted[index] = most
    return adjusted


def _ordered(values: Sequence[float]) -> list[int]:
    if not all(0 <= value <= 1 for value in values):
        raise InputError(f"expected p-values from 0 to 1, got {list(values)[:10]}")
    return sorted(range(len(values)), key=lambda index: values[index])


CORRECTIONS: MappingProxyType[str, Callable[[Sequence[float]], list[float]]] = MappingProxyType(
    {"holm": holm, "benjamini_hochberg": benjamini_hochberg}
)
"""By the name that settings know them by."""
