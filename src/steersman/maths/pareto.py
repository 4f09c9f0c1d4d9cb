"""The frontier of gain against cost: which settings nothing beats in both, and how much the frontier covers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steersman.errors import InputError
from steersman.maths.statistics import LEVEL, Estimate


@dataclass(frozen=True)
class Point:
    """A setting's place in the trade-off.

    Args:
        gain: the higher the better.
        cost: the lower the better.
        label: what it is.
    """

    gain: float
    cost: float
    label: str = ""


@dataclass(frozen=True)
class Box:
    """What an area is measured in: from the worst corner that still counts to the best that can be reached.

    Args:
        worst: gain and cost of the reference point, such as the unsteered gain at the highest cost to be borne.
        best: gain and cost of the ideal, such as gain 1 at the unsteered cost.

    Raises:
        InputError: when the best does not beat the worst in both.
    """

    worst: Point
    best: Point

    def __post_init__(self) -> None:
        """Refuse a box without area."""
        if not (self.best.gain > self.worst.gain and self.best.cost < self.worst.cost):
            raise InputError(
                "expected a best point of more gain and less cost than the worst, got "
                f"{self.best.gain:g} at {self.best.cost:g} against {self.worst.gain:g} at {self.worst.cost:g}"
            )


def dominates(one: Point, other: Point) -> bool:
    """Return whether one point is at least as good in gain and in cost, and better in one of them."""
    no_worse = one.gain >= other.gain and one.cost <= other.cost
    return no_worse and (one.gain > other.gain or one.cost < other.cost)


def frontier(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other dominates, by rising cost; equal points all stay.

    Args:
        points: any number.

    Raises:
        InputError: for a gain or cost that is not finite.
    """
    _check(points)
    kept: list[Point] = []
    for point in sorted(points, key=lambda each: (each.cost, -each.gain)):
        if not kept or point.gain > kept[-1].gain or (point.gain, point.cost) == (kept[-1].gain, kept[-1].cost):
            kept.append(point)
    return kept


def dominated(points: Sequence[Point]) -> list[Point]:
    """Return the points that another dominates, in their order.

    Raises:
        InputError: for a gain or cost that is not finite.
    """
    best = {(point.gain, point.cost) for point in frontier(points)}
    return [point for point in points if (point.gain, point.cost) not in best]


def area(points: Sequence[Point], box: Box) -> float:
    """Return the share of a box that the points dominate, 0 to 1: the normalised hypervolume.

    What lies beyond the box's best counts as lying on its edge; what is worse than its worst in either counts nothing.

    Args:
        points: any number.
        box: what is measured in.

    Raises:
        InputError: for a gain or cost that is not finite.

    Source: Zitzler and Thiele (1999), IEEE Transactions on Evolutionary Computation 3:257.
    """
    _check(points)
    gains = np.array([[point.gain for point in points]])
    costs = np.array([[point.cost for point in points]])
    return float(_areas(gains, costs, box)[0]) if points else 0.0


def area_interval(
    gains: Sequence[Sequence[float]],
    costs: Sequence[Sequence[float]],
    box: Box,
    *,
    same_items: bool = False,
    seed: int = 0,
    level: float = LEVEL,
    resamples: int = 2_000,
) -> Estimate:
    """Return the area under the settings' frontier with its bootstrap percentile interval over items.

    The frontier takes the luckiest of several settings, in the data as in every resample, so the area leans upwards
    where settings are nearly equal and items few.

    Args:
        gains: for every setting the gain of each item; the same items for all.
        costs: for every setting the cost of each item; the same items for all, not needfully those of the gains.
        box: what is measured in.
        same_items: whether gains and costs are of the same items, which are then drawn together.
        seed: of the resampling.
        level: coverage.
        resamples: bootstrap draws.

    Raises:
        InputError: for no settings or items, or numbers of them that do not fit.

    Source: Efron and Tibshirani (1993), chapter 13.
    """
    gain, cost = _table(gains, "gains"), _table(costs, "costs")
    if len(gain) != len(cost) or (same_items and gain.shape != cost.shape):
        raise InputError(f"expected gains and costs of the same settings, got {gain.shape} and {cost.shape}")
    value = float(_areas(gain.mean(1)[None], cost.mean(1)[None], box)[0])
    draw = np.random.default_rng(seed)
    found: list[float] = []
    for _ in range(resamples):
        rows = _drawn(draw, gain.shape[1])
        others = rows if same_items else _drawn(draw, cost.shape[1])
        found.append(float(_areas(gain[:, rows].mean(1)[None], cost[:, others].mean(1)[None], box)[0]))
    low, high = (float(end) for end in np.quantile(found, [(1 - level) / 2, (1 + level) / 2]))
    return Estimate(value, min(low, value), max(high, value), gain.shape[1])


def _areas(gains: NDArray[np.float64], costs: NDArray[np.float64], box: Box) -> NDArray[np.float64]:
    """Return the areas of `[draws, points]` gains and costs."""
    height = np.clip((gains - box.worst.gain) / (box.best.gain - box.worst.gain), 0, 1)
    width = np.clip((box.worst.cost - costs) / (box.worst.cost - box.best.cost), 0, 1)
    order = np.argsort(-width, axis=1, kind="stable")
    width, height = np.take_along_axis(width, order, 1), np.take_along_axis(height, order, 1)
    # From the cheapest on, each point adds what it reaches above all cheaper ones.
    above = np.maximum.accumulate(height, axis=1)
    steps = np.diff(above, axis=1, prepend=0.0)
    return (width * steps).sum(1)


def _drawn(draw: np.random.Generator, n: int) -> NDArray[np.int64]:
    return draw.integers(n, size=n, dtype=np.int64)


def _table(values: Sequence[Sequence[float]], what: str) -> NDArray[np.float64]:
    if not values or not values[0] or len({len(row) for row in values}) != 1:
        raise InputError(f"expected {what} of the same items, at least one, for every setting")
    return np.asarray(values, dtype=np.float64)


def _check(points: Sequence[Point]) -> None:
    for point in points:
        if not (abs(point.gain) < float("inf") and abs(point.cost) < float("inf")):
            raise InputError(f"expected a finite gain and cost, got {point.gain} and {point.cost} of {point.label!r}")
