"""Whether a model's forward passes can be forked (`forking`), and its attention done in ours (`attention`), by trying.

Which of a block's arguments hold a row for each of the batch is noted in a pass over a batch of a size that nothing
else has. Then a forked pass is compared with the plain one, and a token behind both with a cache. Where they do not
come out alike, rows are read one by one as ever, and the reason is told.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from steersman.model.attention import attending, configurations, shareable, shared
from steersman.model.forking import Fork, Path, Paths, Tree, following, select_blocks
from steersman.model.layout import Layout, hidden_of, probe_device, uncompiled, with_hidden


@dataclass(frozen=True)
class Forking:
    """Whether and how a model's forward pass can be forked.

    Args:
        paths: the arguments of its blocks that hold a row for each of the batch.
        cached: whether it can be with a cache, which is then read on behind.
        reason: why it cannot be; empty where it can.
    """

    paths: Paths = field(default_factory=dict)
    cached: bool = False
    reason: str = ""

    @cached_property
    def works(self) -> bool:
        """Whether passes without a cache can be forked."""
        return not self.reason


ROWS, LENGTH = 3, 7
"""The batch of the trial: no other dimension of a block's arguments is likely to be of this size."""


@torch.no_grad()
def try_out(model: Any, layout: Layout, accepts: frozenset[str]) -> Forking:
    """Return whether a forked pass comes out as the plain pass over all rows, found by trying both.

    Args:
        model: the Hugging Face model.
        layout: where its blocks are.
        accepts: names of the arguments that its forward takes.
    """
    # A model that cannot be forked may fail in any way; rows are then read one by one, and the reason is told.
    try:
        paths = _paths(model, layout, accepts)
        off = _difference(model, layout, accepts, paths, cached=False)
    except Exception as error:
        return Forking(reason=f"its blocks do not take a batch that grows: {type(error).__name__}")
    if off:
        return Forking(reason="a forked pass came out differently")
    try:
        behind = not _difference(model, layout, accepts, paths, cached=True)
    except Exception:
        behind = False
    return Forking(paths, behind)


def _batch(accepts: frozenset[str], device: torch.device, *, after: int = 0) -> dict[str, Tensor]:
    """Return the arguments of a pass over three rows of which one is padded; of a token behind it where asked."""
    tokens = torch.tensor([[5, 1, 2, 3, 4, 0, 1], [0, 1, 2, 3, 4, 5, 2], [0, 0, 3, 1, 2, 3, 4]], device=device)
    mask = torch.ones_like(tokens)
    mask[2, :2] = 0
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    if after:
        mask = torch.cat([mask, mask.new_ones(ROWS, after)], 1)
        tokens, positions = tokens[:, :after], (mask.cumsum(1) - 1)[:, -after:]
    return {
        "input_ids": tokens,
        "attention_mask": mask,
        **({"position_ids": positions} if "position_ids" in accepts else {}),
    }


def _paths(model: Any, layout: Layout, accepts: frozenset[str]) -> Paths:
    found: dict[Path, int] = {}

    def note(value: Any, path: Path) -> None:
        if isinstance(value, Tensor):
            if value.ndim > 1 and value.shape[0] and value.shape[0] % ROWS == 0:
                found[path] = value.shape[0] // ROWS
        elif type(value) in (tuple, list):
            for place, part in enumerate(value):
                note(part, (*path, place))

    def look(_module: Any, args: tuple[Any, ...], arguments: dict[str, Any]) -> None:
        # What is handed on from block to block comes repeated already.
        for place, value in enumerate(args[1:], start=1):
            note(value, ("args", place))
        for name, value in arguments.items():
            if name != "hidden_states":
                note(value, ("kwargs", name))

    handles = [block.register_forward_pre_hook(look, with_kwargs=True) for block in layout.blocks]
    try:
        with uncompiled():
            model(**_batch(accepts, probe_device(model)), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _difference(model: Any, layout: Layout, accepts: frozenset[str], paths: Paths, *, cached: bool) -> bool:
    """Return whether logits differ between a pass that forks and the plain one over as many rows."""
    block = (layout.depth + 1) // 2
    members = torch.tensor([0, 1, 2, 0, 2, 1, 0])
    firsts = torch.tensor([0, 1, 2])
    entry = Fork(0, firsts, members, firsts)
    tree = Tree(torch.arange(7), (entry, Fork(block, torch.arange(7), torch.arange(7), members)))
    scale = torch.linspace(-1, 1, 7)

    def push(_module: Any, _args: Any, output: Any) -> Any:
        hidden = hidden_of(output)
        if len(hidden) != len(scale):
            return None
        ramp = torch.linspace(-1, 1, layout.width, device=hidden.device, dtype=hidden.dtype)
        amount = scale.to(hidden)[:, None, None] * hidden.norm(dim=-1, keepdim=True)
        return with_hidden(output, hidden + amount * ramp)

    def run(*, fork: bool) -> list[Tensor]:
        index = torch.arange(3) if fork else members
        given = _batch(accepts, probe_device(model))
        given = {name: value[index.to(value.device)] for name, value in given.items()}
        handle = layout.blocks[block - 1].register_forward_hook(push)
        try:
            if not fork:
                with uncompiled():
                    output = model(**given, use_cache=cached)
            else:
                with following(layout, tree, paths):
                    output = model(**given, use_cache=cached)
            found = [output.logits[:, 2:]]  # without what is padding in one of the rows
            if cached:
                cache = output.past_key_values
                if fork:
                    select_blocks(cache, lambda number: tree.in_block(number).members)
                after = _batch(accepts, probe_device(model), after=1)
                after = {name: value[members.to(value.device)] for name, value in after.items()}
                with uncompiled():
                    found.append(model(**after, past_key_values=cache, use_cache=True).logits)
        finally:
            handle.remove()
        return found

    return not _alike(run(fork=False), run(fork=True))


def _alike(plain: list[Tensor], others: list[Tensor]) -> bool:
    """Return whether logits are the same to rounding."""
    for one, other in zip(plain, others, strict=True):
        slack = max(1e-3, min(100 * torch.finfo(one.dtype).eps, 0.05)) * float(one.abs().max())
        if one.shape != other.shape or not float((one - other).abs().max()) <= slack:
            return False
    return True


@torch.no_grad()
def attends(model: Any, layout: Layout, accepts: frozenset[str]) -> list[Any]:
    """Return the configurations to be given to `attending`; none where logits come out differently, or off the CPU.

    Args:
        model: the Hugging Face model.
        layout: where its blocks are.
        accepts: names of the arguments that its forward takes.
    """
    configs = configurations(layout.base)
    if probe_device(model).type != "cpu" or not configs:
        return []
    # A model may fail in any way where its attention is not what it calls itself; it then keeps its own.
    try:
        with uncompiled():
            plain = _attended(model, accepts, share=False)
            with attending(configs):
                ours = _attended(model, accepts, share=True)
    except Exception:
        return []
    # In bfloat16 single logits of such texts lie a tenth apart for rounding alone; of another attention all would.
    slack = [max(1e-3, 16 * torch.finfo(one.dtype).eps) * float(one.norm()) for one in plain]
    same = [float((one - other).norm()) <= most for one, other, most in zip(plain, ours, slack, strict=True)]
    return configs if all(same) else []


def _attended(model: Any, accepts: frozenset[str], *, share: bool) -> list[Tensor]:
    """Return the logits of a pass over three rows, and of one behind two beginnings that three rows share."""
    given = _batch(accepts, probe_device(model))
    found = [model(**given, use_cache=False).logits[:, 2:]]
    beginnings = {name: value[:2] for name, value in given.items()}
    cache = model(**beginnings, use_cache=True).past_key_values
    rows = torch.tensor([0, 1, 0])
    if share and shareable(cache):
        cache = shared(cache, lambda _: rows)
    else:
        select_blocks(cache, lambda _: rows)
    mask = torch.cat([torch.ones_like(given["attention_mask"]), given["attention_mask"]], 1)
    behind = {"input_ids": given["input_ids"], "attention_mask": mask}
    if "position_ids" in accepts:
        behind["position_ids"] = (mask.cumsum(1) - 1)[:, -LENGTH:]
    return [*found, model(**behind, past_key_values=cache, use_cache=True).logits[:, 2:]]
