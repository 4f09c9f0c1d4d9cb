"""What a server is told when it is started."""

from dataclasses import dataclass

from steersman.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Settings:
    """A server's limits.

    Args:
        host: the address it binds to.
        port: 0 takes a free one.
        most: answers under way at a time at most.
        queue: requests that wait for a place at most; further ones get 429.
        max_tokens: tokens of an answer at most, and where a request does not say how many.
        timeout: seconds from a request's arrival to the end of its answer at most.
        body: bytes of a request's body at most.
        body_timeout: seconds that a client may take to send its body, or to take a piece of its answer.
        choices: answers that one request may ask for at most.
        key: what clients have to show; empty where anybody may ask.

    Raises:
        InputError: for a value out of range.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    most: int = 64
    queue: int = 256
    max_tokens: int = 1024
    timeout: float = 300.0
    body: int = 4 * 2**20
    body_timeout: float = 20.0
    choices: int = 16
    key: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InputError(f"expected a port from 0 to 65535, got {self.port}")
        for name in ("most", "queue", "max_tokens", "body", "choices"):
            if getattr(self, name) < 1:
                raise InputError(f"expected {name} of at least 1, got {getattr(self, name)}")
        for name in ("timeout", "body_timeout"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(f"expected a {name} above 0 s, got {getattr(self, name)}")
        try:
            self.key.encode("ascii")
        except UnicodeEncodeError:
            raise InputError("expected a key of ASCII characters, which a header can hold") from None
