"""The causal site rule of Arditi et al. (2024), measured: a direction is judged by what it does to the model.

Candidates are the mean differences at every block's input, at every token that the chat template sets after the
instruction. On validation data each is taken out of the model everywhere (does it stop refusing? does it change on what
it never refused?) and added at its own layer (does it refuse what it never refused?). `choose_causal` then decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steersman.direction import Direction
from steersman.edits import Ablate
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.selection.candidates import (
    KL_EPSILON,
    USUAL,
    Prompts,
    Reading,
    mean_differences,
    read_by_plan,
    separated_prompts,
)
from steersman.selection.openings import Odds, discover_tokens, last_logits
from steersman.selection.site import Candidate, CausalLimits, SiteChoice, choose_causal
from steersman.where import Site


@dataclass(frozen=True)
class CausalChoice:
    """The rule's choice, with the directions it was made among.

    Args:
        choice: the site, every candidate's figures, who was dropped and why, and the reason.
        directions: by token position, counted from the prompt's end: a direction with one vector per layer.
        odds: what was read, in words.
        bypass: mean log-odds on harmful prompts, unsteered, nats: what ablation starts from.
        induce: the same on harmless prompts: what addition starts from.
        kept: how many prompts were used: training harmful, harmless, validation harmful, harmless.
    """

    choice: SiteChoice
    directions: Mapping[int, Direction]
    odds: str
    bypass: float
    induce: float
    kept: tuple[int, int, int, int]

    @property
    def direction(self) -> Direction:
        """The chosen direction, at its one site.

        Raises:
            InputError: where every candidate was dropped.
        """
        best = self.choice.best
        assert best.position is not None
        return self.directions[best.position].at(best.site)


def causal_site(
    model: Model,
    train: Prompts,
    validation: Prompts,
    *,
    odds: Odds | None = None,
    limits: CausalLimits | None = None,
    separated: bool = False,
    positions: Sequence[int] | None = None,
    layers: Sequence[int | float] | None = None,
    reading: Reading = USUAL,
) -> CausalChoice:
    """Return the site, and the direction there, by the causal rule.

    Args:
        model: the model.
        train: prompts that the directions are the mean differences of.
        validation: prompts that candidates are judged on; none of the training's.
        odds: the refusal log-odds; where not given, of tokens found on the training prompts (`discover_tokens`).
        limits: the thresholds; the paper's where not given.
        separated: use only prompts that the unsteered model already separates: harmful ones with log-odds above 0,
            harmless ones below (the authors filter both sets so).
        positions: tokens counted from the prompt's end, -1 the last; where not given, all that the chat template sets
            after the instruction, or the last one in a model without a template.
        layers: as in `record`; all where not given, as in the paper, which drops the last ones only after measuring.
        reading: how prompts are read.

    Raises:
        InputError: for positions or layers that are not there, or no prompt left on a side.

    Source: Arditi et al. (2024), section 2.3 and appendix C; their code for the epsilons.
    """
    used = odds or discover_tokens(
        model, train.harmful, train.harmless, system=reading.system, batch_size=reading.batch_size
    )
    if separated:
        train, validation = (separated_prompts(model, prompts, used, reading) for prompts in (train, validation))
    directions, absent = mean_differences(model, train, positions=positions, layers=layers, reading=reading)
    candidates, bypass, induce = measure_candidates(model, directions, absent, validation, used, reading)
    kept = (len(train.harmful), len(train.harmless), len(validation.harmful), len(validation.harmless))
    choice = choose_causal(candidates, model.depth, limits or CausalLimits())
    return CausalChoice(choice, directions, used.words, bypass, induce, kept)


def measure_candidates(
    model: Model,
    directions: Mapping[int, Direction],
    absent: Sequence[tuple[int, Site]],
    prompts: Prompts,
    odds: Odds,
    reading: Reading = USUAL,
) -> tuple[list[Candidate], float, float]:
    """Return every candidate with its figures `bypass` and `induce` and its cost `kl`, and the unsteered log-odds.

    Args:
        model: the model.
        directions: by token position.
        absent: positions and sites without a direction; they become candidates with the unsteered model's figures.
        prompts: of validation.
        odds: the refusal log-odds.
        reading: how prompts are read.

    Returns:
        The candidates; the mean log-odds on harmful prompts, and on harmless ones, without steering, nats.
    """

    def read(texts: list[str], plans: list[Plan]) -> list[float]:
        return odds.read(model, texts, plans, reading.system)

    places = [(position, site) for position, direction in sorted(directions.items()) for site in direction.sites]
    parts = [directions[position].at(site) for position, site in places]
    # In `raw` units all steps of a plan share one vector; how long it is does not matter to an ablation.
    without = [Plan(part.everywhere(), Ablate(), unit="raw") for part in parts]
    added = [Plan(part, unit="raw") for part in parts]
    for plan in (*without, *added):
        model.check(plan)
    plain = [read_by_plan(model, side, [Plan()], reading, read)[0] for side in (prompts.harmful, prompts.harmless)]
    bypasses = read_by_plan(model, prompts.harmful, without, reading, read)
    induces = read_by_plan(model, prompts.harmless, added, reading, read)
    kls = _divergences(model, prompts.harmless, without, reading)
    before, floor = _mean(plain[0]), _mean(plain[1])
    candidates = [
        Candidate(
            site,
            effect=before - _mean(bypasses[i]),
            costs={"kl": _mean(kls[i])},
            figures={
                "bypass": _mean(bypasses[i]),
                "induce": _mean(induces[i]),
                "bypass_before": before,
                "induce_before": floor,
            },
            position=position,
        )
        for i, (position, site) in enumerate(places)
    ]
    unmoved = {"bypass": before, "induce": floor, "bypass_before": before, "induce_before": floor}
    flaw = ("no direction: the two means are equal there, or not finite",)
    candidates += [Candidate(site, 0.0, {"kl": 0.0}, unmoved, position, flaws=flaw) for position, site in absent]
    return candidates, before, floor


def _divergences(model: Model, prompts: Sequence[str], plans: Sequence[Plan], reading: Reading) -> list[list[float]]:
    """Return KL(unsteered || steered) at every prompt's last position under every plan, `[plans][prompts]`, nats."""
    plain: dict[str, Tensor] = {}

    def keep(texts: list[str], plans: list[Plan]) -> list[None]:
        logits = last_logits(model, texts, plans, reading.system)
        plain.update((text, row.clone()) for text, row in zip(texts, logits, strict=True))
        return [None] * len(texts)

    def compare(texts: list[str], plans: list[Plan]) -> list[float]:
        after = last_logits(model, texts, plans, reading.system)
        return divergence(torch.stack([plain[text] for text in texts]), after, reading.kl_epsilon).tolist()

    # Of few logits a prompt; the unsteered model is read once for all candidates.
    read_by_plan(model, prompts, [Plan()], reading, keep)
    return read_by_plan(model, prompts, plans, reading, compare)


def divergence(before: Tensor, after: Tensor, epsilon: float = KL_EPSILON) -> Tensor:
    """Return the `[n]` float64 values of `sum p (log(p + e) - log(q + e))`, nats, between rows of `[n, vocab]` logits.

    Args:
        before: logits of p.
        after: logits of q.
        epsilon: e; 0 is the KL divergence itself.
    """
    if epsilon == 0:
        own, other = before.double().log_softmax(-1), after.double().log_softmax(-1)
    else:
        own, other = ((logits.double().softmax(-1) + epsilon).log() for logits in (before, after))
    return (before.double().softmax(-1) * (own - other)).sum(-1)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
