"""Agreement of two judges beyond what chance alone would give."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from steersman.errors import InputError

LEVEL = 0.95


@dataclass(frozen=True)
class Agreement:
    """How far two judges agree on the same texts.

    Args:
        n: texts that both decided.
        agreement: share on which they said the same, 0 to 1.
        kappa: Cohen's kappa, -1 to 1; 0 is what chance gives. `None` where it is undefined: each judge said the same of
            every text, so nothing tells agreement from two habits.
        low: of its bootstrap interval; `None` where kappa is.
        high: the same.
    """

    n: int
    agreement: float
    kappa: float | None
    low: float | None
    high: float | None


def cohen_kappa(
    first: Sequence[bool],
    second: Sequence[bool],
    seed: int = 0,
    level: float = LEVEL,
    resamples: int = 2_000,
) -> Agreement:
    """Return the agreement of two judges of a yes-or-no question, with Cohen's kappa and its bootstrap interval.

    Formula: `(p - e) / (1 - e)`, with p the share of texts on which they agree and e what two judges with these rates
    of yes would agree on by chance. Where one judge is constant and the other is not, it is 0 whatever they say; where
    both are constant, also at opposite answers, it is left undefined here. Where either is constant there is no
    interval: resampling would say 0 to 0 of a judge that was never seen to say the other thing.

    The interval is the percentile bootstrap over texts, of the resamples in which kappa is defined; a perfect agreement
    has the interval [1, 1], which says nothing of the texts not seen.

    Args:
        first: one judge's decisions.
        second: the other's, of the same texts.
        seed: of the resampling.
        level: coverage, 0 to 1.
        resamples: bootstrap draws.

    Raises:
        InputError: for decisions of unlike number, or none.

    Source: Cohen (1960), "A coefficient of agreement for nominal scales", Educational and Psychological Measurement
    20:37.
    """
    if len(first) != len(second) or not len(first):
        raise InputError(f"expected both judges' decisions on the same texts, got {len(first)} and {len(second)}")
    n = len(first)
    cells = np.zeros(4)
    for a, b in zip(first, second, strict=True):
        cells[2 * int(a) + int(b)] += 1
    agreement = float(cells[0] + cells[3]) / n
    kappa = float(_kappas(cells[None])[0])
    if np.isnan(kappa):
        return Agreement(n, agreement, None, None, None)
    if {cells[2] + cells[3], cells[1] + cells[3]} & {0, n}:
        return Agreement(n, agreement, kappa, None, None)
    # Only how many texts fall into each of the four cells matters, and resampling texts makes that multinomial.
    drawn = _kappas(np.random.default_rng(seed).multinomial(n, cells / n, size=resamples).astype(np.float64))
    low, high = np.quantile(drawn[~np.isnan(drawn)], [(1 - level) / 2, (1 + level) / 2])
    return Agreement(n, agreement, kappa, float(low), float(high))


def _kappas(cells: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return kappa of each row of counts `[no no, no yes, yes no, yes yes]`; NaN where both judges are constant."""
    n = cells.sum(1)
    yes_first, yes_second = cells[:, 2] + cells[:, 3], cells[:, 1] + cells[:, 3]
    agreement = (cells[:, 0] + cells[:, 3]) / n
    chance = (yes_first * yes_second + (n - yes_first) * (n - yes_second)) / n**2
    constant = ((yes_first == 0) | (yes_first == n)) & ((yes_second == 0) | (yes_second == n))
    return np.where(constant, np.nan, (agreement - chance) / np.where(constant, 1.0, 1 - chance))
