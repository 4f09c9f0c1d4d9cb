"""Where things are in a model, found by structure and verified by effect; no switch on a model's name."""

import inspect
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
    """Return the layout, found in one pass over a few tokens.

    The blocks are the only `ModuleList` as long as the configuration's number of layers or, where several are as long
    (a vision tower beside the text's decoder), the only one whose modules all run on text, one after the other.

    Args:
        model: a Hugging Face causal language model; also behind a wrapper that hands its calls on, and also the text
            decoder of a model that sees or hears.
        blocks: dotted path of the block list, where the structure is ambiguous.

    Raises:
        ModelError: when no list, or several, fit; lists the candidates.
    """
    if getattr(model.config, "is_encoder_decoder", False):
        raise ModelError(f"expected a decoder, got the encoder and decoder of {type(model).__name__}; name a decoder")
    config = model.config.get_text_config(decoder=True) if hasattr(model.config, "get_text_config") else model.config
    depth, width = _number(config, *_DEPTHS), _number(config, *_WIDTHS)
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    if blocks is not None:
        if blocks not in lists:
            raise ModelError(f"expected the path of a ModuleList ({', '.join(lists) or 'none'}), got {blocks!r}")
        return Layout(_entry(model, blocks, _run(model, [lists[blocks]])), lists[blocks], width)
    fitting = [name for name, module in lists.items() if len(module) == depth and _is_outermost(name, lists, depth)]
    calls = _run(model, [lists[name] for name in fitting]) if fitting else []
    if len(fitting) > 1:
        fitting = [name for name in fitting if _runs_in_order(lists[name], calls)]
    if len(fitting) != 1:
        found = ", ".join(f"{name} ({len(module)})" for name, module in lists.items()) or "none"
        raise ModelError(
            f"expected exactly one ModuleList of {depth} blocks in {type(model).__name__}, "
            f"got {len(fitting)} among {found}; give its path with blocks="
        )
    return Layout(_entry(model, fitting[0], calls), lists[fitting[0]], width)


# What configurations call the number of blocks and the model width.
_DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_WIDTHS = ("hidden_size", "n_embd", "d_model", "dim")


def _number(config: Any, *names: str) -> int:
    for name in names:
        if isinstance(value := getattr(config, name, None), int):
            return value
    raise ModelError(f"expected a configuration with one of {', '.join(names)}, got {type(config).__name__} without")


def _is_outermost(name: str, lists: dict[str, nn.ModuleList], depth: int) -> bool:
    return not any(name.startswith(f"{other}.") for other, module in lists.items() if len(module) == depth)


@dataclass(frozen=True, eq=False)
class _Call:
    """A call of a module, and whether it was handed a 2-D attention mask, and token ids with it."""

    module: nn.Module
    mask: bool
    tokens: bool


@torch.no_grad()
def _run(model: Any, candidates: list[nn.ModuleList]) -> list[_Call]:
    """Return the calls of the candidates' blocks, and of the modules around them, in one pass over text, in order."""
    calls: list[_Call] = []

    def note(module: nn.Module, args: Any, arguments: dict[str, Any]) -> None:
        mask, tokens = arguments.get("attention_mask"), args[0] if args else arguments.get("input_ids")
        flat = isinstance(mask, torch.Tensor) and mask.ndim == 2
        calls.append(_Call(module, flat, flat and isinstance(tokens, torch.Tensor) and tokens.ndim == 2))

    inside = {module for candidate in candidates for block in candidate for module in block.modules()}
    watched = {module for module in model.modules() if module not in inside}
    watched |= {block for candidate in candidates for block in candidate}
    handles = [module.register_forward_pre_hook(note, with_kwargs=True) for module in watched]
    try:
        tokens = torch.tensor([[0, 1, 2, 3]], device=probe_device(model))
        with uncompiled():
            model(input_ids=tokens, attention_mask=torch.ones_like(tokens))
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _runs_in_order(blocks: nn.ModuleList, calls: list[_Call]) -> bool:
    """Return whether a pass called each of the blocks, in order, once."""
    order = {block: index for index, block in enumerate(blocks)}
    return [order[call.module] for call in calls if call.module in order] == list(range(len(blocks)))


def _entry(model: Any, name: str, calls: list[_Call]) -> nn.Module:
    """Return the innermost module around the blocks that is told the tokens and which of them are padding.

    Usually the blocks' parent. Some decoders are handed embeddings, or masks made ready for each kind of attention;
    then it is a module above.
    """
    parents = [name.rpartition(".")[0]]
    while parents[-1]:
        parents.append(parents[-1].rpartition(".")[0])
    around = [model.get_submodule(parent) for parent in parents if parent] or [model]
    for told in ({call.module for call in calls if call.tokens}, {call.module for call in calls if call.mask}):
        for module in around:
            if module in told:
                return module
    return around[0]


def probe_device(model: Any) -> torch.device:
    """Return where a model's tokens go: where its embedding is, unless that waits on disk (`meta`)."""
    devices = [parameter.device for parameter in model.parameters()]
    return next((device for device in devices if device.type != "meta"), torch.device("cpu"))


def uncompiled() -> Any:
    """Return a context in which what `torch.compile` has compiled runs as written.

    Compiled code does not look for hooks that came after its compilation: edits would not be made, and nothing seen.
    """
    return torch.compiler.set_stance("force_eager")


def hidden_of(output: Any) -> torch.Tensor:
    """Return the hidden states in a block's output, which is a tensor or a tuple that begins with it."""
    return output[0] if isinstance(output, tuple) else output


def with_hidden(output: Any, hidden: torch.Tensor) -> Any:
    """Return a block's output with other hidden states, in the form it came."""
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def cache_of(output: Any) -> Any:
    """Return the cache that a forward pass hands on.

    Raises:
        ModelError: for a model that hands none on as `past_key_values` (pure state-space models do not).
    """
    cache = getattr(output, "past_key_values", None)
    if cache is None:
        raise ModelError(
            f"expected a model that hands its cache on as past_key_values, got {type(output).__name__} without; "
            "record and score it, or generate with model.hf.generate(use_cache=False) inside steer"
        )
    return cache


def accepted(model: Any) -> frozenset[str]:
    """Return the names of the arguments that a model's forward takes, also behind compilation and adapters."""
    inner = getattr(model, "_orig_mod", model)
    inner = inner.get_base_model() if hasattr(inner, "get_base_model") else inner
    return frozenset(inspect.signature(inner.forward).parameters)


@torch.no_grad()
def reads_on(model: Any) -> bool:
    """Return whether several tokens behind a cache are read as in one pass; some state-space layers read them apart."""
    tokens = torch.arange(6, device=probe_device(model))[None]

    def read(start: int, stop: int, **more: Any) -> Any:
        positions = {"position_ids": tokens[:, start:stop]} if "position_ids" in accepted(model) else {}
        mask = torch.ones_like(tokens[:, :stop])
        return model(input_ids=tokens[:, start:stop], attention_mask=mask, **positions, **more)

    past = getattr(read(0, 3, use_cache=True), "past_key_values", None)
    if past is None:
        return False
    together = read(0, 6, use_cache=False).logits[:, 3:]
    apart = read(3, 6, past_key_values=past, use_cache=True).logits
    slack = max(1e-3, min(100 * torch.finfo(together.dtype).eps, 0.05)) * float(together.abs().max())
    return float((apart - together).abs().max()) <= slack


@torch.no_grad()
def skips_padding(model: Any) -> bool:
    """Return whether padding between a beginning and what follows it changes nothing; to some attention it is distance.

    Windows and chunks of attention count positions, padding or not: models with one are taken to mind it.
    """
    config = model.config.get_text_config(decoder=True) if hasattr(model.config, "get_text_config") else model.config
    kinds = set(getattr(config, "layer_types", None) or ())
    limited = getattr(config, "sliding_window", None) or getattr(config, "attention_chunk_size", None)
    if kinds - {"full_attention"} if kinds else limited:
        return False
    if "position_ids" not in accepted(model):
        return False
    tokens = torch.tensor([[0, 1, 2, 0, 0, 3, 4, 5]], device=probe_device(model))
    mask = torch.tensor([[1, 1, 1, 0, 0, 1, 1, 1]], device=tokens.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    close = mask.bool()[0]
    apart = model(input_ids=tokens, attention_mask=mask, position_ids=positions, use_cache=False).logits[:, close]
    together = model(
        input_ids=tokens[:, close],
        attention_mask=mask[:, close],
        position_ids=positions[:, close],
        use_cache=False,
    ).logits
    slack = max(1e-3, min(100 * torch.finfo(together.dtype).eps, 0.05)) * float(together.abs().max())
    return float((apart - together).abs().max()) <= slack


@torch.no_grad()
def verify(model: Any, layout: Layout) -> None:
    """Return when an edit at the middle block moves the logits and no token sees a later one; changes nothing.

    Raises:
        ModelError: when the blocks found are not on the path from tokens to logits, or the model is an encoder.
    """
    # Two texts that differ in their last token alone.
    tokens = torch.tensor([[0, 1, 2, 3], [0, 1, 2, 4]], device=probe_device(model))
    arguments = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    with uncompiled():
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
        with uncompiled():
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
