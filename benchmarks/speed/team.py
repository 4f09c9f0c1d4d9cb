"""The contenders as processes that stay: each loads the model once, waits for a request, answers, waits again."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from environments import SetupError, environment

HERE = Path(__file__).parent
CONTENDERS = ("steersman", "plain", "repeng", "steering-vectors", "pyvene", "nnsight", "lm-eval")
Answer = dict[str, Any]
MARK = "answer: "
"""What the workers set before every answer."""


class RequestError(Exception):
    """A request that was not answered; the message is the reason."""


@dataclass
class Worker:
    """One contender's process.

    Args:
        name: the contender's.
        process: it, with pipes for requests and answers.
        log: where what it says on the way goes.
        limit: seconds that a request may take.
    """

    name: str
    process: subprocess.Popen[str]
    log: Path
    limit: float
    about: Answer = field(default_factory=dict)

    def read(self) -> Answer:
        """Return the next answer.

        Raises:
            RequestError: when it ends first, takes too long, or could not do what was asked.
        """
        assert self.process.stdout is not None
        timer = threading.Timer(self.limit, self.process.kill)
        timer.start()
        try:
            line = next((line for line in self.process.stdout if line.startswith(MARK)), "")
        finally:
            timer.cancel()
        if not line:
            code = self.process.wait()
            raise RequestError(f"its process ended with code {code}: {last_words(self.log)}")
        answer = json.loads(line.removeprefix(MARK))
        if "error" in answer:
            raise RequestError(answer["error"])
        return answer

    def ask(self, request: dict[str, Any]) -> Answer:
        """Return the answer to one request.

        Raises:
            RequestError: as `read`.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except OSError:
            raise RequestError(f"its process had ended: {last_words(self.log)}") from None
        return self.read()

    def end(self) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
            self.process.wait(timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()


class Team:
    """The contenders that can be run, started together and ended together.

    Args:
        names: of the contenders.
        cache: folder of their environments.
        folder: the model's.
        dtype: of weights and activations.
        threads: of each process.
        limit: seconds that a request may take.
    """

    def __init__(self, names: Sequence[str], cache: Path, folder: Path, dtype: str, threads: int, limit: float) -> None:
        self.workers: dict[str, Worker] = {}
        self.absent: dict[str, str] = {}
        self.broken: set[str] = set()
        for name in names:
            try:
                python = environment(name, cache)
            except SetupError as reason:
                self.absent[name] = str(reason)
                continue
            self.workers[name] = start(name, python, cache / "speed", [str(folder), dtype, str(threads)], limit)
        for name, worker in list(self.workers.items()):
            try:
                worker.about = worker.read()
            except RequestError as reason:
                self.drop(name, str(reason))

    def drop(self, name: str, reason: str) -> None:
        """Do without a contender that broke off, from here on."""
        self.broken.add(name)
        self.absent[name] = reason
        self.workers.pop(name).end()

    def __enter__(self) -> "Team":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.end()


def start(name: str, python: Path, folder: Path, arguments: list[str], limit: float) -> Worker:
    """Return a contender's process, which is still loading."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    threads = arguments[-1]
    settings = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "PYTHONNOUSERSITE": "1",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
    }
    script = HERE / "workers" / f"run_{name.replace('-', '_')}.py"
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [python, script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | settings,
        )
    return Worker(name, process, log, limit)


def last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"


def note(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
