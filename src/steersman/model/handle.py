"""A loaded model with all that steering needs to know of it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from steersman.errors import InputError, MismatchError
from steersman.model.head import Head, find_head
from steersman.model.layout import Layout, accepted, reads_on, skips_padding
from steersman.model.parts import Part, Place, discover_parts, place_of
from steersman.model.trial import Forking, attends, try_out
from steersman.model.turns import Turns
from steersman.plan import Plan
from steersman.where import Site

logger = logging.getLogger(__name__)


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
        suffix: number of tokens that the chat template sets after the user's words, with the generation prompt.
        under_way: the contexts that edit or capture at this moment, outermost first.
        lock: held by the thread whose contexts are under way; hooks of PyTorch cannot come and go beside a pass.
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
    suffix: int = 0
    under_way: list[Any] = field(default_factory=list, repr=False)
    lock: Any = field(default_factory=Turns, repr=False)

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
        return accepted(self.hf)

    @cached_property
    def reads_on(self) -> bool:
        """Whether several tokens behind a cache are read as they are in one pass; some state-space layers are not."""
        with self.at_rest():
            return reads_on(self.hf)

    @cached_property
    def forking(self) -> Forking:
        """Whether rows that differ in their plans alone can share the blocks below, found when first asked for."""
        with self.at_rest():
            found = try_out(self.hf, self.layout, self.accepts)
        if found.reason:
            logger.info("%s reads every row by itself: %s", self.name, found.reason)
        elif not found.cached:
            logger.info(
                "%s reads every row by itself where it keeps a cache: a forked one came out differently", self.name
            )
        else:
            logger.info("%s reads rows together up to where their plans differ", self.name)
        return found

    @cached_property
    def head(self) -> Head | None:
        """The language-model head by itself; `None` where logits come from the model's own forward alone."""
        with self.at_rest():
            found = find_head(self.hf, self.layout, self.accepts)
        if found is None:
            logger.info("%s gives logits by its own forward alone, for all positions of a pass", self.name)
        return found

    @cached_property
    def attention(self) -> list[Any]:
        """The configurations by which the model is let attend as `attention` does; none where it cannot be."""
        with self.at_rest():
            return attends(self.hf, self.layout, self.accepts)

    def find_out(self) -> None:
        """Find out, where it is not known yet, what decides how rows are read; best before any context is entered."""
        for name in ("reads_on", "skips_padding", "forking", "head", "attention"):
            getattr(self, name)

    @cached_property
    def skips_padding(self) -> bool:
        """Whether padding within a text counts for nothing, and not as distance."""
        with self.at_rest():
            return skips_padding(self.hf)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The token mixer, the MLP and the heads of every block, found when first asked for.

        Raises:
            ModelError: when the blocks do not add two parts to the residual stream.
        """
        with self.at_rest():
            return discover_parts(self.hf, self.layout)

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Run the body with every context under way paused: what is found out about the model is of the plain one."""
        paused = list(self.under_way)
        for active in paused:
            active.paused += 1
        try:
            yield
        finally:
            for active in paused:
                active.paused -= 1

    def place(self, site: Site) -> Place:
        """Return the module, and the side of it, that a site's activations pass.

        Raises:
            MismatchError: for a layer or a head that the model lacks.
            ModelError: when the model's blocks have no such part.
        """
        if site.layer >= self.depth:
            raise MismatchError(f"expected a layer below {self.depth} ({self.name}), got {site}")
        if site.point == "resid_post":
            return Place(self.layout.blocks[site.layer], "output")
        if site.point == "resid_pre":
            return Place(self.layout.blocks[site.layer], "input")
        return place_of(self.parts[site.layer], site)

    def site_width(self, site: Site) -> int:
        """Return the width of a site's activations: of a head its own, everywhere else the model's."""
        part = self.place(site).part
        return self.width if part is None else part.stop - part.start

    def check(self, plan: Plan) -> None:
        """Return when every step of the plan fits this model.

        Raises:
            InputError: for a step whose edit cannot take its coefficient, or whose span the model cannot have.
            MismatchError: for a step made for another width or depth.
        """
        for step in plan:
            if step.coefficient:
                step.check()
            if step.span.name == "end":
                raise InputError(
                    f"expected a span that is known while a text is being written at {step.site}, got 'end'"
                )
            if step.span.name == "after_instruction" and not self.suffix:
                raise InputError(
                    f"expected a model with a chat template for the span after_instruction, got {self.name}, in which "
                    "no token follows the instruction; take last or generated"
                )
            if step.gate is not None and len(step.gate.vector) != self.site_width(step.gate.site):
                raise MismatchError(
                    f"expected a gate of width {self.site_width(step.gate.site)} at {step.gate.site}, got "
                    f"{len(step.gate.vector)}; fit one on this model"
                )
            if step.width != self.width or step.depth != self.depth:
                raise MismatchError(
                    f"expected a direction of width {self.width} for {self.depth} layers ({self.name}), "
                    f"got width {step.width} for {step.depth} layers; fit one on this model"
                )
            if len(step.vector) != self.site_width(step.site):
                raise MismatchError(
                    f"expected a vector of width {self.site_width(step.site)} at {step.site} ({self.name}), got "
                    f"{len(step.vector)}; fit one on this model"
                )
