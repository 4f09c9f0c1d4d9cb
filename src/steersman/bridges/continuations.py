"""Continuations scored from tokens: what a benchmark asks, whose prompts come tokenised by rules of its own.

Unlike `model.score`, the last token is never read: nothing depends on it, and a text may be one token longer than the
model's context. Questions that share everything but their last token (one-letter options) share one row of a batch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steersman.errors import InputError
from steersman.model.encode import forward_arguments, pad
from steersman.model.hooks import editing
from steersman.model.loaded import Model
from steersman.model.score import token_logprobs
from steersman.plan import Plan

AUTO_TOKENS = 4096
"""Tokens of a batch, padding included, where its number of rows is left open."""

BEHIND_PROMPT = ("generated", "completion")


@dataclass(frozen=True)
class Continuation:
    """Tokens whose log-probability is asked for, behind tokens that are given.

    Args:
        read: all tokens that go through the model: what is given, and the continuation but for its last token.
        tail: the continuation, at least one token.
        prompt_length: how many tokens of `read` are the prompt, for spans and gates; at least 1.
    """

    read: tuple[int, ...]
    tail: tuple[int, ...]
    prompt_length: int

    @staticmethod
    def of(head: Sequence[int], tail: Sequence[int], limit: int, prompt_length: int | None = None) -> "Continuation":
        """Return a continuation that fits a model; where both are too long, the beginning of `head` is left out.

        Args:
            head: what is given, at least one token.
            tail: at least one token, at most `limit`.
            limit: tokens that the model can read.
            prompt_length: tokens of the prompt, where the first ones of `tail` still belong to it.

        Raises:
            InputError: for an empty head or tail, or a tail that is too long.
        """
        if not head or not 0 < len(tail) <= limit:
            raise InputError(
                f"expected a continuation of 1 to {limit} tokens behind at least one token, got {len(tail)} behind "
                f"{len(head)}"
            )
        whole = [*head, *tail]
        cut = max(0, len(whole) - limit - 1)
        read = tuple(whole[cut:-1])
        asked = len(head) if prompt_length is None else prompt_length
        return Continuation(read, tuple(tail), min(max(asked - cut, 1), len(read)))


@dataclass(frozen=True)
class Answer:
    """What the model made of a continuation.

    Args:
        logprob: of the whole continuation, nats.
        greedy: whether every token of it is the model's first choice; of equally likely ones the first in the
            vocabulary is.
    """

    logprob: float
    greedy: bool


def batches(lengths: Sequence[int], size: int | None) -> Iterator[list[int]]:
    """Yield the indices of rows batch by batch, longest first, equal lengths in their order.

    Args:
        lengths: tokens of each row.
        size: rows of a batch; `None` for as many as `AUTO_TOKENS` holds, at least one.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    start = 0
    while start < len(order):
        rows = size or max(1, AUTO_TOKENS // lengths[order[start]])
        yield order[start : start + rows]
        start += rows


def answers(
    model: Model,
    continuations: Sequence[Continuation],
    plan: Plan,
    *,
    batch_size: int | None = None,
    notify: Callable[[int], object] | None = None,
) -> list[Answer]:
    """Return what the model makes of every continuation under a plan, in their order.

    Args:
        model: the model.
        continuations: any number.
        plan: what is done to the activations, in every row.
        batch_size: rows at a time; `None` for as many as fit a budget of tokens.
        notify: called with the number of continuations after each batch.

    Raises:
        InputError: when a step acts on generated tokens alone, and no forward pass holds one.
        InterventionError: when the plan was never applied in a row.
    """
    rows: dict[tuple[tuple[int, ...], int], list[int]] = {}
    for index, each in enumerate(continuations):
        rows.setdefault((each.read, each.prompt_length), []).append(index)
    keys = list(rows)
    found: dict[int, Answer] = {}
    for part in batches([len(read) for read, _ in keys], batch_size):
        chosen = [keys[row] for row in part]
        keep = [max(len(continuations[index].tail) for index in rows[key]) for key in chosen]
        for key, logits in zip(chosen, _logits(model, chosen, keep, plan), strict=True):
            for index in rows[key]:
                tail = continuations[index].tail
                here = logits[len(logits) - len(tail) :]
                wanted = torch.tensor(tail, device=here.device)
                greedy = bool((here.argmax(-1) == wanted).all())
                found[index] = Answer(float(token_logprobs(here, tail).sum()), greedy)
        if notify:
            notify(sum(len(rows[key]) for key in chosen))
    return [found[index] for index in range(len(continuations))]


@torch.inference_mode()
def tail_logits(model: Model, continuation: Continuation, plan: Plan) -> Tensor:
    """Return the `[n, vocabulary]` logits that each of the continuation's n tokens was chosen by, under a plan."""
    key = (continuation.read, continuation.prompt_length)
    return _logits(model, [key], [len(continuation.tail)], plan)[0]


@torch.inference_mode()
def _logits(model: Model, rows: Sequence[tuple[tuple[int, ...], int]], keep: Sequence[int], plan: Plan) -> list[Tensor]:
    """Return for each row, tokens and prompt length, the logits of its last `keep` positions."""
    _check_reach(rows, plan)
    batch = pad(model, [read for read, _ in rows], [length for _, length in rows])
    with editing(model, [plan] * len(rows), batch.prompt_lengths):
        logits = model.hf(**forward_arguments(model, batch, keep=max(keep)), use_cache=False).logits
    return [logits[row, logits.shape[1] - count :] for row, count in enumerate(keep)]


def _check_reach(rows: Sequence[tuple[tuple[int, ...], int]], plan: Plan) -> None:
    late = [step.span for step in plan if step.coefficient and step.span.name in BEHIND_PROMPT]
    if late and any(len(read) <= length for read, length in rows):
        raise InputError(
            f"expected a span that holds tokens of the prompt, got {str(late[0])!r}: a continuation of one token is "
            "read off at the prompt's end, and nothing behind it is ever read; take another span or another task"
        )
