"""The logit lens on a direction: which tokens it would write if it went straight to the unembedding.

Formula: `logits = W_U (g * v)`, with `g` the scale of the model's final norm and `W_U` the unembedding; under a norm
that centres, `v - mean(v)` in place of v. It is the direct attribution of v to the logits, up to a positive factor.
What attention and MLP write is added to the stream, so their directions are read as those of the stream are; one of an
attention head goes through the head's columns of the output projection first, `W_O v`.

Left out: the norm's division by the length of the whole stream (the positive factor, which differs from token to
token), the biases of the norm and of the unembedding, what the layers in between make of v, and a cap or scale of the
logits. It fails where those layers matter most: of an early site the tokens are often noise, though the direction
steers.

References: nostalgebraist (2020), "Interpreting GPT: the logit lens"; Geva et al. (2022), "Transformer feed-forward
layers build predictions by promoting concepts in the vocabulary space".
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from steersman.direction import Direction
from steersman.errors import InputError, MismatchError, ModelError
from steersman.model.handle import Handle
from steersman.model.layout import hidden_of
from steersman.shapes import Float, Tensor, Vector
from steersman.where import Site


@dataclass(frozen=True)
class Lens:
    """What turns a vector of the stream into logits.

    Args:
        scale: `[d]` float32, of the final norm; ones without one.
        centres: whether the norm takes the mean off.
        unembedding: `[vocab, d]`.
    """

    scale: Vector
    centres: bool
    unembedding: Float[Tensor, "vocab d"]

    def logits(self, vector: Vector) -> Float[Tensor, " vocab"]:
        """Return the `[vocab]` float32 direct attribution of a `[d]` vector to the logits, up to a positive factor."""
        held = vector.to(self.scale.device, torch.float32)
        if self.centres:
            held = held - held.mean()
        return self.unembedding.float() @ (self.scale * held)


@dataclass(frozen=True)
class LensTokens:
    """The tokens nearest to a direction at one site.

    Args:
        site: where the vector was read.
        towards: of `+v`, nearest first.
        away: of `-v`, nearest first.
    """

    site: Site
    towards: tuple[str, ...]
    away: tuple[str, ...]


@dataclass
class _Calls:
    """What passed between the last block and the unembedding in one forward pass."""

    hidden: torch.Tensor | None = None
    read: torch.Tensor | None = None
    between: list[tuple[nn.Module, torch.Tensor, torch.Tensor]] = field(
        default_factory=list[tuple[nn.Module, torch.Tensor, torch.Tensor]]
    )


def lens_tokens(model: Handle, direction: Direction, sites: Sequence[Site], top: int = 10) -> list[LensTokens]:
    """Return the tokens that a direction would write at some of its sites, and those that its opposite would.

    Args:
        model: the one that the direction was fitted on.
        direction: what to look at.
        sites: of any point; a head's vector is taken to the stream by its columns of the output projection.
        top: how many tokens each way.

    Raises:
        InputError: for a site that the direction does not hold, or no token at all.
        MismatchError: for a direction of another width, or a head that the model lacks.
        ModelError: for a model without an unembedding, or with more than a norm before it; for a head, where something
            other than a sum stands between its output projection and the stream.
    """
    if top < 1:
        raise InputError(f"expected at least one token each way, got {top}")
    if direction.origin.width != model.width:
        raise MismatchError(
            f"expected a direction of width {model.width} ({model.name}), got width {direction.origin.width}; "
            "name the model that it was fitted on"
        )
    lens = find_lens(model)
    found: list[LensTokens] = []
    for site in sites:
        vector = direction.at(site).vectors[site]
        if site.head is not None:
            vector = _written_by_head(model, site, vector)
        # Rows of the unembedding beyond the tokenizer's words are padding.
        logits = lens.logits(vector)[: len(model.tokenizer)]
        ways = [
            tuple(model.tokenizer.decode([int(token)]) for token in (sign * logits).topk(min(top, len(logits))).indices)
            for sign in (1, -1)
        ]
        found.append(LensTokens(site, ways[0], ways[1]))
    return found


@torch.no_grad()
def _written_by_head(model: Handle, site: Site, vector: Vector) -> Vector:
    """Return the `[d]` float32 vector that a head's `[head width]` vector writes to the stream: `W_O v`, no bias."""
    place, part = model.place(site), model.parts[site.layer]
    if part.mixer is None or not any(module is place.module for module in part.mixer.modules()):
        raise ModelError(
            f"expected an output projection that writes to the residual stream itself, got one with a norm or another "
            f"part behind it at {site} of {model.name}; the lens is not defined there, look at attn_out.{site.layer}"
        )
    if place.part is None or len(vector) != part.head_width:
        raise MismatchError(f"expected a vector of width {part.head_width} at {site}, got {len(vector)}")
    weight = place.module.weight
    heads = torch.zeros(1, 2, part.heads * part.head_width, device=weight.device, dtype=weight.dtype)  # type: ignore
    heads[0, 1, place.part] = vector.to(heads)
    without, alone = place.module(heads)[0].float()
    return alone - without


@torch.no_grad()
def find_lens(model: Handle) -> Lens:
    """Return the model's final norm and unembedding, found by what happens between the last block and the logits.

    The norm is the module that takes the last block's output and gives what the unembedding reads. Its scale is read
    off from what it does to a vector of signs, so that a scale stored as its difference from 1 is right as well.

    Raises:
        ModelError: for a model without an unembedding, or with more than a norm before it.
    """
    head = model.hf.get_output_embeddings()
    if head is None or getattr(head, "weight", None) is None:
        raise ModelError(f"expected a model with an unembedding, got {model.name}, which names none")
    weight = head.weight.detach()
    if weight.shape[-1] != model.width:
        raise ModelError(
            f"expected an unembedding that reads the residual stream (width {model.width}), got one of width "
            f"{weight.shape[-1]} in {model.name}; the lens does not reach through a projection"
        )
    calls = _passed(model, head)
    if calls.hidden is None or calls.read is None:
        raise ModelError(f"expected the last block's output to reach the unembedding of {model.name}, it did not")
    if torch.equal(calls.hidden, calls.read):
        return Lens(torch.ones(model.width, device=weight.device), False, weight)
    for module, taken, given in calls.between:
        if torch.equal(taken, calls.hidden) and torch.equal(given, calls.read):
            scale, centres = _scale_of(module, calls.hidden)
            return Lens(scale.to(weight.device), centres, weight)
    raise ModelError(
        f"expected nothing but a norm between the last block and the unembedding of {model.name}, got more; "
        "the lens is not defined there"
    )


def _passed(model: Handle, head: nn.Module) -> _Calls:
    """Run a few tokens through the model and note what passes behind the last block; leaves no hook."""
    calls = _Calls()

    def after_last(_module: nn.Module, _args: Any, output: Any) -> None:
        calls.hidden = hidden_of(output)
        calls.between.clear()

    def before_head(_module: nn.Module, args: Any) -> None:
        calls.read = args[0]

    def between(module: nn.Module, args: Any, output: Any) -> None:
        if args and isinstance(args[0], torch.Tensor) and isinstance(output, torch.Tensor):
            calls.between.append((module, args[0], output))

    blocks = {id(part) for part in model.layout.blocks.modules()}
    last = model.layout.blocks[-1]
    with ExitStack() as hooks:
        hooks.callback(last.register_forward_hook(after_last).remove)
        hooks.callback(head.register_forward_pre_hook(before_head).remove)
        for module in model.hf.modules():
            if id(module) not in blocks and module is not head:
                hooks.callback(module.register_forward_hook(between).remove)
        tokens = torch.tensor([[0, 1, 2, 3]], device=model.device)
        model.hf(input_ids=tokens, attention_mask=torch.ones_like(tokens))
    return calls


def _scale_of(norm: nn.Module, like: torch.Tensor) -> tuple[Vector, bool]:
    """Return a norm's `[d]` scale and whether it centres, from what it does to vectors of mean 0 and length sqrt(d).

    Such a vector s comes out as `g * s + b` of every norm, and -s as `-g * s + b`.
    """
    width = like.shape[-1]
    signs = (1 - 2 * (torch.arange(width, device=like.device) % 2)).to(like.dtype)
    given = norm(torch.stack([signs, -signs, signs + 1]).expand(1, 3, width))[0].float()
    scale = (given[0] - given[1]) / 2 * signs.float()
    # Where the mean is taken off, one more of it changes nothing.
    centres = bool((given[2] - given[0]).abs().max() <= 1e-2 * (given[0] - given[1]).abs().max())
    return scale, centres
