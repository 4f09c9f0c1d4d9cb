"""What clients should not send: each gets a correct 4xx with a sentence, and the server goes on."""

import contextlib
import json
import re
import socket
import time

import httpx
import openai
import pytest
from running import NAME, client_of, running, until

from steersman.model.generate import Sampling
from steersman.model.live import Request

CHAT = "/v1/chat/completions"
TURNS = [{"role": "user", "content": "Hi"}]


def body(**more):
    return {"model": NAME, "messages": TURNS, "max_tokens": 4} | more


def steered(**more):
    return body(steering=[{"direction": "one", "coefficient": 0.5} | more])


def refused(answer: httpx.Response, status: int, words: str = "", param: str | None = None) -> None:
    """Assert that an answer is an error in OpenAI's form, with a sentence."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert words in error["message"]
    assert len(error["message"]) > 15
    assert param is None or error["param"] == param


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.address, timeout=30) as http:
        yield http
        assert http.post(CHAT, json=body()).status_code == 200


@pytest.mark.parametrize(
    ("sent", "words", "param"),
    [
        (body(tempperature=1), "does not know", "tempperature"),
        (body(tools=[]), "does not know", "tools"),
        (steered(strength=1), "does not know", None),
        (body(temperature=-1), "greater than or equal to 0", "temperature"),
        (body(temperature="hot"), "number", "temperature"),
        (body(top_p=0), "greater than 0", "top_p"),
        (body(max_tokens=10**30), "less than", "max_tokens"),
        (body(max_tokens=129), "at most 128", "max_tokens"),
        (body(max_tokens=0), "greater", "max_tokens"),
        (body(max_tokens=3, max_completion_tokens=4), "differ", None),
        (body(n=10_000), "less than", "n"),
        (body(n=17), "at most 16 answers", "n"),
        (body(stop=[""]), "at least 1 character", None),
        (body(stop=["x"] * 17), "at most 16", None),
        (body(seed=2**70), "less than", "seed"),
        (body(top_logprobs=2), "goes with logprobs", None),
        (body(stream_options={"include_usage": True}), "goes with stream", None),
        (body(frequency_penalty=1), "less than or equal to 0", "frequency_penalty"),
        (body(messages=[]), "at least 1 item", "messages"),
        (body(messages=[{"role": "pirate", "content": "Arr"}]), "system", None),
        (body(messages=[*TURNS, {"role": "assistant", "content": "Yo"}]), "last message", None),
        (body(messages=[{"role": "user", "content": "long " * 100}]), "256", None),
        (steered(direction="../../etc/passwd"), "of this server", "steering"),
        (steered(direction="/etc/passwd"), "of this server", "steering"),
        (steered(direction="one.safetensors"), "of this server", "steering"),
        (steered(direction="o\0ne"), "of this server", "steering"),
        (steered(direction="x" * 300), "at most 200", None),
        (steered(coefficient="NaN"), "finite", None),
        (steered(coefficient=1e308, unit="raw"), "float32", None),
        (steered(coefficient=10**400), "valid number", None),
        (steered(coefficient=None), "recommends none", "steering"),
        (steered(span="nowhere"), "span", "steering"),
        (steered(span="end"), "span", "steering"),
        (steered(layer=99), "layer", "steering"),
        (steered(layer="resid_post.1x"), "", "steering"),
        (steered(layer=[]), "at least one layer", "steering"),
        (steered(edit="explode"), "", None),
        (steered(edit="ablate", coefficient=3), "", "steering"),
        (steered(value=1), "clamp", "steering"),
        (steered(edit="rotate"), "toward", "steering"),
        (steered(span="positions(200)"), "never applied", "steering"),
        (steered(gate={"direction": "one", "threshold": 0, "layer": 3}), "", "steering"),
        (body(steering=[{"direction": "many", "coefficient": 1}]), "give one", "steering"),
        (body(steering={"plan": "!"}), "base64", "steering"),
        (body(steering={"path": "/etc/passwd"}), "", None),
        (body(steering="one"), "", None),
        (body(steering=[{"direction": "one", "coefficient": 1}] * 33), "at most 32", None),
    ],
)
def test_values_that_cannot_be(http, sent, words, param):
    answer = http.post(CHAT, json=sent)
    refused(answer, 400, words, param)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"null", "body"),
        (b"[1]", "body"),
        (json.dumps(steered(coefficient=float("nan"))).encode(), "NaN is not JSON"),
        (json.dumps(steered(coefficient=float("-inf"))).encode(), "-Infinity is not JSON"),
        (json.dumps(steered(coefficient=0.5)).replace("0.5", "1e999").encode(), "finite"),
        (b'{"model": "tiny", "model": "tiny"}', "twice"),
        (b"[" * 100_000, "JSON"),
        (b'{"model": ' + b"9" * 6000 + b"}", "JSON"),
        (b"\xff\xfe", "UTF-8"),
        (json.dumps(body(messages=[{"role": "user", "content": "\ud800"}])).encode(), "half a character"),
    ],
)
def test_bodies_that_are_no_json(http, content, words):
    answer = http.post(CHAT, content=content, headers={"content-type": "application/json"})
    refused(answer, 400, words)


def test_addresses_and_methods_that_are_not_there(http):
    refused(http.get("/nope"), 404)
    refused(http.get(CHAT), 405)
    refused(http.get("/v1/steering/nope"), 404, "of this server")
    refused(http.get("/v1/steering/..%2F..%2Fetc%2Fpasswd"), 404)
    refused(http.get("/v1/models/gpt-4"), 404, "expected the model")
    refused(http.post(CHAT, json=body(model="gpt-4")), 404, "expected the model", "model")
    refused(http.post(CHAT, content=json.dumps(body()), headers={"content-type": "text/plain"}), 400)
    assert http.get("/health").json()["status"] == "ok"
    text = http.get("/metrics").text
    assert 'steersman_requests_total{path="other",status="404"}' in text
    assert "nope" not in text


def test_bodies_that_are_too_large_are_not_read(chatty):
    with running(chatty, body=20_000) as server, httpx.Client(base_url=server.address) as http:
        refused(http.post(CHAT, json=body(messages=[{"role": "user", "content": "x" * 30_000}])), 413, "20,000 bytes")
        # Without a stated length: in pieces, as many as are taken.
        sent = []

        def pieces():
            for _ in range(5_000):
                sent.append(1)
                yield b" " * 1000

        with contextlib.suppress(httpx.TransportError):  # closed before everything was sent
            refused(http.post(CHAT, content=pieces()), 413, "20,000 bytes")
        assert len(sent) < 5_000
        assert http.post(CHAT, json=body()).status_code == 200


def _opened(server, head: bytes) -> socket.socket:
    host, port = server.address.removeprefix("http://").rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + head)
    return connection


def test_slow_clients(chatty):
    with running(chatty, body_timeout=0.3) as server:
        with _opened(server, b'Content-Length: 500\r\n\r\n{"model"') as connection:
            answer = connection.recv(10_000)
            assert b" 408 " in answer
            assert b"within 0.3 s" in answer
            assert connection.recv(10_000) == b""  # closed
        with httpx.Client(base_url=server.address) as http:
            assert http.post(CHAT, json=body()).status_code == 200


def test_keys(chatty):
    with running(chatty, key="s3cret") as server, httpx.Client(base_url=server.address) as http:
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": "Bearer s3cretx"},
            {"authorization": "Basic s3cret"},
            {"authorization": "s3cret"},
            {"authorization": b"Bearer \xff"},
        ):
            for path in ("/v1/models", "/v1/steering", "/metrics", "/openapi.json"):
                refused(http.get(path, headers=headers), 401, "server's key")
            refused(http.post(CHAT, json=body(), headers=headers), 401, "server's key")
        assert http.get("/health").status_code == 200
        with client_of(server, "s3cret") as client:
            assert client.models.list().data
        with client_of(server, "other") as client, pytest.raises(openai.AuthenticationError):
            client.models.list()


def test_a_full_queue(chatty):
    with running(chatty, most=1, queue=1) as server, httpx.Client(base_url=server.address) as http:
        request = Request((5, 6, 7), sampling=Sampling(3))
        with chatty.lock:  # nobody gets a token while somebody else has the model
            tickets = [server.live.submit(request)]
            assert until(lambda: server.live.load == (1, 0))
            tickets.append(server.live.submit(request))
            answer = http.post(CHAT, json=body())
        refused(answer, 429, "queue")
        assert answer.headers["retry-after"] == "1"
        for ticket in tickets:
            ticket.result(30)
        assert http.post(CHAT, json=body()).status_code == 200
        # Some of a request's answers found room, and are not left behind.
        with chatty.lock:
            refused(http.post(CHAT, json=body(n=5)), 429, "queue")
        assert until(lambda: server.live.load == (0, 0))


def test_an_answer_that_takes_too_long(chatty):
    with running(chatty, timeout=0.15, max_tokens=240) as server, httpx.Client(base_url=server.address) as http:
        with chatty.lock:
            start = time.monotonic()
            refused(http.post(CHAT, json=body(max_tokens=240)), 408, "time limit")
            assert time.monotonic() - start < 5
        assert until(lambda: server.live.load == (0, 0))


def test_clients_that_leave_free_their_places(chatty):
    with running(chatty, max_tokens=240, most=4) as server, httpx.Client(base_url=server.address) as http:
        for stream in (True, False):
            for _ in range(6):
                how = {"json": body(max_tokens=240, stream=stream), "timeout": 0.05}
                with contextlib.suppress(httpx.TimeoutException), http.stream("POST", CHAT, **how) as answer:
                    next(answer.iter_raw())
        assert until(lambda: server.live.load == (0, 0))
        assert http.post(CHAT, json=body()).status_code == 200
        (left,) = re.findall(r"^steersman_abandoned_total (.*)$", http.get("/metrics").text, re.M)
        assert float(left) >= 6
