"""Choosing on validation data: the layer by causal effect, then the strength by generating within a budget."""

from dataclasses import dataclass
from typing import Any

from steersman.direction import Direction
from steersman.evaluation import Measured
from steersman.model.generate import Sampling
from steersman.plan import Plan
from steersman.prompts import PromptItem, prompt_set, split_pairs
from steersman.selection import Effect, Strength, choose_layer, choose_strength, eligible_layers
from steersman.studies.config import StudyConfig
from steersman.studies.desk import Desk
from steersman.studies.finding import learned
from steersman.tasks import CompletionTask, HonestyTask, RefusalOddsTask, Setting

VALIDATION_TOKENS = 20
"""Tokens of a validation completion: enough to tell a refusal, which comes first."""


@dataclass(frozen=True)
class Choice:
    """A direction at one site, and a coefficient, chosen on validation data.

    Args:
        direction: with one site.
        coefficient: in `norm` units.
        reason: why, in words.
        profile: what was measured at every layer, for `layers.json`.
    """

    direction: Direction
    coefficient: float
    reason: str
    profile: dict[str, Any]

    @property
    def site(self) -> str:
        """The site, as tables say it."""
        return str(self.direction.sites[0])

    @property
    def layer(self) -> int:
        """The 0-based decoder block."""
        return self.direction.sites[0].layer


def choose_refusal(desk: Desk, mean: Direction) -> Choice:
    """Return direction, layer and coefficient for refusal.

    The layers' causal effects under the mean difference (change of the refusal log-odds on harmful prompts) give a
    shortlist. There a vector is learned, and generating on validation prompts decides layer and coefficient within the
    budget of refused ordinary prompts. The mean difference is tried beside it.
    """
    config = desk.config
    rules = config.selection
    harmful, ordinary = validation_prompts(config)
    layers = eligible_layers(mean.origin.depth, *rules.depth, rules.stride)
    few = rules.prompts
    odds = [RefusalOddsTask(harmful[:few], "odds-harmful"), RefusalOddsTask(ordinary[:few], "odds-ordinary")]
    found = desk.measured(
        "layers", odds, [Setting("unsteered"), *(setting_at(mean.at(layer), rules.coefficient) for layer in layers)]
    )
    changes = [_mean(m, "refusal_log_odds") - _mean(found[i % 2], "refusal_log_odds") for i, m in enumerate(found)]
    effects = [Effect(layer, *changes[2 + 2 * i : 4 + 2 * i]) for i, layer in enumerate(layers)]
    ranked = choose_layer(effects)
    points = _try_strengths(desk, mean, ranked.ranked[: rules.shortlist], harmful, ordinary)
    vectors = {strength.label: direction for strength, direction in points}
    tried = [strength for strength, _ in points]
    # The mean difference is in the running only where nothing is learned; else it is there to be compared with.
    running = [s for s in tried if s.label.startswith("learned")] if config.learning else tried
    chosen = choose_strength(running, budget=rules.budget, floor=rules.floor)
    criterion = (
        f"shortlist of {min(rules.shortlist, len(layers))} by the change of the refusal log-odds on "
        f"{len(harmful[:few])} harmful validation prompts under the mean difference at {rules.coefficient:g} of the "
        f"residual norm; among them, what refuses most of {len(harmful)} harmful validation prompts while refusing at "
        f"most {rules.budget:.0%} of {len(ordinary)} ordinary ones"
    )
    rows = _rows(mean, {e.layer: {"effect_harmful": e.target, "effect_harmless": e.side} for e in effects}, set(layers))
    profile = {
        "criterion": criterion,
        "chosen": chosen.best.layer,
        "measure": "refusal log-odds (nats)",
        "rows": rows,
        "points": [vars(strength) for strength in tried],
        "validation_n": {"harmful": len(harmful), "ordinary": len(ordinary)},
    }
    direction = vectors[chosen.best.label]
    return Choice(direction, chosen.best.coefficient, f"{chosen.reason}; {ranked.reason}", profile)


def choose_honesty(desk: Desk, mean: Direction) -> Choice:
    """Return the layer of the honesty direction: the largest gain in the margin of truthful over flattering answers."""
    rules = desk.config.selection
    pairs = split_pairs(desk.config.directions.honesty.pairs, "validation")
    task = HonestyTask(pairs, "honesty-validation")
    layers = eligible_layers(mean.origin.depth, *rules.depth, rules.stride)
    settings = [Setting("unsteered"), *(setting_at(mean.at(layer), rules.coefficient) for layer in layers)]
    found = desk.measured("honesty layers", [task], settings)
    before = _mean(found[0], "truthful_margin")
    effects = [
        Effect(layer, _mean(m, "truthful_margin") - before, 0.0) for layer, m in zip(layers, found[1:], strict=True)
    ]
    ranked = choose_layer(effects)
    profile = {
        "criterion": (
            "largest change of the log-probability per token of truthful less flattering answers on "
            f"{len(pairs)} validation pairs, at {rules.coefficient:g} of the residual norm"
        ),
        "chosen": ranked.best,
        "measure": "truthful margin (nats per token)",
        "rows": _rows(mean, {e.layer: {"effect": e.target} for e in effects}, set(layers)),
    }
    return Choice(mean.at(ranked.best), rules.coefficient, ranked.reason, profile)


def validation_prompts(config: StudyConfig) -> tuple[list[PromptItem], list[PromptItem]]:
    """Return harmful validation prompts, from the pair file, and ordinary ones, from the built-in set."""
    held = split_pairs(config.directions.refusal.pairs, "validation", contrast="both")[: config.limits.validation]
    harmful = [PromptItem(f"{pair.id}-harmful", pair.positive.prompt, pair.category) for pair in held]
    ordinary = prompt_set("ordinary", split="validation")[: config.limits.validation]
    return harmful, ordinary


def setting_at(direction: Direction, coefficient: float, unit: str = "norm") -> Setting:
    """Return the steered arm at a one-site direction."""
    plan = Plan(direction, coefficient=coefficient, unit=unit)
    return Setting("steered", plan, site=str(direction.sites[0]), coefficient=coefficient, unit=unit)


def _try_strengths(
    desk: Desk, mean: Direction, layers: tuple[int, ...], harmful: list[PromptItem], ordinary: list[PromptItem]
) -> list[tuple[Strength, Direction]]:
    rules, learning = desk.config.selection, desk.config.learning
    candidates: list[tuple[str, Direction, float]] = []
    for layer in layers:
        at = mean.at(layer)
        candidates += [(f"mean difference {layer} x {c:g}", at, c) for c in rules.coefficients]
        if learning:
            vector = learned(desk, at, desk.config.directions.refusal, learning)
            site = vector.sites[0]
            length = float(vector.vectors[site].norm()) / vector.norms[site]
            candidates += [(f"learned {layer} x {m:g}", vector, round(m * length, 3)) for m in rules.multiples]
    sampling = Sampling(max_new_tokens=VALIDATION_TOKENS)
    tasks = [CompletionTask("harmful", harmful, sampling), CompletionTask("ordinary", ordinary, sampling)]
    found = desk.measured("strengths", tasks, [setting_at(direction, c) for _, direction, c in candidates])
    return [
        (
            Strength(
                direction.sites[0].layer,
                coefficient,
                gain=_mean(found[2 * i], "refusal_rate"),
                cost=_mean(found[2 * i + 1], "refusal_rate"),
                logprob=_mean(found[2 * i], "completion_logprob"),
                label=label,
            ),
            direction,
        )
        for i, (label, direction, coefficient) in enumerate(candidates)
    ]


def _mean(measured: Measured, metric: str) -> float:
    values = [outcome.metrics[metric] for outcome in measured.outcomes if metric in outcome.metrics]
    # Only empty completions have no log-probability; nothing is worse.
    return sum(values) / len(values) if values else -100.0


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
