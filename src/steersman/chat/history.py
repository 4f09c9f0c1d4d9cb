"""What has been said, and the prompt that it makes: chat turns where the model has a template, else one text.

A model sees so many tokens at once. Where the whole conversation does not fit, its oldest turns are left out of the
prompt, and nowhere else: the transcript keeps them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from steersman.errors import InputError
from steersman.model.handle import Handle


@dataclass(frozen=True)
class Turn:
    """What a person said and what the model answered.

    Args:
        said: by the person.
        answer: by the model.
        finish: `stop`, `length`, or `cancelled` where the person had enough.
        steering: what steered it, as `Steering.plain` says it.
        steps: the plan's steps, as `Plan.describe` says them.
    """

    said: str
    answer: str
    finish: str
    steering: Sequence[Mapping[str, Any]] = ()
    steps: Sequence[Mapping[str, Any]] = field(default=(), repr=False)


@dataclass(frozen=True)
class Prompt:
    """A prompt as tokens, and how many turns had no room in it."""

    tokens: tuple[int, ...]
    dropped: int = 0


def prompt_of(model: Handle, turns: Sequence[Turn], said: str, system: str, most: int | None) -> Prompt:
    """Return the prompt of the next answer.

    Args:
        model: the model.
        turns: before, oldest first.
        said: what is to be answered.
        system: a system prompt; empty for none.
        most: tokens that the prompt may have; `None` for any number.

    Raises:
        InputError: when not even the message alone fits.
    """
    dropped, tokens = 0, _tokens(model, turns, said, system)
    while most is not None and len(tokens) > most:
        if dropped == len(turns):
            what = "message and system prompt" if system else "a message"
            raise InputError(f"expected {what} of at most {most} tokens beside the answer, got {len(tokens)}")
        dropped += 1
        tokens = _tokens(model, turns[dropped:], said, system)
    if not tokens:
        raise InputError("expected a message of at least one token, got none")
    return Prompt(tuple(tokens), dropped)


def _tokens(model: Handle, turns: Sequence[Turn], said: str, system: str) -> list[int]:
    if not model.template:
        begin = f"{system}\n\n" if system else ""
        text = begin + "".join(f"{turn.said}{turn.answer}\n" for turn in turns) + said
        return list(model.tokenizer(text)["input_ids"])
    messages = [{"role": "system", "content": system}] if system else []
    for turn in turns:
        messages.append({"role": "user", "content": turn.said})
        messages.append({"role": "assistant", "content": turn.answer})
    messages.append({"role": "user", "content": said})
    text = model.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return list(model.tokenizer(text, add_special_tokens=False)["input_ids"])
