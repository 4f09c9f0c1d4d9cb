"""Log-probabilities of given text, row by row, without ever holding all positions' logits."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from steersman.errors import InputError
from steersman.model.encode import Batch, completion_tokens, forward_arguments, pad, prompt_tokens
from steersman.model.handle import Handle
from steersman.model.hooks import around, editing, start_rows
from steersman.model.layout import cache_of
from steersman.plan import Plan

SHARED = 64
"""Tokens that prompts must have in common at their beginning before it is read once for all of them."""


@dataclass(frozen=True)
class Score:
    """What the model made of one completion's tokens, given its prompt and the tokens before.

    Args:
        tokens: their log-probabilities, nats.
        ids: the tokens themselves.
        ranks: how many tokens of the vocabulary were likelier than each, 0 for the model's first choice; where asked.
        divergence: Kullback-Leibler divergence of the steered from the unsteered next-token distribution before each,
            `KL(unsteered || steered)`, nats; where asked.
        entropy: of the next-token distribution before each, nats; where asked.
        echo: for every token of prompt and completion, the log-probability that it is written once more right behind
            itself, nats: what the coefficient selection of ALERT takes for the log-probability of the text, one
            position off; where asked.
    """

    tokens: tuple[float, ...]
    ids: tuple[int, ...] = ()
    ranks: tuple[int, ...] = ()
    divergence: tuple[float, ...] = ()
    entropy: tuple[float, ...] = ()
    echo: tuple[float, ...] = ()

    @property
    def total(self) -> float:
        """Log-probability of the whole completion, nats."""
        return sum(self.tokens)

    @property
    def mean(self) -> float:
        """Mean log-probability per token, nats."""
        return self.total / len(self.tokens)

    @property
    def minimum(self) -> float:
        """Log-probability of the least likely token, nats."""
        return min(self.tokens)


@dataclass(frozen=True)
class Reading:
    """How texts are read and what is told of them.

    Args:
        system: system prompt of all rows; before a plain text or prompt it stands as plain text.
        chat: wrap prompts in the model's chat template, where it has one.
        ranks: tell every token's rank.
        divergence: tell how far the steered next-token distribution is from the unsteered one; a second pass.
        entropy: tell the entropy of the next-token distribution before every token.
        echo: tell the log-probability of every token behind itself; needs the logits of all positions.
    """

    system: str | None = None
    chat: bool = True
    ranks: bool = False
    divergence: bool = False
    entropy: bool = False
    echo: bool = False


@torch.inference_mode()
def score_batch(
    model: Handle,
    prompts: Sequence[str],
    completions: Sequence[str],
    plans: Sequence[Plan],
    reading: Reading = Reading(),
) -> list[Score]:
    """Return the completions' token log-probabilities, all in one batch.

    Args:
        model: the model.
        prompts: at least one; `""` for a plain text, whose first token then only serves as context.
        completions: one per prompt, each of at least one token.
        plans: one per prompt.
        reading: how the texts are read and what is told of them.
    """
    heads: list[list[int]] = []
    tails: list[list[int]] = []
    if not all(prompts) and any(step.span.name == "after_instruction" for plan in plans for step in plan):
        raise InputError("expected a prompt for the span after_instruction, got a plain text, which has no instruction")
    for prompt, completion in zip(prompts, completions, strict=True):
        tail = completion_tokens(model, completion)
        head = prompt_tokens(model, prompt, reading.system, chat=reading.chat) if prompt else _beginning(model, reading)
        if not head:
            head, tail = tail[:1], tail[1:]
        if not tail:
            raise InputError(f"expected a text of at least two tokens, got {completion!r}")
        heads.append(head)
        tails.append(tail)
    return score_tokens(model, heads, tails, plans, reading)


@torch.inference_mode()
def score_tokens(
    model: Handle,
    heads: Sequence[Sequence[int]],
    tails: Sequence[Sequence[int]],
    plans: Sequence[Plan],
    reading: Reading = Reading(),
) -> list[Score]:
    """Return the log-probabilities of token rows `tails`, each given its row of `heads`."""
    batch = pad(model, [[*h, *t] for h, t in zip(heads, tails, strict=True)], [len(head) for head in heads])
    longest = max(len(tail) for tail in tails)
    # Left padding lines the completions up at the end, so only the last logits are ever computed.
    arguments = forward_arguments(model, batch, keep=None if reading.echo else longest + 1)
    plain = model.hf(**arguments, use_cache=False).logits if reading.divergence else None
    with editing(model, plans, batch.prompt_lengths):
        logits = model.hf(**arguments, use_cache=False).logits
    scores: list[Score] = []
    for i, tail in enumerate(tails):
        here = slice(-len(tail) - 1, -1)
        steered = logits[i, here]
        scores.append(
            Score(
                tuple(token_logprobs(steered, tail).tolist()),
                tuple(tail),
                tuple(token_ranks(steered, tail).tolist()) if reading.ranks else (),
                () if plain is None else tuple(divergences(plain[i, here], steered).tolist()),
                tuple(entropies(steered).tolist()) if reading.entropy else (),
                _echo(logits[i], heads[i], tail) if reading.echo else (),
            )
        )
    return scores


def token_ranks(logits: Tensor, tokens: Sequence[int]) -> Tensor:
    """Return the `[n]` ranks of `tokens` in `[n, vocab]` logits: how many tokens have a larger logit, 0 for none."""
    wanted = torch.tensor(list(tokens), device=logits.device)
    return (logits > logits.gather(1, wanted[:, None])).sum(1)


def divergences(before: Tensor, after: Tensor) -> Tensor:
    """Return the `[n]` float32 values of `KL(before || after)`, nats, between rows of `[n, vocab]` logits."""
    own, other = before.float().log_softmax(-1), after.float().log_softmax(-1)
    return (own.exp() * (own - other)).sum(-1).clamp(min=0)


def entropies(logits: Tensor) -> Tensor:
    """Return the `[n]` float32 entropies, nats, of the distributions that rows of `[n, vocab]` logits stand for."""
    logprobs = logits.float().log_softmax(-1)
    return -(logprobs.exp() * logprobs).sum(-1)


def _echo(logits: Tensor, head: Sequence[int], tail: Sequence[int]) -> tuple[float, ...]:
    """Return the log-probability of every token of a left-padded row right behind itself."""
    tokens = [*head, *tail]
    return tuple(token_logprobs(logits[-len(tokens) :], tokens).tolist())


def token_logprobs(logits: Tensor, tokens: Sequence[int]) -> Tensor:
    """Return the `[n]` float32 log-probabilities, nats, of `tokens`, one for each row of `[n, vocab]` logits."""
    logits = logits.float()
    wanted = torch.tensor(list(tokens), device=logits.device)
    # Not log_softmax: only one number of each row is wanted, and a vocabulary is wide.
    return logits.gather(1, wanted[:, None])[:, 0] - logits.logsumexp(-1)


@torch.inference_mode()
def score_options_batch(
    model: Handle,
    prompts: Sequence[str],
    options: Sequence[Sequence[str]],
    plans: Sequence[Plan],
    reading: Reading = Reading(),
) -> list[list[Score]]:
    """Return the scores of several completions per prompt; each prompt is read once, what prompts share as well.

    Args:
        model: the model.
        prompts: at least one.
        options: for each prompt the same number of completions.
        plans: one per prompt.
        reading: how the prompts are read; ranks and divergence are not told here.
    """
    count = len(options[0])
    if any(len(row) != count for row in options):
        raise InputError("expected the same number of options for every prompt of a batch")
    heads = [prompt_tokens(model, prompt, reading.system, chat=reading.chat) for prompt in prompts]
    tails = [[completion_tokens(model, option) for option in row] for row in options]
    longest = max(len(tail) for row in tails for tail in row)
    if longest > 2 and not model.reads_on:
        columns = [score_tokens(model, heads, [row[j] for row in tails], plans) for j in range(count)]
        return [list(row) for row in zip(*columns, strict=True)]
    scores: dict[int, list[Score]] = {}
    for rows in shared_prefixes(model, heads, plans):
        found = _options_behind_prefix(model, [heads[i] for i in rows], [tails[i] for i in rows], plans[rows[0]])
        scores |= dict(zip(rows, found, strict=True))
    if rest := [i for i in range(len(heads)) if i not in scores]:
        some_heads, some_tails = [heads[i] for i in rest], [tails[i] for i in rest]
        batch = pad(model, some_heads, [len(head) for head in some_heads])
        with editing(model, [plans[i] for i in rest], batch.prompt_lengths):
            output = model.hf(**forward_arguments(model, batch, keep=1), use_cache=True)
            found = _options_behind(model, output, batch.mask, some_tails, torch.arange(len(rest)))
        scores |= dict(zip(rest, found, strict=True))
    return [scores[i] for i in range(len(heads))]


def shared_prefixes(model: Handle, heads: Sequence[Sequence[int]], plans: Sequence[Plan]) -> list[list[int]]:
    """Return groups of rows that begin with the same tokens and carry the same plan, worth reading together.

    Args:
        model: the model; where a context is already under way nothing is shared, since that context counts passes.
        heads: token rows.
        plans: one per row; a plan with a gate decides at a prompt's end, before any of its tokens may be edited, and
            tokens counted from a prompt's end may lie in the shared beginning of one row and not of another.
    """
    if around(model) or not model.reads_on:
        return []
    groups: dict[tuple[object, ...], list[int]] = {}
    for row, (head, plan) in enumerate(zip(heads, plans, strict=True)):
        if len(head) > SHARED + model.suffix and all(step.gate is None and not step.span.from_end for step in plan):
            groups.setdefault((*head[:SHARED], plan.digest()), []).append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def _options_behind_prefix(
    model: Handle, heads: Sequence[list[int]], tails: Sequence[Sequence[list[int]]], plan: Plan
) -> list[list[Score]]:
    """Return the scores of several completions behind token rows whose common beginning is read once.

    Rows are read on in groups of equal length, so that no padding stands between a beginning and what follows it: some
    attention counts it as distance.
    """
    # The last prompt token and the template's ending are always among a row's own tokens: spans tell by them.
    limit = min(map(len, heads)) - 1 - model.suffix
    length = next((i for i in range(limit) if len({head[i] for head in heads}) > 1), limit)
    groups: dict[int, list[int]] = {}
    for row, head in enumerate(heads):
        groups.setdefault(len(head), []).append(row)
    scores: dict[int, list[Score]] = {}
    with editing(model, [plan], torch.tensor([len(head) for head in heads])):
        start_rows(model, torch.tensor([0]))
        beginning = pad(model, [heads[0][:length]], [length])
        kept = cache_of(model.hf(**forward_arguments(model, beginning, keep=1), use_cache=True))
        for rows in groups.values():
            cache = copy.deepcopy(kept)
            cache.reorder_cache(torch.zeros(len(rows), dtype=torch.long, device=model.device))
            start_rows(model, torch.tensor(rows))
            own = pad(model, [heads[i] for i in rows], [0] * len(rows))
            arguments = forward_arguments(model, Batch(own.tokens[:, length:], own.mask, own.prompt_lengths), keep=1)
            if "position_ids" in model.accepts:
                arguments["position_ids"] = own.positions[:, length:]
            output = model.hf(**arguments, past_key_values=cache, use_cache=True)
            found = _options_behind(model, output, own.mask, [tails[i] for i in rows], torch.tensor(rows))
            scores |= dict(zip(rows, found, strict=True))
    return [scores[row] for row in range(len(heads))]


def _options_behind(
    model: Handle, output: Any, before: Tensor, tails: Sequence[Sequence[list[int]]], rows: Tensor
) -> list[list[Score]]:
    """Return the scores of each row's completions, given the output of the pass that ended its prompt.

    Args:
        model: the model, inside the context that edits it.
        output: of a pass over all rows, with its cache.
        before: `[batch, seq]` mask of all tokens up to the prompts' ends.
        tails: the completions' tokens, for each row as many.
        rows: `[batch]` which row each is of the batch as the context was given it.
    """
    first = output.logits[:, -1]
    values = {
        (row, option): token_logprobs(first[row : row + 1], tail[:1]).tolist()
        for row, each in enumerate(tails)
        for option, tail in enumerate(each)
    }
    longer = sorted((key for key in values if len(tails[key[0]][key[1]]) > 1), key=lambda key: _length(tails, key))
    kept: Any = cache_of(output) if longer else None
    for group in _alike(longer, [_length(tails, key) for key in longer]):
        index = torch.tensor([row for row, _ in group])
        # Every group behind a copy: a pass leaves its own tokens in the cache.
        cache = copy.deepcopy(kept)
        cache.reorder_cache(index.to(model.device))
        start_rows(model, rows[index])
        flat = pad(model, [tails[row][option] for row, option in group], [0] * len(group), side="right")
        mask = torch.cat([before[index.to(model.device)], flat.mask], 1)[:, :-1]
        tokens = flat.tokens[:, :-1]
        arguments = {"input_ids": tokens, "attention_mask": mask, "past_key_values": cache}
        if "position_ids" in model.accepts:
            arguments["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
        later = model.hf(**arguments, use_cache=True).logits
        for k, (row, option) in enumerate(group):
            tail = tails[row][option]
            values[row, option] += token_logprobs(later[k, : len(tail) - 1], tail[1:]).tolist()
    return [
        [Score(tuple(values[row, option]), tuple(tail)) for option, tail in enumerate(each)]
        for row, each in enumerate(tails)
    ]


def _length(tails: Sequence[Sequence[list[int]]], key: tuple[int, int]) -> int:
    return len(tails[key[0]][key[1]])


def _alike(keys: Sequence[tuple[int, int]], lengths: Sequence[int]) -> list[list[tuple[int, int]]]:
    """Return keys, sorted by length, in groups whose longest is at most twice the shortest: little is padding."""
    groups: list[list[tuple[int, int]]] = []
    shortest = 0
    for key, length in zip(keys, lengths, strict=True):
        if not groups or length > 2 * shortest:
            groups.append([])
            shortest = length
        groups[-1].append(key)
    return groups


def _beginning(model: Handle, reading: Reading) -> list[int]:
    """Return what stands before a plain text: its first token where there is one, and the system prompt as text."""
    first = model.tokenizer.bos_token_id
    before = completion_tokens(model, f"{reading.system}\n\n") if reading.system else []
    return ([] if first is None else [first]) + before
