"""Writing rows token by token: finished rows leave, waiting rows take their place, and rows never see each other.

A row joins with its prompt read (`passes`), where rows of one prompt under several plans have shared what they can.
Its keys and values are set behind as much padding as the rows under way need, so that all end at the same place.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad as pad_tensor

from steersman.model.arranging import Group, Rows
from steersman.model.budget import rows_under_way
from steersman.model.forking import select_blocks
from steersman.model.growing import growing
from steersman.model.handle import Handle
from steersman.model.head import Seen
from steersman.model.hooks import around, excuse_row, start_rows
from steersman.model.layout import cache_of
from steersman.model.passes import Past, Read, beginning, read_rows

Choose = Callable[[Tensor, list[list[int]], list[int]], list[int]]
"""Chooses a token for each of `[rows, vocab]` float32 logits, given the rows' tokens so far and their numbers."""


@dataclass(eq=False)
class Written:
    """What has been written in each row.

    Args:
        tokens: of each row.
        finish: `stop` where a row ended by itself, `length` where it was ended.
    """

    tokens: list[list[int]]
    finish: list[Literal["stop", "length"]]


@dataclass(eq=False)
class Writer:
    """Writes rows, inside the context that edits them.

    Args:
        model: the model.
        rows: the prompts and their plans; all are rows of the context.
        choose: how tokens are chosen.
        limit: tokens of each row at most.
        ended: told a row's tokens after each one, says whether it ends there.
        most: rows under way at most; as many as fit where not given.
        notify: called with the number of rows that have come to their end.
    """

    model: Handle
    rows: Rows
    choose: Choose
    limit: int
    ended: Callable[[Sequence[int]], bool] | None = None
    most: int | None = None
    notify: Callable[[int], None] | None = None
    written: Written = field(init=False)
    _alive: list[int] = field(init=False, default_factory=list)
    _cache: Any = field(init=False, default=None)
    _mask: Tensor = field(init=False)
    _grows: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        count = len(self.rows.tokens)
        self.written = Written([[] for _ in range(count)], ["length"] * count)

    def write(self, groups: Sequence[Group]) -> Written:
        """Return what was written in all rows.

        Args:
            groups: the rows in groups and batches, as they are to be taken up.
        """
        room = self.most or rows_under_way(self.model, self.rows, self.limit)
        # Rows of other contexts are known by their places: there a batch is written to its end.
        joining = not around(self.model)[1:]
        for group in groups:
            past = self._beginning(group)
            waiting = deque(row for batch in group.batches for row in batch) if joining else deque[int]()
            batches = deque(group.batches)
            while waiting or (batches and not joining):
                if not joining:
                    self._take_up(batches.popleft(), past)
                    while self._alive:
                        self._step()
                    continue
                free = room - len(self._alive)
                if self._alive and (free < max(1, room // 4) or not self._grows):
                    self._step()
                    continue
                chosen = self._next(group, waiting, free)
                self._take_up(chosen, past)
        while self._alive:
            self._step()
        return self.written

    def _next(self, group: Group, waiting: deque[int], free: int) -> list[int]:
        """Return waiting rows of one batch, as many as there is room for."""
        batch = next(set(batch) for batch in group.batches if waiting[0] in batch)
        chosen: list[int] = []
        while waiting and len(chosen) < free and waiting[0] in batch:
            chosen.append(waiting.popleft())
        return chosen

    def _beginning(self, group: Group) -> Past | None:
        return beginning(self.model, self.rows, group.rows, group.shared) if group.shared else None

    def _take_up(self, numbers: list[int], past: Past | None) -> None:
        """Read the prompts of waiting rows, choose their first tokens, and let them join."""
        read = read_rows(self.model, self.rows, numbers, past, keep=1, cache=True)
        staying = self._said(numbers, read.seen.last(read.tree.top.members))
        if staying:
            self._join(read, torch.tensor(staying), [numbers[place] for place in staying])

    def _said(self, numbers: list[int], logits: Tensor) -> list[int]:
        """Choose a token in each row, and return the places of the rows that go on."""
        tokens = self.written.tokens
        chosen = self.choose(logits, [[*self.rows.tokens[row], *tokens[row]] for row in numbers], numbers)
        staying: list[int] = []
        for place, (row, token) in enumerate(zip(numbers, chosen, strict=True)):
            if token in self.model.stop_tokens:
                self.written.finish[row] = "stop"
                if not tokens[row]:
                    excuse_row(self.model, row)
                continue
            tokens[row].append(token)
            if self.ended is not None and self.ended(tokens[row]):
                self.written.finish[row] = "stop"
                if len(tokens[row]) == 1:
                    excuse_row(self.model, row)
            elif len(tokens[row]) < self.limit:
                staying.append(place)
        if self.notify is not None and len(staying) < len(numbers):
            self.notify(len(numbers) - len(staying))
        return staying

    def _join(self, read: Read, places: Tensor, numbers: list[int]) -> None:
        assert read.past is not None
        cache, tree = read.past.cache, read.past.tree
        select_blocks(cache, lambda block: tree.in_block(block).members[places])
        mask = read.past.mask[places.to(read.past.mask.device)]
        if not self._alive:
            self._cache, self._mask, self._grows = cache, mask, growing(cache)
        else:
            longest = max(mask.shape[1], self._mask.shape[1])
            for own, new in zip(self._cache.layers, cache.layers, strict=True):
                own.join(new)
            self._mask = torch.cat([_wide(self._mask, longest), _wide(mask, longest)])
        self._alive += numbers

    def _step(self) -> None:
        """Read every row's latest token and choose the next one."""
        model, alive = self.model, self._alive
        latest = torch.tensor([self.written.tokens[row][-1] for row in alive], device=model.device)
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(alive), 1)], 1)
        arguments: dict[str, Any] = {
            "input_ids": latest[:, None],
            "attention_mask": self._mask,
            "past_key_values": self._cache,
            "use_cache": True,
        }
        if "position_ids" in model.accepts:
            arguments["position_ids"] = self._mask.sum(1, keepdim=True) - 1
        start_rows(model, torch.tensor(alive))
        if model.head is None:
            output = model.hf(**arguments)
            seen = Seen(output.logits, None)
        else:
            output = model.layout.base(**arguments)
            seen = Seen(output.last_hidden_state, model.head)
        self._cache = cache_of(output)
        staying = self._said(alive, seen.last(torch.arange(len(alive))))
        if len(staying) < len(alive):
            self._leave(staying)

    def _leave(self, staying: list[int]) -> None:
        self._alive = [self._alive[place] for place in staying]
        if not staying:
            self._cache = None
            return
        index = torch.tensor(staying)
        select_blocks(self._cache, lambda _: index)
        self._mask = self._mask[index.to(self._mask.device)]
        empty = int((self._mask.cumsum(1) == 0).all(0).sum())
        if empty and self._grows:
            # What is padding to all rows that are left is no longer carried along.
            self._mask = self._mask[:, empty:]
            for layer in self._cache.layers:
                layer.leave_out(empty)


def _wide(mask: Tensor, length: int) -> Tensor:
    return pad_tensor(mask, (length - mask.shape[1], 0))
