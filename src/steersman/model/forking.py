"""Forked forward passes: what rows have in common is computed once.

Steering at a site leaves every block below it untouched. Rows that read the same tokens under different plans agree
up to the lowest place where their plans differ, and one row can stand for all of them until there. A `Tree` says, for
every such place (a *fork*), which rows are still alike: they are one class, read by its first row. `forked` lets one
forward pass follow the tree: at a fork the hidden states of each class are repeated for the classes that it falls
into, and what the model hands to its later blocks for every row of the batch (masks, positions, rotary angles) is
repeated with them. The cache of a block then holds as many rows as that block has read, which `Tree.in_block` tells.

A fork is counted in blocks: fork k lies before block k, the last one behind all blocks. A step at a block's output is
made behind the fork that follows it, so that the block itself is still shared.

Which of a block's arguments hold a row for each of the batch is found out once for a model, in a pass over a batch of a
size that nothing else has, and whether a forked pass comes out as the plain one is tried on the same occasion
(`try_out`). Where it does not, rows are read one by one as ever, and the reason is told.
"""

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from steersman.model.layout import Layout, hidden_of, uncompiled, with_hidden
from steersman.plan import Plan, Step
from steersman.where import Site

Path = tuple[str | int, ...]
"""Where in a block's arguments a tensor lies: `kwargs` and a name, or `args` and a place; then places in tuples."""

Paths = Mapping[Path, int]
"""The tensors with a part for each row of the batch, and how long that is in their first dimension: 1, or with ALiBi as
many as there are heads."""


@dataclass(frozen=True)
class Fork:
    """A place from which on rows are told apart.

    Args:
        block: the block before which it lies; the model's depth behind all blocks.
        firsts: `[classes]` the row that stands for each class, in ascending order.
        members: `[rows]` the class that each row belongs to, in the order of the tree's rows.
        parents: `[classes]` the class of the fork before that each class comes from.
    """

    block: int
    firsts: Tensor
    members: Tensor
    parents: Tensor

    @property
    def classes(self) -> int:
        """How many rows are computed from here on."""
        return len(self.firsts)


@dataclass(frozen=True)
class Tree:
    """Which rows of a batch are still alike at each block.

    Args:
        rows: `[rows]` their numbers in the context that edits them.
        forks: the first one, before block 0, where rows with other tokens part, and those above it, in order.
    """

    rows: Tensor
    forks: tuple[Fork, ...]

    @property
    def entry(self) -> Fork:
        """The classes that enter the model."""
        return self.forks[0]

    @property
    def top(self) -> Fork:
        """The classes that leave it."""
        return self.forks[-1]

    def in_block(self, block: int) -> Fork:
        """Return the classes that a block computes."""
        return next(fork for fork in reversed(self.forks) if fork.block <= block)


def fork_of(site: Site) -> int:
    """Return the fork before which nothing at the site is edited."""
    return site.layer + 1 if site.point == "resid_post" else site.layer


def grow(
    texts: Sequence[Hashable],
    plans: Sequence[Plan],
    rows: Sequence[int] | None = None,
    matters: Callable[[Step], bool] = lambda _: True,
) -> Tree:
    """Return the tree of rows, given what each reads and under which plan.

    Args:
        texts: what tells the rows' tokens apart.
        plans: one per row.
        rows: their numbers in the context that edits them; 0, 1, ... where not given.
        matters: whether a step may edit any token of this pass; rows do not part for those that cannot.
    """
    numbers = torch.arange(len(texts)) if rows is None else torch.tensor(list(rows))
    known: dict[int, list[tuple[int, Hashable]]] = {}
    steps = [known.setdefault(id(plan), _steps(plan, matters)) if id(plan) not in known else known[id(plan)]
             for plan in plans]  # fmt: skip
    blocks = sorted({0, *(block for each in known.values() for block, _ in each)})
    forks: list[Fork] = []
    for block in blocks:
        classes: dict[Hashable, int] = {}
        firsts: list[int] = []
        members: list[int] = []
        for row, (text, each) in enumerate(zip(texts, steps, strict=True)):
            key = (text, tuple(what for fork, what in each if fork <= block))
            if key not in classes:
                classes[key] = len(classes)
                firsts.append(row)
            members.append(classes[key])
        if forks and len(firsts) == forks[-1].classes:
            continue
        parents = [forks[-1].members[row] for row in firsts] if forks else list(range(len(firsts)))
        forks.append(Fork(block, torch.tensor(firsts), torch.tensor(members), torch.tensor(parents)))
    return Tree(numbers, tuple(forks))


def _steps(plan: Plan, matters: Callable[[Step], bool]) -> list[tuple[int, Hashable]]:
    return [(fork_of(step.site), (step.what, step.coefficient)) for step in plan if step.coefficient and matters(step)]


@contextmanager
def forked(model: Any, tree: Tree) -> Iterator[None]:
    """Let the forward pass inside follow a tree, whose entering classes are its batch.

    Args:
        model: a handle whose `forking` works.
        tree: which rows are alike where.
    """
    contexts = [active for active in model.under_way if active.here]
    for active in contexts:
        active.at_fork(tree, tree.entry)
    try:
        with following(model.layout, tree, model.forking.paths, contexts):
            yield
    finally:
        for active in contexts:
            active.progress.members = None


@contextmanager
def following(layout: Layout, tree: Tree, paths: Paths, contexts: Sequence[Any] = ()) -> Iterator[None]:
    """Hook the blocks so that passes inside follow a tree; see `forked`.

    Args:
        layout: where the blocks are.
        tree: which rows are alike where.
        paths: the arguments of blocks that hold a row for each of the batch.
        contexts: what is under way and has to be told of every fork.
    """
    later = tree.forks[1:]
    thread = threading.get_ident()
    with ExitStack() as stack:
        if later:  # without hooks, what is compiled may run compiled
            stack.enter_context(uncompiled())
        for fork in later:

            def part(_module: Any, _args: Any, output: Any, fork: Fork = fork) -> Any:
                if threading.get_ident() != thread:
                    return None
                hidden = hidden_of(output)
                for active in contexts:
                    active.at_fork(tree, fork)
                return with_hidden(output, hidden.index_select(0, fork.parents.to(hidden.device)))

            block = layout.blocks[fork.block - 1]
            handle = block.register_forward_hook(part)
            # Before all others: an edit at this block's output is already one of the parted rows.
            hooks: Any = block._forward_hooks
            hooks[handle.id].steersman = True
            hooks.move_to_end(handle.id, last=False)
            stack.callback(handle.remove)
        for number in range(later[0].block if later else layout.depth, layout.depth):
            # Of the batch that entered, the row that each class of this block comes from.
            origin = tree.entry.members[tree.in_block(number).firsts]

            def repeat(_module: Any, args: Any, arguments: dict[str, Any], origin: Tensor = origin) -> Any:
                if threading.get_ident() != thread:
                    return None
                return _repeated(args, arguments, paths, tree.entry.classes, origin)

            stack.callback(layout.blocks[number].register_forward_pre_hook(repeat, with_kwargs=True).remove)
        yield


def _repeated(
    args: tuple[Any, ...], arguments: Mapping[str, Any], paths: Paths, batch: int, origin: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    def each(value: Any, path: Path) -> Any:
        if isinstance(value, Tensor):
            each_row = paths.get(path, 0)
            if each_row and value.shape[0] == each_row * batch:
                parts = value.unflatten(0, (batch, each_row)).index_select(0, origin.to(value.device))
                return parts.flatten(0, 1)
            return value
        if type(value) in (tuple, list):
            return type(value)(each(part, (*path, place)) for place, part in enumerate(value))
        return value

    own = tuple(each(value, ("args", place)) for place, value in enumerate(args))
    return own, {name: each(value, ("kwargs", name)) for name, value in arguments.items()}


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
            model(**_batch(accepts, _device(model)), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _device(model: Any) -> torch.device:
    devices = [parameter.device for parameter in model.parameters()]
    return next((device for device in devices if device.type != "meta"), torch.device("cpu"))


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
        given = _batch(accepts, _device(model))
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
                after = _batch(accepts, _device(model), after=1)
                after = {name: value[members.to(value.device)] for name, value in after.items()}
                with uncompiled():
                    found.append(model(**after, past_key_values=cache, use_cache=True).logits)
        finally:
            handle.remove()
        return found

    for plain, other in zip(run(fork=False), run(fork=True), strict=True):
        slack = max(1e-3, min(100 * torch.finfo(plain.dtype).eps, 0.05)) * float(plain.abs().max())
        if plain.shape != other.shape or not float((plain - other).abs().max()) <= slack:
            return True
    return False


def select_blocks(cache: Any, rows: Callable[[int], Tensor]) -> None:
    """Keep (or repeat) rows of a cache, of each block's part others; row i is then row `rows(block)[i]`.

    Args:
        cache: with one layer for each block, or for the first of them, in order.
        rows: `[batch]` for a block's number.
    """
    layers = getattr(cache, "layers", None)
    if layers is None:  # a cache of a model's own kind: no block of it is told apart
        cache.reorder_cache(rows(0))
        return
    for number, layer in enumerate(layers):
        keys = getattr(layer, "keys", None)
        index = rows(number)
        layer.reorder_cache(index.to(keys.device) if isinstance(keys, Tensor) else index)
