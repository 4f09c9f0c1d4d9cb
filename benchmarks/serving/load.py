"""Load on the server: throughput and latency beside `transformers serve --continuous-batching`, and a long soak.

python benchmarks/serving/load.py --quick            a few dozen requests, to see that all works
python benchmarks/serving/load.py --json FILE        1, 8, 32 and 64 clients at a time, three rounds
python benchmarks/serving/load.py --soak 10000       as many requests to steersman alone: none lost, memory flat

Both servers run in one go on one machine, each in a process and an environment of its own, with the same weights in
float32, and take turns: a round asks the same prompts of each, one server at a time, greedy, every client its next
question as soon as it has an answer. A third contender is steersman with a plan of its own in every request. Told are
medians over the rounds, and of the ratio the least and the largest of any round. Latency is from a request's first byte
to its answer's last. Answers are compared: how many are the same, character by character.

Exit code 1 when a server breaks off, a request is lost, or, in a soak, memory is not flat.
"""

import argparse
import asyncio
import contextlib
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "speed"))

import environments
from rich.console import Console
from rich.table import Table

import steersman as sm
from steersman.files import save_direction
from steersman.model.builtin import default_folder
from steersman.prompts import prompt_set

ROOT = Path(__file__).parents[2]
OTHER = "transformers-serve"
environments.REQUIREMENTS[OTHER] = ["transformers[serving]==5.23.0", "accelerate"]
START = 180
"""Seconds that a server has to load its model."""
SLACK = 0.05
"""Share by which resident memory may grow over the second half of a soak."""
PAGES = ["--cb-block-size", "32", "--cb-num-blocks", "1024", "--cb-max-batch-tokens", "512"]
"""The other server's cache: 32,768 tokens in blocks of 32, more than 64 answers need, since on a CPU its own default is
most of the machine's memory; and passes of 512 tokens, as steersman's."""
SPANS = ("all", "generated", "prompt")


class LoadError(Exception):
    """A server that broke off, or a request that was lost."""


@dataclass(frozen=True)
class Served:
    """A server that runs.

    Args:
        name: of the contender.
        address: where it listens.
        model: what requests call the model.
        process: of the server.
    """

    name: str
    address: str
    model: str
    process: subprocess.Popen[bytes]

    @property
    def resident(self) -> float:
        """Memory that the process holds, MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@dataclass(frozen=True)
class Load:
    """What one server did in one round.

    Args:
        seconds: from the first request to the last answer.
        tokens: written.
        latencies: of each request, s.
        texts: the answers, in the order of the prompts.
    """

    seconds: float
    tokens: int
    latencies: list[float]
    texts: list[str]

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds


@contextlib.contextmanager
def served(name: str, command: Sequence[str], port: int, model: str, log: Path) -> Iterator[Served]:
    """Run a server for as long as the body takes."""
    with log.open("wb") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + START
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if httpx.get(f"{address}/health", timeout=5).status_code == 200:
                        break
                if process.poll() is not None or time.monotonic() > deadline:
                    raise LoadError(f"{name} did not start: {log.read_text(errors='replace')[-500:]}")
                time.sleep(0.5)
            yield Served(name, address, model, process)
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def free_port() -> int:
    """Return a port that nobody listens to."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


async def asked(http: httpx.AsyncClient, server: Served, prompt: str, tokens: int, steering: Any) -> tuple[str, int]:
    """Return an answer's text and its number of tokens.

    Raises:
        LoadError: when there is none.
    """
    body: dict[str, Any] = {
        "model": server.model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": tokens,
        "temperature": 0,
    }
    if steering is not None:
        body["steering"] = steering
    answer = await http.post(f"{server.address}/v1/chat/completions", json=body)
    if answer.status_code != 200:
        raise LoadError(f"{server.name} answered {answer.status_code}: {answer.text[:300]}")
    found = answer.json()
    return found["choices"][0]["message"]["content"], found["usage"]["completion_tokens"]


async def load(
    server: Served, prompts: Sequence[str], tokens: Sequence[int], clients: int, steering: Sequence[Any] | None = None
) -> Load:
    """Ask a server all prompts, so many at a time."""
    numbers = iter(range(len(prompts)))
    latencies = [0.0] * len(prompts)
    texts = [""] * len(prompts)
    written = 0
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(timeout=600, limits=limits) as http:

        async def client() -> None:
            nonlocal written
            for number in numbers:
                start = time.monotonic()
                own = None if steering is None else steering[number]
                texts[number], count = await asked(http, server, prompts[number], tokens[number], own)
                latencies[number] = time.monotonic() - start
                written += count

        start = time.monotonic()
        await asyncio.gather(*(client() for _ in range(clients)))
    return Load(time.monotonic() - start, written, latencies, texts)


def plans(count: int, layers: Sequence[int], seed: int) -> list[Any]:
    """Return the steering of so many requests, no two alike."""
    dice = random.Random(seed)
    return [
        [
            {
                "direction": "random",
                "coefficient": round(dice.uniform(-0.2, 0.2), 4),
                "layer": dice.choice(layers),
                "span": dice.choice(SPANS),
            }
        ]
        for _ in range(count)
    ]


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def compare(servers: Sequence[Served], options: argparse.Namespace, layers: Sequence[int]) -> dict[str, Any]:
    """Return rates and latencies of all contenders by number of clients."""
    texts = prompts_of(options.requests)
    found: dict[str, Any] = {}
    for server in servers:  # the first request pays for what is set up once
        asyncio.run(load(server, texts[:2], [4, 4], 2))
    for clients in options.clients:
        # Enough that everybody has several questions, but for the few of the quick trial.
        count = min(len(texts), max(options.least, options.each * clients))
        prompts, tokens = texts[:count], [options.tokens] * count
        rounds: dict[str, list[Load]] = {}
        contenders = [(server.name, server, None) for server in servers]
        contenders.append(("steersman, steered", servers[0], plans(count, layers, clients)))
        for number in range(options.rounds):
            order = contenders if number % 2 == 0 else contenders[::-1]
            for name, server, steering in order:
                done = asyncio.run(load(server, prompts, tokens, clients, steering))
                rounds.setdefault(name, []).append(done)
                print(f"{clients} clients, round {number + 1}, {name}: {done.rate:.1f} tokens/s", file=sys.stderr)
        found[str(clients)] = {"requests": count} | summary(rounds)
    return found


def summary(rounds: dict[str, list[Load]]) -> dict[str, Any]:
    """Return the medians of the rounds, and ratios of the rates to the other server's."""
    found: dict[str, Any] = {}
    for name, loads in rounds.items():
        every = [latency for one in loads for latency in one.latencies]
        found[name] = {
            "tokens_per_second": statistics.median(one.rate for one in loads),
            "p50_seconds": quantile(every, 0.5),
            "p95_seconds": quantile(every, 0.95),
        }
        if OTHER in rounds:
            ratios = [own.rate / other.rate for own, other in zip(loads, rounds[OTHER], strict=True)]
            found[name] |= {"ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
    if OTHER in rounds:
        both = zip(rounds["steersman"][0].texts, rounds[OTHER][0].texts, strict=True)
        found["same_answers"] = statistics.mean(own == other for own, other in both)
    return found


def prompts_of(count: int) -> list[str]:
    """Return so many prompts, no two alike: the built-in everyday requests, numbered from the second time on."""
    base = [item.prompt for item in prompt_set("ordinary", split=None)]
    return [base[i % len(base)] + (f" ({i // len(base)})" if i >= len(base) else "") for i in range(count)]


def soak(server: Served, count: int, layers: Sequence[int]) -> dict[str, Any]:
    """Ask very many times, each with a plan of its own, some given up half-way; return what became of them.

    Raises:
        LoadError: when a request is lost or memory is not flat.
    """
    dice = random.Random(0)
    part = max(1, count // 20)
    resident: list[float] = []
    answered = left = 0
    texts = prompts_of(min(count, 2000))
    start = time.monotonic()
    while answered + left < count:
        here = min(part, count - answered - left)
        prompts = [dice.choice(texts) for _ in range(here)]
        # Of an answer of one token nothing is generated that could be steered by the span of that name: an error.
        done = asyncio.run(
            load(
                server, prompts, [dice.randrange(2, 9) for _ in prompts], 64, plans(here, layers, dice.randrange(9**9))
            )
        )
        answered += len(done.texts)
        gone = min(max(1, here // 20), count - answered - left)
        asyncio.run(leave(server, prompts[:gone]))
        left += gone
        resident.append(server.resident)
        print(f"{answered} answered, {left} left, {resident[-1]:.0f} MB", file=sys.stderr)
    deadline = time.monotonic() + 60
    while (state := httpx.get(f"{server.address}/health").json())["running"] + state["waiting"]:
        if time.monotonic() > deadline:
            raise LoadError(f"places were not freed: {state}")
        time.sleep(0.2)
    # What is built up at the start (buffers, caches of the allocator) has come by half-time.
    middle, end = statistics.median(resident[max(0, len(resident) // 2 - 2) :][:4]), statistics.median(resident[-4:])
    found = {
        "answered": answered,
        "left_half_way": left,
        "seconds": time.monotonic() - start,
        "resident_mb": resident,
        "growth": end / middle - 1,
    }
    if found["growth"] > SLACK:
        raise LoadError(f"memory grew by {found['growth']:.1%} over the second half: {resident}")
    return found


async def leave(server: Served, prompts: Sequence[str]) -> None:
    """Ask for long answers and go before they have come."""
    async with httpx.AsyncClient(timeout=0.3) as http:

        async def one(prompt: str) -> None:
            with contextlib.suppress(httpx.TimeoutException):
                await asked(http, server, prompt, 500, None)

        await asyncio.gather(*(one(prompt) for prompt in prompts))


def show(found: dict[str, Any]) -> None:
    """Print the comparison as a table."""
    table = Table("clients", "contender", "tokens/s", "p50 (s)", "p95 (s)", f"times {OTHER} (least to most)", box=None)
    for clients, rows in found.items():
        for name, row in rows.items():
            if not isinstance(row, dict):
                continue
            ratio = f"{row['ratio']:.2f} ({row['least']:.2f} to {row['most']:.2f})" if "ratio" in row else ""
            table.add_row(
                clients, name, f"{row['tokens_per_second']:.1f}", f"{row['p50_seconds']:.2f}",
                f"{row['p95_seconds']:.2f}", ratio,
            )  # fmt: skip
        if "same_answers" in rows:
            table.add_row(clients, f"same answers: {rows['same_answers']:.0%} of {rows['requests']}")
    Console(width=120).print(table)


def main() -> int:
    """Run what was asked for and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few dozen requests")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=48, help="of an answer, at most")
    parser.add_argument("--alone", action="store_true", help="steersman only")
    parser.add_argument("--soak", type=int, default=0, metavar="N", help="N requests to steersman alone")
    parser.add_argument("--model", default="default", help="default, or a folder")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.requests, options.each, options.least = 256, 4, 16
    if options.quick:
        options.clients, options.rounds, options.tokens = [1, 8], 1, 8
        options.each, options.least = 2, 6
    model = sm.load(options.model, dtype="float32")
    folder = str(default_folder()) if options.model == "default" else options.model
    found: dict[str, Any] = {"model": model.name, "threads": torch.get_num_threads(), "tokens": options.tokens}
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        layers = [model.depth // 3, model.depth // 2, 2 * model.depth // 3]
        directions = Path(scratch) / "directions"
        directions.mkdir()
        save_direction(made_up(model, layers), directions / "random.safetensors")
        name, depth = model.name, model.depth
        del model
        servers: list[Served] = []

        def start(contender: str, command: list[str], port: int, called: str) -> None:
            log = Path(scratch) / f"{contender}.log"
            servers.append(stack.enter_context(served(contender, command, port, called, log)))

        port = free_port()
        own = [sys.executable, "-c", "from steersman.cli import main; main()", "serve", options.model]
        own += ["--dtype", "float32"]
        start("steersman", [*own, "--port", str(port), "--directions", str(directions)], port, options.model)
        print(f"{name}, {depth} layers, {found['threads']} threads", file=sys.stderr)
        if options.soak:
            found["soak"] = soak(servers[0], options.soak, layers)
        else:
            if not options.alone:
                python = environments.environment(OTHER, ROOT / ".peers")
                port = free_port()
                command = [str(python.parent / "transformers"), "serve", folder, "--continuous-batching"]
                command += ["--dtype", "float32", "--device", "cpu", "--host", "127.0.0.1", "--port", str(port), *PAGES]
                start(OTHER, command, port, folder)
            found["load"] = compare(servers, options, layers)
            show(found["load"])
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


def made_up(model: sm.Model, layers: Sequence[int]) -> sm.Direction:
    """Return random vectors at some layers, with the residual norms that were measured there."""
    generator = torch.Generator().manual_seed(0)
    pairs = sm.pairs("refusal")
    acts = sm.record(model, pairs[:2], layers=list(layers))
    fitted = sm.MeanDifference().fit(acts)
    return sm.Direction(
        {site: torch.randn(model.width, generator=generator) for site in fitted.sites},
        fitted.norms,
        fitted.origin,
        "random, for load",
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (LoadError, environments.SetupError) as error:
        print(f"load: {error}", file=sys.stderr)
        sys.exit(1)
