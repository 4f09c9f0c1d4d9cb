"""The application: what can be asked at which address."""

import time
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from steersman.errors import InputError
from steersman.model.live import Live
from steersman.serving.answering import Service
from steersman.serving.guard import Application, Guard, Message, Receive, Scope, Send
from steersman.serving.metrics import TYPE, Metrics
from steersman.serving.refusals import Refusal, handle_errors
from steersman.serving.schema import ChatAsked, Faulty, TextAsked
from steersman.serving.settings import Settings
from steersman.serving.shelf import Shelf
from steersman.version import VERSION

FAULTS: Mapping[int | str, dict[str, Any]] = {
    "4XX": {"model": Faulty, "description": "The request cannot be answered; the sentence says why."},
    "5XX": {"model": Faulty, "description": "The server is closing, or failed."},
}
PATHS = ("/v1/models", "/v1/completions", "/v1/chat/completions", "/v1/steering", "/metrics", "/health")


def make_app(live: Live, shelf: Shelf, settings: Settings, *names: str) -> FastAPI:
    """Return the application.

    Args:
        live: what answers.
        shelf: the directions that requests may name.
        settings: the server's limits.
        names: that the model is asked for by, beside its own.
    """
    model = live.model
    app = FastAPI(
        title="steersman",
        version=VERSION,
        description="The OpenAI API for a language model that each request may steer in a way of its own.",
        docs_url=None,
        redoc_url=None,
    )
    service = Service(live, shelf, settings, Metrics(live), (model.name, *names))
    app.state.service = service
    handle_errors(app)
    listed = {"id": model.name, "object": "model", "created": int(time.time()), "owned_by": "steersman"}
    faults: dict[int | str, dict[str, Any]] = dict(FAULTS)

    kinds = {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {"schema": {"type": "string"}}}
    answers = faults | {200: {"description": "The answer, whole or as a stream.", "content": kinds}}

    @app.post("/v1/chat/completions", responses=answers, response_class=Response, response_model=None)
    async def chat(asked: ChatAsked, asking: Request) -> Response:
        """Go on with a chat."""
        return await service.answer(asked, asking)

    @app.post("/v1/completions", responses=answers, response_class=Response, response_model=None)
    async def text(asked: TextAsked, asking: Request) -> Response:
        """Go on with a text."""
        return await service.answer(asked, asking)

    @app.get("/v1/models", responses=faults)
    async def models() -> dict[str, Any]:
        """List the model."""
        return {"object": "list", "data": [listed]}

    @app.get("/v1/models/{name:path}", responses=faults)
    async def model_named(name: str) -> dict[str, Any]:
        """Describe the model."""
        service.check_model(name)
        return listed

    @app.get("/v1/steering", responses=faults)
    async def directions() -> dict[str, Any]:
        """List and describe the directions that requests may name."""
        return {"object": "list", "data": [shelf.describe(name) for name in shelf.directions]}

    @app.get("/v1/steering/{name:path}", responses=faults)
    async def direction_named(name: str) -> dict[str, Any]:
        """Describe one direction."""
        try:
            return shelf.describe(name)
        except InputError as error:
            raise Refusal(404, str(error), "name", "direction_not_found") from None

    counts = {200: {"description": "The counts.", "content": {TYPE.partition(";")[0]: {"schema": {"type": "string"}}}}}

    @app.get("/metrics", responses=faults | counts, response_class=Response, response_model=None)
    async def metrics() -> Response:
        """Return the server's counts, for Prometheus."""
        return Response(service.metrics.text, headers={"content-type": TYPE})

    @app.get("/health", responses=faults)
    async def health() -> dict[str, Any]:
        """Say whether the server takes requests."""
        if live.closing:
            raise Refusal(503, "the server is closing")
        running, waiting = live.load
        return {"status": "ok", "model": model.name, "running": running, "waiting": waiting}

    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Counted, metrics=service.metrics)
    return app


class Counted:
    """Counts requests by path and status, and how long they took.

    Args:
        app: what answers them.
        metrics: the counts.
    """

    def __init__(self, app: Application, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.monotonic()
        # Whatever else is asked for counts as one: nobody is to fill the server's memory with made-up paths.
        path = next((path for path in PATHS if scope["path"] == path or scope["path"].startswith(f"{path}/")), "other")

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.metrics.requests.labels(path, str(message["status"])).inc()
            await send(message)

        await self.app(scope, receive, counted)
        if path.endswith("completions"):
            self.metrics.seconds.observe(time.monotonic() - start)
