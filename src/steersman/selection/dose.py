"""Doses: one site at several coefficients, and what it does where it has spent a budget: effect at equal cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from steersman.errors import InputError
from steersman.selection.budget import KNOWN, Budget
from steersman.selection.site import Candidate


@dataclass(frozen=True)
class Dose:
    """What one coefficient at a site did, as a change from the unsteered model.

    Args:
        coefficient: signed, not 0; all doses of a site in one unit and of one sign.
        effect: change of the target, larger is better, in the measure's unit; NaN where it could not be measured.
        costs: by the names of a budget, in its units.
    """

    coefficient: float
    effect: float
    costs: dict[str, float] = field(default_factory=dict[str, float])


def at_budget(candidate: Candidate, doses: Sequence[Dose], budget: Budget) -> Candidate:
    """Return a site's candidate at the coefficient where the budget is first spent.

    Between two doses effect and costs are interpolated, the effect linearly in the coefficient, a cost such that its
    root of the power in `KNOWN` is linear (a KL grows with the square of a small push; linear interpolation would say
    that half a dose costs half, and rob the site of coefficients that it can afford). Below the gentlest dose they lead
    to 0, which is no steering. The first crossing counts: a cost that falls again beyond it is a model that has broken.

    Args:
        candidate: the site; its own effect, costs and coefficient are replaced.
        doses: at least one.
        budget: the most that each cost may come to.

    Returns:
        The candidate with the figure `spent`, the share of the budget: 1, or less where the strongest dose kept the
        budget. A site with less is then known at that dose only, and might do more.

    Raises:
        InputError: for doses that are none of one site, or a cost in the budget that was not measured.
    """
    return _as_candidate(candidate, _path(doses, budget)[-1], budget)


def best_within(candidate: Candidate, doses: Sequence[Dose], budget: Budget) -> Candidate:
    """Return a site's candidate at the coefficient with the largest effect that the budget allows.

    That is where the budget is spent (`at_budget`), unless a gentler dose did more.

    Args:
        candidate: the site.
        doses: at least one.
        budget: the most that each cost may come to.

    Raises:
        InputError: as `at_budget`.
    """
    path = [dose for dose in _path(doses, budget) if not math.isnan(dose.effect)]
    # Of equal effects the gentler dose, which comes first.
    best = max(path, key=lambda dose: dose.effect) if path else _path(doses, budget)[-1]
    return _as_candidate(candidate, best, budget)


def _path(doses: Sequence[Dose], budget: Budget) -> list[Dose]:
    """Return no dose, the doses within the budget and, where a next one breaks it, the point where it is spent."""
    ordered = sorted(doses, key=lambda dose: abs(dose.coefficient))
    sizes = [abs(dose.coefficient) for dose in ordered]
    if not ordered or len({dose.coefficient > 0 for dose in ordered}) > 1 or len({0.0, *sizes}) <= len(sizes):
        given = [dose.coefficient for dose in doses]
        raise InputError(f"expected doses of one sign, none of them 0 and none twice, got coefficients {given}")
    path = [Dose(0.0, 0.0, dict.fromkeys(ordered[0].costs, 0.0))]
    for dose in ordered:
        if budget.within(dose.costs):
            path.append(dose)
            continue
        before = path[-1]
        limits = budget.limits.items()
        share = min(_crossing(name, before.costs.get(name, 0.0), dose.costs[name], limit) for name, limit in limits)
        path.append(_between(before, dose, share, budget))
        break
    return path


def _crossing(name: str, before: float, after: float, limit: float) -> float:
    """Return the share of the way at which a cost reaches its limit, 0 to 1; 1 where it does not."""
    if math.isnan(after):
        return 0.0
    if after <= limit:
        return 1.0
    power = KNOWN[name].power
    low, high, most = (_root(value, power) for value in (before, after, limit))
    return min(1.0, max(0.0, (most - low) / (high - low)))


def _between(before: Dose, after: Dose, share: float, budget: Budget) -> Dose:
    if share == 0:
        return before
    costs: dict[str, float] = {}
    for name, value in after.costs.items():
        power = KNOWN[name].power if name in KNOWN else 1
        low, high = _root(before.costs.get(name, 0.0), power), _root(value, power)
        # The way ends at the limit up to rounding, which must not break it.
        costs[name] = min(_power(low + share * (high - low), power), budget.limits.get(name, math.inf))
    return Dose(
        before.coefficient + share * (after.coefficient - before.coefficient),
        before.effect + share * (after.effect - before.effect),
        costs,
    )


def _root(value: float, power: int) -> float:
    # A cost below nothing (a divergence by rounding, an accuracy that rose) keeps its sign.
    return math.copysign(abs(value) ** (1 / power), value)


def _power(value: float, power: int) -> float:
    return math.copysign(abs(value) ** power, value)


def _as_candidate(candidate: Candidate, dose: Dose, budget: Budget) -> Candidate:
    return replace(
        candidate,
        effect=dose.effect,
        costs=dose.costs,
        coefficient=dose.coefficient,
        figures={**candidate.figures, "spent": budget.spent(dose.costs)},
    )
