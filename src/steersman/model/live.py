"""A model that answers requests as they come: one thread owns it, and every request joins the batch that is running.

A turn of the thread takes new requests in, reads one pass of their prompts (`admitting`), lets those that were read
join the rows under way (`underway`), and lets all of them take a step. Rows that end, or that nobody wants any more,
leave at once. Each has its own plan, sampling and seed, and comes out as if it were alone.

The model is held for a pass and a step at a time: other verbs of the same model take turns with it.
"""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from steersman.errors import BusyError, ClosedError, InputError
from steersman.model.admitting import arranged, reading
from steersman.model.budget import room_for
from steersman.model.generate import Generation, Sampling, choose_tokens
from steersman.model.handle import Handle
from steersman.model.hooks import around, resuming
from steersman.model.passes import Read
from steersman.model.requests import Request, Ticket
from steersman.model.slots import Row, Slots
from steersman.model.telling import Token
from steersman.model.underway import UnderWay

__all__ = ["MOST", "Live", "Request", "Ticket", "Token"]

MOST = 64
"""Rows under way where nobody says how many."""
LARGEST = torch.finfo(torch.float32).max
"""What a coefficient may be at most."""


@dataclass(frozen=True)
class Pending:
    """Prompts that are still to be read.

    Args:
        slots: the places that they were arranged by.
        passes: what reads them, a pass at a time.
    """

    slots: set[int]
    passes: Iterator[Read | None]


class Live:
    """Answers requests until it is closed; a context that closes it.

    Args:
        model: what answers.
        most: rows under way at most.
        queue: requests that wait for a place at most.

    Raises:
        InputError: for counts below 1.
    """

    def __init__(self, model: Handle, *, most: int | None = None, queue: int = 256) -> None:
        if (most is not None and most < 1) or queue < 1:
            raise InputError(f"expected at least one row and one place in the queue, got {most} and {queue}")
        self.model = model
        self.most = most or MOST
        self.queue = queue
        self.window = _window(model)
        self._news = threading.Condition()
        self._waiting: deque[Ticket] = deque()
        self._closing = False
        self._wanted = True
        self._slots: Slots
        self._alive: UnderWay
        self._pending: deque[Pending] = deque()
        self._thread = threading.Thread(target=self._run, name="steersman-live", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Live":
        """Return itself."""
        return self

    def __exit__(self, *_: Any) -> None:
        """Let what is running finish, refuse what waits."""
        self.close()

    def submit(self, request: Request) -> Ticket:
        """Return the ticket of an answer to come.

        Args:
            request: what is wanted.

        Raises:
            InputError: when it cannot be: no prompt, one that is too long, a plan that does not fit the model.
            BusyError: when the queue is full.
            ClosedError: when nothing is taken any more.
        """
        self._check(request)
        ticket = Ticket(request, self._wake)
        with self._news:
            if self._closing:
                raise ClosedError("expected a live model, got one that is closing")
            if len(self._waiting) >= self.queue:
                raise BusyError(f"expected room in the queue, and {self.queue} requests wait already; ask again later")
            self._waiting.append(ticket)
            self._news.notify_all()
        return ticket

    def close(self, *, finish: bool = True, timeout: float | None = None) -> None:
        """Take nothing further, refuse what waits, and return when the thread has ended.

        Args:
            finish: let what is running come to its end; it is cancelled otherwise.
            timeout: seconds to wait for it at most; what is running then is cancelled.
        """
        with self._news:
            self._closing = True
            self._wanted = self._wanted and finish
            waiting, self._waiting = self._waiting, deque()
            self._news.notify_all()
        for ticket in waiting:
            ticket.end(ClosedError("expected a live model, got one that was closed before this request's turn"))
        if threading.current_thread() is self._thread:
            return
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._wanted = False
            self._wake()
            self._thread.join(timeout)

    @property
    def closing(self) -> bool:
        """Whether nothing is taken any more."""
        return self._closing

    @property
    def load(self) -> tuple[int, int]:
        """How many requests have a place, and how many wait for one."""
        slots = getattr(self, "_slots", None)
        return len(slots.held) if slots else 0, len(self._waiting)

    def _check(self, request: Request) -> None:
        limit = request.sampling.max_new_tokens
        if not request.tokens:
            raise InputError("expected a prompt of at least one token, got none")
        if self.window and len(request.tokens) + limit > self.window:
            raise InputError(
                f"expected prompt and answer to fit in {self.window} tokens, got a prompt of {len(request.tokens)} and "
                f"max_new_tokens={limit}"
            )
        size = self.model.hf.get_input_embeddings().num_embeddings
        if not all(0 <= token < size for token in request.tokens):
            raise InputError(f"expected token ids from 0 to {size - 1}")
        if request.logprobs is not None and not 0 <= request.logprobs <= size:
            raise InputError(f"expected a count of log-probabilities of 0 or more, got {request.logprobs}")
        if any(abs(step.coefficient) > LARGEST for step in request.plan):
            raise InputError(f"expected coefficients of at most {LARGEST:g}, which float32 can hold, got a larger one")
        if any(not stop for stop in request.stop):
            raise InputError("expected stop texts of at least one character, got an empty one")
        if around(self.model):
            raise InputError("expected the plan in the request itself, and got it inside another context of this model")
        # What the model is made of is found out by trying, once, between two turns of the thread.
        if "parts" in self.model.__dict__ or all(step.site.point.startswith("resid") for step in request.plan):
            self.model.check(request.plan)
        else:
            with self.model.lock:
                self.model.check(request.plan)

    def _wake(self) -> None:
        with self._news:
            self._news.notify_all()

    def _run(self) -> None:
        with torch.inference_mode():
            with self.model.lock:
                self.model.find_out()
            self._begin()
            while True:
                with self._news:
                    while not (self._waiting or self._slots.held or self._closing):
                        self._news.wait()
                    if self._closing and not self._slots.held:
                        return
                try:
                    self._turn()
                except Exception as error:
                    # Nothing is known any more of what the rows had read: they end, and the next ones begin afresh.
                    self._drop(error)

    def _begin(self) -> None:
        self._slots = Slots(self.model, self.most)
        self._alive = UnderWay(self.model, self._slots.nobody)
        self._pending.clear()

    def _drop(self, error: Exception) -> None:
        held = list(self._slots.held.values())
        self._begin()
        for row in held:
            row.ticket.end(error)

    def _turn(self) -> None:
        """Take requests in, read a pass, take a step."""
        self._leave()
        self._take_in()
        with resuming(self.model, self._slots.editing):
            ended = self._read_on() if not self._alive.rows or self._alive.grows else []
            if self._alive.rows:
                ended += self._step()
        for row, finish in ended:
            self._end(row, finish)

    def _leave(self) -> None:
        """Let those go that are not wanted any more, and refuse them where they wait."""
        gone = [row for row in self._slots.held.values() if row.ticket.cancelled or not self._wanted]
        slots = {row.slot for row in gone}
        if slots:
            self._alive.keep([place for place in self._alive.places if self._alive.rows[place] not in slots])
        for row in gone:
            self._end(row, "cancelled")
        with self._news:
            left = [ticket for ticket in self._waiting if ticket.cancelled]
            if left:
                self._waiting = deque(ticket for ticket in self._waiting if not ticket.cancelled)
        for ticket in left:
            ticket.end(Generation("", (), "cancelled"))

    def _take_in(self) -> None:
        """Give those that wait places, as many as there are, and arrange how they are read."""
        if self._alive.rows and not self._alive.grows:
            return
        lengths = [_length(row.ticket) for row in self._slots.held.values()]
        rows: list[Row] = []
        # Whoever had one of these has left before its turn to be read, and the arrangement still counts on it.
        reserved = {slot for pending in self._pending for slot in pending.slots}
        with self._news:
            while self._waiting and self._slots.free(reserved):
                lengths.append(_length(self._waiting[0]))
                if len(lengths) > 1 and len(lengths) > room_for(self.model, max(lengths)):
                    break
                ticket = self._waiting.popleft()
                try:
                    rows.append(self._slots.take_in(ticket, reserved))
                except Exception as error:
                    ticket.end(error)
        if rows:
            slots = self._slots.rows
            for group in arranged(self.model, slots, [row.slot for row in rows], self.most):
                self._pending.append(Pending(set(group.rows), reading(self.model, slots, group)))

    def _read_on(self) -> list[tuple[Row, str]]:
        """Read one pass of those that have places and were not read yet; return who came to an end with it."""
        while self._pending:
            pending = self._pending[0]
            try:
                read = next(pending.passes)
            except StopIteration:
                self._pending.popleft()
                continue
            # A long text, read in pieces, lets others pass.
            self._pending.rotate(-1)
            if read is None:
                return []
            staying, ended = self._said(read.numbers, read.seen.last(read.tree.top.members))
            self._alive.join(read, staying)
            return ended
        return []

    def _step(self) -> list[tuple[Row, str]]:
        """Let all rows under way take a step; return who came to an end with it."""
        rows, places = list(self._alive.rows), self._alive.places
        held = self._slots.held
        logits = self._alive.step([held[slot].tokens[-1] if slot in held else 0 for slot in rows])
        if len(places) < len(rows):
            logits = logits[torch.tensor(places, device=logits.device)]
        staying, ended = self._said([rows[place] for place in places], logits)
        self._alive.keep([places[place] for place in staying])
        return ended

    def _said(self, slots: Sequence[int], logits: Tensor) -> tuple[list[int], list[tuple[Row, str]]]:
        """Choose a token in each row and tell it; return the places of those that go on, and who ended how."""
        rows = [self._slots.held[slot] for slot in slots]
        staying: list[int] = []
        ended: list[tuple[Row, str]] = []
        for place, (row, token) in enumerate(zip(rows, _chosen(rows, logits), strict=True)):
            first = not row.tokens
            if isinstance(token, Exception):
                row.ticket.end(token)
                ended.append((row, "stop"))
                continue
            if token in self.model.stop_tokens:
                ended.append((row, "stop"))
            else:
                row.say(_token(token, logits[place], row.ticket.request.logprobs))
                if row.telling.stopped:
                    ended.append((row, "stop"))
                elif row.full:
                    ended.append((row, "length"))
                    continue
                else:
                    staying.append(place)
                    continue
            if first:
                self._slots.editing.excused.add(row.slot)
        return staying, ended

    def _end(self, row: Row, finish: str) -> None:
        outcome = self._slots.outcome(row, finish)
        self._slots.let_go(row)
        row.ticket.end(outcome)


def _chosen(rows: Sequence[Row], logits: Tensor) -> list[int | Exception]:
    """Return each row's next token, or why there is none; rows with one way of choosing are chosen for together."""
    alike: dict[Sampling, list[int]] = {}
    for place, row in enumerate(rows):
        how = replace(row.ticket.request.sampling, max_new_tokens=1, seed=0)
        alike.setdefault(how, []).append(place)
    found: list[int | Exception] = [0] * len(rows)

    def choose(sampling: Sampling, places: Sequence[int]) -> list[int]:
        chosen = [rows[place] for place in places]
        tokens = [[*row.ticket.request.tokens, *row.tokens] if sampling.repetition_penalty != 1 else [0]
                  for row in chosen]  # fmt: skip
        some = logits if len(places) == len(rows) else logits[torch.tensor(places, device=logits.device)]
        return choose_tokens(some, tokens, sampling, [row.draws for row in chosen])

    for sampling, places in alike.items():
        # Of numbers that are not finite nothing can be drawn: that ends their own row, and no other.
        each = [places]
        if sampling.temperature > 0 and not bool(torch.isfinite(logits[torch.tensor(places)]).all()):
            each = [[place] for place in places]
        for some in each:
            try:
                for place, token in zip(some, choose(sampling, some), strict=True):
                    found[place] = token
            except RuntimeError as error:
                if len(some) > 1:
                    raise
                found[some[0]] = InputError(f"expected a plan under which the model gives numbers, got none: {error}")
    return found


def _token(token: int, logits: Tensor, count: int | None) -> Token:
    if count is None:
        return Token(token, "")
    logprobs = logits.log_softmax(-1)
    best = logprobs.topk(count)
    top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return Token(token, "", float(logprobs[token]), top)


def _length(ticket: Ticket) -> int:
    return len(ticket.request.tokens) + ticket.request.sampling.max_new_tokens


def _window(model: Handle) -> int:
    """Return how many positions the model was made for; 0 where its configuration does not tell."""
    config: Any = model.hf.config
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    return int(getattr(config, "max_position_embeddings", None) or 0)
