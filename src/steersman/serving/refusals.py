"""Errors in the form in which clients of the OpenAI API read them: `{"error": {message, type, param, code}}`."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from steersman.errors import BusyError, ClosedError, InputError, InterventionError

KINDS = {401: "authentication_error", 429: "rate_limit_error", 500: "server_error", 503: "server_error"}
CODES = {
    401: "invalid_api_key",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    413: "body_too_large",
    429: "queue_full",
    500: "internal_error",
    503: "closing",
}
FIELD = re.compile(r"(?!(?:str|int|list)$)[a-z_]{1,40}|\d{1,9}")
"""A field's name or a place in a list; other parts of a path name the kinds that a value may be of."""
SHOWN = 500
"""Characters of a sentence; what a client sent may be part of it."""


class Refusal(Exception):  # noqa: N818  (an answer, not a fault of the program)
    """A request that is not answered.

    Args:
        status: of HTTP.
        message: one sentence: what was expected, what came, what to do.
        param: the field of the request that it is about.
        code: what programs tell errors apart by.
    """

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    @property
    def body(self) -> dict[str, Any]:
        """What is sent."""
        line = " ".join(self.message.split())
        # Half a character, which JSON can name and no encoding can hold, would break the answer that quotes it.
        line = line.encode(errors="backslashreplace").decode()
        kind = KINDS.get(self.status, "invalid_request_error")
        code = self.code or CODES.get(self.status, "invalid_value")
        return {"error": {"message": line[:SHOWN], "type": kind, "param": self.param, "code": code}}

    @property
    def response(self) -> JSONResponse:
        """The whole answer."""
        headers = {"retry-after": "1"} if self.status in (429, 503) else None
        if self.status == 401:
            headers = {"www-authenticate": "Bearer"}
        return JSONResponse(self.body, self.status, headers)


def refusal_of(error: BaseException, param: str | None = None) -> Refusal:
    """Return what a client is told of an error."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, ClosedError):
        return Refusal(503, "the server is closing; ask another one, or later")
    if isinstance(error, BusyError):
        return Refusal(429, str(error))
    if isinstance(error, InterventionError):
        return Refusal(400, str(error), param or "steering", "never_applied")
    if isinstance(error, InputError):
        return Refusal(400, str(error), param)
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return Refusal(
            408, "the answer was not finished within the server's time limit; ask for fewer tokens, or later"
        )
    return Refusal(500, "the server failed to answer; its log says why")


def handle_errors(app: FastAPI) -> None:
    """Let an application answer every error in this form."""

    @app.exception_handler(Refusal)
    async def refused(_request: Request, error: Refusal) -> JSONResponse:
        return error.response

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        return of_validation(error.errors()).response

    @app.exception_handler(HTTPException)
    async def other(_request: Request, error: HTTPException) -> JSONResponse:
        found = Refusal(error.status_code, f"{error.detail}: see /openapi.json for what there is").response
        found.headers.update(error.headers or {})
        return found

    @app.exception_handler(Exception)
    async def failed(_request: Request, error: Exception) -> JSONResponse:
        return refusal_of(error).response


def of_validation(errors: Sequence[Mapping[str, Any]]) -> Refusal:
    """Return what is said of a body that does not fit, by the first thing that is wrong with it."""
    # Of a value that may be one of several kinds, the kind that was meant is at least of the right type, and the fault
    # lies the deepest in it.
    first: Mapping[str, Any] = {"loc": (), "type": "", "msg": "it cannot be read"}
    if errors:
        first = max(errors, key=lambda each: (not each["type"].endswith("_type"), len(each["loc"])))
    if any(each["type"] == "extra_forbidden" for each in errors):
        first = next(each for each in errors if each["type"] == "extra_forbidden")
    where = ".".join(part for each in first["loc"][1:] if FIELD.fullmatch(part := str(each))) or None
    if first.get("type") == "extra_forbidden":
        return Refusal(400, f"expected no field that the server does not know, got {where!r}", where, "unknown_field")
    what = str(first["msg"]).removeprefix("Value error, ")
    return Refusal(400, f"expected a valid value for {where or 'the body'}: {what}", where)
