"""What can be written into a model's weights: the linear layer a writer ends in, and a bias where it may have one.

Both are found by effect: the layer whose output is the writer's, its weight's orientation by recomputing that output, a
bias by asking the configuration for one and looking whether it came.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from steersman.errors import InputError
from steersman.model.conversion import quiet
from steersman.model.handle import Handle
from steersman.model.layout import hidden_of

_TOKENS = 5


@dataclass(frozen=True)
class Final:
    """The linear layer that makes what a writer adds to the residual stream.

    Args:
        name: its path in the model.
        module: the layer, with a two-dimensional weight.
        rows: whether the weight is `[d, input]`, as a linear layer keeps it, or `[input, d]`, as GPT-2's does.
    """

    name: str
    module: nn.Module
    rows: bool


@torch.no_grad()
def finals(model: Handle, writers: dict[str, nn.Module]) -> dict[str, Final]:
    """Return the last linear layer of each writer.

    Args:
        model: the model.
        writers: modules that write to the residual stream, by what errors call them.

    Raises:
        InputError: for a writer whose output no linear layer inside it makes: one that ends in a norm, or a sum of
            experts.
    """
    names = {module: name for name, module in model.hf.named_modules()}
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    inside = {key: [m for m in writer.modules() if _is_linear(m)] for key, writer in writers.items()}
    watched = {*writers.values(), *(module for modules in inside.values() for module in modules)}

    def see(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        # A writer called by keywords alone has no positional input; only linear layers' inputs are looked at.
        out = hidden_of(output).detach()
        seen[module] = (args[0].detach() if args and isinstance(args[0], Tensor) else out, out)

    hooks = [module.register_forward_hook(see) for module in watched]
    try:
        model.hf(torch.arange(1, _TOKENS + 1, device=model.device)[None])
    finally:
        for hook in hooks:
            hook.remove()
    found: dict[str, Final] = {}
    for key, writer in writers.items():
        fitting = [m for m in inside[key] if m in seen and _same(seen[m][1], seen[writer][1])]
        if not fitting:
            raise InputError(
                f"expected the writer {key} of {model.name} to end in a linear layer, got a {type(writer).__name__} "
                "that does not: what stands between the weights and the residual stream (a norm, a choice of experts) "
                "leaves no weight that an edit could be written into; steer at run time instead"
            )
        found[key] = Final(names[fitting[-1]], fitting[-1], _rows(fitting[-1], *seen[fitting[-1]]))
    return found


def _is_linear(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim == 2 and not isinstance(module, nn.Embedding)


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


def _rows(module: Any, given: Tensor, output: Tensor) -> bool:
    """Return whether the weight is `[d, input]`: which way round gives the output that was seen."""
    weight = module.weight.detach().float()
    if weight.shape != (output.shape[-1], given.shape[-1]):
        return False
    if weight.shape[0] != weight.shape[1]:
        return True
    plain = output.float() if module.bias is None else output.float() - module.bias.float()
    one, other = given.float() @ weight.T, given.float() @ weight
    return float((one - plain).norm()) <= float((other - plain).norm())


def with_biases(model: Handle, config: Any, wanted: list[Final]) -> dict[str, Tensor]:
    """Return the biases, all zero, that the model gains so that every layer wanted has one; sets the config's switches.

    Args:
        model: the model.
        config: a copy of its configuration; changed in place.
        wanted: layers that have to have a bias.

    Raises:
        InputError: for a layer that no switch of the configuration gives a bias to.
    """
    missing = [final for final in wanted if getattr(final.module, "bias", None) is None]
    gained: dict[str, Tensor] = {}
    while missing:
        final = missing[0]
        switch, found = _switch(model, config, final.name)
        if switch is None:
            raise InputError(
                f"expected a layer that can have a bias, got {final.name} of {model.name}: no setting of "
                f"{type(config).__name__} gives it one, so an addition cannot be written into this model's weights; "
                "steer at run time, or export a GGUF control vector"
            )
        setattr(config, switch, True)
        gained |= found
        missing = [other for other in missing if f"{other.name}.bias" not in gained]
    return gained


def _switch(model: Handle, config: Any, name: str) -> tuple[str | None, dict[str, Tensor]]:
    held = shapes(type(model.hf), config)
    for switch, value in config.to_dict().items():
        if value is not False or "bias" not in switch:
            continue
        tried = copy.deepcopy(config)
        setattr(tried, switch, True)
        grown = shapes(type(model.hf), tried)
        gained = {key: shape for key, shape in grown.items() if key not in held}
        kept = all(grown.get(key) == shape for key, shape in held.items())
        if kept and f"{name}.bias" in gained and all(key.endswith(".bias") for key in gained):
            return switch, {key: torch.zeros(shape) for key, shape in gained.items()}
    return None, {}


def shapes(kind: type, config: Any) -> dict[str, torch.Size]:
    """Return the shapes of the parameters that a configuration makes; nothing is allocated."""
    with quiet(), torch.device("meta"):
        return {name: parameter.shape for name, parameter in kind(config).named_parameters(remove_duplicate=False)}
