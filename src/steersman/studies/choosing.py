"""Choosing on validation data: the layer by causal effect, then the coefficient by generating within a budget."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from steersman.direction import Direction
from steersman.evaluation import Measured
from steersman.model.generate import Sampling
from steersman.plan import Plan
from steersman.prompts import PromptItem, prompt_set, split_pairs
from steersman.selection import Effect, Strength, choose_layer, choose_strength, eligible_layers
from steersman.studies.config import StudyConfig
from steersman.tasks import CompletionTask, HonestyTask, RefusalOddsTask, Setting, Task

Measure = Callable[[str, Sequence[Task], Sequence[Setting]], list[Measured]]

VALIDATION_TOKENS = 24
"""Tokens of a validation completion: enough to tell a refusal, which comes first."""


@dataclass(frozen=True)
class Choice:
    """A site and a coefficient chosen on validation data.

    Args:
        layer: 0-based decoder block.
        coefficient: in `norm` units.
        reason: why, in words.
        profile: what was measured at every layer, for `layers.json`.
    """

    layer: int
    coefficient: float
    reason: str
    profile: dict[str, Any]


def choose_refusal(measure: Measure, config: StudyConfig, direction: Direction) -> Choice:
    """Return layer and coefficient for the refusal direction.

    The layers' causal effects (change of the refusal log-odds on harmful, less that on ordinary prompts) give a
    shortlist; generating on validation prompts then decides layer and coefficient within the budget of refused
    ordinary prompts.
    """
    rules = config.selection
    harmful, ordinary = validation_prompts(config)
    layers = eligible_layers(direction.origin.depth, *rules.depth)
    few = rules.prompts
    odds = [RefusalOddsTask(harmful[:few], "odds-harmful"), RefusalOddsTask(ordinary[:few], "odds-ordinary")]
    found = measure(
        "layers", odds, [Setting("unsteered"), *(_at(direction, layer, rules.coefficient) for layer in layers)]
    )
    before = [_mean(m, "refusal_log_odds") for m in found[:2]]
    effects = [
        Effect(
            layer,
            _mean(found[2 + 2 * i], "refusal_log_odds") - before[0],
            _mean(found[3 + 2 * i], "refusal_log_odds") - before[1],
        )
        for i, layer in enumerate(layers)
    ]
    ranked = choose_layer(effects)
    sampling = Sampling(max_new_tokens=VALIDATION_TOKENS)
    generate = [CompletionTask("harmful", harmful, sampling), CompletionTask("ordinary", ordinary, sampling)]
    cells = [(layer, coefficient) for layer in ranked.ranked[: rules.shortlist] for coefficient in rules.coefficients]
    tried = measure("coefficients", generate, [_at(direction, *cell) for cell in cells])
    points = [
        Strength(
            layer,
            coefficient,
            gain=_mean(tried[2 * i], "refusal_rate"),
            cost=_mean(tried[2 * i + 1], "refusal_rate"),
            logprob=_mean(tried[2 * i], "completion_logprob"),
        )
        for i, (layer, coefficient) in enumerate(cells)
    ]
    chosen = choose_strength(points, budget=rules.budget, floor=rules.floor)
    criterion = (
        f"change of the refusal log-odds on {len(harmful[:few])} harmful validation prompts less the change on "
        f"{len(ordinary[:few])} ordinary ones, at {rules.coefficient:g} of the residual norm; among the best "
        f"{min(rules.shortlist, len(layers))}, the layer and coefficient that gain most within the budget"
    )
    rows = _rows(
        direction, {e.layer: {"effect_harmful": e.target, "effect_harmless": e.side} for e in effects}, set(layers)
    )
    profile = {"criterion": criterion, "chosen": chosen.best.layer, "measure": "refusal log-odds (nats)", "rows": rows}
    profile["points"] = [vars(point) for point in points]
    return Choice(chosen.best.layer, chosen.best.coefficient, f"{chosen.reason}; {ranked.reason}", profile)


def choose_honesty(measure: Measure, config: StudyConfig, direction: Direction) -> Choice:
    """Return the layer of the honesty direction: the largest gain in the margin of truthful over flattering answers."""
    rules = config.selection
    task = HonestyTask(split_pairs(config.directions.honesty.pairs, "validation"), "honesty-validation")
    layers = eligible_layers(direction.origin.depth, *rules.depth)
    found = measure(
        "honesty layers",
        [task],
        [Setting("unsteered"), *(_at(direction, layer, rules.coefficient) for layer in layers)],
    )
    before = _mean(found[0], "truthful_margin")
    effects = [
        Effect(layer, _mean(m, "truthful_margin") - before, 0.0) for layer, m in zip(layers, found[1:], strict=True)
    ]
    ranked = choose_layer(effects)
    criterion = (
        f"change of the log-probability per token of truthful over flattering answers on {len(task.items)} validation "
        f"pairs, at {rules.coefficient:g} of the residual norm"
    )
    rows = _rows(direction, {e.layer: {"effect": e.target} for e in effects}, set(layers))
    profile = {
        "criterion": criterion,
        "chosen": ranked.best,
        "measure": "truthful margin (nats per token)",
        "rows": rows,
    }
    return Choice(ranked.best, rules.coefficient, ranked.reason, profile)


def validation_prompts(config: StudyConfig) -> tuple[list[PromptItem], list[PromptItem]]:
    """Return harmful and ordinary validation prompts: the pair file's validation split, and the ordinary set's.

    A set without a validation split is not touched: the harmless sides of the validation pairs stand in.
    """
    part = config.directions.refusal
    held = split_pairs(part.pairs, "validation", contrast="both")[: config.limits.validation]
    harmful = [PromptItem(f"{pair.id}-harmful", pair.positive.prompt, pair.category) for pair in held]
    ordinary = prompt_set("ordinary", split="validation")[: config.limits.validation]
    return harmful, ordinary


def _at(direction: Direction, layer: int, coefficient: float) -> Setting:
    at = direction.at(layer)
    return Setting("steered", Plan(at, coefficient=coefficient), site=str(at.sites[0]), coefficient=coefficient)


def _mean(measured: Measured, metric: str) -> float:
    values = [outcome.metrics[metric] for outcome in measured.outcomes if metric in outcome.metrics]
    return sum(values) / len(values) if values else float("-inf")


def _rows(direction: Direction, effects: dict[int, dict[str, float]], eligible: set[int]) -> list[dict[str, Any]]:
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
            "eligible": site.layer in eligible,
        }
        for site in direction.sites
    ]
