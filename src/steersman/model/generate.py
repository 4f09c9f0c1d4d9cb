"""Batched generation in which rows are independent: each has its own plan, its own seed, and leaves when it is done."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from steersman.errors import InputError
from steersman.model.arranging import Rows, arrange
from steersman.model.encode import Systems, each_system, prompt_tokens
from steersman.model.handle import Handle
from steersman.model.hooks import editing
from steersman.model.writing import Writer
from steersman.plan import Plan


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen.

    Args:
        max_new_tokens: at most so many, at least 1.
        temperature: 0 is greedy; above, tokens are drawn.
        top_p: share of probability that is drawn from, in (0, 1].
        repetition_penalty: 1 is none.
        seed: of a row's own generator, together with its prompt: a row draws the same whatever batch it is in.

    Raises:
        InputError: for a value out of range.
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise InputError(f"expected max_new_tokens of at least 1, got {self.max_new_tokens}")
        if not 0 <= self.temperature < float("inf"):
            raise InputError(f"expected a temperature of 0 or more, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"expected top_p in (0, 1], got {self.top_p}")
        if not self.repetition_penalty > 0:
            raise InputError(f"expected a repetition_penalty above 0, got {self.repetition_penalty}")


@dataclass(frozen=True)
class Generation:
    """One generated completion.

    Args:
        text: decoded, without special tokens.
        tokens: ids, without the one that ended it.
        finish: `stop` when the model ended it, `length` when the limit did, `cancelled` when it was not wanted further.
        gates: for each of its plan's gates that decide at the prompt's end, by the gate's site, whether it fired.
    """

    text: str
    tokens: tuple[int, ...]
    finish: Literal["stop", "length", "cancelled"]
    gates: Mapping[str, bool] = field(default_factory=dict[str, bool], compare=False)


@torch.inference_mode()
def generate_texts(
    model: Handle,
    prompts: Sequence[str],
    plans: Sequence[Plan],
    sampling: Sampling,
    system: Systems = None,
    *,
    chat: bool = True,
    most: int | None = None,
    notify: Callable[[int], None] | None = None,
) -> list[Generation]:
    """Return one completion per prompt; prompts that have something in common are read together.

    Args:
        model: the model.
        prompts: at least one.
        plans: one per prompt.
        sampling: how tokens are chosen.
        system: system prompt for all, or one for each.
        chat: wrap prompts in the model's chat template, where it has one.
        most: rows under way at most; as many as fit where not given.
        notify: called with the number of rows that have come to their end.

    Raises:
        InterventionError: when a plan was never applied.
    """
    systems = each_system(system, len(prompts))
    rows = [prompt_tokens(model, prompt, own, chat=chat) for prompt, own in zip(prompts, systems, strict=True)]
    return generate_tokens(model, rows, plans, sampling, keys=prompts, most=most, notify=notify)


@torch.inference_mode()
def generate_tokens(
    model: Handle,
    rows: Sequence[Sequence[int]],
    plans: Sequence[Plan],
    sampling: Sampling,
    *,
    keys: Sequence[str],
    ended: Callable[[Sequence[int]], bool] | None = None,
    most: int | None = None,
    notify: Callable[[int], None] | None = None,
) -> list[Generation]:
    """Return one completion per prompt that is given as tokens.

    Args:
        model: the model.
        rows: tokens of at least one prompt, at least one each.
        plans: one per prompt.
        sampling: how tokens are chosen.
        keys: one per prompt; rows with the same key draw the same.
        ended: told a completion's tokens after each one, says whether it ends there, as at a stop sequence.
        most: rows under way at most; as many as fit where not given.
        notify: called with the number of rows that have come to their end.

    Raises:
        InterventionError: when a plan was never applied.
    """
    draws = [own_draws(sampling.seed, key) for key in keys]

    def choose(logits: Tensor, tokens: list[list[int]], numbers: list[int]) -> list[int]:
        return choose_tokens(logits, tokens, sampling, [draws[row] for row in numbers])

    prompts = Rows(rows, [len(row) for row in rows], plans)
    # As they are outside the context that edits them, where nothing is under way yet.
    groups = arrange(model, prompts, most)
    with editing(model, plans, torch.tensor(prompts.prompts)) as active:
        written = Writer(model, prompts, choose, sampling.max_new_tokens, ended, most, notify).write(groups)
    texts = [model.tokenizer.decode(tokens, skip_special_tokens=True) for tokens in written.tokens]
    gates = [active.fired_in(row, plan) for row, plan in enumerate(plans)]
    return [Generation(*each) for each in zip(texts, map(tuple, written.tokens), written.finish, gates, strict=True)]


def choose_tokens(
    logits: Tensor, tokens: Sequence[Sequence[int]], sampling: Sampling, draws: Sequence[torch.Generator]
) -> list[int]:
    """Return the token chosen in each row.

    Args:
        logits: `[rows, vocab]` float32.
        tokens: of each row so far, prompt and all.
        sampling: how tokens are chosen.
        draws: each row's own generator.
    """
    processors = _processors(sampling)
    scores = processors(_history(tokens, logits.device), logits) if processors else logits  # type: ignore[arg-type]
    if sampling.temperature == 0:
        return scores.argmax(-1).tolist()
    probabilities = scores.softmax(-1).cpu()
    return [int(torch.multinomial(row, 1, generator=draw)) for row, draw in zip(probabilities, draws, strict=True)]


def own_draws(seed: int, key: str) -> torch.Generator:
    """Return a row's own generator, from which it draws the same whatever batch it is in."""
    digest = hashlib.sha256(f"{seed}|{key}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _processors(sampling: Sampling) -> LogitsProcessorList:
    chain = LogitsProcessorList()
    if sampling.repetition_penalty != 1:
        chain.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    if sampling.temperature > 0:
        if sampling.temperature != 1:
            chain.append(TemperatureLogitsWarper(sampling.temperature))
        if sampling.top_p < 1:
            chain.append(TopPLogitsWarper(sampling.top_p))
    return chain


def _history(tokens: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    # A repetition penalty must not see padding (often the stop token): each row's last token stands in for it.
    longest = max(map(len, tokens))
    return torch.tensor([[row[-1]] * (longest - len(row)) + list(row) for row in tokens], device=device)
