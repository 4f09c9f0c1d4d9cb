"""Where things are in a model, found by structure and verified by effect; no switch on a model's name."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from steersman.errors import ModelError


@dataclass(frozen=True)
class Layout:
    """The parts of a decoder that interventions need.

    Args:
        base: the decoder without its language-model head; its forward sees attention mask and cache.
        blocks: the decoder blocks, in order.
        width: model width d.
    """

    base: nn.Module
    blocks: nn.ModuleList
    width: int

    @property
    def depth(self) -> int:
        """Number of decoder blocks."""
        return len(self.blocks)


def discover(model: Any, blocks: str | None = None) -> Layout:
    """Return the layout: the only `ModuleList` as long as the configuration's number of layers.

    Args:
        model: a Hugging Face causal language model.
        blocks: dotted path of the block list, where the structure is ambiguous.

    Raises:
        ModelError: when no list, or several, fit; lists the candidates.
    """
    if getattr(model.config, "is_encoder_decoder", False):
        raise ModelError(f"expected a decoder, got the encoder and decoder of {type(model).__name__}; name a decoder")
    config = model.config.get_text_config(decoder=True) if hasattr(model.config, "get_text_config") else model.config
    depth, width = config.num_hidden_layers, config.hidden_size
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    if blocks is not None:
        if blocks not in lists:
            raise ModelError(f"expected the path of a ModuleList ({', '.join(lists) or 'none'}), got {blocks!r}")
        name = blocks
    else:
        fitting = [name for name, module in lists.items() if len(module) == depth and _is_outermost(name, lists, depth)]
        if len(fitting) != 1:
            found = ", ".join(f"{name} ({len(module)})" for name, module in lists.items()) or "none"
            raise ModelError(
                f"expected exactly one ModuleList of {depth} blocks in {type(model).__name__}, "
                f"got {len(fitting)} among {found}; give its path with blocks="
            )
        name = fitting[0]
    parent = model.get_submodule(name.rpartition(".")[0])
    return Layout(parent, lists[name], width)


def _is_outermost(name: str, lists: dict[str, nn.ModuleList], depth: int) -> bool:
    return not any(name.startswith(f"{other}.") for other, module in lists.items() if len(module) == depth)


def hidden_of(output: Any) -> torch.Tensor:
    """Return the hidden states in a block's output, which is a tensor or a tuple that begins with it."""
    return output[0] if isinstance(output, tuple) else output


def with_hidden(output: Any, hidden: torch.Tensor) -> Any:
    """Return a block's output with other hidden states, in the form it came."""
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


@torch.no_grad()
def verify(model: Any, layout: Layout) -> None:
    """Return when an edit at the middle block moves the logits and no token sees a later one; changes nothing.

    Raises:
        ModelError: when the blocks found are not on the path from tokens to logits, or the model is an encoder.
    """
    device = next(model.parameters()).device
    # Two texts that differ in their last token alone.
    tokens = torch.tensor([[0, 1, 2, 3], [0, 1, 2, 4]], device=device)
    arguments = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    plain = _logits(model, arguments)
    # More than rounding differs by between rows of a batch, less than a look ahead shows.
    slack = min(100 * torch.finfo(plain.dtype).eps, 0.05) * float(plain.abs().max())
    if float((plain[0, :-1] - plain[1, :-1]).abs().max()) > slack:
        raise ModelError(
            f"expected a causal language model, got {type(model).__name__}, whose tokens see later ones: "
            "an encoder cannot be steered as it writes; name a decoder"
        )

    def push(_module: nn.Module, _args: Any, output: Any) -> Any:
        hidden = hidden_of(output)
        shape = list(getattr(hidden, "shape", []))
        if shape != [*tokens.shape, layout.width]:
            raise ModelError(
                f"expected blocks to return [batch, seq, {layout.width}], here {[*tokens.shape, layout.width]}, "
                f"got {shape or type(hidden).__name__}; give their path with blocks="
            )
        ramp = torch.linspace(-1, 1, layout.width, device=hidden.device, dtype=hidden.dtype)
        return with_hidden(output, hidden + ramp * hidden.norm(dim=-1, keepdim=True))

    handle = layout.blocks[layout.depth // 2].register_forward_hook(push)
    try:
        moved = _logits(model, arguments)
    finally:
        handle.remove()
    if torch.equal(plain, moved):
        raise ModelError(
            "an edit at the middle block did not move the logits: these are not the decoder blocks; "
            "give their path with blocks="
        )


def _logits(model: Any, arguments: dict[str, torch.Tensor]) -> torch.Tensor:
    output = model(**arguments)
    if not hasattr(output, "logits"):
        raise ModelError(
            f"expected a causal language model, got {type(model).__name__}, which gives no logits; "
            "load it with AutoModelForCausalLM"
        )
    return output.logits
