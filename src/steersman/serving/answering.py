"""Answering one request: its tickets are listened to until they end, the client leaves, or its time is over."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request as Asking
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from steersman.errors import SteersmanError
from steersman.model.live import Live, Request, Ticket, Token
from steersman.serving.forms import Form
from steersman.serving.metrics import Metrics
from steersman.serving.prompts import requests_of
from steersman.serving.refusals import Refusal, refusal_of
from steersman.serving.schema import ChatAsked, TextAsked
from steersman.serving.settings import Settings
from steersman.serving.shelf import Shelf

logger = logging.getLogger(__name__)

Event = tuple[int, Token | None]
"""Which of a request's answers said what; `None` at its end."""


@dataclass(frozen=True)
class Service:
    """What answers, and within which limits."""

    live: Live
    shelf: Shelf
    settings: Settings
    metrics: Metrics
    names: tuple[str, ...]

    def check_model(self, name: str) -> None:
        """Return when a name is the model's.

        Raises:
            Refusal: when it is not.
        """
        if name not in self.names:
            raise Refusal(404, f"expected the model {self.names[0]!r}, got {name[:80]!r}", "model", "model_not_found")

    async def answer(self, asked: ChatAsked | TextAsked, asking: Asking) -> Response:
        """Return the answer to a request, whole or as a stream."""
        self.check_model(asked.model)
        tickets = await run_in_threadpool(self._submitted, asked)
        if asked.steering is not None:
            self.metrics.steered.inc()
        hearing = Hearing(tickets, asking.scope["state"]["arrived"] + self.settings.timeout)
        form = Form(
            self.live.model,
            isinstance(asked, ChatAsked),
            asked.likeliest is not None,
            bool(asked.stream_options and asked.stream_options.include_usage),
        )
        kept = False
        try:
            events = self._timed(hearing.events(), asking)
            # Until the first token, an error still has a status of its own.
            first = await self._or_gone(anext(events), asking)
            if first is None:
                return Response(status_code=499)  # nobody reads it
            if asked.stream:
                kept = True
                pieces = self._stream(form, hearing, events, first, asked)
                return StreamingResponse(pieces, media_type="text/event-stream", headers={"cache-control": "no-cache"})
            whole = await self._or_gone(self._whole(form, hearing, events, asked), asking)
            return Response(status_code=499) if whole is None else JSONResponse(whole)
        except Refusal:
            raise
        except Exception as error:
            raise _told(error) from error
        finally:
            if not kept:
                hearing.close()

    def _submitted(self, asked: ChatAsked | TextAsked) -> list[Ticket]:
        tickets: list[Ticket] = []
        try:
            for request in requests_of(asked, self.shelf, self.settings, self.live.window):
                tickets.append(self.live.submit(request))
                self.metrics.tokens.labels("read").inc(len(request.tokens))
        except SteersmanError as error:
            for ticket in tickets:
                ticket.cancel()
            raise refusal_of(error) from None
        except Refusal:
            for ticket in tickets:
                ticket.cancel()
            raise
        return tickets

    async def _timed(self, events: AsyncIterator[Event], asking: Asking) -> AsyncIterator[Event]:
        """Hand events on, and note when the first one came."""
        first = True
        async for event in events:
            if first:
                self.metrics.first.observe(time.monotonic() - asking.scope["state"]["arrived"])
                first = False
            if event[1] is not None:
                self.metrics.tokens.labels("written").inc()
            yield event

    async def _or_gone(self, doing: Any, asking: Asking) -> Any:
        """Return what comes of something, or `None` as soon as the client has left."""
        task = asyncio.ensure_future(doing)
        gone = asyncio.ensure_future(_left(asking))
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            self.metrics.abandoned.inc()
            return None
        finally:
            for each in (task, gone):
                each.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)

    async def _whole(
        self, form: Form, hearing: "Hearing", events: AsyncIterator[Event], asked: ChatAsked | TextAsked
    ) -> dict[str, Any]:
        async for _ in events:
            pass
        answers = [(ticket.result(0), list(ticket)) for ticket in hearing.tickets]
        return form.whole(answers, hearing.read) | self._steering(hearing, asked)

    async def _stream(
        self,
        form: Form,
        hearing: "Hearing",
        events: AsyncIterator[Event],
        first: Event,
        asked: ChatAsked | TextAsked,
    ) -> AsyncIterator[str]:
        """Give an answer piece by piece, as server-sent events."""
        offsets = [0] * len(hearing.tickets)
        finished = False
        try:
            for index in range(len(offsets)):
                for piece in form.opening(index):
                    yield _event(piece)
            async for index, token in _chained(first, events):
                if token is not None:
                    yield _event(form.piece(index, token, offsets[index]))
                    offsets[index] += len(token.text)
                else:
                    yield _event(form.ending(index, hearing.tickets[index].result(0)))
            told = self._steering(hearing, asked)
            if form.usage or told:
                written = sum(len(ticket.result(0).tokens) for ticket in hearing.tickets)
                bill = form.bill(hearing.read, written) if form.usage else form.head(piece=True) | {"choices": []}
                yield _event(bill | told)
            finished = True
            yield "data: [DONE]\n\n"
        except Exception as error:
            finished = True
            yield _event(_told(error).body)
        finally:
            if not finished:
                self.metrics.abandoned.inc()
            hearing.close()

    def _steering(self, hearing: "Hearing", asked: ChatAsked | TextAsked) -> dict[str, Any]:
        """Return what is told of the steering, where some was asked for."""
        if asked.steering is None:
            return {}
        plan = hearing.tickets[0].request.plan
        gates = [dict(ticket.result(0).gates) for ticket in hearing.tickets]
        return {"steering": {"steps": plan.describe(), "gates": gates, "warnings": plan.beyond()}}


class Hearing:
    """Listens to some tickets, in the event loop that it is made in, until they end or a deadline passes.

    Args:
        tickets: of one request.
        deadline: by `time.monotonic`, s; what is not finished then is cancelled, whoever still listens.
    """

    def __init__(self, tickets: Sequence[Ticket], deadline: float) -> None:
        self.tickets = list(tickets)
        self.deadline = deadline
        self._queue: asyncio.Queue[Event] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, deadline - time.monotonic()), self._cancel)
        for index, ticket in enumerate(self.tickets):

            def told(token: Token | None, index: int = index) -> None:
                loop.call_soon_threadsafe(self._queue.put_nowait, (index, token))

            ticket.on_token(told)

    @property
    def read(self) -> int:
        """Tokens of all prompts; one that several answers were asked for counts once."""
        prompts: list[Request] = []
        for ticket in self.tickets:
            if not prompts or ticket.request.tokens is not prompts[-1].tokens:
                prompts.append(ticket.request)
        return sum(len(request.tokens) for request in prompts)

    async def events(self) -> AsyncIterator[Event]:
        """Give what is said, as it comes, until all answers have ended.

        Raises:
            TimeoutError: when the deadline passes before.
            SteersmanError: when one of the answers ends in an error.
        """
        left = len(self.tickets)
        while left:
            event = await asyncio.wait_for(self._queue.get(), max(0.0, self.deadline - time.monotonic()))
            if event[1] is None:
                left -= 1
                if self.tickets[event[0]].result(0).finish == "cancelled":
                    raise TimeoutError
            yield event

    def close(self) -> None:
        """Let everything go that has not ended."""
        self._timer.cancel()
        self._cancel()

    def _cancel(self) -> None:
        for ticket in self.tickets:
            ticket.cancel()


async def _chained(first: Event, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
    yield first
    async for event in events:
        yield event


async def _left(asking: Asking) -> None:
    """Return when the client has left."""
    while (await asking.receive())["type"] != "http.disconnect":
        pass


def _told(error: Exception) -> Refusal:
    found = refusal_of(error)
    if found.status == 500:
        logger.error("an answer failed", exc_info=error)
    return found


def _event(piece: dict[str, Any]) -> str:
    return f"data: {json.dumps(piece, ensure_ascii=False, allow_nan=False)}\n\n"
