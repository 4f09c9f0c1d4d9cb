"""One request to an LLM behind an OpenAI-compatible or an Anthropic endpoint, and what can go wrong with it.

The key is read from the environment when the first request is due. It is in no field, no key, no file and no message:
what a server says is shown without it.
"""

import email.utils
import ipaddress
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from steersman.errors import InputError

Protocol = Literal["openai", "anthropic"]

HOMES: Mapping[str, str] = MappingProxyType(
    {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}
)
KEYS: Mapping[str, str] = MappingProxyType({"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"})
BASES: Mapping[str, str] = MappingProxyType({"openai": "OPENAI_BASE_URL", "anthropic": "ANTHROPIC_BASE_URL"})

PASSING = frozenset({408, 409, 425, 429})
"""Statuses below 500 that may be gone at the next try."""

FATAL = frozenset({401, 402, 403, 404})
"""Statuses that every further request would meet as well: the key, the account, the model's name, the address."""


class RequestError(Exception):
    """A request came to nothing.

    Args:
        words: why, for people, without the key.
        passing: whether the same request may succeed later.
        wait: seconds that the server asks to wait.
    """

    def __init__(self, words: str, *, passing: bool = True, wait: float | None = None) -> None:
        super().__init__(words)
        self.words, self.passing, self.wait = words, passing, wait


@dataclass(frozen=True)
class Reply:
    """What the model answered.

    Args:
        text: its words.
        tokens_in: tokens that the server counted in the request; 0 where it does not say.
        tokens_out: and in the answer.
    """

    text: str
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True)
class Endpoint:
    """A model behind an endpoint.

    Args:
        protocol: `openai` (chat completions) or `anthropic` (messages).
        model: its name there.
        base_url: where it is; the library's own variable (`OPENAI_BASE_URL`, `ANTHROPIC_BASE_URL`) or the provider's
            address where left out.
        key_variable: environment variable that holds the key; `OPENAI_API_KEY` or `ANTHROPIC_API_KEY` where left out.
            A server on this machine needs none.
        timeout: seconds without a byte from the server after which a request is given up; and seconds in all that the
            body of its response may take.
        temperature: 0 is greedy; `None` leaves it out, for models that take none.
        max_tokens: limit of an answer, what a model thinks before it included.

    Raises:
        InputError: for another protocol, no model, an address that is none or that holds a password.
    """

    protocol: Protocol
    model: str
    base_url: str | None = None
    key_variable: str | None = None
    timeout: float = 60.0
    temperature: float | None = 0.0
    max_tokens: int = 256

    def __post_init__(self) -> None:
        """Refuse what no request could be made with."""
        if self.protocol not in HOMES:
            raise InputError(f"expected the protocol openai or anthropic, got {self.protocol!r}")
        if not self.model.strip():
            raise InputError(f"expected the name of a model behind the {self.protocol} endpoint, got none")
        if self.timeout <= 0 or self.max_tokens < 1:
            raise InputError(
                f"expected a timeout above 0 s and at least one token, got {self.timeout} and {self.max_tokens}"
            )
        address = urlsplit(self.address)
        if address.username or address.password or address.query:
            raise InputError(
                "expected a base URL without user name, password or query (they would be written down with the "
                f"results); put the key into the environment variable {self.variable}"
            )
        if address.scheme not in ("http", "https") or not address.hostname:
            raise InputError(f"expected a base URL such as http://localhost:8000/v1, got {self.base_url!r}")

    @property
    def address(self) -> str:
        """Where requests go."""
        return (self.base_url or os.environ.get(BASES[self.protocol]) or HOMES[self.protocol]).rstrip("/")

    @property
    def variable(self) -> str:
        """The environment variable that holds the key."""
        return self.key_variable or KEYS[self.protocol]

    def identity(self) -> dict[str, Any]:
        """Return what an answer depends on besides the question; never the key."""
        return {
            "protocol": self.protocol,
            "model": self.model,
            "address": self.address,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }

    def connect(self) -> "Connection":
        """Return a connection that threads may share.

        Raises:
            InputError: where the library is not installed, or the environment holds no usable key.
        """
        return Connection(self, _library(self.protocol), self._secret())

    def _secret(self) -> str:
        secret = os.environ.get(self.variable, "").strip()
        if not secret and _on_this_machine(urlsplit(self.address).hostname or ""):
            return "no-key-needed"
        if not secret:
            raise InputError(
                f"expected the key of {self.address} in the environment variable {self.variable}, which is not set; "
                "export it (it is read from nowhere else)"
            )
        if not secret.isascii() or not secret.isprintable() or " " in secret:
            raise InputError(f"expected a key of printable characters in {self.variable}; copy it there again")
        return secret


class Connection:
    """An open client of one endpoint; see `Endpoint.connect`."""

    def __init__(self, endpoint: Endpoint, library: Any, secret: str) -> None:
        self._endpoint, self._library, self._key = endpoint, library, secret
        make = library.OpenAI if endpoint.protocol == "openai" else library.Anthropic
        self._client = make(
            api_key=secret,
            base_url=endpoint.address,
            max_retries=0,  # tries are counted here, and their waits can be interrupted
            timeout=endpoint.timeout,
            # A redirect would carry the key to another host.
            http_client=library.DefaultHttpxClient(
                follow_redirects=False,
                timeout=endpoint.timeout,
                event_hooks={"response": [partial(_limit, seconds=endpoint.timeout)]},
            ),
        )

    def __repr__(self) -> str:
        return f"Connection({self._endpoint!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, system: str, text: str) -> Reply:
        """Return the model's answer to one message; a single request.

        Raises:
            RequestError: when none came.
            InputError: when none ever will: the key, the account, the model's name or the address are refused.
        """
        library = self._library
        base = library.OpenAIError if self._endpoint.protocol == "openai" else library.AnthropicError
        # From None: what the libraries raise holds the request, and the request holds the key.
        try:
            made = self._send(system, text)
        except library.APIStatusError as error:
            raise self._refused(error) from None
        except library.APITimeoutError:
            raise RequestError(f"no answer within {self._endpoint.timeout:g} s") from None
        except library.APIConnectionError:
            raise RequestError("the connection failed or was cut") from None
        except (base, ValueError):
            raise RequestError("the server's response was not readable JSON") from None
        try:
            return self._reply(made)
        except (AttributeError, IndexError, KeyError, TypeError):
            raise RequestError("the server's response held no message") from None

    def _send(self, system: str, text: str) -> Any:
        endpoint = self._endpoint
        turn = {"role": "user", "content": text}
        # In the body by hand: newer versions of a library leave out of their signatures what not every model takes.
        extra = {} if endpoint.temperature is None else {"temperature": endpoint.temperature}
        if endpoint.protocol == "anthropic":
            return self._client.messages.create(
                model=endpoint.model, max_tokens=endpoint.max_tokens, system=system, messages=[turn], extra_body=extra
            )
        # The provider has renamed the limit; other servers know the older word.
        word = "max_completion_tokens" if endpoint.address == HOMES["openai"] else "max_tokens"
        return self._client.chat.completions.create(
            model=endpoint.model,
            messages=[{"role": "system", "content": system}, turn],
            extra_body=extra | {word: endpoint.max_tokens},
        )

    def _reply(self, made: Any) -> Reply:
        usage = getattr(made, "usage", None)
        if self._endpoint.protocol == "anthropic":
            text = "".join(block.text for block in made.content if block.type == "text")
            counts = getattr(usage, "input_tokens", 0), getattr(usage, "output_tokens", 0)
        else:
            text = made.choices[0].message.content or ""
            counts = getattr(usage, "prompt_tokens", 0), getattr(usage, "completion_tokens", 0)
        if not isinstance(text, str):
            raise TypeError
        tokens_in, tokens_out = (count if isinstance(count, int) else 0 for count in counts)
        # Half a character of two may come through JSON; no file could hold it.
        whole = text.encode("utf-8", "replace").decode()
        return Reply(whole.replace(self._key, "[key]"), tokens_in, tokens_out)

    def _refused(self, error: Any) -> Exception:
        status = int(error.status_code)
        if status in FATAL:
            reasons = {401: "the key", 402: "the account", 403: "the key's rights"}
            what = reasons.get(status, f"the model {self._endpoint.model!r} or the address")
            return InputError(
                f"{self._endpoint.address} refuses {what} (HTTP {status}); check it, and the variable "
                f"{self._endpoint.variable}; what was judged before is kept"
            )
        if status in PASSING or status >= 500:
            return RequestError(f"HTTP {status}", wait=_asked_to_wait(error.response.headers))
        said = " ".join(str(error.message).split()).replace(self._key, "[key]")
        return RequestError(f"HTTP {status}: {said[:200]}", passing=False)


def _library(protocol: Protocol) -> Any:
    try:
        if protocol == "openai":
            import openai as library
        else:
            import anthropic as library
    except ImportError as error:
        raise InputError(
            f"a judge behind an {protocol} endpoint needs the {protocol} library, which is not installed; run "
            '`pip install "steersman[judge]"`'
        ) from error
    return library


def _limit(response: Any, seconds: float) -> None:
    """Give up a response whose body takes too long: a server that sends byte after byte never stops for long."""
    # The libraries have changed from one HTTP library to its successor: theirs is the one that made the response.
    http = sys.modules[type(response).__module__.partition(".")[0]]

    class Limited(http.SyncByteStream):
        def __init__(self, stream: Any) -> None:
            self._stream, self._end = stream, time.monotonic() + seconds

        def __iter__(self) -> Iterator[bytes]:
            for part in self._stream:
                if time.monotonic() > self._end:
                    raise http.ReadTimeout(f"no whole response within {seconds:g} s")
                yield part

        def close(self) -> None:
            self._stream.close()

    response.stream = Limited(response.stream)


def _asked_to_wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that `retry-after-ms` or `Retry-After` (seconds or a date, RFC 9110) ask for."""
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * scale
        except (KeyError, ValueError):
            continue
        return seconds if 0 <= seconds < float("inf") else None
    try:
        return max(0.0, email.utils.parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (KeyError, ValueError, TypeError):
        return None


def _on_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
