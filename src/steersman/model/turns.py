"""A lock that is taken in turns: who lets it go and wants it again waits behind those who already wait."""

import threading
from typing import Any


class Turns:
    """A reentrant lock, as a context; of the threads that wait, none is passed over by the one that has just had it.

    A plain lock that is let go and taken again at once stays with its thread: a loop of short steps would keep all
    others out for as long as it runs.
    """

    def __init__(self) -> None:
        self._door = threading.Lock()
        self._own = threading.RLock()
        self._holder: int | None = None
        self._depth = 0

    def __enter__(self) -> "Turns":
        """Wait for the lock."""
        if self._holder == threading.get_ident():
            self._own.acquire()
        else:
            with self._door:
                self._own.acquire()
            self._holder = threading.get_ident()
        self._depth += 1
        return self

    def __exit__(self, *_: Any) -> None:
        """Let the lock go."""
        self._depth -= 1
        if not self._depth:
            self._holder = None
        self._own.release()
