"""Places for the rows of a running batch: a request has one while it is read and written, and leaves it to the next.

Everything that is kept for each row, of the plans' operations, the gates' decisions and the rows' tokens, is held by
the place's number, so that nothing grows with the number of requests that have passed.
"""

from collections.abc import Set
from dataclasses import dataclass, field

import torch

from steersman.model.arranging import Rows
from steersman.model.generate import Generation, own_draws
from steersman.model.handle import Handle
from steersman.model.operations import Editing, Table
from steersman.model.requests import Ticket
from steersman.model.telling import Telling, Token
from steersman.plan import Plan


@dataclass(eq=False)
class Row:
    """A request that has a place.

    Args:
        ticket: what its owner holds.
        slot: the place's number.
        telling: what has been said.
    """

    ticket: Ticket
    slot: int
    telling: Telling
    tokens: list[int] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        request = self.ticket.request
        self.draws = own_draws(request.sampling.seed, request.key)

    @property
    def full(self) -> bool:
        """Whether it has as many tokens as were asked for."""
        return len(self.tokens) >= self.ticket.request.sampling.max_new_tokens

    def say(self, token: Token) -> None:
        """Take a token in, and tell what is certain."""
        self.tokens.append(token.id)
        self.ticket.tell(self.telling.add(token))


@dataclass(eq=False)
class Slots:
    """The places.

    Args:
        model: the model.
        size: how many there are. One more, `nobody`, is never given away.
    """

    model: Handle
    size: int
    held: dict[int, Row] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        # With the one that nobody has there are always two: a single row would stand for every row of any batch.
        self.nobody, size = self.size, self.size + 1
        self._free = list(range(self.size))[::-1]
        self._table = Table(size)
        self.editing = Editing()
        progress = self.editing.progress
        progress.first_lengths, progress.told = torch.zeros(size, dtype=torch.long), True
        self.rows = Rows([[] for _ in range(size)], [0] * size, [Plan()] * size)

    def free(self, reserved: Set[int]) -> list[int]:
        """Return the places that can be given away, but for some."""
        return [slot for slot in self._free if slot not in reserved]

    def take_in(self, ticket: Ticket, reserved: Set[int] = frozenset()) -> Row:
        """Give a request a place that is not reserved; outside the context that edits the rows."""
        slot, request = self.free(reserved)[-1], ticket.request
        self._free.remove(slot)
        lengths = self.editing.progress.first_lengths
        assert lengths is not None
        lengths[slot] = len(request.tokens)
        row = Row(ticket, slot, Telling(self.model.tokenizer, request.stop))
        self.held[slot] = row
        try:
            self._set(slot, list(request.tokens), request.plan)
            self._table.take_in(slot, request.plan)
        except Exception:
            self.let_go(row)
            raise
        self.editing.operations = self._table.operations
        return row

    def let_go(self, row: Row) -> None:
        """Take a request's place back; outside the context that edits the rows."""
        slot = row.slot
        del self.held[slot]
        self._table.let_go(slot)
        self.editing.operations = self._table.operations
        self.editing.excused.discard(slot)
        self._set(slot, [], Plan())
        self._free.append(slot)

    def outcome(self, row: Row, finish: str) -> Generation | Exception:
        """Return what a row has come to: its text, or the error that its plan was never applied."""
        request = row.ticket.request
        try:
            if finish != "cancelled":
                self.editing.check_row(row.slot)
            gates = self.editing.fired_in(row.slot, request.plan)
            row.ticket.tell(row.telling.end())
        except Exception as error:
            return error
        return Generation(row.telling.text, tuple(row.tokens), finish, gates)  # type: ignore[arg-type]

    def _set(self, slot: int, tokens: list[int], plan: Plan) -> None:
        # The lists of `Rows` are as changeable as they were made here.
        self.rows.tokens[slot], self.rows.prompts[slot], self.rows.plans[slot] = tokens, len(tokens), plan  # type: ignore[index]
