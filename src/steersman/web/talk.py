"""A conversation with two models at once: every turn is said to both, and each goes on from its own answers."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from steersman.errors import InputError
from steersman.model.handle import Handle
from steersman.web.following import Read
from steersman.web.shelf import Entry, Setting

Which = Literal["plain", "steered"]

LONGEST = 4_000
"""Characters of what a person says in one turn."""


@dataclass(eq=False)
class Side:
    """One model's answer.

    Args:
        pieces: of text, one for each token.
        tokens: their ids.
        read: of each token so far, what the unsteered model makes of it; it may lag behind.
        gates: by the name of what it lets act, whether its gate fired.
        state: what is being done, or how it ended.
    """

    pieces: list[str] = field(default_factory=list[str])
    tokens: list[int] = field(default_factory=list[int])
    read: list[Read] = field(default_factory=list[Read])
    gates: dict[str, bool] = field(default_factory=dict[str, bool])
    state: Literal["waiting", "writing", "stop", "length", "cancelled", "failed"] = "waiting"

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.pieces)

    @property
    def under_way(self) -> bool:
        """Whether more is to come."""
        return self.state in ("waiting", "writing")


@dataclass(eq=False)
class Turn:
    """What a person said and what both models answered.

    Args:
        said: the words.
        steering: what steered, in words; empty where nothing did.
        colour: the name of the direction that tokens are coloured by; empty for none.
    """

    said: str
    steering: str = ""
    colour: str = ""
    plain: Side = field(default_factory=Side)
    steered: Side = field(default_factory=Side)

    @property
    def sides(self) -> dict[Which, Side]:
        """Both answers."""
        return {"plain": self.plain, "steered": self.steered}


@dataclass(eq=False)
class Session:
    """What one visitor has before them.

    Args:
        shelf: what can be steered with.
        settings: by name, where it acts.
        turns: the conversation.
        stop: set to end the answers under way.
        quit: set to end the making of a direction.
        answering: whether answers are under way.
        making: whether a direction is being made.
        made: the name of the direction that was made last.
        recolour: what was chosen to colour by while answers were under way; done when they have ended.
    """

    shelf: list[Entry] = field(default_factory=list[Entry])
    settings: dict[str, Setting] = field(default_factory=dict[str, Setting])
    turns: list[Turn] = field(default_factory=list[Turn])
    stop: threading.Event = field(default_factory=threading.Event)
    quit: threading.Event = field(default_factory=threading.Event)
    answering: bool = False
    making: bool = False
    made: str = ""
    recolour: str | None = None

    def __deepcopy__(self, memo: object) -> "Session":
        """Return itself: the page hands it on, and events cannot be copied."""
        return self


def turn_tokens(model: Handle, turns: Sequence[Turn], said: str, which: Which, room: int) -> list[int]:
    """Return the prompt of the next turn: a chat where the model has a template, else one text that goes on.

    The earliest turns are left out where all of them would not fit.

    Args:
        model: the model.
        turns: before.
        said: now.
        which: whose answers stand in it.
        room: tokens that will be written behind.

    Raises:
        InputError: for nothing, or more than fits.
    """
    if not said.strip():
        raise InputError("expected a few words to send, got nothing")
    if len(said) > LONGEST:
        raise InputError(f"expected at most {LONGEST:,} characters in one message, got {len(said):,}")
    most = context_length(model) - room
    kept = [turn for turn in turns if turn.sides[which].text]
    while True:
        tokens = _tokens(model, kept, said, which)
        if len(tokens) <= most:
            return tokens
        if not kept:
            raise InputError(f"expected a message of at most {most} tokens, got {len(tokens)}; make it shorter")
        kept = kept[1:]


def context_length(model: Handle) -> int:
    """Return how many tokens the model can see at once, as its configuration says; 1,024 where it does not."""
    config = getattr(model.hf, "config", None)
    known = (getattr(config, name, None) for name in ("max_position_embeddings", "n_positions"))
    return next((int(value) for value in known if isinstance(value, int) and value > 0), 1_024)


def _tokens(model: Handle, turns: Sequence[Turn], said: str, which: Which) -> list[int]:
    if not model.template:
        text = "".join(turn.said + turn.sides[which].text + "\n" for turn in turns) + said
        return list(model.tokenizer(text)["input_ids"])
    messages: list[dict[str, str]] = []
    for turn in turns:
        messages.append({"role": "user", "content": turn.said})
        messages.append({"role": "assistant", "content": turn.sides[which].text})
    messages.append({"role": "user", "content": said})
    text = model.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return list(model.tokenizer(text, add_special_tokens=False)["input_ids"])
