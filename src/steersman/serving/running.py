"""Running the server, and ending it: what is being answered is finished, everything else is told to come later."""

import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from steersman.errors import InputError
from steersman.model.handle import Handle
from steersman.model.live import Live
from steersman.serving.app import make_app
from steersman.serving.settings import Settings
from steersman.serving.shelf import Shelf

HEADERS = 64 * 2**10
"""Bytes of a request's head at most."""
CONNECTIONS = 1024
"""Connections beyond those that answers have."""
GRACE = 5
"""Seconds to send what has been answered, once nothing is written any more."""


class Server(uvicorn.Server):
    """A server of one model.

    Args:
        model: what answers.
        shelf: the directions that requests may name.
        settings: its limits.
        names: that the model is asked for by, beside its own.
        announce: called with the address once it listens there.
    """

    def __init__(
        self,
        model: Handle,
        shelf: Shelf,
        settings: Settings,
        *names: str,
        announce: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.announce = announce
        self.live = Live(model, most=settings.most, queue=settings.queue)
        self.settings = settings
        app = make_app(self.live, shelf, settings, *names)
        super().__init__(
            uvicorn.Config(
                app,
                settings.host,
                settings.port,
                log_level="warning",
                lifespan="off",
                access_log=False,
                server_header=False,
                h11_max_incomplete_event_size=HEADERS,
                limit_concurrency=settings.most + settings.queue + CONNECTIONS,
                timeout_graceful_shutdown=int(settings.timeout) + GRACE,
            )
        )

    @property
    def address(self) -> str:
        """Where it listens, once it does."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  (uvicorn's signature)
        """End by a signal: the first one finishes what is running, a second one does not wait."""
        self.end(now=self.should_exit)

    def end(self, *, now: bool = False) -> None:
        """Take no further request, refuse what waits, finish what is being answered, and return at once.

        Args:
            now: cancel what is being answered.
        """
        self.should_exit, self.force_exit = True, self.force_exit or now
        close = threading.Thread(target=self.live.close, kwargs={"finish": not now, "timeout": self.settings.timeout})
        close.start()

    async def startup(self, sockets: Any = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        if self.started:
            self.announce(self.address)

    async def shutdown(self, sockets: Any = None) -> None:
        """Wait for the connections to end, then for the model's thread."""
        await super().shutdown(sockets)
        self.live.close(finish=False)


def serve(server: Server) -> None:
    """Run a server until it is told to end.

    Raises:
        InputError: when it cannot listen at its address.
    """
    settings = server.settings
    try:
        server.run()
    except SystemExit:
        raise InputError(
            f"expected a free port at an address of this machine, got {settings.host} port {settings.port}, where "
            "nothing can be listened to; give another --port"
        ) from None
    finally:
        server.live.close(finish=False)
