# torch's tolist is only partly typed.
# pyright: strict, reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""What several directions together come to: coefficients, predicted effects, and which of them interfere."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from steersman.composition.frame import Each, Frame
from steersman.direction import Direction
from steersman.plan import Plan
from steersman.range import USUAL
from steersman.shapes import Float, Tensor
from steersman.where import Site

INTERFERENCE = 0.3
"""Size of a cosine from which on two directions count as interfering: each moves the other's axis by three tenths of
what it moves its own. Random directions of width 576 have cosines of about 0.04."""

Outcome = Literal["kept", "weakened", "strengthened", "reversed", "moved"]
Relation = Literal["fight", "reinforce", "overlap"]


@dataclass(frozen=True)
class Member:
    """One direction of several.

    Args:
        name: of the direction.
        site: where it is added.
        asked: its weight or target, times the scale: the effect it is meant to have on its own axis.
        coefficient: what it is added with, in the composition's unit.
        effect: what all directions together are predicted to do to its axis at its site, in the same unit.
        outcome: `kept`, `weakened`, `strengthened` or `reversed`, where the effect differs from what was asked by more
            than the threshold's share; `moved` where nothing was asked for and the others push all the same.
    """

    name: str
    site: Site
    asked: float
    coefficient: float
    effect: float
    outcome: Outcome


@dataclass(frozen=True)
class Pairing:
    """Two directions that overlap.

    Args:
        first: name of the one.
        second: name of the other.
        cosine: between them, at their sites.
        relation: `fight` where each, with the sign it is asked for, pushes against the other's axis, `reinforce` where
            along it; `overlap` where one of them is not asked for.
    """

    first: str
    second: str
    cosine: float
    relation: Relation


@dataclass(frozen=True, repr=False)
class Composition:
    """Several directions put together.

    Args:
        way: one of `WAYS`, or `simultaneous`.
        unit: of all coefficients and effects: `norm` or `raw`.
        members: the directions, in their order.
        cosines: `[k, k]` float64 between them at their sites; NaN where they share no basis.
        pairs: those that overlap by the threshold or more, the most first.
        pushes: `{site: length of all that is added there, as a fraction of the mean residual norm}`, in both units.
        threshold: size of a cosine, and share of an effect, from which on it is reported.
        plan: what steers, at its scale.
        direction: the one vector at scale 1, whose `raw` coefficient is the scale; `None` where each is added at its
            own site.
    """

    way: str
    unit: str
    members: tuple[Member, ...]
    cosines: Float[Tensor, "k k"]
    pairs: tuple[Pairing, ...]
    pushes: Mapping[Site, float]
    threshold: float
    plan: Plan
    direction: Direction | None = None

    def __repr__(self) -> str:
        return f"Composition({self.way} of {', '.join(each.name for each in self.members)}: {self.plan!r})"

    @property
    def residual(self) -> float:
        """The length of what effects lack of what was asked, over all axes, in the unit of coefficients."""
        return sum((each.effect - each.asked) ** 2 for each in self.members) ** 0.5

    def warnings(self) -> list[str]:
        """Return a sentence for each pair that interferes, each effect not kept, and each push that is too long.

        Of pairs nothing is said where the overlap was taken out.
        """
        pairs = self.pairs if self.way in ("mean", "sum", "simultaneous") else ()
        at = {each.name: each.site for each in self.members}
        found: list[str] = []
        for each in pairs:
            one, two = (f"{name} at {at[name]}" for name in (each.first, each.second))
            if each.relation != "overlap":  # what happens to the one not asked for is said below
                what = "fight" if each.relation == "fight" else "reinforce each other"
                found.append(f"{one} and {two} {what}: cosine {each.cosine:+.2f} (threshold {self.threshold:g})")
        found += [
            f"{each.name} at {each.site} is predicted to be {each.outcome}: asked for {each.asked:+.3g} "
            f"{self.unit} along its own axis, gets {each.effect:+.3g}"
            for each in self.members
            if each.outcome != "kept"
        ]
        found += [
            f"{push:.2f} of the residual norm is added at {site}; text usually stays readable up to {USUAL:g}"
            for site, push in self.pushes.items()
            if push > USUAL
        ]
        return found

    def plain(self) -> dict[str, Any]:
        """Return all but the vectors' numbers as plain data, for JSON."""
        return {
            "how": self.way,
            "unit": self.unit,
            "threshold": self.threshold,
            "directions": [vars(each) | {"site": str(each.site)} for each in self.members],
            "cosines": [[None if value != value else value for value in row] for row in self.cosines.tolist()],
            "pairs": [dict(vars(each)) for each in self.pairs],
            "pushes": {str(site): push for site, push in self.pushes.items()},
            "residual": self.residual,
            "steps": self.plan.describe(),
            "warnings": self.warnings(),
        }


def composed(
    way: str,
    unit: str,
    frame: Frame,
    asked: Each,
    coefficients: Each,
    threshold: float,
    plan: Plan,
    pushes: Mapping[Site, float],
    direction: Direction | None = None,
) -> Composition:
    """Return the record of directions that are added with some coefficients; see `Composition`."""
    effects = frame.effects @ coefficients
    largest = float(asked.abs().max())
    numbers = zip(frame.names, frame.sites, asked.tolist(), coefficients.tolist(), effects.tolist(), strict=True)
    members = tuple(
        Member(name, site, wanted, coefficient, effect, outcome(wanted, effect, threshold, largest))
        for name, site, wanted, coefficient, effect in numbers
    )
    pairs = _pairs(frame, asked, threshold)
    return Composition(way, unit, members, frame.cosines, pairs, pushes, threshold, plan, direction)


def outcome(asked: float, effect: float, threshold: float, largest: float) -> Outcome:
    """Return what becomes of a direction.

    Args:
        asked: the effect it is meant to have.
        effect: the effect it is predicted to have.
        threshold: share of what was asked, from which on a difference is reported.
        largest: size of the most that is asked of any direction, to which an unasked effect is compared.
    """
    if asked == 0:
        return "moved" if abs(effect) >= threshold * largest else "kept"
    if effect * asked < 0:
        return "reversed"
    if abs(effect - asked) < threshold * abs(asked):
        return "kept"
    return "weakened" if abs(effect) < abs(asked) else "strengthened"


def _pairs(frame: Frame, asked: Each, threshold: float) -> tuple[Pairing, ...]:
    """Return the pairs whose cosine is of the threshold's size or more, the largest first."""
    cosines, signs = frame.cosines.tolist(), torch.sign(asked).tolist()
    found = [
        Pairing(frame.names[i], frame.names[j], cosines[i][j], _relation(cosines[i][j] * signs[i] * signs[j]))
        for i in range(len(frame.names))
        for j in range(i + 1, len(frame.names))
        if abs(cosines[i][j]) >= threshold  # never of NaN
    ]
    return tuple(sorted(found, key=lambda pair: -abs(pair.cosine)))


def _relation(push: float) -> Relation:
    return "fight" if push < 0 else "reinforce" if push > 0 else "overlap"
