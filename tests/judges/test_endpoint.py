"""The LLM judge against a server that misbehaves: nothing lost, nothing invented, nothing asked twice."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from misbehaving import SECRET, Misbehaving, exchange, truth

from steersman.errors import FileError, InputError
from steersman.judges import Cost, Endpoint, EndpointJudge, Patience, Verdict

PROTOCOLS = ("openai", "anthropic")
ALL = ("behaviour", "coherence", "refusal")
QUICK = Patience(tries=8, answers=3, first=0.002, longest=1.0)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)


@pytest.fixture
def calm() -> Iterator[Misbehaving]:
    with Misbehaving(calm=True) as server:
        yield server


def judge_of(server: Misbehaving, protocol: str = "openai", cache: Path | None = None, **more) -> EndpointJudge:
    questions = more.pop("questions", ALL)
    timeout = more.pop("timeout", 20.0)
    return EndpointJudge(
        Endpoint(protocol, "grader-1", server.address, timeout=timeout),
        questions=questions,
        cache=cache,
        **({"patience": QUICK} | more),
    )


def true_values(item: int) -> dict[str, float]:
    said = truth(item)
    return {
        "behaviour_by_llm": said["behaviour"],
        "coherence_by_llm": said["coherence"],
        "refusal_by_llm": float(said["refusal"] == "yes"),
        "score_by_llm": said["behaviour"] * said["coherence"],
    }


@pytest.mark.parametrize(("protocol", "count"), [("openai", 200), ("anthropic", 100)])
def test_hundreds_of_exchanges_through_every_trouble(protocol, count, tmp_path):
    cache = tmp_path / "verdicts.jsonl"
    texts = [exchange(i) for i in range(count)]
    never = {7: "above", 57: "prose", 61: "400", 83: "500", 99: "cut"}
    with Misbehaving(seed=1) as server:
        server.always = never
        judge = judge_of(server, protocol, cache)
        verdicts = judge.judge(texts)
        first = dict(server.asked)
        for i, verdict in enumerate(verdicts):
            assert (dict(verdict.values) == true_values(i)) is (i not in never), (i, verdict)
            assert bool(verdict.reason) is (i in never)
        assert "behaviour is 11, expected an integer from 1 to 10 (after 3 such answers)" in verdicts[7].reason
        assert "not one JSON object: 'Here is my grading" in verdicts[57].reason
        assert verdicts[61].reason.startswith("HTTP 400: ")
        assert verdicts[83].reason == "HTTP 500"
        assert verdicts[99].reason == "the connection failed or was cut"
        # Bounded: the schedule holds at most four troubles an item; who always fails gets what patience allows.
        assert max(count for i, count in first.items() if i not in never) <= 5
        assert {i: first[i] for i in never} == {7: 3, 57: 3, 61: 1, 83: 8, 99: 8}
        assert len(server.moods) >= 24, "every trouble of the schedule came up"
        # A second run asks only those to whom nobody answered.
        again = judge_of(server, protocol, cache).judge(texts)
        assert again == verdicts
        assert {i: n - first[i] for i, n in server.asked.items() if n > first[i]} == {83: 8, 99: 8}
        # And takes them when the server has recovered.
        server.always = {}
        server.calm = True
        healed = judge_of(server, protocol, cache).judge(texts)
        assert [i for i, (a, b) in enumerate(zip(verdicts, healed, strict=True)) if a != b] == [83, 99]
        assert dict(healed[83].values) == true_values(83)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_sent(protocol, calm):
    judge_of(calm, protocol).judge([exchange(3)])
    (body,) = calm.requests
    assert body["model"] == "grader-1"
    assert body["temperature"] == 0
    assert body["max_tokens"] == 256
    user = body["messages"][-1]["content"]
    shown = json.loads(user.splitlines()[1])
    assert shown == {"concept": "the sea", "message": exchange(3).prompt, "reply": exchange(3).completion}


def test_without_a_temperature_none_is_sent(calm):
    judge = EndpointJudge(Endpoint("openai", "m", calm.address, temperature=None))
    judge.judge([exchange(0)])
    assert "temperature" not in calm.requests[0]


def test_a_fence_around_the_answer_is_no_prose(calm):
    calm.always = {5: "fenced"}
    assert dict(judge_of(calm).judge([exchange(5)])[0].values) == true_values(5)


def test_the_same_exchange_is_asked_once_and_the_order_is_kept(calm):
    order = [3, 1, 3, 2, 1, 3]
    verdicts = judge_of(calm).judge([exchange(i) for i in order])
    assert [dict(verdict.values) for verdict in verdicts] == [true_values(i) for i in order]
    assert calm.asked == {1: 1, 2: 1, 3: 1}


def test_requests_run_side_by_side(tmp_path):
    with Misbehaving(calm=True, pause=0.25) as server:
        judge_of(server).judge([exchange(0)])  # the library's own start
        begin = time.monotonic()
        judge_of(server, workers=8).judge([exchange(i) for i in range(1, 17)])
        assert time.monotonic() - begin < 16 * 0.25 / 2


@pytest.mark.parametrize("mood", ["hang", "drip"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_without_an_end_is_given_up(calm, mood, protocol):
    calm.always = {0: mood}
    judge = judge_of(calm, protocol, timeout=0.2, patience=Patience(tries=2, first=0.001))
    assert judge.judge([exchange(0)])[0].reason == "no answer within 0.2 s"
    assert calm.asked == {0: 2}


def test_a_server_that_asks_for_a_day_is_not_waited_for(calm):
    calm.always = {0: "429 long"}
    assert judge_of(calm).judge([exchange(0)])[0].reason == "HTTP 429, and the server asks to wait 86400 s"
    assert calm.asked == {0: 1}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("trouble", "first", "least"), [("429", 0.0, 3 * 0.05), ("500", 0.1, (0.1 + 0.2 + 0.4) / 2)])
def test_it_waits_between_tries_as_long_as_it_says(protocol, trouble, first, least, calm):
    calm.always = {0: trouble}
    judge_of(calm, protocol, patience=Patience(tries=4, first=first)).judge([exchange(0)])
    assert calm.times[-1] - calm.times[0] >= least
    assert calm.asked == {0: 4}


def test_waits_double_are_drawn_and_heed_the_server():
    patience = Patience(first=1.0, longest=10.0, seed=3)
    for k, whole in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 10.0), (50, 10.0)):
        waits = {patience.wait(k, str(key), None) for key in range(20)}
        assert len(waits) == 20
        assert all(whole / 2 <= wait <= whole for wait in waits)
    assert patience.wait(1, "a", None) == Patience(first=1.0, longest=10.0, seed=3).wait(1, "a", None)
    assert patience.wait(1, "a", None) != Patience(first=1.0, longest=10.0, seed=4).wait(1, "a", None)
    assert patience.wait(1, "a", 7.5) == 7.5


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("status", ["401", "403", "404"])
def test_what_every_request_would_meet_ends_it_at_once(protocol, status, calm, tmp_path):
    calm.always = dict.fromkeys(range(100), status)
    with pytest.raises(InputError, match=rf"refuses .* \(HTTP {status}\); check it"):
        judge_of(calm, protocol, tmp_path / "v.jsonl", workers=2).judge([exchange(i) for i in range(100)])
    assert sum(calm.asked.values()) < 10


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_key_is_sent_and_never_written(protocol, calm, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    calm.always = {1: "400", 2: "leak", 3: "500", 4: "429", 5: "redirect"}
    judge = judge_of(calm, protocol, tmp_path / "v.jsonl", patience=Patience(tries=3, first=0.001))
    verdicts = judge.judge([exchange(i) for i in range(6)])
    assert SECRET in json.dumps(calm.headers), "the server has to be given it"
    assert {request["path"] for request in calm.requests} == {
        "/v1/messages" if protocol == "anthropic" else "/chat/completions"
    }
    calm.always = {9: "401"}
    with pytest.raises(InputError) as caught:
        judge.judge([exchange(9)])
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    ours = [record.getMessage() for record in caplog.records]
    shown = [str(caught.value), repr(judge), judge.key(), *map(str, verdicts), *ours, *capfd.readouterr()]
    for text in [path.read_text() for path in files] + shown:
        assert SECRET not in text
    assert "the key [key]" in verdicts[1].reason or "Bearer [key]" in verdicts[1].reason


def test_no_key_no_request(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    judge = EndpointJudge(Endpoint("openai", "m", "https://judge.invalid/v1"))
    with pytest.raises(InputError, match="in the environment variable OPENAI_API_KEY, which is not set"):
        judge.judge([exchange(0)])
    monkeypatch.setenv("MINE", "two words")
    with pytest.raises(InputError, match="printable characters in MINE") as caught:
        EndpointJudge(Endpoint("openai", "m", "https://judge.invalid/v1", "MINE")).judge([exchange(0)])
    assert "two words" not in str(caught.value)


def test_a_server_on_this_machine_needs_no_key(monkeypatch, calm):
    monkeypatch.delenv("OPENAI_API_KEY")
    assert judge_of(calm).judge([exchange(0)])[0].scored


def test_the_cost_is_told_before_and_can_be_declined(calm, tmp_path):
    cache = tmp_path / "v.jsonl"
    told: list[Cost] = []
    texts = [exchange(i) for i in range(10)]
    judge = judge_of(calm, cache=cache, confirm=lambda cost: told.append(cost) or False, prices=(2.0, 10.0))
    with pytest.raises(InputError, match=r"was not confirmed: 10 requests for 10 texts \(0 judged before\)"):
        judge.judge(texts)
    assert not calm.requests
    judge_of(calm, cache=cache).judge(texts[:4])
    sent = sum(len(body["messages"][-1]["content"]) + len(body["messages"][0]["content"]) for body in calm.requests)
    cost = judge.estimate([*texts, *texts])
    assert (cost.exchanges, cost.cached, cost.requests) == (10, 4, 6)
    assert cost.tokens_in / 6 == pytest.approx(sent / 4 / 4, rel=0.1)
    assert cost.money == pytest.approx((cost.tokens_in * 2 + cost.tokens_out * 10) / 1e6)
    assert "price unknown" in str(judge_of(calm).estimate(texts))
    assert told == [told[0]]
    assert told[0].requests == 10


def test_a_limit_is_kept_before_the_first_request(calm):
    with pytest.raises(InputError, match="expected at most 3 requests to grader-1, got 4 requests"):
        judge_of(calm, limit=3).judge([exchange(i) for i in range(4)])
    assert not calm.requests
    assert len(judge_of(calm, limit=3).judge([exchange(i) for i in range(3)])) == 3


def test_a_silent_rerun_needs_neither_server_nor_key(calm, tmp_path, monkeypatch):
    texts = [exchange(i) for i in range(5)]
    cache = tmp_path / "v.jsonl"
    done: list[int] = []
    verdicts = judge_of(calm, cache=cache, notify=done.append).judge(texts)
    monkeypatch.delenv("OPENAI_API_KEY")
    again = EndpointJudge(
        Endpoint("openai", "grader-1", calm.address, "NO_SUCH_VARIABLE"), "other", ALL, cache, notify=done.append
    ).judge(texts)
    assert [[*v.values.values()] for v in again] == [[*v.values.values()] for v in verdicts]
    assert set(again[0].values) == {name.replace("_by_llm", "_by_other") for name in verdicts[0].values}
    assert sum(done) == 10
    assert sum(calm.asked.values()) == 5


@pytest.mark.parametrize(
    "change",
    [
        {"model": "grader-2"},
        {"base_url": "http://127.0.0.1:1/v2"},
        {"temperature": 0.5},
        {"max_tokens": 99},
        {"protocol": "anthropic"},
    ],
)
def test_another_endpoint_is_another_judge(change):
    plain = {"protocol": "openai", "model": "grader-1", "base_url": "http://127.0.0.1:1/v1"}
    assert EndpointJudge(Endpoint(**plain)).key() != EndpointJudge(Endpoint(**(plain | change))).key()
    assert EndpointJudge(Endpoint(**plain)).key() == EndpointJudge(Endpoint(**plain, timeout=9.0), "other").key()


def test_questions_share_a_file_and_not_their_verdicts(calm, tmp_path):
    cache = tmp_path / "v.jsonl"
    assert set(judge_of(calm, cache=cache, questions=("refusal",)).judge([exchange(0)])[0].values) == {"refusal_by_llm"}
    both = judge_of(calm, cache=cache, questions=("behaviour", "coherence")).judge([exchange(0)])[0]
    assert set(both.values) == {"behaviour_by_llm", "coherence_by_llm", "score_by_llm"}
    assert calm.asked == {0: 2}


def test_without_a_concept_a_behaviour_is_not_asked_for(calm):
    bare = exchange(0).__class__("Hi", "item-0")
    verdicts = judge_of(calm).judge([bare, exchange(1)])
    assert verdicts[0].reason == "no concept was given to ask for"
    assert verdicts[1].scored
    assert calm.asked == {1: 1}
    assert judge_of(calm, questions=("refusal",)).judge([bare])[0].scored


def test_an_interruption_keeps_what_came_and_the_rest_is_asked_later(tmp_path):
    cache = tmp_path / "v.jsonl"
    texts = [exchange(i) for i in range(60)]

    def interrupt(_: int) -> None:
        if sum(server.asked.values()) >= 20:
            raise KeyboardInterrupt

    with Misbehaving(calm=True, pause=0.01) as server:
        with pytest.raises(KeyboardInterrupt):
            judge_of(server, cache=cache, notify=interrupt).judge(texts)
        assert 20 <= sum(server.asked.values()) < 60
        verdicts = judge_of(server, cache=cache).judge(texts)
        assert [dict(verdict.values) for verdict in verdicts] == [true_values(i) for i in range(60)]
        # Those under way had time to arrive: nobody was asked twice.
        assert set(server.asked.values()) == {1}


KILLED = """
import sys
from pathlib import Path
from misbehaving import exchange
from steersman.judges import Endpoint, EndpointJudge
judge = EndpointJudge(Endpoint("openai", "grader-1", sys.argv[1]), questions=("behaviour", "coherence", "refusal"),
                      cache=Path(sys.argv[2]), workers=4)
judge.judge([exchange(i) for i in range(60)])
"""


def test_a_kill_loses_at_most_what_is_under_way(tmp_path):
    cache = tmp_path / "v.jsonl"
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    with Misbehaving(calm=True, pause=0.05) as server:
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, server.address, str(cache)], env=os.environ | {"PYTHONPATH": path}
        )
        until = time.monotonic() + 120
        while sum(server.asked.values()) < 20 and child.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        assert child.poll() is None
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        kept = len(cache.read_bytes().splitlines()) - 1
        before = sum(server.asked.values())
        assert before - 5 <= kept < 60
        server.pause = 0.0
        verdicts = judge_of(server, cache=cache).judge([exchange(i) for i in range(60)])
        assert [dict(verdict.values) for verdict in verdicts] == [true_values(i) for i in range(60)]
        twice = [i for i, count in server.asked.items() if count > 1]
        assert len(twice) <= 4
        assert max(server.asked.values()) <= 2
        assert judge_of(server, cache=cache).estimate([exchange(i) for i in range(60)]).requests == 0


def test_another_file_is_not_taken_for_verdicts(calm, tmp_path):
    path = tmp_path / "v.jsonl"
    path.write_text('{"steersman": "items", "format": 1}\n')
    with pytest.raises(FileError, match="expected a file of verdicts"):
        judge_of(calm, cache=path).judge([exchange(0)])
    assert not calm.requests


def test_a_record_that_is_no_verdict_is_asked_again(calm, tmp_path):
    path = tmp_path / "v.jsonl"
    judge_of(calm, cache=path).judge([exchange(0)])
    head, line = path.read_text().splitlines()
    for spoilt in ({"values": {"behaviour": 3}}, {"values": {}}, {"values": None}, {"key": None}, {"lasting": False}):
        path.write_text(f"{head}\n{json.dumps(json.loads(line) | spoilt)}\n")
        before = sum(calm.asked.values())
        assert dict(judge_of(calm, cache=path).judge([exchange(0)])[0].values) == true_values(0)
        assert sum(calm.asked.values()) == before + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"protocol": "gopher", "model": "m"}, "expected the protocol openai or anthropic, got 'gopher'"),
        ({"protocol": "openai", "model": " "}, "expected the name of a model"),
        ({"protocol": "openai", "model": "m", "base_url": "localhost:8000"}, "expected a base URL such as"),
        ({"protocol": "openai", "model": "m", "base_url": "http://u:p@host/v1"}, "without user name, password or"),
        ({"protocol": "openai", "model": "m", "base_url": "http://host/v1?key=1"}, "without user name, password or"),
        ({"protocol": "openai", "model": "m", "timeout": 0}, "expected a timeout above 0 s"),
    ],
)
def test_impossible_endpoints_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Endpoint(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"questions": ()}, "expected one or more of the questions behaviour, coherence, refusal"),
        ({"questions": ("kindness",)}, r"got \['kindness'\]"),
        ({"questions": ("refusal", "refusal")}, "each once"),
        ({"workers": 0}, "expected at least one worker, got 0"),
        ({"prices": (-1.0, 1.0)}, "expected prices of 0 or more"),
    ],
)
def test_impossible_judges_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        EndpointJudge(Endpoint("openai", "m"), **arguments)


def test_impossible_patience_is_refused():
    with pytest.raises(InputError, match="expected at least one try"):
        Patience(tries=0)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(InputError, match=r'pip install "steersman\[judge\]"'):
        Endpoint("openai", "m", "http://localhost:1/v1").connect()


def test_a_verdict_is_values_or_a_reason():
    for made in ({}, {"values": {"a": 1.0}, "reason": "why"}):
        with pytest.raises(InputError, match="expected values, or a reason for none"):
            Verdict(**made)
    with pytest.raises(InputError, match="expected finite values"):
        Verdict({"a": float("nan")})
