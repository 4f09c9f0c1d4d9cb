"""What stands before the application: the key, the size of a body, the time a client takes, and what JSON is."""

import asyncio
import hmac
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from steersman.files.container import strict_json
from steersman.serving.refusals import Refusal
from steersman.serving.settings import Settings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/health",)
"""What anybody may ask."""


class Guard:
    """Lets requests through that are whole, small enough, in time and allowed.

    Args:
        app: what answers them.
        settings: the server's.
    """

    def __init__(self, app: Application, settings: Settings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope.setdefault("state", {})["arrived"] = time.monotonic()

        async def patient(message: Message) -> None:
            # A client that takes nothing any more does not hold its answer for ever.
            await asyncio.wait_for(send(message), self.settings.body_timeout)

        try:
            self._check_key(scope)
            body = await self._body(scope, receive)
        except Refusal as refusal:
            # What is still to come of the body is not read: the connection ends with the answer.
            response = refusal.response
            response.headers["connection"] = "close"
            await response(scope, receive, patient)
            return
        told = False

        async def replay() -> Message:
            nonlocal told
            if not told:
                told = True
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        await self.app(scope, replay, patient)

    def _check_key(self, scope: Scope) -> None:
        key = self.settings.key.encode()
        if not key or scope["path"] in OPEN:
            return
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        kind, _, shown = given.partition(b" ")
        # Both always compared in full: how long it takes tells nothing of how much of the key was right.
        if not (hmac.compare_digest(shown.strip(), key) and kind.lower() == b"bearer"):
            raise Refusal(401, "expected the server's key as 'Authorization: Bearer KEY', got none or another one")

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        limit = self.settings.body
        too_large = Refusal(413, f"expected a body of at most {limit:,} bytes, got a larger one")
        stated = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if stated.isdigit() and int(stated[:20]) > limit:
            raise too_large
        content = bytearray()
        try:
            async with asyncio.timeout(self.settings.body_timeout):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refusal(400, "expected a whole body, and the connection ended before")
                    content += message.get("body", b"")
                    if len(content) > limit:
                        raise too_large
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            seconds = self.settings.body_timeout
            raise Refusal(408, f"expected the whole body within {seconds:g} s, got only a part of it") from None
        if scope["method"] == "POST":
            _check_json(bytes(content))
        return bytes(content)


def _check_json(content: bytes) -> None:
    """Return when a body is JSON as the standard has it: no NaN, no key twice, no half characters.

    Raises:
        Refusal: when it is not.
    """
    try:
        # Half a character, as in "\\ud800", is a text that no tokenizer takes.
        json.dumps(strict_json(content.decode()), ensure_ascii=False).encode()
    except UnicodeError:
        raise Refusal(400, "expected a body in UTF-8, got other bytes or half a character", code="bad_json") from None
    except RecursionError:
        raise Refusal(400, "expected JSON of less depth, got one nested thousands of times", code="bad_json") from None
    except ValueError as error:
        raise Refusal(400, f"expected a body in JSON, got one that is not: {error}", code="bad_json") from None
