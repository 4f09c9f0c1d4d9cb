# scipy ships no types.
# pyright: strict, reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
"""Retention: what is left of a skill as a coefficient rises, and how selective the loss is, with paired intervals.

A skill is a set of texts with an accuracy and a number of counted tokens each. Its level under a coefficient is the
mean over all tokens; its *relative* level is that over the level at coefficient 0. Two skills under the same
coefficients make a curve in the plane

    x = relative level of the removed skill        y = relative level of the kept one

that begins at (1, 1). On the diagonal both are lost alike; above it the removed one falls faster. Two numbers sum a
curve up: x where y passes a stated level, and the area between curve and diagonal.

Every interval is a bootstrap over texts, and one draw of texts serves every coefficient and every curve: what two
curves have in common, above all which texts are easy, cancels in their difference.

Reference: van der Weij, Poesio and Schoots (2024), arXiv 2403.05767, section 3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

from steersman.errors import InputError
from steersman.maths.resampling import bootstrap_moments
from steersman.maths.statistics import LEVEL, Estimate

Array = NDArray[np.float64]

RESAMPLES = 4_000
"""Draws of the bootstrap; an end of a 95 % interval has a hundred of them beyond it."""


@dataclass(frozen=True)
class Draws:
    """A number, or one for each coefficient, as the texts have it and as every resample of them has it.

    Args:
        rows: `[1 + resamples, ...]`; the first row is of the texts themselves.
        n: texts that it rests on; of several sets of texts, the fewest.
    """

    rows: Array
    n: int

    @property
    def value(self) -> Array:
        """What the texts themselves have."""
        return np.asarray(self.rows[0])

    def __sub__(self, other: "Draws") -> "Draws":
        """Return the difference, draw by draw."""
        return Draws(self.rows - other.rows, min(self.n, other.n))

    def __getitem__(self, place: Any) -> "Draws":
        """Return the draws at one coefficient, or at several."""
        return Draws(self.rows[:, place], self.n)

    def estimate(self, level: float = LEVEL) -> Estimate:
        """Return the number with its interval: percentiles of the resamples, further out the fewer texts there are.

        The percentiles are those at which a normal quantile equals Student's times `sqrt(n / (n - 1))`; plain ones are
        too narrow for few texts.

        Args:
            level: coverage, 0 to 1.

        Raises:
            InputError: for more than one number.

        Source: Hesterberg (2015), "What teachers should know about the bootstrap", section 4.2, the expanded percentile
        interval.
        """
        if self.rows.ndim != 1:
            raise InputError(f"expected one number to estimate, got {self.rows.shape[1:]}; take one with []")
        value = float(self.value)
        if self.n < 2:
            return Estimate(value, value, value, self.n)
        reach = float(student.ppf((1 + level) / 2, self.n - 1)) * (self.n / (self.n - 1)) ** 0.5
        tail = float(norm.cdf(-reach))
        low, high = (float(end) for end in np.quantile(self.rows[1:], [tail, 1 - tail]))
        return Estimate(value, min(low, value), max(high, value), self.n)


def levels(values: Sequence[Sequence[float]] | Array, weights: Sequence[float] | Array, seed: int = 0) -> Draws:
    """Return the token-weighted mean under every coefficient, `[k]`, with one set of draws for all of them.

    Args:
        values: for each of k coefficients, one value for each of n texts: the mean over its counted tokens.
        weights: `[n]` counted tokens of each text, the same at every coefficient; not all 0.
        seed: of the draws; two sets of texts need different ones, the same texts the same.

    Raises:
        InputError: for unlike lengths, a value that is not finite, or nothing counted.
    """
    table = np.asarray(values, dtype=np.float64)
    counted = np.asarray(weights, dtype=np.float64)
    if table.ndim != 2 or counted.shape != table.shape[1:] or not counted.size:
        raise InputError(
            f"expected one value for each text at every coefficient, got {table.shape} for {counted.size} texts"
        )
    if not np.isfinite(table).all() or not (np.isfinite(counted) & (counted >= 0)).all() or not counted.sum() > 0:
        raise InputError("expected finite values and at least one counted token, got others")
    columns = np.concatenate([table * counted, counted[None]]).T
    drawn, _ = bootstrap_moments(columns, seed, RESAMPLES)
    rows = np.concatenate([columns.mean(0)[None], drawn])
    # A resample of nothing but uncounted texts says nothing; it stands for the texts themselves.
    rows[rows[:, -1] <= 0] = rows[0]
    return Draws(rows[:, :-1] / rows[:, -1:], len(counted))


def relative(found: Draws) -> Draws:
    """Return levels as shares of the first one, that at coefficient 0.

    Raises:
        InputError: when nothing is left to compare with at coefficient 0.
    """
    first = found.rows[:, :1]
    if not found.value[0] > 0:
        raise InputError("expected a level above 0 at coefficient 0, got 0; no share of it can be taken")
    # A resample whose baseline came out 0 has lost nothing that it had.
    shares = np.divide(found.rows, first, out=np.ones_like(found.rows), where=first > 0)
    return Draws(shares, found.n)


def change(found: Draws) -> Draws:
    """Return levels less the first one, that at coefficient 0."""
    return Draws(found.rows - found.rows[:, :1], found.n)


def crossing(kept: Draws, level: float) -> Draws | None:
    """Return where along its coefficients a curve first passes below a level: 2.25 is a quarter of the way from 2 to 3.

    Args:
        kept: `[k]` relative levels, coefficients rising.
        level: a share, below 1.

    Returns:
        `None` where the texts themselves never pass it. A resample that does not is counted at the curve's end.
    """
    below = kept.rows < level
    if not below[0].any():
        return None
    every = np.arange(len(below))
    hit = below.any(1)
    index = np.where(hit, below.argmax(1), below.shape[1] - 1)
    before = np.maximum(index - 1, 0)
    high, low = kept.rows[every, before], kept.rows[every, index]
    gap = high - low
    part = np.divide(high - level, gap, out=np.ones_like(gap), where=hit & (gap > 0))
    return Draws(np.where(hit, before + np.clip(part, 0.0, 1.0), index).astype(np.float64), kept.n)


def along(values: Draws | Sequence[float], where: Draws) -> Draws:
    """Return values at places along the coefficients, linearly between two of them.

    Args:
        values: `[k]`, draws or one row for all.
        where: from `crossing`.
    """
    rows = values.rows if isinstance(values, Draws) else np.broadcast_to(np.asarray(values, float), (1, len(values)))
    rows = np.broadcast_to(rows, (len(where.rows), rows.shape[1]))
    every = np.arange(len(rows))
    lower = np.clip(np.floor(where.rows).astype(int), 0, rows.shape[1] - 1)
    upper = np.minimum(lower + 1, rows.shape[1] - 1)
    part = where.rows - lower
    n = min(values.n, where.n) if isinstance(values, Draws) else where.n
    return Draws(rows[every, lower] * (1 - part) + rows[every, upper] * part, n)


def area(removed: Draws, kept: Draws, reach: float | None = None) -> Draws:
    """Return the area between a curve and the diagonal, positive where the removed skill falls faster.

    Formula: `sum (v_i + v_(i+1)) / 2 (u_(i+1) - u_i)` with `v = y - x`, how selective the loss is, and
    `u = 1 - (x + y) / 2`, how much is lost in all. That is the area in the plane of x and y, closed from the curve's
    end straight onto the diagonal. A curve on the diagonal has none; one of a skill that vanishes alone has 1/4, the
    triangle from (1, 1) over (0, 1) to (1/2, 1/2).

    Args:
        removed: `[k]` relative levels of the removed skill (x), coefficients rising.
        kept: the same of the kept one (y).
        reach: only up to where u first passes this; curves of unlike lengths compare only up to a common one.
    """
    v = kept.rows - removed.rows
    u = 1 - (kept.rows + removed.rows) / 2
    parts = (v[:, 1:] + v[:, :-1]) / 2 * np.diff(u, axis=1)
    n = min(removed.n, kept.n)
    if reach is None:
        return Draws(parts.sum(1), n)
    beyond = u > reach
    hit = beyond.any(1)
    index = np.where(hit, np.maximum(beyond.argmax(1), 1), u.shape[1])
    total = np.where(np.arange(parts.shape[1])[None] < (index - 1)[:, None], parts, 0.0).sum(1)
    last = np.minimum(index, u.shape[1] - 1)
    every = np.arange(len(u))
    here, there = u[every, last - 1], u[every, last]
    step = np.divide(reach - here, there - here, out=np.zeros_like(here), where=hit & (there > here))
    step = np.clip(step, 0.0, 1.0)
    end = v[every, last - 1] + step * (v[every, last] - v[every, last - 1])
    tail = (v[every, last - 1] + end) / 2 * step * (there - here)
    return Draws(total + np.where(hit, tail, 0.0), n)


def lost(removed: Draws, kept: Draws) -> float:
    """Return the most that a curve loses in all, `max(1 - (x + y) / 2)`: how far its area can be taken."""
    return float((1 - (kept.value + removed.value) / 2).max())


def pooled(several: Sequence[Draws], seed: int = 0) -> Draws:
    """Return the mean over several drawn controls; in every resample, over as many controls drawn with replacement.

    Args:
        several: one number each, of the same draws of texts.
        seed: of the draw of controls.

    Raises:
        InputError: for none.
    """
    if not several:
        raise InputError("expected at least one control to pool, got none")
    rows = np.stack([each.rows for each in several], axis=1)
    chosen = np.random.default_rng(seed).integers(rows.shape[1], size=rows.shape)
    chosen[0] = np.arange(rows.shape[1])
    return Draws(np.take_along_axis(rows, chosen, axis=1).mean(1), min(each.n for each in several))


def relative_percentages(
    results: Mapping[float, tuple[Sequence[float], Sequence[float]]], zero: float = 0.0
) -> dict[float, float]:
    """Return 100 times each coefficient's token-weighted accuracy over that at coefficient 0: the paper's aggregation.

    Unlike `levels`, every coefficient may have texts of its own, as in the paper's files, where an item's weight is its
    `total_encoded_tokens`; no interval can then be paired.

    Args:
        results: by coefficient, every item's accuracy and its number of tokens.
        zero: the coefficient that stands for 100.

    Raises:
        InputError: when that coefficient is not there, or has an accuracy of 0; for unlike lengths, or nothing counted.
    """
    weighted: dict[float, float] = {}
    for coefficient, (accuracies, tokens) in results.items():
        if len(accuracies) != len(tokens) or not sum(tokens) > 0:
            raise InputError(
                f"expected a number of tokens for every item at coefficient {coefficient:g}, got {len(accuracies)} "
                f"accuracies and {len(tokens)} numbers that sum to {sum(tokens):g}"
            )
        products = (accuracy * count for accuracy, count in zip(accuracies, tokens, strict=True))
        weighted[coefficient] = sum(products) / sum(tokens)
    if not weighted.get(zero, 0.0) > 0:
        raise InputError(f"expected an accuracy above 0 at coefficient {zero:g}, got {weighted.get(zero, 'none')}")
    return {coefficient: 100 * value / weighted[zero] for coefficient, value in weighted.items()}


def kept_percentage(removed: Mapping[float, float], kept: Mapping[float, float], level: float = 90.0) -> float | None:
    """Return the least percentage of the removed skill at a coefficient that keeps the other at or above a level.

    The number that the paper's trade-off is read by; only measured coefficients count, nothing lies between them.

    Args:
        removed: by coefficient, from `relative_percentages`.
        kept: the same of the kept skill.
        level: in percent.

    Returns:
        `None` where no coefficient both have keeps so much.
    """
    return min((removed[each] for each in removed if kept.get(each, float("-inf")) >= level), default=None)
