"""Which site: rules over candidates that have been measured, and the simple rules they are to be compared with.

Every rule does the same three things: it drops candidates, each for a stated reason; it ranks the rest by one merit;
and it takes the best. Rules differ in merit and in reasons alone, so that one record tells any of their choices:

* `causal` (Arditi et al., 2024): merit is the fall of the behaviour when the direction is ablated; dropped are late
  layers, a large KL, and what does not induce the behaviour when added;
* `budget`: merit is the effect less the weighted cost; dropped is what breaks the budget (`effect` without one);
* the baselines (`selection.baselines`): merit is a property of the direction itself; nothing is measured.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from steersman.errors import InputError
from steersman.selection.budget import KNOWN, Budget
from steersman.where import Site

SiteStatus = Literal["chosen", "all dropped"]

NEAREST = 3
"""Candidates that are named where every one was dropped."""


@dataclass(frozen=True)
class Candidate:
    """A direction at one site, and what it did on validation data.

    Args:
        site: where it was read, and is to be written.
        effect: on the target, larger is better, in the measure's unit; NaN where it could not be measured.
        costs: by the names of `KNOWN` and in their units; others are shown and never limited.
        figures: whatever else was measured, by name.
        position: the token it was read at, counted from the prompt's end, -1 the last; `None` where it was averaged.
        coefficient: at which it was measured; `None` where the rule has none.
        flaws: why it is out whatever the rule says, in words.
    """

    site: Site
    effect: float
    costs: Mapping[str, float] = field(default_factory=dict[str, float])
    figures: Mapping[str, float] = field(default_factory=dict[str, float])
    position: int | None = None
    coefficient: float | None = None
    flaws: tuple[str, ...] = ()

    def __str__(self) -> str:
        token = "" if self.position is None else f" of token {self.position}"
        return f"{self.site}{token}"


@dataclass(frozen=True)
class Judged:
    """A candidate as a rule sees it.

    Args:
        candidate: the candidate.
        merit: what the rule ranks by, larger is better.
        dropped: why it is out, in words; empty where it is in the running.
        beyond: of a dropped one, how many limits it breaks and, behind the point, how far: orders the nearest misses.
        spent: share of the budget that it spends, where there is one: of two with equal merit the cheaper is taken.
    """

    candidate: Candidate
    merit: float
    dropped: tuple[str, ...] = ()
    beyond: float = 0.0
    spent: float = 0.0


@dataclass(frozen=True)
class SiteChoice:
    """A rule's choice of a site, with the curve it was made from.

    Args:
        rule: its name.
        measure: what the merit is, with its unit.
        judged: every candidate, by site and position.
        chosen: the best of those in the running; `None` where all were dropped.
        reason: the rule and its figures, in a sentence.
    """

    rule: str
    measure: str
    judged: tuple[Judged, ...]
    chosen: Judged | None
    reason: str

    @property
    def status(self) -> SiteStatus:
        """Whether there is a choice: `all dropped` is an answer too."""
        return "chosen" if self.chosen else "all dropped"

    @property
    def site(self) -> Site:
        """The chosen site.

        Raises:
            InputError: where every candidate was dropped.
        """
        return self.best.site

    @property
    def best(self) -> Candidate:
        """The chosen candidate.

        Raises:
            InputError: where every candidate was dropped.
        """
        if self.chosen is None:
            raise InputError(f"expected a site to be chosen, got none: {self.reason}")
        return self.chosen.candidate

    @property
    def ranked(self) -> tuple[Candidate, ...]:
        """The candidates in the running, best first."""
        return tuple(each.candidate for each in _ranked(self.judged))

    @property
    def nearest(self) -> tuple[Judged, ...]:
        """The dropped candidates that came nearest to staying, a few."""
        out = [each for each in self.judged if each.dropped]
        return tuple(sorted(out, key=lambda each: (each.beyond, *_place(each)))[:NEAREST])

    @property
    def profile(self) -> list[dict[str, Any]]:
        """One row per candidate, by site: the curve, ready for JSON (what is not finite is `None`)."""
        return [
            {
                "site": str(each.candidate.site),
                "layer": each.candidate.site.layer,
                "position": each.candidate.position,
                "coefficient": each.candidate.coefficient,
                "merit": _shown(each.merit),
                "effect": _shown(each.candidate.effect),
                **{name: _shown(value) for name, value in {**each.candidate.figures, **each.candidate.costs}.items()},
                "dropped": list(each.dropped),
                "chosen": each is self.chosen,
            }
            for each in self.judged
        ]


@dataclass(frozen=True)
class CausalLimits:
    """The thresholds of the causal rule; the defaults are the paper's.

    Args:
        depth: layers from `int(depth x layers)` on are out: there a direction acts on the output tokens and not on
            what the model decides.
        kl: largest mean KL(unsteered || ablated) at the last position of harmless prompts, nats.
        induce: least mean refusal log-odds on harmless prompts with the direction added, nats; 0 is a probability of
            one half.

    Source: Arditi et al. (2024), section 2.3 and appendix C.

    Raises:
        InputError: for a depth outside 0 to 1, a negative KL, or a limit that is not a number.
    """

    depth: float = 0.8
    kl: float = 0.1
    induce: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what limits nothing."""
        if not 0 < self.depth <= 1:
            raise InputError(f"expected a share of the depth above 0 and at most 1, got {self.depth}")
        if not self.kl >= 0 or math.isnan(self.induce):
            raise InputError(f"expected a KL of at least 0 nats and a number to induce, got {self.kl}, {self.induce}")


def choose_causal(candidates: Sequence[Candidate], layers: int, limits: CausalLimits = CausalLimits()) -> SiteChoice:
    """Return the site by the causal rule: the lowest `bypass` among those that keep the limits.

    Args:
        candidates: each with the figures `bypass` and `induce` (mean refusal log-odds, nats: with the direction ablated
            on harmful prompts, and added on harmless ones) and the cost `kl`; see `selection.causal`, which measures
            them.
        layers: number of decoder blocks of the model.
        limits: the thresholds.

    Of equal ones the first by position, then by layer, as in the authors' code. Where all are dropped the choice says
    so, with the nearest misses.

    Raises:
        InputError: for no candidate, or one without those figures.

    Source: Arditi et al. (2024), "Refusal in language models is mediated by a single direction", section 2.3 and
    appendix C.
    """
    _some(candidates)
    first_out = int(limits.depth * layers)
    judged: list[Judged] = []
    for each in candidates:
        if not {"bypass", "induce"} <= set(each.figures) or "kl" not in each.costs:
            raise InputError(f"expected the figures bypass and induce and the cost kl of every candidate, got {each}")
        bypass, induce, kl = each.figures["bypass"], each.figures["induce"], each.costs["kl"]
        reasons = dict.fromkeys(each.flaws, math.inf)
        if any(math.isnan(value) for value in (bypass, induce, kl)):
            reasons["a figure is not a number"] = math.inf
        if each.site.layer >= first_out:
            late = f"layer {each.site.layer} is among the last, from {first_out} of {layers} on"
            reasons[late] = (each.site.layer - first_out) / layers
        if kl > limits.kl:
            reasons[f"KL {kl:.3g} above {limits.kl:g} nats"] = kl - limits.kl
        if induce < limits.induce:
            reasons[f"induce {induce:+.2f} below {limits.induce:g} nats"] = limits.induce - induce
        judged.append(Judged(each, -bypass, tuple(reasons), _beyond(reasons)))
    measure = "minus the refusal log-odds on harmful prompts with the direction ablated (nats)"
    return chosen_by("causal", measure, judged, _causal_words, "the lowest refusal log-odds under ablation")


def choose_site(
    candidates: Sequence[Candidate],
    budget: Budget | None = None,
    *,
    weights: Mapping[str, float] | None = None,
    measure: str = "effect",
) -> SiteChoice:
    """Return the site with the largest effect, less its weighted cost, among those within a budget.

    Formula: the largest `effect - sum(weight x cost)` over candidates whose every cost is within its limit.

    Candidates measured at one coefficient differ in what they spend, and the largest effect is then often the largest
    dose. To compare sites fairly, measure a few coefficients at each and hand on what `at_budget` makes of them: all
    then spend the same.

    Args:
        candidates: at least one, each with every cost in the budget.
        budget: the most that each cost may come to; `None` limits nothing.
        weights: units of effect that one unit of a cost is worth, by the cost's name; without, cost only limits.
        measure: what the effect is, with its unit, for the reason.

    Raises:
        InputError: for no candidate, or a cost that the budget or the weights name and nobody measured.
    """
    _some(candidates)
    weights = {} if weights is None else weights
    judged: list[Judged] = []
    for each in candidates:
        missing = [name for name in weights if name not in each.costs]
        if missing:
            raise InputError(f"expected every weighted cost to be measured, got no {', '.join(missing)} at {each}")
        spent = budget.spent(each.costs) if budget else 0.0
        merit = each.effect - sum(weight * each.costs[name] for name, weight in weights.items())
        reasons = dict.fromkeys(each.flaws, math.inf)
        if not math.isfinite(merit):
            reasons["the effect less the cost is not a finite number"] = math.inf
        reasons |= dict.fromkeys(budget.broken(each.costs) if budget else (), spent - 1)
        judged.append(Judged(each, merit, tuple(reasons), _beyond(reasons), spent))
    merit_words = measure + "".join(
        f" - {weight:g} x {name} ({KNOWN[name].unit if name in KNOWN else 'its unit'})"
        for name, weight in weights.items()
    )
    within = f" within {budget.words}" if budget else ""
    rule = "budget" if budget else "effect"
    return chosen_by(rule, merit_words, judged, _effect_words, f"the largest {merit_words}{within}")


def chosen_by(
    rule: str, measure: str, judged: Sequence[Judged], words: Callable[[Judged], str], criterion: str
) -> SiteChoice:
    """Return the choice of the largest merit among candidates that were not dropped.

    Args:
        rule: its name.
        measure: what the merit is, with its unit.
        judged: at least one.
        words: tells a candidate's figures.
        criterion: what is taken, for the reason: "the largest ...".
    """
    ordered = tuple(sorted(judged, key=lambda each: (each.candidate.site, each.candidate.position or 0)))
    running = _ranked(ordered)
    counted = f"{len(running)} of {len(ordered)} candidates in the running"
    if running:
        best = running[0]
        reason = f"{best.candidate}: {criterion}, {words(best)}; {counted}"
        return SiteChoice(rule, measure, ordered, best, reason)
    empty = SiteChoice(rule, measure, ordered, None, "")
    misses = "; ".join(f"{each.candidate} ({', '.join(each.dropped)}; {words(each)})" for each in empty.nearest)
    reason = f"no site: all {len(ordered)} candidates were dropped; nearest: {misses}"
    return SiteChoice(rule, measure, ordered, None, reason)


def _ranked(judged: Sequence[Judged]) -> list[Judged]:
    return sorted((each for each in judged if not each.dropped), key=lambda each: (-each.merit, *_place(each)))


def _place(each: Judged) -> tuple[float, int, Site]:
    """Return what breaks ties: the cheaper, then the earlier token, then the earlier site."""
    return (each.spent, each.candidate.position or 0, each.candidate.site)


def _beyond(reasons: Mapping[str, float]) -> float:
    """Return how many limits are broken and, behind the point, how far in all; infinite for what no limit can mend."""
    total = sum(reasons.values())
    return total if math.isinf(total) else len(reasons) + total / (1 + total)


def _causal_words(each: Judged) -> str:
    figures = each.candidate.figures
    before = {name: f" (from {figures[f'{name}_before']:+.2f})" for name in figures if f"{name}_before" in figures}
    told = ", ".join(f"{name} {figures[name]:+.2f}{before.get(name, '')}" for name in ("bypass", "induce"))
    return f"{told}, KL {each.candidate.costs['kl']:.3g} nats"


def _effect_words(each: Judged) -> str:
    costs = ", ".join(f"{name} {value:.3g}" for name, value in each.candidate.costs.items())
    return f"effect {each.candidate.effect:+.3g}" + (f" at {costs}" if costs else "")


def _shown(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _some(candidates: Sequence[Candidate]) -> None:
    if not candidates:
        raise InputError("expected at least one candidate to choose a site from, got none")
