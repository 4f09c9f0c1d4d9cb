"""A server that really runs, on a free port of the loopback address, in a thread of the test's own process."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from openai import OpenAI

from steersman.model.handle import Handle
from steersman.serving import Server, Settings, Shelf
from tiny import direction

NAME = "tiny"


def shelf(model: Handle) -> Shelf:
    """Return two made-up directions: one of a single layer, one of three."""
    return Shelf({"one": direction(1, [1]), "many": direction(2, [0, 1, 2])}, model)


@contextmanager
def running(model: Handle, directions: Shelf | None = None, **limits: object) -> Iterator[Server]:
    """Run a server for as long as the body takes."""
    settings = Settings(port=0, **limits)  # type: ignore[arg-type]
    server = Server(model, directions or shelf(model), settings, NAME)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.started
        yield server
    finally:
        server.end(now=True)
        thread.join(30)
        assert not thread.is_alive()
        assert not server.live._thread.is_alive()


def client_of(server: Server, key: str = "none", **more: object) -> OpenAI:
    """Return the official client of a server; it retries nothing."""
    return OpenAI(base_url=f"{server.address}/v1", api_key=key, max_retries=0, timeout=60, **more)  # type: ignore[arg-type]


def until(condition, seconds: float = 20.0) -> bool:
    """Return whether a condition comes true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())
