"""Text to tokens: chat templates, padding, prompt and completion kept apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from steersman.errors import InputError
from steersman.model.handle import Handle

Side = Literal["left", "right"]
Systems = str | Sequence[str | None] | None
"""A system prompt for all rows, or one for each; `None` for none."""


@dataclass(frozen=True)
class Batch:
    """Token rows padded to one length.

    Args:
        tokens: `[batch, seq]`.
        mask: `[batch, seq]`, 1 at real tokens.
        prompt_lengths: `[batch]` real tokens of each prompt.
    """

    tokens: Tensor
    mask: Tensor
    prompt_lengths: Tensor

    @property
    def positions(self) -> Tensor:
        """`[batch, seq]` absolute positions, 0 at padding (where nothing looks)."""
        return (self.mask.cumsum(1) - 1).clamp(min=0)


def each_system(system: Systems, count: int) -> list[str | None]:
    """Return the system prompt of each of so many rows.

    Raises:
        InputError: for another number of system prompts than rows.
    """
    if system is None or isinstance(system, str):
        return [system] * count
    if len(system) != count:
        raise InputError(f"expected one system prompt for all rows or one for each of {count}, got {len(system)}")
    return list(system)


def prompt_tokens(model: Handle, prompt: str, system: str | None = None, *, chat: bool = True) -> list[int]:
    """Return the tokens of a prompt, as a chat turn where the model has a chat template, as plain text where not.

    Args:
        model: the model.
        prompt: what the user says.
        system: a system prompt; without a chat template it stands before the prompt, on a line of its own.
        chat: `False` reads the prompt as plain text also where the model has a chat template.

    Raises:
        InputError: when nothing is left to read.
    """
    if model.template and chat:
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": prompt})
        text = model.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        tokens = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    else:
        tokens = model.tokenizer(f"{system}\n\n{prompt}" if system else prompt)["input_ids"]
    if not tokens:
        raise InputError(f"expected a prompt of at least one token, got {prompt!r}")
    return list(tokens)


def text_tokens(model: Handle, text: str) -> list[int]:
    """Return the tokens of a plain text, which no chat template wraps, behind the beginning-of-sequence token.

    Raises:
        InputError: when it has no token.
    """
    first = model.tokenizer.bos_token_id
    return ([] if first is None else [first]) + completion_tokens(model, text)


def completion_tokens(model: Handle, completion: str) -> list[int]:
    """Return the tokens of a completion, tokenised apart from its prompt so that the boundary is always the same.

    Raises:
        InputError: when it has no token.
    """
    tokens = model.tokenizer(completion, add_special_tokens=False)["input_ids"]
    if not tokens:
        raise InputError(f"expected a completion of at least one token, got {completion!r}")
    return list(tokens)


def template_suffix(tokenizer: Any) -> int:
    """Return how many tokens a chat template sets after the user's words, with the generation prompt; 0 without one.

    Two prompts without a common ending end in the same tokens from there on.
    """
    if not getattr(tokenizer, "chat_template", None):
        return 0
    rows: list[list[int]] = []
    for prompt in ("one", "What is 2 + 2?"):
        turn = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        rows.append(list(tokenizer(text, add_special_tokens=False)["input_ids"]))
    count = 0
    while count < min(map(len, rows)) and rows[0][-1 - count] == rows[1][-1 - count]:
        count += 1
    return count


def pad(model: Handle, rows: Sequence[Sequence[int]], prompt_lengths: Sequence[int], side: Side = "left") -> Batch:
    """Return token rows as one padded batch on the model's device."""
    longest = max(len(row) for row in rows)
    filler = model.tokenizer.pad_token_id
    filler = 0 if filler is None else filler
    tokens, mask = [], []
    for row in rows:
        gap = longest - len(row)
        blank, ones = [filler] * gap, [1] * len(row)
        tokens.append([*blank, *row] if side == "left" else [*row, *blank])
        mask.append([0] * gap + ones if side == "left" else ones + [0] * gap)
    device = model.device
    return Batch(
        torch.tensor(tokens, device=device),
        torch.tensor(mask, device=device),
        torch.tensor(prompt_lengths, device=device),
    )


def forward_arguments(model: Handle, batch: Batch, keep: int | None = None) -> dict[str, object]:
    """Return the keyword arguments of a forward pass over a whole batch.

    Args:
        model: the model.
        batch: padded rows.
        keep: number of last positions whose logits are wanted; all where not given or where the model cannot.
    """
    arguments: dict[str, object] = {"input_ids": batch.tokens, "attention_mask": batch.mask}
    if "position_ids" in model.accepts:
        arguments["position_ids"] = batch.positions
    if keep is not None and "logits_to_keep" in model.accepts:
        # As indices, not as a number: a slice would leave the head a strided tensor, which a batched product expands
        # its whole weight for (measured: two thirds of the time of a scoring pass).
        length = batch.tokens.shape[1]
        arguments["logits_to_keep"] = torch.arange(max(0, length - keep), length, device=batch.tokens.device)
    return arguments
