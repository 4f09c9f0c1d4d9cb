"""Two answers at once, as they come: tokens from the engine, and behind them what the unsteered model makes of each."""

import queue
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from steersman.direction import Direction
from steersman.errors import SteersmanError
from steersman.model.generate import Generation, Sampling
from steersman.model.live import Live, Request, Ticket, Token
from steersman.plan import Plan
from steersman.web.following import Follower
from steersman.web.steering import Steering
from steersman.web.talk import Session, Side, Turn, Which, turn_tokens

EVERY = 5
"""Tokens that are read together while an answer is being written."""

SHOWN = 0.08
"""Seconds between two pictures of the page at least: more often nobody sees, and the browser is kept busy."""

PATIENCE = 30.0
"""Seconds to wait for an answer that was cancelled."""


@dataclass(frozen=True)
class _News:
    """What came of one answer: a token, how it ended, or what went wrong."""

    which: Which
    came: Token | Generation | BaseException


def answer(
    live: Live,
    session: Session,
    said: str,
    steering: Steering,
    sampling: Sampling,
    colour: tuple[str, Direction] | None = None,
) -> Iterator[Turn]:
    """Write both answers to a message, and yield the turn whenever there is more of it to show.

    The turn stands in the session from the first yield on; ended by `session.stop`, it keeps what was written.

    Args:
        live: what writes.
        session: where the conversation is.
        said: the message.
        steering: what the sliders come to.
        sampling: how both are written.
        colour: name and direction, at one site, that tokens are coloured by.

    Raises:
        InputError: for a message that cannot be answered; the conversation is then as it was.
        SteersmanError: what went wrong in the middle; the turn then says so as well.
    """
    model, room = live.model, sampling.max_new_tokens
    prompts: dict[Which, list[int]] = {
        which: turn_tokens(model, session.turns, said, which, room) for which in Turn(said).sides
    }
    plans: Mapping[Which, Plan] = {"plain": Plan(), "steered": steering.plan}
    tickets: dict[Which, Ticket] = {}
    try:
        for which, tokens in prompts.items():
            tickets[which] = live.submit(Request(tuple(tokens), plans[which], sampling, key=said))
    except BaseException:
        _cancel(tickets)
        raise
    session.stop.clear()
    turn = Turn(said, steering.words, colour[0] if colour else "")
    session.turns.append(turn)
    news: queue.Queue[_News] = queue.Queue()
    for which, ticket in tickets.items():
        threading.Thread(target=_pump, args=(which, ticket, news), daemon=True).start()
    along = colour[1] if colour else None
    followers: dict[Which, Follower] = {which: Follower(model, row, along) for which, row in prompts.items()}
    try:
        yield turn
        yield from _followed(turn, tickets, news, followers, session, steering)
    finally:
        _cancel(tickets)
        for side in turn.sides.values():
            if side.under_way:
                side.state = "cancelled"


def _followed(
    turn: Turn,
    tickets: Mapping[Which, Ticket],
    news: "queue.Queue[_News]",
    followers: Mapping[Which, Follower],
    session: Session,
    steering: Steering,
) -> Iterator[Turn]:
    shown, failed, asked = time.monotonic(), None, 0.0
    while any(side.under_way for side in turn.sides.values()):
        if session.stop.is_set() and not asked:
            asked = time.monotonic()
            _cancel(tickets)
        if asked and time.monotonic() - asked > PATIENCE:
            return
        with suppress(queue.Empty):
            found = [news.get(timeout=SHOWN)]
            while not news.empty():
                found.append(news.get_nowait())
            for each in found:
                error = _take(turn.sides[each.which], each.came, session, steering)
                failed = failed or error
            if failed is not None:
                _cancel(tickets)
        for which, side in turn.sides.items():
            if len(side.tokens) - len(side.read) >= (EVERY if side.under_way else 1):
                side.read = list(followers[which].follow(side.tokens))
        if time.monotonic() - shown >= SHOWN:
            shown = time.monotonic()
            yield turn
    yield turn
    if failed is not None:
        raise failed


def _take(
    side: Side, came: Token | Generation | BaseException, session: Session, steering: Steering
) -> Exception | None:
    """Take in what came of one answer, and return what went wrong with it."""
    if isinstance(came, Token):
        side.state = "writing"
        side.tokens.append(came.id)
        side.pieces.append(came.text)
        return None
    if isinstance(came, Generation):
        side.gates = {steering.gates.get(site, f"at {site}"): fired for site, fired in came.gates.items()}
        side.state = "cancelled" if session.stop.is_set() else came.finish
        return None
    side.state = "cancelled" if session.stop.is_set() else "failed"
    if session.stop.is_set() and isinstance(came, SteersmanError):
        return None
    return came if isinstance(came, Exception) else None


def _pump(which: Which, ticket: Ticket, news: "queue.Queue[_News]") -> None:
    """Hand on all that comes of one answer."""
    try:
        for token in ticket:
            news.put(_News(which, token))
        news.put(_News(which, ticket.result(PATIENCE)))
    except BaseException as error:
        news.put(_News(which, error))


def _cancel(tickets: Mapping[Which, Ticket]) -> None:
    for ticket in tickets.values():
        ticket.cancel()
