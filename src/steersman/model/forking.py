"""Forked forward passes: what rows have in common is computed once.

Steering at a site leaves every block below it untouched. Rows that read the same tokens under different plans agree
up to the lowest place where their plans differ, and one row can stand for all of them until there. A `Tree` says, for
every such place (a *fork*), which rows are still alike: they are one class, read by its first row. `forked` lets one
forward pass follow the tree: at a fork the hidden states of each class are repeated for the classes that it falls
into, and what the model hands to its later blocks for every row of the batch (masks, positions, rotary angles) is
repeated with them. The cache of a block then holds as many rows as that block has read, which `Tree.in_block` tells.

A fork is counted in blocks: fork k lies before block k, the last one behind all blocks. A step at a block's output is
made behind the fork that follows it, so that the block itself is still shared.

Which of a block's arguments hold a row for each of the batch, and whether a model can be forked at all, is found out
once for each model (`trial`).
"""

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
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
        repeats: dict[int, _Repeats] = {}
        for number in range(later[0].block if later else layout.depth, layout.depth):
            # Of the batch that entered, the row that each class of this block comes from.
            fork = tree.in_block(number)
            ours = repeats.setdefault(fork.block, _Repeats(paths, tree.entry.classes, tree.entry.members[fork.firsts]))

            def repeat(_module: Any, args: Any, arguments: dict[str, Any], ours: _Repeats = ours) -> Any:
                return ours.made(args, arguments) if threading.get_ident() == thread else None

            stack.callback(layout.blocks[number].register_forward_pre_hook(repeat, with_kwargs=True).remove)
        yield


@dataclass
class _Repeats:
    """What blocks are handed for every row of the batch, repeated for the rows behind a fork.

    Args:
        paths: where it is.
        batch: rows of the batch.
        origin: `[classes]` the row that each class comes from.
    """

    paths: Paths
    batch: int
    origin: Tensor
    _known: dict[Path, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def made(self, args: tuple[Any, ...], arguments: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return a block's arguments, repeated; what all blocks are handed is repeated once."""
        own = tuple(self._each(value, ("args", place)) for place, value in enumerate(args))
        return own, {name: self._each(value, ("kwargs", name)) for name, value in arguments.items()}

    def _each(self, value: Any, path: Path) -> Any:
        if isinstance(value, Tensor):
            each_row = self.paths.get(path, 0)
            if not each_row or value.shape[0] != each_row * self.batch:
                return value
            given, repeated = self._known.get(path, (None, value))
            if given is not value:
                parts = value.unflatten(0, (self.batch, each_row)).index_select(0, self.origin.to(value.device))
                repeated = parts.flatten(0, 1)
                self._known[path] = (value, repeated)
            return repeated
        if type(value) in (tuple, list):
            return type(value)(self._each(part, (*path, place)) for place, part in enumerate(value))
        return value


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
