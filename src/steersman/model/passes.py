"""Forward passes over rows that have things in common: identical rows, identical beginnings, identical layers below.

`read_all` is the one way in which prompts are read, for scoring as for generation. It arranges rows in groups and
batches (`arranging`), reads what a group's rows share once, and each batch behind it as a tree (`forking`).
"""

import copy
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from steersman.model.arranging import UNSHARED, Group, Rows, arrange
from steersman.model.attention import attending, shareable, shared
from steersman.model.encode import Side, forward_arguments, pad
from steersman.model.forking import Tree, forked, grow, select_blocks
from steersman.model.handle import Handle
from steersman.model.head import Seen
from steersman.model.hooks import around, editing
from steersman.model.layout import cache_of
from steersman.plan import Plan, Step


@dataclass(frozen=True, eq=False)
class Past:
    """What has been read of some rows, to be read on behind.

    Args:
        cache: each block's part holds the classes of the tree in that block.
        tree: which rows were alike.
        mask: `[rows, length]`, 1 at real tokens, in the order of the tree's rows.
    """

    cache: Any
    tree: Tree
    mask: Tensor

    def places(self, rows: Tensor) -> Tensor:
        """Return where rows, given by their numbers, stand in the tree."""
        at = torch.full((int(self.tree.rows.max()) + 1,), -1)
        at[self.tree.rows] = torch.arange(len(self.tree.rows))
        return at[rows]

    def behind(self, tree: Tree, *, once: bool = False) -> Any:
        """Return a cache with the rows that another tree's classes go on from, block by block.

        Args:
            tree: the other one.
            once: for one pass, in which attention can look at them uncopied.
        """

        def rows(block: int) -> Tensor:
            return self.tree.in_block(block).members[self.places(tree.rows[tree.in_block(block).firsts])]

        if once and shareable(self.cache):
            return shared(self.cache, rows, padded=not bool(self.mask.all()))
        cache = _copied(self.cache)
        select_blocks(cache, rows)
        return cache


@dataclass(frozen=True, eq=False)
class Read:
    """One batch, read.

    Args:
        rows: `[n]` numbers of its rows in the context that edits them.
        numbers: the same rows as the caller counts them.
        seen: hidden states or logits of the pass.
        past: where it can be read on from; `None` where that was not asked for.
        tree: which rows were alike; the classes that leave it are the rows of `seen`.
        plain: the same without any edit, where it was asked for: what was seen, and `[n]` the row of it for each row.
    """

    rows: Tensor
    numbers: list[int]
    seen: Seen
    past: Past | None
    tree: Tree
    plain: tuple[Seen, Tensor] | None = None


@torch.inference_mode()
def read_all(
    model: Handle,
    rows: Rows,
    then: Callable[[Read], None],
    *,
    keep: int | None = None,
    cache: bool = False,
    plain: bool = False,
    share: bool = True,
    most: int | None = None,
) -> None:
    """Read all rows under their plans, and hand on every batch as it has been read, inside the context that edits it.

    Args:
        model: the model.
        rows: what is to be read.
        then: is given each batch; it may read on behind it.
        keep: number of last positions that are wanted; all where not given.
        cache: whether anything is read on behind.
        plain: whether the same is wanted without any edit beside it.
        share: whether common beginnings may be read apart from what follows them.
        most: rows of a batch at most.

    Raises:
        MismatchError: when a plan does not fit the model.
        InterventionError: when something asked for was never applied.
    """
    for group in arrange(model, rows, most, share=share):
        with_twins = plain and not around(model)
        own, batches = _counted(rows.part(group.rows), group, twins=with_twins)
        with editing(model, own.plans, torch.tensor(own.prompts)) as active:
            past = beginning(model, own, range(len(own.tokens)), group.shared) if group.shared else None
            for (numbers, twins), batch in zip(batches, group.batches, strict=True):
                read = read_rows(model, own, [*numbers, *twins.values()], past, keep=keep, cache=cache)
                beside = None
                if with_twins:
                    places = {text: len(numbers) + place for place, text in enumerate(twins)}
                    index = torch.tensor([places[own.text(i)] for i in numbers])
                    beside = read.seen, read.tree.top.members[index]
                elif plain:
                    # Rows of other contexts are known by their places: they are read once more as they are.
                    active.paused += 1
                    bare = read_rows(model, own, numbers, keep=keep)
                    active.paused -= 1
                    beside = bare.seen, bare.tree.top.members
                then(replace(read, rows=read.rows[: len(numbers)], numbers=batch, plain=beside))


Twins = dict[Hashable, int]


def _counted(own: Rows, group: Group, *, twins: bool) -> tuple[Rows, list[tuple[list[int], Twins]]]:
    """Return a group's rows with those beside them that nothing edits, and each batch's numbers of both."""
    batches: list[tuple[list[int], Twins]] = []
    start, bare = 0, []
    for batch in group.batches:
        numbers = list(range(start, start + len(batch)))
        start += len(batch)
        found: Twins = {}
        for i in numbers if twins else ():
            if own.text(i) not in found:
                found[own.text(i)] = len(own.tokens) + len(bare)
                bare.append(i)
        batches.append((numbers, found))
    whole = Rows(
        [*own.tokens, *(own.tokens[i] for i in bare)],
        [*own.prompts, *(own.prompts[i] for i in bare)],
        [*own.plans, *(Plan() for _ in bare)],
    )
    return whole, batches


def read_rows(
    model: Handle,
    rows: Rows,
    numbers: Sequence[int],
    past: Past | None = None,
    *,
    keep: int | None = None,
    cache: bool = False,
) -> Read:
    """Return one batch, read in one pass; inside the context that edits the rows.

    Args:
        model: the model.
        rows: all rows of the context.
        numbers: which of them.
        past: what has been read of them; the tokens that it holds are left out.
        keep: number of last positions that are wanted; all where not given.
        cache: whether it is to be read on behind.
    """
    done = 0 if past is None else past.mask.shape[1]
    texts = [rows.tokens[i] for i in numbers]
    plans = [rows.plans[i] for i in numbers]
    tree = grow_for(model, [rows.text(i) for i in numbers], plans, numbers, cached=cache or past is not None)
    seen, found = advance(model, tree, [text[done:] for text in texts], past, keep=keep, cache=cache)
    return Read(torch.tensor(list(numbers)), list(numbers), seen, found, tree)


def beginning(model: Handle, rows: Rows, numbers: Sequence[int], shared: int) -> Past:
    """Return the tokens that some rows share, read once for every plan that edits any of them.

    Args:
        model: the model, inside the context that edits the rows.
        rows: all rows of the context.
        numbers: those that share them.
        shared: how many first tokens.
    """
    tree = grow_for(
        model,
        [()] * len(numbers),
        [rows.plans[i] for i in numbers],
        numbers,
        lambda step: step.span.name not in UNSHARED,
        cached=True,
    )
    _, past = advance(model, tree, [rows.tokens[i][:shared] for i in numbers], None, keep=1, cache=True)
    assert past is not None
    return past


def grow_for(
    model: Handle,
    texts: Sequence[Hashable],
    plans: Sequence[Plan],
    numbers: Sequence[int],
    matters: Callable[[Step], bool] = lambda _: True,
    *,
    cached: bool,
) -> Tree:
    """Return the tree that a pass follows: forked where the model can be, and of single rows inside other contexts.

    Args:
        model: the model, inside the context that edits the rows.
        texts: what tells the rows' tokens apart.
        plans: one per row.
        numbers: of the rows in that context.
        matters: as in `grow`.
        cached: whether the pass has a past or is read on behind.
    """
    if len(around(model)) > 1:
        return grow(range(len(texts)), [Plan()] * len(texts), numbers)
    if len({plan.digest() for plan in plans}) > 1 and not _forks(model, cached=cached):
        alike = [(text, _acting(plan, matters)) for text, plan in zip(texts, plans, strict=True)]
        return grow(alike, [Plan()] * len(texts), numbers)
    return grow(texts, plans, numbers, matters)


def _forks(model: Handle, *, cached: bool) -> bool:
    return model.forking.works and (model.forking.cached or not cached)


def _acting(plan: Plan, matters: Callable[[Step], bool]) -> str:
    return Plan.of(step for step in plan if matters(step)).digest()


def advance(
    model: Handle,
    tree: Tree,
    tokens: Sequence[Sequence[int]],
    past: Past | None,
    *,
    keep: int | None = None,
    cache: bool = False,
    side: Side = "left",
) -> tuple[Seen, Past | None]:
    """Return what one pass that follows a tree came to, and where it can be read on from.

    Args:
        model: the model, inside the context that edits the tree's rows.
        tree: which rows are alike.
        tokens: of each row, those to be read.
        past: what the rows have behind them.
        keep: number of last positions that are wanted; all where not given.
        cache: whether it is to be read on behind.
        side: where shorter rows are padded.
    """
    firsts = tree.entry.firsts.tolist()
    batch = pad(model, [tokens[i] for i in firsts], [0] * len(firsts), side)
    mask, more = batch.mask, {}
    if past is not None:
        before = past.mask[past.places(tree.rows[tree.entry.firsts]).to(past.mask.device)]
        mask = torch.cat([before, batch.mask], 1)
        more["past_key_values"] = past.behind(tree, once=bool(model.attention) and not cache)
    arguments: dict[str, Any] = forward_arguments(model, batch, keep=keep)
    arguments["attention_mask"] = mask
    if "position_ids" in arguments:
        arguments["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)[:, -batch.tokens.shape[1] :]
    with forked(model, tree), attending(model.attention):
        seen, found = _run(model, arguments | more, keep, cache=cache or past is not None)
    whole = mask[tree.entry.members.to(mask.device)]
    return seen, Past(found, tree, whole) if cache else None


def _run(model: Handle, arguments: dict[str, Any], keep: int | None, *, cache: bool) -> tuple[Seen, Any]:
    if model.head is None:
        output = model.hf(**arguments, use_cache=cache)
        values = output.logits if keep is None else output.logits[:, -keep:]
    else:
        arguments.pop("logits_to_keep", None)
        output = model.layout.base(**arguments, use_cache=cache)
        values = output.last_hidden_state if keep is None else output.last_hidden_state[:, -keep:]
    return Seen(values, model.head), cache_of(output) if cache else None


def _copied(cache: Any) -> Any:
    """Return a copy whose rows can be chosen and which can be read on without a change to the original."""
    layers = getattr(cache, "layers", None)
    if layers and all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers):
        # Both put new tensors in the place of their own, and never write into them.
        found = copy.copy(cache)
        found.layers = [copy.copy(layer) for layer in layers]
        return found
    return copy.deepcopy(cache)
