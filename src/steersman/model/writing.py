"""Writing rows token by token: finished rows leave, waiting rows take their place, and rows never see each other.

All rows are known beforehand here; they are read in groups and batches, where rows of one prompt under several plans
share what they can, and join those `underway`. `live` does the same for rows that come one by one.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from steersman.model.arranging import Group, Rows
from steersman.model.budget import rows_under_way
from steersman.model.handle import Handle
from steersman.model.hooks import around, excuse_row
from steersman.model.passes import Past, beginning, read_rows
from steersman.model.underway import UnderWay

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
    _alive: UnderWay = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.rows.tokens)
        self.written = Written([[] for _ in range(count)], ["length"] * count)
        self._alive = UnderWay(self.model)

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
                    while self._alive.rows:
                        self._step()
                    continue
                free = room - len(self._alive.rows)
                if self._alive.rows and (free < max(1, room // 4) or not self._alive.grows):
                    self._step()
                    continue
                chosen = self._next(group, waiting, free)
                self._take_up(chosen, past)
        while self._alive.rows:
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
        self._alive.join(read, self._said(numbers, read.seen.last(read.tree.top.members)))

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

    def _step(self) -> None:
        """Read every row's latest token and choose the next one."""
        rows = self._alive.rows
        logits = self._alive.step([self.written.tokens[row][-1] for row in rows])
        self._alive.keep(self._said(rows, logits))
