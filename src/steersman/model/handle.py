"""A loaded model with all that steering needs to know of it."""

import inspect
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from steersman.errors import MismatchError
from steersman.model.layout import Layout
from steersman.plan import Plan


@dataclass(frozen=True, eq=False)
class Handle:
    """A Hugging Face causal language model, its tokenizer and its layout.

    Args:
        hf: the model, in evaluation mode.
        tokenizer: its tokenizer.
        layout: where its blocks are.
        name: what it was loaded as.
        revision: hash of its weights, or the hub's commit.
        template: sha256 of the chat template; empty when it has none.
        dtype: type of its weights and activations.
        device: where its inputs go.
        stop_tokens: ids that end a completion.
        under_way: the contexts that edit or capture at this moment, outermost first.
    """

    hf: Any
    tokenizer: Any
    layout: Layout
    name: str
    revision: str
    template: str
    dtype: torch.dtype
    device: torch.device
    stop_tokens: frozenset[int] = field(default_factory=frozenset)
    under_way: list[Any] = field(default_factory=list, repr=False)

    @property
    def depth(self) -> int:
        """Number of decoder blocks."""
        return self.layout.depth

    @property
    def width(self) -> int:
        """Model width d."""
        return self.layout.width

    @property
    def identity(self) -> str:
        """What a result computed with this model depends on: name, weights, chat template, type and kind of device."""
        return "|".join((self.name, self.revision, self.template, str(self.dtype), self.device.type))

    @cached_property
    def accepts(self) -> frozenset[str]:
        """Names of the arguments that the model's forward takes."""
        return frozenset(inspect.signature(self.hf.forward).parameters)

    def check(self, plan: Plan) -> None:
        """Return when every step of the plan fits this model.

        Raises:
            MismatchError: for a step made for another width or depth.
        """
        for step in plan:
            if step.width != self.width or step.depth != self.depth:
                raise MismatchError(
                    f"expected a direction of width {self.width} for {self.depth} layers ({self.name}), "
                    f"got width {step.width} for {step.depth} layers; fit one on this model"
                )
