"""What is measured on one family: its sites, and how far steered and plain logits move with cache and padding."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import logging

from families import FAMILIES
from steersman.direction import Direction
from steersman.errors import ModelError
from steersman.intervention import steer
from steersman.model.encode import Side, forward_arguments, pad, prompt_tokens
from steersman.model.hooks import capturing, editing
from steersman.model.load import wrap
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.where import POINTS, Point, Site
from tiny import PROMPTS, origin, tokenizer

logging.set_verbosity_error()  # several families say at length that a faster kernel could be installed

ROUNDING = 1e-4
"""Logits of these models have a spread of about 1; float32 rounding moves them by some 1e-6."""

TEXT = " and then the fox ran home"
ROWS = range(len(PROMPTS))

LENGTH = 5
"""Tokens of every completion."""


@cache
def subject(family: str) -> Model:
    """Return the family's tiny model, made once."""
    return wrap(FAMILIES[family](), tokenizer(), name=f"tiny {family}", revision="0" * 64)


def sites(model: Model, point: Point) -> list[Site]:
    """Return the sites of one kind that the model has; of heads, all."""
    found: list[Site] = []
    for layer in range(model.depth):
        try:
            parts = model.parts[layer]
            wanted = [Site(layer, point, head) for head in range(parts.heads)] if point == "head" else None
        except ModelError:
            wanted = None
        for site in [Site(layer, point)] if wanted is None and point != "head" else wanted or []:
            try:
                model.place(site)
            except ModelError:
                continue
            found.append(site)
    return found


def plan_at(model: Model, *where: Site, span: str = "all", coefficient: float = 1.0, seed: int = 0) -> Plan:
    """Return a plan that adds a random vector of about the width's root at each site, raw units."""
    generator = torch.Generator().manual_seed(seed)
    vectors = {site: torch.randn(model.site_width(site), generator=generator) for site in where}
    made = Direction(vectors, dict.fromkeys(vectors, 1.0), origin(model.depth, model.width), f"made up, seed {seed}")
    return Plan(made, span=span, coefficient=coefficient, unit="raw")


@cache
def mixed_plans(family: str) -> tuple[Plan, ...]:
    """Return one plan for each of `PROMPTS`, which together use every kind of site that the family has."""
    model = subject(family)
    have = {point: sites(model, point) for point in POINTS}
    rows = [Plan(), Plan(), Plan(), Plan(), Plan()]
    rows[0] += plan_at(model, Site(1))
    for number, point in enumerate(("attn_out", "mlp_out", "head")):
        if have[point]:
            # Not at the last block, whose prompt nothing reads any more.
            rows[(1, 1, 3)[number]] += plan_at(
                model, have[point][0], span=("generated", "prompt", "all")[number], seed=number
            )
    rows[3] += plan_at(model, Site(0, "resid_pre"), span="last", coefficient=2.0, seed=4)
    rows[4] += plan_at(model, Site(2, "resid_pre"), Site(0), coefficient=0.4, seed=5)
    return tuple(rows)


def heads(model: Model) -> list[list[int]]:
    return [prompt_tokens(model, prompt) for prompt in PROMPTS]


def tails(model: Model) -> list[list[int]]:
    """Other tokens for every row, all of one length."""
    return [model.tokenizer(TEXT[at:], add_special_tokens=False)["input_ids"][:LENGTH] for at in range(len(PROMPTS))]


@torch.no_grad()
def whole(model: Model, plans: Sequence[Plan], side: Side = "left", rows: Sequence[int] = ROWS) -> Tensor:
    """Return the logits of one pass over prompt and completion at the completion's tokens, `[rows, LENGTH, vocab]`."""
    beginnings, ends = heads(model), tails(model)
    batch = pad(model, [beginnings[row] + ends[row] for row in rows], [len(beginnings[row]) for row in rows], side)
    with editing(model, plans, batch.prompt_lengths):
        logits = model.hf(**forward_arguments(model, batch), use_cache=False).logits
    return torch.stack([row[mask.bool()][-LENGTH:] for row, mask in zip(logits, batch.mask, strict=True)])


def alone(model: Model, plans: Sequence[Plan]) -> Tensor:
    """Return the same logits, every row in a pass of its own, without padding."""
    return torch.cat([whole(model, [plan], rows=[row]) for row, plan in enumerate(plans)])


@torch.no_grad()
def cached(model: Model, plans: Sequence[Plan]) -> Tensor:
    """Return the same logits from a pass over each prompt, alone, and cached passes of one token."""
    rows: list[Tensor] = []
    for head, tail, plan in zip(heads(model), tails(model), plans, strict=True):
        batch = pad(model, [head], [len(head)])
        mask, logits = batch.mask, []
        with steer(model, plan):
            past = model.hf(**forward_arguments(model, batch), use_cache=True).past_key_values
            for token in tail:
                mask = torch.cat([mask, mask.new_ones(1, 1)], 1)
                arguments: dict[str, Any] = {"input_ids": torch.tensor([[token]]), "attention_mask": mask}
                if "position_ids" in model.accepts:
                    arguments["position_ids"] = mask.sum(1, keepdim=True) - 1
                output = model.hf(**arguments, past_key_values=past, use_cache=True)
                past = output.past_key_values
                logits.append(output.logits[0, -1])
        rows.append(torch.stack(logits))
    return torch.stack(rows)


def streams(model: Model, where: Sequence[Site]) -> dict[Site, Tensor]:
    """Return what passes at some sites in one plain pass over a text, `[seq, d]`."""
    seen: dict[Site, Tensor] = {}
    tokens = torch.tensor([heads(model)[2]])
    with torch.no_grad(), capturing(model, where, lambda site, hidden, _: seen.update({site: hidden[0].clone()})):
        model.hf(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False)
    return seen


def furthest(one: Tensor, other: Tensor) -> float:
    """Return the largest difference of two tensors."""
    return float((one - other).abs().max())


@dataclass(frozen=True)
class Deviation:
    """How far logits move that should not, at most: without steering and with a plan for each row."""

    plain: float
    steered: float

    @property
    def exact(self) -> bool:
        """Whether the family itself computes the same, beyond rounding."""
        return self.plain <= ROUNDING

    @property
    def allowed(self) -> float:
        """How far steered logits may move: rounding or, where the family itself moves, about as far as that."""
        return ROUNDING if self.exact else 3 * self.plain


def _deviation(family: str, measured: Any, expected: Any) -> Deviation:
    model, steered = subject(family), mixed_plans(family)
    plain = tuple(Plan() for _ in steered)
    return Deviation(*(furthest(measured(model, plans), expected(model, plans)) for plans in (plain, steered)))


@cache
def of_cache(family: str) -> Deviation:
    """Return how far cached decoding is from one full pass."""
    return _deviation(family, cached, alone)


@cache
def of_left_padding(family: str) -> Deviation:
    """Return how far a left-padded batch is from each row alone."""
    return _deviation(family, whole, alone)


@cache
def of_right_padding(family: str) -> Deviation:
    """Return how far a right-padded batch is from each row alone."""
    return _deviation(family, lambda model, plans: whole(model, plans, "right"), alone)
