"""Rows under way: what each has been read of so far, and the next step of all of them.

A row joins with its prompt read (`passes`). Its keys and values are set behind as much padding as the rows under way
need, so that all end at the same place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad as pad_tensor

from steersman.model.forking import select_blocks
from steersman.model.growing import growing
from steersman.model.handle import Handle
from steersman.model.head import Seen
from steersman.model.hooks import start_rows
from steersman.model.layout import cache_of
from steersman.model.passes import Read


@dataclass(eq=False)
class UnderWay:
    """Rows that are being written, inside the context that edits them.

    Args:
        model: the model.
        nobody: a number in that context that no row has. Where it is given, rows that leave are not cut out of the
            cache at once, which would copy all of it: their places, which have this number then, are written over by
            rows that join, and cut out when there are many of them.
        rows: the numbers in that context, in the order of the batch.
        grows: whether rows may join those under way: whether the cache grows in place.
    """

    model: Handle
    nobody: int | None = None
    rows: list[int] = field(default_factory=list)
    grows: bool = False
    _cache: Any = field(init=False, default=None)
    _mask: Tensor = field(init=False)

    def join(self, read: Read, places: Sequence[int]) -> None:
        """Take rows in that have been read; with none under way, or where these can be joined.

        Args:
            read: with its past.
            places: which of its rows.
        """
        if not places:
            return
        assert read.past is not None
        index = torch.tensor(places)
        cache, tree = read.past.cache, read.past.tree
        select_blocks(cache, lambda block: tree.in_block(block).members[index])
        mask = read.past.mask[index.to(read.past.mask.device)]
        numbers = [read.numbers[place] for place in places]
        free = [place for place, row in enumerate(self.rows) if row == self.nobody][: len(places)]
        if not self.rows:
            self._cache, self._mask, self.grows = cache, mask, growing(cache)
        elif len(free) == len(places) and mask.shape[1] <= self._mask.shape[1]:
            self._put(free, cache, mask)
            for place, number in zip(free, numbers, strict=True):
                self.rows[place] = number
            return
        else:
            longest = max(mask.shape[1], self._mask.shape[1])
            for own, new in zip(self._cache.layers, cache.layers, strict=True):
                own.join(new)
            self._mask = torch.cat([_wide(self._mask, longest), _wide(mask, longest)])
        self.rows += numbers

    @property
    def places(self) -> list[int]:
        """The places of the batch that rows have."""
        return [place for place, row in enumerate(self.rows) if row != self.nobody]

    def _put(self, free: Sequence[int], cache: Any, mask: Tensor) -> None:
        """Write rows over places that nobody has, ending where all rows end."""
        length = mask.shape[1]
        index = torch.tensor(free, device=self._mask.device)
        self._mask[index] = 0
        self._mask[index, -length:] = mask
        for own, new in zip(self._cache.layers, cache.layers, strict=True):
            there = index.to(own.keys.device)
            own.keys[there, :, -length:] = new.keys
            own.values[there, :, -length:] = new.values

    def step(self, latest: Sequence[int]) -> Tensor:
        """Read each row's latest token, and return the `[rows, vocab]` float32 logits of the next."""
        model = self.model
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self.rows), 1)], 1)
        arguments: dict[str, Any] = {
            "input_ids": torch.tensor(latest, device=model.device)[:, None],
            "attention_mask": self._mask,
            "past_key_values": self._cache,
            "use_cache": True,
        }
        if "position_ids" in model.accepts:
            arguments["position_ids"] = self._mask.sum(1, keepdim=True) - 1
        start_rows(model, torch.tensor(self.rows))
        if model.head is None:
            output = model.hf(**arguments)
            seen = Seen(output.logits, None)
        else:
            output = model.layout.base(**arguments)
            seen = Seen(output.last_hidden_state, model.head)
        self._cache = cache_of(output)
        return seen.last(torch.arange(len(self.rows)))

    def keep(self, places: Sequence[int]) -> None:
        """Let all rows go but those at some places, in ascending order."""
        if len(places) == len(self.rows):
            return
        if self.nobody is not None and self.grows and len(places) * 4 > len(self.rows) * 3:
            gone = sorted(set(range(len(self.rows))) - set(places))
            for place in gone:
                self.rows[place] = self.nobody
            # Where nobody is, a token looks at itself and at those that follow it there.
            self._mask[torch.tensor(gone, device=self._mask.device)] = 0
            return
        self.rows = [self.rows[place] for place in places]
        if not places:
            self._cache = None
            return
        index = torch.tensor(places)
        select_blocks(self._cache, lambda _: index)
        self._mask = self._mask[index.to(self._mask.device)]
        empty = int((self._mask.cumsum(1) == 0).all(0).sum())
        if empty and self.grows:
            # What is padding to all rows that are left is no longer carried along.
            self._mask = self._mask[:, empty:]
            for layer in self._cache.layers:
                layer.leave_out(empty)


def _wide(mask: Tensor, length: int) -> Tensor:
    return pad_tensor(mask, (length - mask.shape[1], 0))
