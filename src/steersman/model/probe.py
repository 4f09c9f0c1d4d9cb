"""A pass over a few tokens that notes what goes into and comes out of every module of every decoder block."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from steersman.model.layout import Layout, hidden_of, probe_device, uncompiled, with_hidden

TOKENS = 6
"""Tokens of the probe: enough for a mixer with a short window, few enough for the largest model."""


@dataclass(eq=False)
class Call:
    """One call of a module in the probe: `[tokens, width]` first input and first output, in float64 on the CPU."""

    name: str
    module: nn.Module
    given: Tensor | None
    written: Tensor

    @property
    def depth(self) -> int:
        """How many modules it lies within."""
        return self.name.count(".")


@dataclass(eq=False)
class Trace:
    """What passed through one block: its input and output, and the calls of the modules inside, as they ended."""

    before: Tensor | None = None
    after: Tensor | None = None
    calls: list[Call] = field(default_factory=list)
    epsilon: float = 0.0
    under_way: bool = False

    def call(self, module: nn.Module) -> Call | None:
        """Return the call of a module, where there was one."""
        return next((call for call in self.calls if call.module is module), None)


@torch.no_grad()
def probe(
    model: Any, layout: Layout, plain: list[Trace] | None = None, held: dict[nn.Module, Tensor] | None = None
) -> list[Trace]:
    """Return what passes through every block in one pass over a few tokens.

    Args:
        model: the model.
        layout: where its blocks are.
        plain: traces of a first pass; every block is then given its input from there with all tokens but the last
            changed, so that nothing but the block itself can carry a change to the last token.
        held: modules whose output is replaced, and by what.
    """
    traces = [Trace() for _ in layout.blocks]
    handles: list[Any] = []
    try:
        for index, block in enumerate(layout.blocks):
            trace = traces[index]
            before = plain[index].before if plain else None
            handles.append(block.register_forward_pre_hook(_entering(trace, before), with_kwargs=True))
            for name, module in _inside(block):
                handles.append(module.register_forward_hook(_recorder(trace, name), with_kwargs=True))
            handles.append(block.register_forward_hook(_leaving(trace)))
        for module, written in (held or {}).items():
            handles.append(module.register_forward_hook(_holder(written)))
        tokens = torch.arange(TOKENS, device=probe_device(model))[None]
        with uncompiled():
            model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return traces


def _inside(block: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules of a block, but not what is in its lists: experts or adapters, all of one kind and many."""
    stack = [("", block)]
    while stack:
        prefix, module = stack.pop()
        for name, child in module.named_children():
            if not isinstance(child, nn.ModuleList | nn.ModuleDict):
                yield f"{prefix}{name}", child
                stack.append((f"{prefix}{name}.", child))


def _recorder(trace: Trace, name: str) -> Any:
    def record(module: nn.Module, args: tuple[Any, ...], arguments: dict[str, Any], output: Any) -> None:
        # A module that several blocks share is heard in the block at hand alone.
        written = _rows(hidden_of(output)) if trace.under_way else None
        if written is not None:
            given = args[0] if args else arguments.get("hidden_states")
            trace.calls.append(Call(name, module, _rows(given), written))

    return record


def _entering(trace: Trace, plain: Tensor | None) -> Any:
    def enter(_module: nn.Module, args: tuple[Any, ...], arguments: dict[str, Any]) -> Any:
        hidden = args[0] if args else arguments["hidden_states"]
        trace.under_way, trace.epsilon = True, torch.finfo(hidden.dtype).eps
        if plain is None:
            trace.before = _rows(hidden)
            return None
        # Turned round and shifted: neither a norm nor a mean brings the tokens back to what they were.
        changed = plain.clone()
        changed[:-1] = -plain[:-1].roll(1, -1)
        trace.before = changed
        hidden = changed.to(hidden.device, hidden.dtype).reshape(hidden.shape)
        return ((hidden, *args[1:]), arguments) if args else (args, arguments | {"hidden_states": hidden})

    return enter


def _leaving(trace: Trace) -> Any:
    def leave(_module: nn.Module, _args: Any, output: Any) -> None:
        trace.after, trace.under_way = _rows(hidden_of(output)), False

    return leave


def _holder(written: Tensor) -> Any:
    def hold(_module: nn.Module, _args: Any, output: Any) -> Any:
        hidden = hidden_of(output)
        return with_hidden(output, written.to(hidden.device, hidden.dtype).reshape(hidden.shape))

    return hold


def _rows(hidden: Any) -> Tensor | None:
    """Return `[tokens, width]` in float64, copied (some blocks add in place); `None` for what is no hidden state."""
    if not isinstance(hidden, Tensor) or not hidden.is_floating_point():
        return None
    if hidden.ndim not in (2, 3) or hidden.shape[:-1].numel() != TOKENS:
        return None
    return hidden.detach().reshape(TOKENS, -1).to("cpu", torch.float64, copy=True)
