"""The LLM judge: a model behind an endpoint grades every exchange, concurrently, and no answer is paid for twice."""

import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from steersman.errors import InputError
from steersman.judges.endpoint import Connection, Endpoint, Reply, RequestError
from steersman.judges.grading import (
    QUESTIONS,
    SYSTEM,
    AnswerError,
    check_questions,
    instructions,
    metrics_of,
    read_answer,
    wanted,
)
from steersman.judges.judge import Exchange, Metric, Verdict, judge_key, unscored
from steersman.judges.verdicts import Verdicts, address

CHARACTERS = 4
"""Characters a token is taken to have in estimates; English text has about so many."""

GRACE = 2.0
"""Seconds that answers under way get to arrive and be written down, once judging is interrupted."""


@dataclass(frozen=True)
class Patience:
    """How often an exchange is asked again, and how long is waited in between.

    The wait before try k (from 1) is `first * 2**(k-1)`, at most `longest`, times a number drawn from 0.5 to 1; or
    what the server asks for, if that is longer.

    Args:
        tries: requests for one exchange, in all.
        answers: unusable answers for one exchange before it is left unscored.
        first: seconds.
        longest: seconds; a server that asks to wait longer is not waited for.
        seed: of the drawn numbers, together with exchange and try.

    Raises:
        InputError: for values out of range.
    """

    tries: int = 8
    answers: int = 3
    first: float = 0.5
    longest: float = 120.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what would never ask, or wait for less than no time."""
        if self.tries < 1 or self.answers < 1 or self.first < 0 or self.longest < 0:
            raise InputError(f"expected at least one try and one answer, and waits of 0 s or more, got {self}")

    def wait(self, k: int, key: str, asked: float | None) -> float:
        """Return the seconds to wait after the k-th try (from 1) for what has this key came to nothing."""
        drawn = random.Random(f"{self.seed}|{key}|{k}").uniform(0.5, 1.0)
        return max(min(self.first * 2.0 ** min(k - 1, 30), self.longest) * drawn, asked or 0.0)


@dataclass(frozen=True)
class Cost:
    """What judging will come to, estimated before the first request.

    Args:
        exchanges: different ones.
        cached: of these, with a verdict on disk.
        requests: to be made; more where the server fails or answers badly.
        tokens_in: estimated from characters.
        tokens_out: the same.
        money: in the unit of the prices; `None` where no price is known.
    """

    exchanges: int
    cached: int
    requests: int
    tokens_in: int
    tokens_out: int
    money: float | None = None

    def __str__(self) -> str:
        price = "price unknown" if self.money is None else f"about {self.money:.2f} at the given prices"
        return (
            f"{self.requests} requests for {self.exchanges} texts ({self.cached} judged before), about "
            f"{self.tokens_in:,} tokens in and {self.tokens_out:,} out, {price}"
        )


@final
@dataclass(frozen=True)
class EndpointJudge:
    """Asks an LLM for a behaviour rating, a coherence rating and their product, or whether the reply refuses.

    A verdict is what the model said or none: an answer that is not exactly what was asked for is asked again and then
    left unscored with the reason, and so is what got no answer.

    Args:
        endpoint: the model and where it is.
        name: what its metrics end in.
        questions: of `behaviour`, `coherence` and `refusal`; asked together, one request an exchange.
        cache: file of verdicts; without it an interruption loses them.
        workers: requests at a time.
        patience: how often and how long.
        limit: exchanges that may be asked in one go; more are refused before the first.
        prices: of a million tokens in and out, for the estimate.
        confirm: given the estimate before the first request; `False` stops.
        notify: called with a number of exchanges as they are done, those found on disk included.

    Source of the questions' form: the autograding of coefficient selection by coherence (behaviour and coherence from 1
    to 10, score their product); the wording is our own.
    """

    endpoint: Endpoint
    name: str = "llm"
    questions: Sequence[str] = ("refusal",)
    cache: Path | None = None
    workers: int = 8
    patience: Patience = field(default_factory=Patience)
    limit: int | None = None
    prices: tuple[float, float] | None = None
    confirm: Callable[[Cost], bool] | None = None
    notify: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        """Refuse unknown questions and no worker."""
        check_questions(self.questions)
        if self.workers < 1:
            raise InputError(f"expected at least one worker, got {self.workers}")
        if self.prices is not None and not all(0 <= price < float("inf") for price in self.prices):
            raise InputError(f"expected prices of 0 or more for a million tokens in and out, got {self.prices}")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """One for each question, and the product of the two ratings where both are asked."""
        return metrics_of(self.questions, self.name)

    def key(self) -> str:
        """Return the model, its address and every word it is asked."""
        return judge_key(
            judge="endpoint", **self.endpoint.identity(), system=SYSTEM, asked=instructions(self.questions)
        )

    def estimate(self, exchanges: Sequence[Exchange]) -> Cost:
        """Return what judging these would come to; makes no request and needs no key."""
        with Verdicts(self.cache, self) as kept:
            unique = list(dict.fromkeys(exchanges))
            return self._cost(len(unique), self._missing(unique, kept))

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """Return one verdict per exchange; each is on disk as soon as its answer came.

        Raises:
            InputError: for more exchanges than the limit, an estimate that was not confirmed, or an endpoint that
                refuses every request (the key, the model's name).
            FileError: for a cache that cannot be used.
        """
        unique = list(dict.fromkeys(exchanges))
        with Verdicts(self.cache, self) as kept:
            missing = self._missing(unique, kept)
            if self.notify and len(missing) < len(unique):
                self.notify(len(unique) - len(missing))
            if missing:
                self._allowed(self._cost(len(unique), missing))
            verdicts = self._ask_all(missing, kept) if missing else {}
            for exchange in unique:
                if exchange not in verdicts:
                    verdicts[exchange] = self._unaskable(exchange) or kept.get(exchange) or unscored("not asked")
        return [verdicts[exchange] for exchange in exchanges]

    def _missing(self, unique: Sequence[Exchange], kept: Verdicts) -> list[Exchange]:
        return [each for each in unique if not self._unaskable(each) and kept.get(each) is None]

    def _unaskable(self, exchange: Exchange) -> Verdict | None:
        if not (exchange.concept or "").strip() and any(QUESTIONS[q].concept for q in self.questions):
            return unscored("no concept was given to ask for")
        return None

    def _cost(self, exchanges: int, missing: Sequence[Exchange]) -> Cost:
        tokens_in = sum((len(SYSTEM) + len(wanted(self.questions, each))) // CHARACTERS + 8 for each in missing)
        tokens_out = len(missing) * (8 + 6 * len(self.questions))
        money = None
        if self.prices is not None:
            money = (tokens_in * self.prices[0] + tokens_out * self.prices[1]) / 1e6
        return Cost(exchanges, exchanges - len(missing), len(missing), tokens_in, tokens_out, money)

    def _allowed(self, cost: Cost) -> None:
        if self.limit is not None and cost.requests > self.limit:
            raise InputError(
                f"expected at most {self.limit} requests to {self.endpoint.model}, got {cost}; raise the limit"
            )
        if self.confirm and not self.confirm(cost):
            raise InputError(f"judging by {self.endpoint.model} was not confirmed: {cost}")

    def _ask_all(self, missing: Sequence[Exchange], kept: Verdicts) -> dict[Exchange, Verdict]:
        todo: queue.SimpleQueue[Exchange] = queue.SimpleQueue()
        done: queue.SimpleQueue[tuple[Exchange, Verdict | BaseException]] = queue.SimpleQueue()
        for exchange in missing:
            todo.put(exchange)
        stop = threading.Event()
        verdicts: dict[Exchange, Verdict] = {}

        def work(connection: Connection) -> None:
            while not stop.is_set():
                try:
                    exchange = todo.get_nowait()
                except queue.Empty:
                    return
                try:
                    done.put((exchange, self._one(connection, exchange, kept, stop)))
                except BaseException as error:  # the thread that waits raises it
                    done.put((exchange, error))

        with self.endpoint.connect() as connection:
            count = min(self.workers, len(missing))
            # Daemons, not a pool: one that waits for a silent server must not keep the program from ending.
            threads = [threading.Thread(target=work, args=(connection,), daemon=True) for _ in range(count)]
            try:
                for thread in threads:
                    thread.start()
                while len(verdicts) < len(missing):
                    exchange, came = done.get()
                    if isinstance(came, BaseException):
                        raise came
                    verdicts[exchange] = came
                    if self.notify:
                        self.notify(1)
            finally:
                stop.set()
                until = time.monotonic() + GRACE
                for thread in threads:
                    if thread.is_alive():
                        thread.join(max(0.0, until - time.monotonic()))
        return verdicts

    def _one(self, connection: Connection, exchange: Exchange, kept: Verdicts, stop: threading.Event) -> Verdict:
        key, text = address(self, exchange), wanted(self.questions, exchange)
        bad, reason, waited = 0, "", 0.0
        for k in range(1, self.patience.tries + 1):
            if k > 1 and stop.wait(waited):
                return unscored("judging was interrupted")
            asked: float | None = None
            reply = Reply("")
            try:
                reply = connection.ask(SYSTEM, text)
                verdict = read_answer(self.questions, self.name, reply.text)
                return kept.put(exchange, verdict, answer=reply.text, tokens=[reply.tokens_in, reply.tokens_out])
            except AnswerError as error:
                bad, reason = bad + 1, str(error)
                if bad == self.patience.answers:
                    return kept.put(exchange, unscored(f"{reason} (after {bad} such answers)"), answer=reply.text)
            except RequestError as error:
                reason, asked = error.words, error.wait
                if not error.passing:
                    return kept.put(exchange, unscored(reason))
                if asked is not None and asked > self.patience.longest:
                    reason = f"{reason}, and the server asks to wait {asked:.0f} s"
                    break
            waited = self.patience.wait(k, key, asked)
        return kept.put(exchange, unscored(reason), lasting=False)
