"""A desk with a tiny model, and its page served on a free port of this machine, for tests."""

import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steersman.model.live import Live
from steersman.range import Range
from steersman.web.desk import Desk
from steersman.web.reports import Reports
from steersman.web.shelf import Entry
from steersman.where import Site
from tiny import direction, tiny_model


def entries() -> list[Entry]:
    """Return two directions strong enough to change what a tiny model says, the first one ranged."""
    found = Range(Site(1), 1, tried=2.0, recommended=1.0, alarm=1.5)
    return [
        Entry("warm", "warmer / colder", direction(1, [1]).with_ranges(found)),
        Entry("long", "", direction(2, [0, 2])),
    ]


@contextmanager
def tiny_desk(*, chat: bool = True, runs: Path | None = None, folder: Path | None = None) -> Iterator[Desk]:
    """Yield a desk, and close what answers for it."""
    model = tiny_model("llama", chat=chat)
    with Live(model) as live:
        yield Desk(model, live, entries(), Reports(runs), folder)


@contextmanager
def served(desk: Desk) -> Iterator[str]:
    """Yield the address of a desk's page."""
    from steersman.web.serving import LOOPBACK, Server, application

    made = application(desk)
    server = Server(made.app, LOOPBACK, 0)
    with made.downloads, server.bound() as address:
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        _wait(f"{address}/config")
        try:
            yield address
        finally:
            server.stop()
            thread.join(20)


def _wait(address: str) -> None:
    limit = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.1)
