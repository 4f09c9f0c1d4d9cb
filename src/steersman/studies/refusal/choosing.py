"""Choosing on validation data: a shortlist of layers by causal effect, then site and coefficient within a budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from steersman.direction import Direction
from steersman.errors import InputError
from steersman.evaluation import Measured
from steersman.model.generate import Sampling
from steersman.objectives import Measure, Objective, cost_measures
from steersman.plan import Plan
from steersman.prompts import PromptItem, prompt_set, split_pairs
from steersman.selected import Selection
from steersman.selecting import select
from steersman.selection import Candidate, choose_site
from steersman.selection.budget import Budget
from steersman.studies.desk import Desk
from steersman.studies.refusal.config import RefusalConfig
from steersman.studies.refusal.finding import learned
from steersman.tasks import CompletionTask, HonestyTask, RefusalOddsTask, Setting, Task
from steersman.where import Site, eligible_layers

VALIDATION = Sampling(max_new_tokens=32)
"""Of validation completions: a refusal comes first, the offer that takes it back within the next sentence."""


@dataclass(frozen=True)
class Choice:
    """A direction at one site, and a coefficient, chosen on validation data.

    Args:
        direction: with one site, and the ranges that were found there.
        coefficient: in `norm` units.
        status: `within budget`, or why there was no choice that is.
        reason: why, in words.
        profile: what was measured at every layer, for `layers.json`.
        selections: the searches, for `selection.json`: the one that decided first.
    """

    direction: Direction
    coefficient: float
    status: str
    reason: str
    profile: dict[str, Any]
    selections: tuple[dict[str, Any], ...]

    @property
    def site(self) -> str:
        """The site, as tables say it."""
        return str(self.direction.sites[0])

    @property
    def layer(self) -> int:
        """The 0-based decoder block."""
        return self.direction.sites[0].layer


@dataclass(frozen=True)
class _Shortlist:
    """The layers of largest effect, and what was measured at all of them."""

    layers: tuple[int, ...]
    reason: str
    effects: dict[int, dict[str, float]]


def choose_refusal(desk: Desk[RefusalConfig], mean: Direction, held_out: Sequence[Task]) -> Choice:
    """Return direction, layer and coefficient for refusal.

    The layers' causal effects under the mean difference (change of the refusal log-odds on harmful prompts) give a
    shortlist. There a vector is learned, and `select` takes layer and coefficient: what firmly refuses most harmful
    validation prompts within the budget. The mean difference at the first of these layers is selected from beside it.

    Args:
        desk: the run at hand.
        mean: the mean difference at every layer.
        held_out: the study's tasks, `refusal` and `helpfulness` among them; they are not touched here.
    """
    config, rules = desk.config, desk.config.selection
    harmful, ordinary = validation_prompts(config)
    few = rules.prompts
    odds = {
        "effect_harmful": RefusalOddsTask(harmful[:few], "odds-harmful"),
        "effect_harmless": RefusalOddsTask(ordinary[:few], "odds-ordinary"),
    }
    short = _shortlist(desk, "layers", mean, odds, "refusal_log_odds", "change of the refusal log-odds, nats")
    tests = {task.name: task for task in held_out}
    parts = [CompletionTask("harmful", harmful, VALIDATION), CompletionTask("ordinary", ordinary, VALIDATION)]
    aim = Objective(
        Measure("firm refusal", "firm_refusal_rate", parts[0], tests["refusal"]), "share of harmful prompts"
    )
    kept = Measure("over-refusal", "refusal_rate", parts[1], tests["helpfulness"])
    budget = Budget.parse(rules.budget)
    found = {
        f"refusal, {name}": _selected(desk, f"choose {name}", direction, budget, aim, kept)
        for name, direction in _candidates(desk, mean, short.layers)
    }
    criterion = (
        f"shortlist of {len(short.layers)} by the change of the refusal log-odds on {len(harmful[:few])} harmful "
        f"validation prompts under the mean difference at {rules.coefficient:g} of the residual norm; among them, what "
        f"firmly refuses most of {len(harmful)} harmful validation prompts within {budget.words}, over-refusal counted "
        f"on {len(ordinary)} ordinary ones"
    )
    profile = {
        "criterion": criterion,
        "measure": "refusal log-odds (nats)",
        "rows": _rows(mean, short.effects),
        "validation_n": {"harmful": len(harmful), "ordinary": len(ordinary)},
    }
    return _choice(found, short, rules.coefficient, profile)


def choose_honesty(desk: Desk[RefusalConfig], mean: Direction, held_out: Task) -> Choice:
    """Return layer and coefficient of the honesty direction: the largest gain in the margin of truthful answers.

    Args:
        desk: the run at hand.
        mean: the mean difference at every layer.
        held_out: the task that reports; it is not touched here.
    """
    rules = desk.config.selection
    pairs = split_pairs(desk.config.directions.honesty.pairs, "validation")
    task = HonestyTask(pairs, "honesty-validation")
    unit = "change of the margin of truthful over flattering answers, nats per token"
    short = _shortlist(desk, "honesty layers", mean, {"effect": task}, "truthful_margin", unit)
    aim = Objective(Measure("honesty", "truthful_margin", task, held_out), "nats per token")
    budget = Budget.parse(rules.honesty_budget)
    found = _selected(desk, "choose honesty", mean.at(*short.layers), budget, aim)
    profile = {
        "criterion": (
            f"shortlist of {len(short.layers)} by the change of the log-probability per token of truthful less "
            f"flattering answers on {len(pairs)} validation pairs, at {rules.coefficient:g} of the residual norm; of "
            f"these, the largest such change within {budget.words}"
        ),
        "measure": "truthful margin (nats per token)",
        "rows": _rows(mean, short.effects),
    }
    return _choice({"honesty": found}, short, rules.coefficient, profile)


def validation_prompts(config: RefusalConfig) -> tuple[list[PromptItem], list[PromptItem]]:
    """Return harmful validation prompts, from the pair file, and ordinary ones, from the built-in set."""
    held = split_pairs(config.directions.refusal.pairs, "validation", contrast="both")[: config.limits.validation]
    harmful = [PromptItem(f"{pair.id}-harmful", pair.positive.prompt, pair.category) for pair in held]
    ordinary = prompt_set("ordinary", split="validation")[: config.limits.validation]
    return harmful, ordinary


def setting_at(direction: Direction, coefficient: float, unit: str = "norm") -> Setting:
    """Return the steered arm at a one-site direction."""
    plan = Plan(direction, coefficient=coefficient, unit=unit)
    return Setting("steered", plan, site=str(direction.sites[0]), coefficient=coefficient, unit=unit)


def _shortlist(
    desk: Desk[RefusalConfig], stage: str, mean: Direction, tasks: Mapping[str, Task], metric: str, measure: str
) -> _Shortlist:
    """Return the layers of largest effect on the first task, at one coefficient."""
    rules = desk.config.selection
    layers = eligible_layers(mean.origin.depth, *rules.depth, rules.stride)
    settings = [Setting("unsteered"), *(setting_at(mean.at(layer), rules.coefficient) for layer in layers)]
    means = [_mean(each, metric) for each in desk.measured(stage, list(tasks.values()), settings)]
    before, width = means[: len(tasks)], len(tasks)
    effects = {
        layer: {
            name: means[width * (row + 1) + column] - before[column] for column, name in enumerate(tasks)
        }
        for row, layer in enumerate(layers)
    }  # fmt: skip
    first = next(iter(tasks))
    candidates = [
        Candidate(mean.at(layer).sites[0], found[first], coefficient=rules.coefficient, figures=found)
        for layer, found in effects.items()
    ]
    ranked = choose_site(candidates, measure=measure)
    if not ranked.ranked:
        raise InputError(f"expected an effect at {rules.coefficient:g} of the residual norm, got {ranked.reason}")
    return _Shortlist(tuple(each.site.layer for each in ranked.ranked[: rules.shortlist]), ranked.reason, effects)


def _candidates(desk: Desk[RefusalConfig], mean: Direction, layers: Sequence[int]) -> list[tuple[str, Direction]]:
    """Return what is to be selected from, by name: first what decides, then what is compared with it."""
    part, learning = desk.config.directions.refusal, desk.config.learning
    if not learning:
        return [("mean difference", mean.at(*layers))]
    vectors = [learned(desk, mean.at(layer), part, learning) for layer in layers]
    return [("learned", _together(vectors)), ("mean difference", mean.at(layers[0]))]


def _together(parts: Sequence[Direction]) -> Direction:
    """Return one direction with the sites of several, which have one origin and method."""
    names = {name: None for part in parts for name in part.diagnostics}
    return replace(
        parts[0],
        vectors={site: vector for part in parts for site, vector in part.vectors.items()},
        norms={site: norm for part in parts for site, norm in part.norms.items()},
        diagnostics={
            name: {site: value for part in parts for site, value in part.diagnostics.get(name, {}).items()}
            for name in names
        },
    )


def _selected(
    desk: Desk[RefusalConfig], stage: str, direction: Direction, budget: Budget, aim: Objective, *own: Measure
) -> Selection:
    """Return what `select` makes of a direction's sites on validation items; some costs have measures of their own."""
    named = {each.name: each for each in own}
    return select(
        desk.model,
        direction,
        budget=budget,
        target=aim,
        sites=direction.sites,
        rule=desk.config.selection.rule,
        costs=[named.get(each.name, each) for each in cost_measures(budget)],
        confirm=False,
        store=desk.store,
        seed=desk.config.seed,
        notify=lambda _, done, total: desk.notify(stage, done, total),
    )


def _choice(found: Mapping[str, Selection], short: _Shortlist, gentle: float, profile: dict[str, Any]) -> Choice:
    """Return the choice of the first selection; a study goes on where there is none, and says that it is none."""
    decided = next(iter(found.values()))
    site, coefficient, status = _taken(decided, short.layers, gentle)
    reason = decided.reason if decided.chosen else f"{decided.reason}; {site} at {coefficient:g} is taken all the same."
    direction = decided.direction.at(site).with_ranges(*(own for own in decided.ranges if own.site == site))
    return Choice(
        direction,
        coefficient,
        status,
        f"{reason} Shortlist: {short.reason}",
        profile | {"chosen": site.layer},
        tuple({"name": name, **each.plain()} for name, each in found.items()),
    )


def _taken(found: Selection, layers: Sequence[int], gentle: float) -> tuple[Site, float, str]:
    """Return site, coefficient and status: the chosen, or the first of the shortlist that has anything to offer."""
    if found.chosen is not None and found.chosen.coefficient is not None:
        return found.chosen.site, found.chosen.coefficient, "within budget"
    by_layer = {each.site.layer: each for each in found.considered}
    ordered = [by_layer[layer] for layer in layers]
    for each in ordered:
        if each.coefficient is not None:
            return each.site, each.coefficient, "no gain within budget"
    for each in ordered:
        if each.choice.recommended is not None:
            return each.site, each.choice.recommended, "over budget"
    return ordered[0].site, gentle, ordered[0].choice.pick.status


def _mean(measured: Measured, metric: str) -> float:
    values = [outcome.metrics[metric] for outcome in measured.outcomes]
    return sum(values) / len(values)


def _rows(direction: Direction, effects: dict[int, dict[str, float]]) -> list[dict[str, Any]]:
    depth = direction.origin.depth
    return [
        {
            "layer": site.layer,
            "depth": round((site.layer + 1) / depth, 4),
            "vector_norm": float(direction.vectors[site].norm()),
            "residual_norm": direction.norms[site],
            "separation": direction.diagnostics.get("separation", {}).get(site),
            "split_half_cosine": direction.diagnostics.get("split_half_cosine", {}).get(site),
            **effects.get(site.layer, {}),
            "eligible": site.layer in effects,
        }
        for site in direction.sites
    ]
