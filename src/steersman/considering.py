"""Considering: what every place offers, the strongest coefficient that rule and budget allow, with effect and costs.

No place knows of another. They take their steps together all the same, each the next coefficient it wants to be
measured, so that the engine is handed all of a step at once and computes once what the places have in common.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from steersman.direction import Direction
from steersman.edits import Edit
from steersman.evaluation import Store, measured
from steersman.model.loaded import Model
from steersman.objectives import Measure, Objective
from steersman.plan import Plan
from steersman.selected import Considered
from steersman.selection.budget import Budget
from steersman.selection.chosen import CoefficientChoice
from steersman.selection.dose import Dose, at_budget
from steersman.selection.site import Candidate
from steersman.tasks import Setting
from steersman.where import Site

DOSES = 4
"""Coefficients of a site whose costs are measured in search of the strongest that the budget allows; where none of them
keeps it, one more is."""

SPENT = 0.7
"""A coefficient that spends this share of the budget is near enough to the strongest that keeps it."""


@dataclass(frozen=True)
class Place:
    """Where and how it is steered, and what the coherence rule makes of that.

    Args:
        site: where.
        edit: how.
        choice: with the coefficient that the rule recommends, or none.
    """

    site: Site
    edit: Edit
    choice: CoefficientChoice


@dataclass
class _Doses:
    """What was measured at one place.

    Args:
        doses: every coefficient with its costs.
        kept: the strongest that keeps the budget; `None` where none does.
        effect: of that one; NaN where nothing was written that it could be measured of.
    """

    doses: list[Dose] = field(default_factory=list[Dose])
    kept: Dose | None = None
    effect: float = math.nan


@dataclass(frozen=True)
class Search:
    """All that the search for the places' coefficients needs.

    Args:
        model: the model.
        direction: at the sites of all places.
        objective: what is to be gained.
        costs: what measures each cost of the budget.
        budget: the most that steering may cost.
        span: the tokens to steer.
        unit: of coefficients.
        store: outcomes of finished items.
    """

    model: Model
    direction: Direction
    objective: Objective
    costs: tuple[Measure, ...]
    budget: Budget
    span: str
    unit: str
    store: Store

    def setting(self, site: Site, edit: Edit, coefficient: float) -> Setting:
        """Return the steered setting of a coefficient; the unsteered one at 0."""
        if not coefficient:
            return Setting("unsteered")
        plan = Plan(self.direction.at(site), edit, span=self.span, coefficient=coefficient, unit=self.unit)
        return Setting("steered", plan, site=str(site), coefficient=coefficient, unit=self.unit)

    def changes(self, what: Measure, settings: Sequence[Setting]) -> list[float]:
        """Return the change of a measure on the validation items under each setting; NaN where no item has it.

        Args:
            what: the measure, in whose unit and sense the change is.
            settings: any number; all are measured together, and the unsteered one with them.
        """
        wanted = [Setting("unsteered"), *settings]
        found = measured(self.model, [what.validation], wanted, context=self.model.identity, store=self.store)
        before, *others = (each.values(what.metric) for each in found)
        changes: list[float] = []
        for after in others:
            moved = [after[item] - before[item] for item in after if item in before]
            # Nothing lost of what should not fall is 0, not -0.
            changes.append(what.scale * sum(moved) / len(moved) + 0.0 if moved else math.nan)
        return changes

    def considered(self, places: Sequence[Place]) -> list[Considered]:
        """Return every place's candidate: the strongest coefficient that rule and budget allow, with effect and costs.

        Args:
            places: each with its choice by the rule.
        """
        found = [_Doses() for _ in places]
        searches: dict[int, Generator[float, dict[str, float], None]] = {}
        asked: dict[int, float] = {}
        for number, place in enumerate(places):
            if place.choice.recommended is not None:
                searches[number] = self._doses(place, place.choice.recommended, found[number])
                asked[number] = next(searches[number])
        while asked:
            settings = [self.setting(places[each].site, places[each].edit, size) for each, size in asked.items()]
            costs = {each.name: self.changes(each, settings) for each in self.costs}
            for row, number in enumerate(list(asked)):
                try:
                    asked[number] = searches[number].send({name: values[row] for name, values in costs.items()})
                except StopIteration:
                    del asked[number]
        ends = [(each, places[row]) for row, each in enumerate(found) if each.kept is not None]
        settings = [self.setting(place.site, place.edit, each.kept.coefficient) for each, place in ends if each.kept]
        if settings:
            for (each, _), effect in zip(ends, self.changes(self.objective.measure, settings), strict=True):
                each.effect = effect
        return [self._words(place, each) for place, each in zip(places, found, strict=True)]

    def _doses(self, place: Place, most: float, found: _Doses) -> Generator[float, dict[str, float], None]:
        """Yield the coefficients of a place one after the other, each after the costs of the one before are sent."""
        size = most
        for turn in range(DOSES + 1):
            if turn == DOSES and found.kept is not None:
                return
            costs = yield size
            found.doses.append(Dose(size, 0.0, costs))
            if self.budget.within(costs) and (found.kept is None or abs(size) > abs(found.kept.coefficient)):
                found.kept = found.doses[-1]
                if size == most or self.budget.spent(costs) >= SPENT:
                    return
            where = at_budget(Candidate(place.site, 0.0), found.doses, self.budget).coefficient or 0.0
            # Just inside of where the budget is thought to be spent: of tries on the line itself half would break it.
            # The last try goes further in: a cost that grows more slowly than thought is come near to from above.
            size = float(f"{(0.95 if turn + 1 < DOSES else 0.75) * where:.3g}")
            if not size or any(size == dose.coefficient for dose in found.doses):
                return

    def _words(self, place: Place, found: _Doses) -> Considered:
        """Return a place's candidate from what was measured there."""
        site, choice, kept = place.site, place.choice, found.kept
        if not found.doses:
            dropped = (f"{choice.pick.status}: {choice.reason}",)
            return Considered(site, choice.edit, choice, None, None, dropped=dropped)
        if kept is None:
            gentlest = min(found.doses, key=lambda dose: abs(dose.coefficient))
            broken = tuple(f"{words} at {gentlest.coefficient:g}" for words in self.budget.broken(gentlest.costs))
            return Considered(site, choice.edit, choice, None, None, gentlest.costs, broken)
        effect = found.effect
        if math.isnan(effect):
            words = f"nothing was written at {kept.coefficient:g} that {self.objective.name} could be measured of"
            return Considered(site, choice.edit, choice, None, None, kept.costs, (words,))
        dropped = () if effect > 0 else (f"no gain at {kept.coefficient:g} ({effect:+.3g} {self.objective.unit})",)
        return Considered(site, choice.edit, choice, kept.coefficient, effect, kept.costs, dropped)
