"""Learned directions: one vector, fitted by gradient to make some completions likely and leave others alone.

A mean difference shifts every prompt alike. A vector fitted on both kinds of prompt at once, where the behaviour is
wanted and where it is not, can use what the model already tells apart.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from steersman.direction import Direction
from steersman.edits import Add
from steersman.errors import InputError
from steersman.maths.geometry import RunningMean
from steersman.model.encode import completion_tokens, forward_arguments, pad, prompt_tokens
from steersman.model.handle import Handle
from steersman.model.hooks import applying
from steersman.model.operations import Operation
from steersman.model.score import token_logprobs
from steersman.plan import Plan
from steersman.prompts import Example
from steersman.where import Site, Span


@dataclass(frozen=True)
class Optimiser:
    """How a vector is learned.

    Args:
        steps: Adam steps, at least 1.
        batch_size: examples of each kind a step, at least 1.
        learning_rate: as a fraction of the residual norm at the site, per step and per root of the width.
        keep: weight of the examples to be left alone.
        limit: largest length of the vector, as a fraction of the residual norm at the site.
        tokens: first tokens of every completion that count.
        seed: of the order of examples.

    Raises:
        InputError: for a value out of range.
    """

    steps: int = 70
    batch_size: int = 8
    learning_rate: float = 0.1
    keep: float = 2.0
    limit: float = 0.5
    tokens: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.tokens) < 1:
            raise InputError("expected steps, batch_size and tokens of at least 1")
        if min(self.learning_rate, self.limit) <= 0 or self.keep < 0:
            raise InputError("expected learning_rate and limit above 0, and keep of at least 0")


def optimise(
    model: Handle,
    start: Direction,
    wanted: Sequence[Example],
    kept: Sequence[Example],
    how: Optimiser | None = None,
    *,
    notify: Callable[[int], None] | None = None,
) -> Direction:
    """Return a vector at the start's site that makes the wanted completions likely and leaves the kept ones likely.

    Formula: minimise `-mean log p(wanted; h + v) - keep x mean log p(kept; h + v)` over vectors v no longer than the
    limit; means are per token over each completion's first tokens; by Adam from the start direction; the result is the
    mean of the later half of the steps' vectors.

    Args:
        model: the model the start was fitted on.
        start: a direction with one site; begins at a tenth of the residual norm.
        wanted: prompts with the completions to be made likely.
        kept: prompts with the completions to be left alone, such as what the unsteered model itself says.
        how: the optimiser's settings.
        notify: called with 1 after every step.

    Returns:
        A direction at the same site whose raw length is the one that was learned.

    Raises:
        InputError: for a start with several sites, or no examples of either kind.
        MismatchError: for a start fitted on a model of another width or depth.

    It fails on too few examples, which it learns by heart: judge it on held-out prompts.

    References: Subramani et al. (2022), "Extracting latent steering vectors from pretrained language models"; Dunefsky
    and Cohan (2025), "One-shot optimized steering vectors mediate safety-relevant behaviors in LLMs" (promotion and
    suppression losses); Polyak and Juditsky (1992) for the averaging.
    """
    how = how or Optimiser()
    if len(start.sites) != 1:
        raise InputError(f"expected a start with one site, got {len(start.sites)}; take one with .at()")
    if not wanted or not kept:
        raise InputError("expected examples of both kinds, wanted and kept, got none of one")
    model.check(Plan(start))
    site = start.sites[0]
    norm = start.norms[site]
    vector = (start.units(site) * (0.1 * norm)).to(model.device).requires_grad_(True)
    adam = torch.optim.Adam([vector], lr=how.learning_rate * norm / model.width**0.5)
    # The mean of the later half's vectors, not the last one: what single batches pushed about averages out.
    average = RunningMean(model.width)
    order = random.Random(how.seed)
    draw_wanted, draw_kept = _rounds(wanted, how.batch_size, order), _rounds(kept, how.batch_size, order)
    tracked = [parameter for parameter in model.hf.parameters() if parameter.requires_grad]
    for parameter in tracked:
        parameter.requires_grad_(False)
    try:
        for step in range(how.steps):
            adam.zero_grad()
            # One backward pass each: half the memory of both together.
            _loss(model, site, vector, next(draw_wanted), how.tokens).backward()
            if how.keep:
                (how.keep * _loss(model, site, vector, next(draw_kept), how.tokens)).backward()
            adam.step()
            with torch.no_grad():
                vector.mul_(min(1.0, float(how.limit * norm / vector.norm())))
                if 2 * step >= how.steps - 1:
                    average.add(vector[None].cpu())
            if notify:
                notify(1)
    finally:
        for parameter in tracked:
            parameter.requires_grad_(True)
    learned = average.mean.float()
    method = f"optimised from {start.method}"
    return replace(start, vectors={site: learned}, method=method, diagnostics={}, ranges=())


def _rounds(examples: Sequence[Example], size: int, order: random.Random) -> Iterator[list[Example]]:
    """Yield batches for ever, every example once a round."""
    pool: list[Example] = []
    while True:
        while len(pool) < size:
            fresh = list(examples)
            order.shuffle(fresh)
            pool += fresh
        yield [pool.pop() for _ in range(size)]


def _loss(model: Handle, site: Site, vector: Tensor, examples: Sequence[Example], tokens: int) -> Tensor:
    heads = [prompt_tokens(model, example.prompt) for example in examples]
    tails = [completion_tokens(model, example.completion)[:tokens] for example in examples]
    batch = pad(model, [[*h, *t] for h, t in zip(heads, tails, strict=True)], [len(head) for head in heads])
    one = torch.ones(1, device=model.device)
    operation = Operation(site, Add(), Span("all"), one.bool(), vector[None], one)
    with applying(model, [operation], batch.prompt_lengths.cpu()):
        keep = max(len(tail) for tail in tails) + 1
        logits = model.hf(**forward_arguments(model, batch, keep=keep), use_cache=False).logits
    losses: list[Tensor] = []
    for row, tail in zip(logits, tails, strict=True):
        losses.append(-token_logprobs(row[-len(tail) - 1 : -1], tail).mean())
    return torch.stack(losses).mean()
