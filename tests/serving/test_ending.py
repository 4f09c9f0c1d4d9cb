"""A server that ends: what is being answered is finished, what waits is refused, and nothing hangs."""

import threading

import httpx
import openai
import pytest
from running import NAME, client_of, running, until

TURNS = [{"role": "user", "content": "Hi"}]


def test_ending_finishes_what_runs_and_refuses_what_waits(chatty):
    with (
        running(chatty, most=1, max_tokens=200) as server,
        client_of(server) as client,
        client_of(server) as late,
    ):
        how = {"model": NAME, "messages": TURNS, "max_tokens": 120}
        stream = client.chat.completions.create(stream=True, **how)
        pieces = iter(stream)
        next(pieces)
        found = []

        def ask():
            with client_of(server) as other, pytest.raises(openai.InternalServerError) as told:
                other.chat.completions.create(**how)
            found.append(told.value)

        waiting = threading.Thread(target=ask)
        with chatty.lock:
            waiting.start()
            assert until(lambda: server.live.load == (1, 1))
            server.end()
            waiting.join(30)
        assert found[0].status_code == 503
        assert "closing" in found[0].message
        rest = list(pieces)
        assert rest[-1].choices[0].finish_reason in ("length", "stop")
        assert until(lambda: not server.live._thread.is_alive())
        with pytest.raises((httpx.TransportError, openai.APIError)):
            late.chat.completions.create(**how)


def test_ending_at_once_cancels_what_runs(chatty):
    with running(chatty, max_tokens=200) as server, client_of(server) as client:
        pieces = iter(client.chat.completions.create(model=NAME, messages=TURNS, max_tokens=200, stream=True))
        next(pieces)
        server.end(now=True)
        with pytest.raises((openai.APIError, httpx.TransportError)):
            list(pieces)
