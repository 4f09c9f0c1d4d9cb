"""What a selection came to: every place that was considered, the choice, what the test items say of it, in words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from steersman.direction import Direction
from steersman.errors import InputError
from steersman.maths.statistics import Estimate
from steersman.range import Range
from steersman.selection.budget import KNOWN, Budget
from steersman.selection.chosen import CoefficientChoice
from steersman.selection.site import SiteChoice
from steersman.summary import Report
from steersman.where import Site


@dataclass(frozen=True)
class Considered:
    """One site and edit, and what became of it on validation data.

    Args:
        site: where.
        edit: as `plan.edit_words` says it.
        choice: the coefficient search, with its curve and completions.
        coefficient: signed, the strongest within rule and budget; `None` where there is none.
        effect: change of the target there, larger is better; `None` where it was not measured.
        costs: there, by name, in the units of the budget.
        dropped: why it is out, in words; empty where it was in the running.
    """

    site: Site
    edit: str
    choice: CoefficientChoice
    coefficient: float | None
    effect: float | None
    costs: Mapping[str, float] = field(default_factory=dict[str, float])
    dropped: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return everything as plain data for JSON."""
        return {
            "site": str(self.site),
            "edit": self.edit,
            "coefficient": self.coefficient,
            "effect": self.effect,
            "costs": {name: value if math.isfinite(value) else None for name, value in self.costs.items()},
            "dropped": list(self.dropped),
            "search": self.choice.plain(),
        }


@dataclass(frozen=True)
class Point:
    """What one strength came to on the test items, against the unsteered model on the same items.

    Args:
        label: `0.5x`, `1x`, `1.5x`, or `random direction, 1x`.
        coefficient: signed.
        effect: paired change of the target, larger is better, with its 95 % interval and n.
        costs: paired changes, upwards is worse, in the units of the budget.
        broken: the limits that it breaks on the test items, in words.
    """

    label: str
    coefficient: float
    effect: Estimate
    costs: Mapping[str, Estimate]
    broken: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return everything as plain data for JSON."""
        return {
            "label": self.label,
            "coefficient": self.coefficient,
            "effect": vars(self.effect),
            "costs": {name: vars(value) for name, value in self.costs.items()},
            "broken": list(self.broken),
        }


@dataclass(frozen=True)
class Selection:
    """Where and how strongly, with everything it rests on.

    Args:
        status: `chosen`, or `nothing within budget`, which is an answer too.
        chosen: the site and edit; `None` where there is none.
        considered: every site and edit that was tried, by site.
        sites: the rule's view of the candidates that had a coefficient; `None` where none had.
        points: the test items at multiples of the choice, then under a random vector of equal norm; empty where nothing
            was chosen, or nothing was to be confirmed.
        objective: what was to be gained.
        unit: of the effect.
        sign: 1 or -1.
        budget: the limits.
        ranges: for the direction's file, one per site and edit; each recommends what keeps rule and budget there.
        direction: at the sites that were considered.
        reason: in a few sentences.
        report: rows and paired differences on the test items; `None` where there are no points.
    """

    status: Literal["chosen", "nothing within budget"]
    chosen: Considered | None
    considered: tuple[Considered, ...]
    sites: SiteChoice | None
    points: tuple[Point, ...]
    objective: str
    unit: str
    sign: int
    budget: Budget
    ranges: tuple[Range, ...]
    direction: Direction
    reason: str
    report: Report | None = None

    @property
    def best(self) -> Considered:
        """The chosen site and edit.

        Raises:
            InputError: where there is none.
        """
        if self.chosen is None:
            raise InputError(f"expected a choice, got none: {self.reason}")
        return self.chosen

    def plain(self) -> dict[str, Any]:
        """Return everything but the report as plain data for JSON."""
        best = self.chosen
        return {
            "status": self.status,
            "site": None if best is None else str(best.site),
            "edit": None if best is None else best.edit,
            "coefficient": None if best is None else best.coefficient,
            "coefficient_unit": self.considered[0].choice.unit,
            "sign": self.sign,
            "objective": self.objective,
            "effect_unit": self.unit,
            "budget": dict(self.budget.limits),
            "points": [point.plain() for point in self.points],
            "considered": [each.plain() for each in self.considered],
            "profile": [] if self.sites is None else self.sites.profile,
            "reason": self.reason,
        }


def reason_of(
    chosen: Considered,
    ranked: SiteChoice,
    points: Sequence[Point],
    considered: Sequence[Considered],
    budget: Budget,
) -> str:
    """Return why a place was chosen and what the test items say of it, in a few sentences.

    Args:
        chosen: the place.
        ranked: the rule's view of the candidates.
        points: on the test items; none where these were left alone.
        considered: all places.
        budget: the limits.
    """
    out = sum(bool(each.dropped) for each in considered)
    chose = (
        f"{chosen.edit} {chosen.coefficient:g} {chosen.choice.unit} at {chosen.site}: the largest {ranked.measure} on "
        f"validation items, {chosen.effect:+.3g}, of {len(considered)} tried ({out} dropped)"
    )
    allowed = f"The strongest that was allowed there: {chosen.choice.reason}."
    if not points:
        spent = ", ".join(f"{name} {value:.3g} {KNOWN[name].unit}" for name, value in chosen.costs.items())
        return f"{chose}, at {spent}, within {budget.words}. {allowed}"
    at = {point.label: point for point in points}
    own, drawn = at["1x"], at["random direction, 1x"]
    effect = own.effect
    sure = "confirmed" if effect.low > 0 else "not confirmed: the interval holds 0"
    if effect.high < 0:
        sure = "refuted: it loses"
    if not effect.n:
        sure = "not confirmed: nothing was written that it could be measured of"
    costs = ", ".join(f"{n} {v.value:+.3g} [{v.low:+.3g}, {v.high:+.3g}] {KNOWN[n].unit}" for n, v in own.costs.items())
    kept = f"beyond the budget there ({'; '.join(own.broken)})" if own.broken else f"within {budget.words}"
    return (
        f"{chose}. On {effect.n} test items "
        f"{effect.value:+.3g} [{effect.low:+.3g}, {effect.high:+.3g}] ({sure}), a random vector of equal norm "
        f"{drawn.effect.value:+.3g}; it costs {costs}, {kept}. {allowed}"
    )


def nothing_within(considered: Sequence[Considered], budget: Budget) -> str:
    """Return in words that there is nothing to recommend, and why."""
    shown = "; ".join(f"{each.edit} at {each.site}: {', '.join(each.dropped)}" for each in considered[:3])
    more = f"; and {len(considered) - 3} more" if len(considered) > 3 else ""
    return f"nothing to recommend within {budget.words}: {shown}{more}"
