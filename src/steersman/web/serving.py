"""The server of the page: on this machine alone unless told, nothing fetched from elsewhere, no telemetry.

What a page may load is said in a header of every answer, so that a browser refuses whatever a library might slip in.
"""

import os
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before Gradio is imported, which asks for them then.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr
import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from steersman.errors import InputError
from steersman.web.desk import Desk
from steersman.web.handlers import Handlers
from steersman.web.page import build
from steersman.web.theme import style, theme

LOOPBACK = "127.0.0.1"
PORT = 7860
LARGEST_UPLOAD = "256mb"

PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' blob: data:; "
    "worker-src 'self' blob:; "
    "frame-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'"
)
"""What the page may load: what this server gives."""

REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; font-src data:"
)
"""What a report may load: nothing, since it holds all of it."""


class OnlyFromHere:
    """Sets the headers that say what a page may load; answers that stream are passed on as they come.

    Args:
        app: what answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        policy = REPORT_POLICY if scope.get("path", "").startswith("/reports/") else PAGE_POLICY

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", policy)
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("Referrer-Policy", "no-referrer")
            await send(message)

        await self.app(scope, receive, sent)


@dataclass(frozen=True)
class Served:
    """An application with the folder that its downloads lie in."""

    app: FastAPI
    downloads: tempfile.TemporaryDirectory[str]


def application(desk: Desk) -> Served:
    """Return the page of a desk as an application that any ASGI server can serve."""
    downloads = tempfile.TemporaryDirectory(prefix="steersman-demo-")
    page = build(desk, Handlers(desk, Path(downloads.name)))
    page.queue(default_concurrency_limit=8, max_size=64)
    app = FastAPI(title="steersman demo", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(OnlyFromHere)

    @app.get("/reports/{name:path}")
    def report(name: str) -> Response:
        path = desk.reports.path(name)
        if path is None:
            return PlainTextResponse("There is no such report in the folder that the demo was started with.", 404)
        return HTMLResponse(path.read_text(encoding="utf-8", errors="replace"))

    mounted: Any = gr.mount_gradio_app(
        app, page, path="/", theme=theme(), css=style(), show_error=False, ssr_mode=False, pwa=False, mcp_server=False,
        allowed_paths=[downloads.name], max_file_size=LARGEST_UPLOAD, footer_links=[], enable_monitoring=False,
    )  # fmt: skip
    return Served(mounted, downloads)


def serve(desk: Desk, *, host: str = LOOPBACK, port: int = PORT, ready: Callable[[str], None] | None = None) -> None:
    """Serve the page until it is interrupted.

    Args:
        desk: what the visitors share.
        host: the address that is listened on.
        port: the port; 0 takes a free one.
        ready: called with the page's address once it can be opened.

    Raises:
        OSError: where the port is taken.
    """
    served = application(desk)
    server = Server(served.app, host, port)
    with served.downloads, server.bound() as address:
        desk.warm()
        if ready is not None:
            ready(address)
        try:
            server.run()
        finally:
            desk.live.close(finish=False, timeout=10)


def check_free(host: str, port: int) -> None:
    """Return when a port can be listened on, which is best known before a model is loaded.

    Raises:
        InputError: when it cannot.
    """
    try:
        _bound(host, port).close()
    except OSError as error:
        raise InputError(
            f"expected an address to listen on, got --host {host} --port {port}: {error.strerror or error}; "
            "give another port, or 0 for a free one"
        ) from None


def _bound(host: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made


class Server:
    """An ASGI server on a socket that is bound before it starts, so that its address is known and its own.

    Args:
        app: what is served.
        host: the address.
        port: the port; 0 takes a free one.
    """

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        self.config = uvicorn.Config(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=2)
        self.server = uvicorn.Server(self.config)
        self.host, self.port = host, port

    def bound(self) -> "Server":
        """Return itself, to be entered: bound inside, closed after."""
        return self

    def __enter__(self) -> str:
        """Bind, and return the page's address."""
        self.socket = _bound(self.host, self.port)
        # Whoever comes before the server runs waits, and is not turned away.
        self.socket.listen()
        self.port = self.socket.getsockname()[1]
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{shown}:{self.port}"

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.socket.close()

    def run(self) -> None:
        """Serve until interrupted or stopped."""
        self.server.run(sockets=[self.socket])

    def stop(self) -> None:
        """Let `run` return."""
        self.server.should_exit = True
