"""What the unsteered model makes of a text while it is being written: of each token, how likely and how far along.

Steering moves activations along a direction by itself; only what was written moves this reading, so that a coloured
word says something of the word. The text is read a few tokens at a time behind a cache, and each token once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from steersman.direction import Direction
from steersman.maths.geometry import unit
from steersman.model.handle import Handle
from steersman.model.head import Seen
from steersman.model.hooks import capturing
from steersman.model.layout import cache_of
from steersman.model.progress import Progress
from steersman.model.score import token_logprobs
from steersman.where import Site


@dataclass(frozen=True)
class Read:
    """One token in the eyes of the unsteered model.

    Args:
        logprob: of the token, given all before, nats.
        projection: of the activations at the token on the direction's unit vector; `None` where none was asked for.
    """

    logprob: float
    projection: float | None = None


@dataclass(eq=False)
class Follower:
    """Reads a text as it grows.

    Args:
        model: unsteered here, whatever steers it in other threads.
        prompt: tokens of what stands before, at least one.
        direction: with one site; `None` reads likelihoods alone.
    """

    model: Handle
    prompt: Sequence[int]
    direction: Direction | None = None
    read: list[Read] = field(default_factory=list[Read])
    _tokens: list[int] = field(default_factory=list[int])
    _cache: Any = None
    _last: Tensor | None = None

    def follow(self, tokens: Sequence[int]) -> list[Read]:
        """Return the readings of all tokens of the text so far, of which those read before are not read again.

        Args:
            tokens: the text's, those of the last call first.
        """
        new = list(tokens[len(self._tokens) :])
        if new:
            self.read += self._pass(new)
            self._tokens += new
        return self.read

    @torch.inference_mode()
    def _pass(self, new: list[int]) -> list[Read]:
        model, cached = self.model, self.model.reads_on
        begin = [] if self._cache is not None else [*self.prompt, *self._tokens]
        row = torch.tensor([[*begin, *new]], device=model.device)
        length = len(self.prompt) + len(self._tokens) + len(new)
        arguments: dict[str, Any] = {
            "input_ids": row,
            "attention_mask": torch.ones(1, length, dtype=torch.long, device=model.device),
            "use_cache": cached,
        }
        if "position_ids" in model.accepts:
            arguments["position_ids"] = torch.arange(length - row.shape[1], length, device=model.device)[None]
        if self._cache is not None:
            arguments["past_key_values"] = self._cache
        found: list[Tensor] = []

        def take(_site: Site, hidden: Tensor, _progress: Progress) -> None:
            found.append(hidden[0, -len(new) :].float())

        sites = self.direction.sites if self.direction is not None else []
        with capturing(model, sites, take):
            if model.head is None:
                output = model.hf(**arguments)
                seen = output.logits
            else:
                output = model.layout.base(**arguments)
                seen = output.last_hidden_state
        if cached:
            self._cache = cache_of(output)
        # A token's likelihood was decided at the one before it: the first one's in the pass before this one.
        before = seen[0, -len(new) - 1 : -1] if self._last is None else torch.cat([self._last, seen[0, -len(new) : -1]])
        self._last = seen[0, -1:] if cached else None
        logits = torch.cat([
            part for _, part in Seen(before[None], model.head).logits(
                torch.zeros(len(new), dtype=torch.long), torch.arange(len(new), 0, -1)
            )
        ])  # fmt: skip
        logprobs = token_logprobs(logits, new).tolist()
        if self.direction is None:
            return [Read(value) for value in logprobs]
        vector = unit(self.direction.vectors[sites[0]].float()).to(found[0].device)
        places = (found[0] @ vector).tolist()
        return [Read(*pair) for pair in zip(logprobs, places, strict=True)]
