"""Batched generation in which rows are independent: each has its own plan, its own seed, and leaves when it is done."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from steersman.errors import InputError
from steersman.model.encode import Batch, forward_arguments, pad, prompt_tokens
from steersman.model.handle import Handle
from steersman.model.hooks import editing, excuse_row, select_rows
from steersman.model.layout import cache_of
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
        finish: `stop` when the model ended it, `length` when the limit did.
        gates: for each of its plan's gates that decide at the prompt's end, by the gate's site, whether it fired.
    """

    text: str
    tokens: tuple[int, ...]
    finish: Literal["stop", "length"]
    gates: Mapping[str, bool] = field(default_factory=dict[str, bool], compare=False)


@torch.inference_mode()
def generate_batch(
    model: Handle,
    prompts: Sequence[str],
    plans: Sequence[Plan],
    sampling: Sampling,
    system: str | None = None,
    *,
    chat: bool = True,
) -> list[Generation]:
    """Return one completion per prompt, all in one batch.

    Args:
        model: the model.
        prompts: at least one.
        plans: one per prompt.
        sampling: how tokens are chosen.
        system: system prompt for all.
        chat: wrap prompts in the model's chat template, where it has one.

    Raises:
        InterventionError: when a plan was never applied.
    """
    rows = [prompt_tokens(model, prompt, system, chat=chat) for prompt in prompts]
    return generate_tokens(model, rows, plans, sampling, keys=prompts)


@torch.inference_mode()
def generate_tokens(
    model: Handle,
    rows: Sequence[Sequence[int]],
    plans: Sequence[Plan],
    sampling: Sampling,
    *,
    keys: Sequence[str],
    ended: Callable[[Sequence[int]], bool] | None = None,
) -> list[Generation]:
    """Return one completion per prompt that is given as tokens, all in one batch.

    Args:
        model: the model.
        rows: tokens of at least one prompt, at least one each.
        plans: one per prompt.
        sampling: how tokens are chosen.
        keys: one per prompt; rows with the same key draw the same.
        ended: told a completion's tokens after each one, says whether it ends there, as at a stop sequence.

    Raises:
        InterventionError: when a plan was never applied.
    """
    batch = pad(model, rows, [len(row) for row in rows])
    written: list[list[int]] = [[] for _ in rows]
    finish: list[Literal["stop", "length"]] = ["length"] * len(rows)
    alive = list(range(len(rows)))
    draws = [_generator(sampling.seed, key) for key in keys]
    processors = _processors(sampling)
    with editing(model, plans, batch.prompt_lengths) as active:
        output = model.hf(**forward_arguments(model, batch, keep=1), use_cache=True)
        history, mask = _without_padding(batch), batch.mask
        while True:
            chosen = _choose(output.logits[:, -1].float(), history, processors, sampling, [draws[row] for row in alive])
            staying: list[int] = []
            for index, (row, token) in enumerate(zip(alive, chosen.tolist(), strict=True)):
                if token in model.stop_tokens:
                    finish[row] = "stop"
                    if not written[row]:
                        excuse_row(model, row)
                    continue
                written[row].append(token)
                if ended is not None and ended(written[row]):
                    finish[row] = "stop"
                    if len(written[row]) == 1:
                        excuse_row(model, row)
                elif len(written[row]) < sampling.max_new_tokens:
                    staying.append(index)
            if not staying:
                break
            cache = cache_of(output)
            if len(staying) < len(alive):
                index = torch.tensor(staying)
                select_rows(model, index)
                cache.reorder_cache(index.to(model.device))
                history, mask, chosen = history[staying], mask[staying], chosen[staying]
                alive = [alive[i] for i in staying]
            history = torch.cat([history, chosen[:, None]], 1)
            mask = torch.cat([mask, mask.new_ones(len(alive), 1)], 1)
            output = model.hf(**_next_arguments(model, chosen, mask, cache), use_cache=True)
    texts = [model.tokenizer.decode(tokens, skip_special_tokens=True) for tokens in written]
    gates = [active.fired_in(row, plan) for row, plan in enumerate(plans)]
    return [Generation(*each) for each in zip(texts, map(tuple, written), finish, gates, strict=True)]


def _next_arguments(model: Handle, chosen: Tensor, mask: Tensor, cache: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {"input_ids": chosen[:, None], "attention_mask": mask, "past_key_values": cache}
    if "position_ids" in model.accepts:
        arguments["position_ids"] = mask.sum(1, keepdim=True) - 1
    return arguments


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


def _choose(
    logits: Tensor, history: Tensor, processors: LogitsProcessorList, sampling: Sampling, draws: list[torch.Generator]
) -> Tensor:
    scores = processors(history, logits)  # type: ignore[arg-type]
    if sampling.temperature == 0:
        return scores.argmax(-1)
    probabilities = scores.softmax(-1).cpu()
    picks = [torch.multinomial(row, 1, generator=draw) for row, draw in zip(probabilities, draws, strict=True)]
    return torch.cat(picks).to(logits.device)


def _without_padding(batch: Batch) -> Tensor:
    # A repetition penalty must not see padding (often the stop token): each row's last token stands in for it.
    return torch.where(batch.mask.bool(), batch.tokens, batch.tokens[:, -1:])


def _generator(seed: int, prompt: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}|{prompt}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
