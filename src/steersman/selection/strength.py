"""How strongly: the point that gains most within a stated budget of side effects, on validation data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from steersman.errors import InputError


@dataclass(frozen=True)
class Strength:
    """What one site and coefficient came to on validation data.

    Args:
        layer: 0-based decoder block.
        coefficient: in `norm` units.
        gain: the rate to be raised, 0 to 1.
        cost: the rate to be kept low, 0 to 1.
        logprob: mean log-probability per token of the completions under the unsteered model, nats.
        label: what was tried, in words.
    """

    layer: int
    coefficient: float
    gain: float
    cost: float
    logprob: float
    label: str = ""


@dataclass(frozen=True)
class StrengthChoice:
    """The chosen point, whether it keeps the budget, and why.

    Args:
        best: the point.
        status: `within budget`, or `over budget` when no point kept it and the least costly was taken.
        reason: the rule and the figures, in words.
    """

    best: Strength
    status: Literal["within budget", "over budget"]
    reason: str


def choose_strength(points: Sequence[Strength], *, budget: float, floor: float) -> StrengthChoice:
    """Return the point with the largest gain less cost among those within the budget.

    Args:
        points: what was tried.
        budget: largest allowed cost, 0 to 1.
        floor: least allowed mean log-probability, nats per token.

    Raises:
        InputError: for no point.
    """
    if not points:
        raise InputError("expected at least one site and coefficient to choose from, got none")
    within = [point for point in points if point.cost <= budget and point.logprob >= floor]
    if within:
        best = max(within, key=lambda point: _order(point.gain - point.cost, point))
    else:
        best = max(points, key=lambda point: (-point.cost, *_order(point.gain, point)))
    status: Literal["within budget", "over budget"] = "within budget" if within else "over budget"
    reason = (
        f"layer {best.layer} at {best.coefficient:g} of the residual norm ({status}): {best.gain:.0%} gained at a cost "
        f"of {best.cost:.0%} on validation data, {len(within)} of {len(points)} points kept the budget of {budget:.0%} "
        f"and {floor:g} nats per token"
    )
    return StrengthChoice(best, status, reason)


def _order(merit: float, point: Strength) -> tuple[float, ...]:
    """Return what points are ranked by, the larger the better: ties go to the gentler, then to the lower layer."""
    return (merit, -abs(point.coefficient), -point.layer, point.coefficient)
