"""The parts of a decoder block, found by what they do: the modules whose outputs make up what the block adds.

A block turns the residual stream `x` into `x + factor * (a + m)`, where `a` is what its token mixer writes and `m` what
its MLP writes. A few passes over a few tokens show which modules those are, whatever they are called:

1. Every module of a block whose output is as wide as the stream is a candidate; the writers are those that add up, to
   rounding, to what the block adds.
2. Every block is given the input that it had, with all tokens but the last one changed. The first writer that moves at
   the last token has looked at the others: it is the mixer. An MLP behind it moves too, but no longer once the mixer is
   held still, which a third pass shows; a second mixer beside the first still would.

Of several modules with the same output (an attention, and the linear layer it ends in) the outermost is the writer.
"""

from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

import torch
from torch import Tensor, nn

from steersman.errors import ModelError
from steersman.model.layout import Layout
from steersman.model.probe import Call, Trace, probe
from steersman.where import Site

Side = Literal["input", "output"]


@dataclass(frozen=True)
class Place:
    """Where a site's activations pass.

    Args:
        module: the module that takes or gives them.
        side: whether they are its (first) input or its (first) output.
        part: of the last dimension, the columns that belong to the site; all where not given.
    """

    module: nn.Module
    side: Side
    part: slice | None = None


@dataclass(frozen=True)
class Part:
    """What writes to the residual stream in one block.

    Args:
        mixer: the module whose output the block adds first: attention (behind its norm, where a norm follows it), or
            what stands in its place; `None` where there is none, or several.
        mlp: the module whose output it adds second: MLP or experts; `None` where there is none, or several.
        projection: the linear layer inside the mixer whose input holds the heads side by side; `None` where not found.
        heads: number of heads, 0 where not found.
        factor: what the block multiplies both by before it adds them; 1 where it is not the same for all.
        head_width: columns of one head in the projection's input, 0 where not found.
        mixers: number of modules that write as mixers.
        mlps: number of modules that write as MLPs.
    """

    mixer: nn.Module | None
    mlp: nn.Module | None
    projection: nn.Module | None
    heads: int
    factor: float
    head_width: int = 0
    mixers: int = 1
    mlps: int = 1


@dataclass(eq=False)
class _Sum:
    """Writers that make up what a block adds, in the order of their calls.

    With them those found to mix tokens, and how far each writer moved at the last token before any mixer was held.
    """

    writers: list[Call]
    factor: float
    mixers: list[Call] = field(default_factory=list)
    distances: dict[str, float] = field(default_factory=dict)


def discover_parts(model: Any, layout: Layout) -> tuple[Part, ...]:
    """Return the parts of every block.

    Args:
        model: a Hugging Face causal language model.
        layout: where its blocks are.

    Raises:
        ModelError: when no one, two or three modules of a block make up what it adds, or blocks share them.
    """
    config = model.config.get_text_config(decoder=True) if hasattr(model.config, "get_text_config") else model.config
    heads = getattr(config, "num_attention_heads", None) or 0
    plain = probe(model, layout)
    sums = [_sum_of(layer, trace) for layer, trace in enumerate(plain)]
    _refuse_shared(sums)
    while True:
        held = {call.module: call.written for each in sums for call in each.mixers}
        moved = probe(model, layout, plain, held)
        grown = [_grown(each, trace) for each, trace in zip(sums, moved, strict=True)]
        if not any(grown):
            break
    return tuple(
        _part_of(block, trace, each, heads[layer] if isinstance(heads, list | tuple) else heads)
        for layer, (block, trace, each) in enumerate(zip(layout.blocks, plain, sums, strict=True))
    )


def place_of(part: Part, site: Site) -> Place:
    """Return where a site inside a block is, given the block's parts.

    Raises:
        ModelError: when the block has no such part.
    """
    if site.point == "head":
        if part.projection is None or site.head is None or site.head >= part.heads:
            raise ModelError(f"expected a head below {part.heads} at layer {site.layer}, got {site}")
        size = part.head_width
        return Place(part.projection, "input", slice(site.head * size, (site.head + 1) * size))
    module, count = (part.mixer, part.mixers) if site.point == "attn_out" else (part.mlp, part.mlps)
    if module is None:
        raise ModelError(
            f"expected one module that writes {site.point} in the block of layer {site.layer}, got {count}; "
            "take resid_pre or resid_post there, or another layer"
        )
    return Place(module, "output")


def _sum_of(layer: int, trace: Trace) -> _Sum:
    if trace.before is None or trace.after is None or trace.before.shape != trace.after.shape:
        raise ModelError(
            f"expected a block at layer {layer} that takes and returns one residual stream, got another form of block"
        )
    candidates = _candidates(trace)
    best: tuple[float, _Sum] | None = None
    # One factor for all before several, 1 before another, and the fewest writers that do.
    for count in (1, 2, 3):
        for fitted in (_one, _common, _separate):
            for writers in combinations(candidates, count):
                excess, factor = _misfit(trace, writers, fitted)
                if excess <= 1 and (best is None or excess < best[0]):
                    best = (excess, _Sum(list(writers), factor))
            if best is not None:
                return best[1]
    names = ", ".join(call.name for call in candidates) or "none"
    raise ModelError(
        f"expected a block at layer {layer} that adds the outputs of one to three modules to the residual stream, got "
        f"another sum (modules as wide as the stream: {names}); take the points resid_pre and resid_post"
    )


def _candidates(trace: Trace) -> list[Call]:
    """Return the calls as wide as the stream, in order; of those with equal outputs the outermost, then the first."""
    assert trace.before is not None
    kept: list[Call] = []
    for index, call in enumerate(trace.calls):
        again = any(other.module is call.module for place, other in enumerate(trace.calls) if place != index)
        if again or call.written.shape != trace.before.shape or not call.written.any():
            continue
        twin = next((place for place, other in enumerate(kept) if torch.equal(other.written, call.written)), None)
        if twin is None:
            kept.append(call)
        elif call.depth < kept[twin].depth:
            kept[twin] = call
    return kept


def _one(_added: Tensor, written: Tensor) -> Tensor:
    return torch.ones(len(written), dtype=torch.float64)


def _common(added: Tensor, written: Tensor) -> Tensor:
    total = written.sum(0)
    return (added @ total / (total @ total)).expand(len(written))


def _separate(added: Tensor, written: Tensor) -> Tensor:
    return torch.linalg.lstsq(written.T, added[:, None]).solution[:, 0]


def _misfit(trace: Trace, writers: tuple[Call, ...], fitted: Any) -> tuple[float, float]:
    """Return how far the writers miss what the block adds, in units of what rounding allows, and their factor."""
    assert trace.before is not None
    assert trace.after is not None
    before, after = trace.before.flatten(), trace.after.flatten()
    written = torch.stack([call.written.flatten() for call in writers])
    factors = fitted(after - before, written)
    weighted = factors[:, None] * written
    # Every sum and product rounds by half an epsilon of its result, which the terms bound; number by number, since a
    # few coordinates of the stream may be a thousand times the others.
    allowed = 4 * trace.epsilon * (before.abs() + after.abs() + weighted.abs().sum(0)) + 1e-30
    excess = float(((after - before - weighted.sum(0)).abs() / allowed).max())
    return excess, float(factors[0]) if fitted is not _separate else 1.0


def _refuse_shared(sums: list[_Sum]) -> None:
    seen: set[nn.Module] = set()
    for layer, each in enumerate(sums):
        for call in each.writers:
            if call.module in seen:
                raise ModelError(
                    f"expected blocks with modules of their own, got {call.name} at layer {layer}, which an earlier "
                    "block runs as well; take the points resid_pre and resid_post"
                )
            seen.add(call.module)


def _grown(each: _Sum, moved: Trace) -> bool:
    """Add the first further writer that moved at the last token to the mixers; return whether there is one."""
    first: Call | None = None
    for call in each.writers:
        other = moved.call(call.module)
        if call in each.mixers or other is None:
            continue
        size = float(call.written[-1].abs().max())
        distance = float((other.written[-1] - call.written[-1]).abs().max())
        unheld = each.distances.setdefault(call.name, distance)
        # Attention that looks at little but its own token moves little; a second mixer moves as before the first was
        # held. What is left of an MLP's movement then is rounding, which is coarse in quantised layers.
        slack = max(0.05 * size, 0.1 * unheld) if each.mixers else min(100 * moved.epsilon, 0.05) * size
        if first is None and distance > slack:
            first = call
    if first is not None:
        each.mixers.append(first)
    return first is not None


def _part_of(block: nn.Module, trace: Trace, each: _Sum, heads: int) -> Part:
    mlps = [call for call in each.writers if call not in each.mixers]
    found = [projection for call in each.mixers for projection in _projections(block, trace, call, heads)]
    return Part(
        mixer=each.mixers[0].module if len(each.mixers) == 1 else None,
        mlp=mlps[0].module if len(mlps) == 1 else None,
        projection=found[0].module if found else None,
        heads=heads if found else 0,
        factor=each.factor,
        head_width=_width(found[0]) // heads if found else 0,
        mixers=len(each.mixers),
        mlps=len(mlps),
    )


def _projections(block: nn.Module, trace: Trace, mixer: Call, heads: int) -> list[Call]:
    """Return the linear layers whose output the mixer hands on and whose input divides into heads, outermost first."""
    targets = [mixer.written] if mixer.given is None else [mixer.written, mixer.given]
    found: list[Call] = []
    for call in trace.calls:
        weight = getattr(call.module, "weight", None)
        linear = hasattr(call.module, "in_features") or (isinstance(weight, Tensor) and weight.ndim == 2)
        if not linear or not heads or _width(call) % heads or not _width(call):
            continue
        # A convolution over tokens is what state-space and short-convolution mixers have and attention has not.
        around = block.get_submodule(call.name.rpartition(".")[0])
        if around is not block and any(isinstance(module, nn.Conv1d) for module in around.modules()):
            continue
        if any(target.shape == call.written.shape and torch.equal(target, call.written) for target in targets):
            found.append(call)
    return sorted(found, key=lambda call: call.depth)


def _width(call: Call) -> int:
    return 0 if call.given is None else call.given.shape[-1]
