"""A server on this machine that speaks both protocols, knows the true verdicts, and misbehaves on a seeded schedule."""

import hashlib
import json
import random
import re
import threading
import time
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from steersman.judges import Exchange

TRANSPORT = (
    "slow",
    "429",
    "429 date",
    "500",
    "503",
    "529",
    "cut",
    "cut in the middle",
    "malformed",
    "html",
    "no message",
)
ANSWERS = (
    "empty",
    "prose",
    "above",
    "below",
    "fraction",
    "whole fraction",
    "text number",
    "bool",
    "missing",
    "extra",
    "twice",
    "list",
    "null",
    "deep",
)
SECRET = "sk-secret-0123456789abcdef"


def exchange(item: int) -> Exchange:
    """Return the exchange whose number the server finds in it."""
    return Exchange(f'Tell me about "item" {{{item}}}.', f"This is item-{item}; \\ it's\nall.", "the sea")


def truth(item: int) -> dict[str, Any]:
    """Return what an honest judge says of an item."""
    digest = hashlib.sha256(f"truth {item}".encode()).digest()
    return {
        "behaviour": digest[0] % 10 + 1,
        "coherence": digest[1] % 10 + 1,
        "refusal": "yes" if digest[2] % 2 else "no",
    }


class Misbehaving(ThreadingHTTPServer):
    """Answers truly after up to four troubles an item, of which at most two are bad answers; some items never.

    Args:
        seed: of the schedule.
        calm: no trouble at all.
        pause: seconds before every answer.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, seed: int = 0, *, calm: bool = False, pause: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seed, self.calm, self.pause = seed, calm, pause
        self.asked: Counter[int] = Counter()
        self.moods: Counter[str] = Counter()
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.lock = threading.Lock()
        self.always: dict[int, str] = {}
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> "Misbehaving":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def mood(self, item: int, nth: int) -> str:
        """Return how the nth request (from 0) for an item is met."""
        if item in self.always:
            return self.always[item]
        if self.calm:
            return "good"
        draw = random.Random(f"{self.seed}|{item}")
        moods = draw.choices(ANSWERS, k=draw.randrange(3)) + draw.choices(TRANSPORT, k=draw.randrange(3))
        draw.shuffle(moods)
        return moods[nth] if nth < len(moods) else "good"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that hang up are part of it."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Misbehaving

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        user = body["messages"][-1]["content"]
        item = int(re.findall(r"item-(\d+)", user)[0])
        with self.server.lock:
            nth = self.server.asked[item]
            self.server.asked[item] += 1
            mood = self.server.mood(item, nth)
            self.server.moods[mood] += 1
            self.server.times.append(time.monotonic())
            self.server.requests.append(body | {"path": self.path})
            self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        time.sleep(self.server.pause)
        asked = re.findall(r'^- "(\w+)"', user, re.MULTILINE)
        self.meet(mood, {key: truth(item)[key] for key in asked})

    def meet(self, mood: str, values: dict[str, Any]) -> None:
        if mood == "slow":
            time.sleep(0.1)
        if mood == "hang":
            time.sleep(1.5)
        if mood == "429":
            return self.send(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.05"})
        if mood == "429 date":
            return self.send(429, {"error": {"message": "slow down"}}, {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"})
        if mood == "429 long":
            return self.send(429, {"error": {"message": "slow down"}}, {"Retry-After": "86400"})
        if mood.isdigit():
            said = f"failed for the key {self.headers.get('x-api-key') or self.headers.get('authorization')}"
            return self.send(int(mood), {"error": {"message": said, "type": "x"}})
        if mood == "redirect":
            return self.send(307, {}, {"Location": self.server.address + "/elsewhere"})
        if mood == "cut":
            self.close_connection = True
            return self.connection.shutdown(2)
        if mood == "malformed":
            return self.send(200, b'{"choices": [{"mess')
        if mood == "html":
            return self.send(200, b"<html>It works!</html>", {"Content-Type": "text/html"})
        if mood == "no message":
            return self.send(200, {"choices": [], "content": None})
        made = self.message(self.answer(mood, values))
        if mood == "drip":
            content = json.dumps(made).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.close_connection = True
            with suppress(OSError):  # they hang up
                for byte in content:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(0.05)
            return None
        if mood == "cut in the middle":
            content = json.dumps(made).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return self.connection.shutdown(2)
        return self.send(200, made)

    def answer(self, mood: str, values: dict[str, Any]) -> str:
        """Return the model's words: the truth, or the truth spoilt so that it must not be believed."""
        first = next(iter(values))
        rest = {key: value for key, value in values.items() if key != first}
        spoilt: dict[str, Any] = {
            "above": 11,
            "below": 0,
            "fraction": 6.5,
            "whole fraction": 7.0,
            "text number": "7",
            "bool": True,
            "null": None,
        }
        if mood in spoilt:
            return json.dumps(rest | {first: spoilt[mood]})
        odd = {
            "empty": "",
            "prose": f"Here is my grading: {json.dumps(values)} I hope it helps.",
            "missing": json.dumps(rest),
            "extra": json.dumps(values | {"confidence": 9}),
            "twice": json.dumps(values)[:-1] + f', "{first}": 3}}',
            "list": json.dumps([values]),
            "deep": "[" * 100_000,
            "leak": f"my key is {self.headers.get('x-api-key') or self.headers.get('authorization')} \ud800",
            "fenced": f"```json\n{json.dumps(values)}\n```",
        }
        return odd.get(mood, json.dumps(values))

    def message(self, text: str) -> dict[str, Any]:
        if self.path == "/v1/messages":
            return {
                "id": "m",
                "type": "message",
                "role": "assistant",
                "model": "x",
                "content": [{"type": "text", "text": text}],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 11, "output_tokens": 7},
            }
        assert self.path == "/chat/completions"
        return {
            "id": "c",
            "object": "chat.completion",
            "created": 0,
            "model": "x",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        }

    def send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
