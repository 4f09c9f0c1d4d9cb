"""What a live model is asked for, and what the one who asked holds."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from steersman.model.generate import Generation, Sampling
from steersman.model.telling import Token
from steersman.plan import Plan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """One answer that is wanted.

    Args:
        tokens: the prompt, chat template and all; at least one.
        plan: what steers it.
        sampling: how tokens are chosen, and how many at most.
        key: decides the draws, together with the sampling's seed.
        stop: texts that end the answer and are no part of it.
        logprobs: how many most likely tokens are told beside each token and its log-probability; `None` for neither.
    """

    tokens: tuple[int, ...]
    plan: Plan = field(default_factory=Plan)
    sampling: Sampling = field(default_factory=Sampling)
    key: str = ""
    stop: tuple[str, ...] = ()
    logprobs: int | None = None


class Ticket:
    """An answer to come. Iterating gives its tokens as they come, from the first one; any thread may, several as well.

    Args:
        request: what was asked for.
        wake: called once when the answer is cancelled.
    """

    def __init__(self, request: Request, wake: Callable[[], None] = lambda: None) -> None:
        self.request = request
        self._wake = wake
        self._news = threading.Condition()
        self._tokens: list[Token] = []
        self._listeners: list[Callable[[Token | None], None]] = []
        self._cancelled = False
        self._generation: Generation | None = None
        self._error: BaseException | None = None

    def __iter__(self) -> Iterator[Token]:
        """Go through the tokens, waiting for those to come.

        Raises:
            SteersmanError: behind the last one, where the answer ended in an error.
        """
        place = 0
        while True:
            with self._news:
                self._news.wait_for(lambda at=place: len(self._tokens) > at or self.done)
                here, done = self._tokens[place:], self.done
            yield from here
            place += len(here)
            if done and not here:
                if self._error is not None:
                    raise self._error
                return

    @property
    def done(self) -> bool:
        """Whether the answer has come to its end."""
        return self._generation is not None or self._error is not None

    @property
    def cancelled(self) -> bool:
        """Whether it is not wanted further."""
        return self._cancelled

    def cancel(self) -> None:
        """Ask for no further token; its row is free from the next step on."""
        if not self._cancelled:
            self._cancelled = True
            self._wake()

    def result(self, timeout: float | None = None) -> Generation:
        """Return the whole answer; of a cancelled one, what had been written.

        Args:
            timeout: seconds to wait at most.

        Raises:
            TimeoutError: when it is not there by then; it goes on being written.
            SteersmanError: when the answer ended in an error.
        """
        with self._news:
            if not self._news.wait_for(lambda: self.done, timeout):
                raise TimeoutError(f"expected the answer within {timeout:g} s, and it is still being written")
        if self._error is not None:
            raise self._error
        assert self._generation is not None
        return self._generation

    def on_token(self, told: Callable[[Token | None], None]) -> None:
        """Let a function be called with each token, those so far at once, and with `None` at the end.

        It is called by the thread that writes, which waits for it: let it return at once and raise nothing.
        """
        with self._news:
            for token in self._tokens:
                told(token)
            if self.done:
                told(None)
            else:
                self._listeners.append(told)

    def tell(self, tokens: list[Token]) -> None:
        """Take further tokens in."""
        if not tokens:
            return
        with self._news:
            self._tokens += tokens
            self._call(tokens)
            self._news.notify_all()

    def end(self, outcome: Generation | BaseException) -> None:
        """Take the end in; a second one is passed over."""
        with self._news:
            if self.done:
                return
            if isinstance(outcome, Generation):
                self._generation = outcome
            else:
                self._error = outcome
            self._call([None])
            self._listeners = []
            self._news.notify_all()

    def _call(self, news: Sequence[Token | None]) -> None:
        for told in list(self._listeners):
            try:
                for each in news:
                    told(each)
            except Exception:
                # One that fails, as where its event loop has ended, must not end the answers of all others.
                logger.warning("a listener failed and is called no more", exc_info=True)
                self._listeners.remove(told)
