"""A running batch that requests join and leave: each comes out as if it were alone."""

import random
import threading
import time

import pytest
import torch

from families import FAMILIES
from steersman.direction import Direction
from steersman.errors import BusyError, ClosedError, InputError, InterventionError
from steersman.gates import Gate
from steersman.intervention import steer
from steersman.model.encode import prompt_tokens
from steersman.model.generate import Sampling
from steersman.model.live import Live, Request
from steersman.model.load import wrap
from steersman.model.underway import UnderWay
from steersman.plan import Plan
from steersman.where import Site
from tiny import PROMPTS, direction, mixed_plans, plan, tiny_model, tokenizer

WAIT = 60
SPANS = ("all", "prompt", "generated", "last", "first(3)", "all-bos", "positions(-2,1,4)")


def asked(model, prompt, plan=None, sampling=None, **more):
    return Request(tuple(prompt_tokens(model, prompt)), plan or Plan(), sampling or Sampling(10), prompt, **more)


def alone(model, request):
    return model.complete([request.key], [request.plan], request.sampling)[0]


def many(model, count, seed=0, **sampling):
    """Requests of all kinds: spans, sites, gates of both kinds, several steps, none; of unlike lengths."""
    dice = random.Random(seed)
    gate = torch.randn(model.width, generator=torch.Generator().manual_seed(9))
    found = []
    for number in range(count):
        span = dice.choice(SPANS)
        layers = sorted(dice.sample(range(model.depth - 1), dice.choice((1, 1, 2))))
        made = plan(number, layers, span=span, coefficient=dice.choice((-1.0, 0.5, 2.0)))
        when = dice.choice(("", "", "prompt", "token"))
        if when:
            made = made + Plan(direction(99), span="all", gate=Gate(Site(0), gate, 0.0, when), unit="raw")
        prompt = dice.choice(PROMPTS) + "!" * dice.randrange(3)
        how = Sampling(dice.randrange(2, 14), seed=number, **sampling)
        found.append(asked(model, prompt, dice.choice((made, made, made, Plan())), how))
    return found


@pytest.fixture
def small():
    return tiny_model("llama")


def test_every_answer_is_the_one_that_it_would_be_alone(model):
    requests = [asked(model, *each) for each in zip(PROMPTS, mixed_plans(), strict=True)] + many(model, 9)
    dice = random.Random(1)
    with Live(model, most=6) as live:
        tickets = []
        for number, request in enumerate(requests):
            tickets.append(live.submit(request))
            if number % 4 == 3:  # wait until somebody is in the middle of an answer
                next(iter(tickets[dice.randrange(number)]), None)
        answers = [ticket.result(WAIT) for ticket in tickets]
        told = ["".join(token.text for token in ticket) for ticket in tickets]
    assert answers == [alone(model, request) for request in requests]
    assert [answer.gates for answer in answers] == [alone(model, request).gates for request in requests]
    assert told == [answer.text for answer in answers]
    assert any(answer.gates for answer in answers)


def test_cancelled_rows_leave_and_change_nothing_for_the_others(small):
    requests = many(small, 30, seed=2)
    with Live(small, most=5) as live:
        tickets = [live.submit(request) for request in requests]
        for ticket in tickets[1::3]:
            ticket.cancel()
        next(iter(tickets[0]))
        for ticket in tickets[2::6]:
            ticket.cancel()
        answers = [ticket.result(WAIT) for ticket in tickets]
    for request, answer in zip(requests, answers, strict=True):
        whole = alone(small, request)
        if answer.finish == "cancelled":
            assert whole.tokens[: len(answer.tokens)] == answer.tokens
        else:
            assert answer == whole
    assert sum(answer.finish == "cancelled" for answer in answers) >= 5
    assert all(answers[number].finish != "cancelled" for number in range(0, 30, 3))


def test_a_row_that_joins_is_written_over_one_that_has_left(small, monkeypatch):
    put, written = UnderWay._put, []
    monkeypatch.setattr(UnderWay, "_put", lambda self, free, *rest: (written.extend(free), put(self, free, *rest)))
    requests = many(small, 40, seed=7)
    wanted = [alone(small, request) for request in requests]
    assert not written  # known rows leave at once
    with Live(small, most=8) as live:
        answers = [ticket.result(WAIT) for ticket in [live.submit(request) for request in requests]]
    assert answers == wanted
    assert len(written) > 3


def test_draws_are_the_same_in_any_company(small):
    requests = many(small, 12, seed=3, temperature=1.3, top_p=0.9) + many(small, 6, seed=4, repetition_penalty=1.3)
    wanted = [alone(small, request) for request in requests]
    for order in (requests, requests[::-1]):
        with Live(small, most=7) as live:
            answers = [ticket.result(WAIT) for ticket in [live.submit(request) for request in order]]
        assert answers == (wanted if order is requests else wanted[::-1])
    assert len({answer.text for answer in wanted[:12]}) > 6


@pytest.mark.parametrize("family", ["Mistral", "Gemma 3", "Qwen3-Next", "Granite-4 hybrid", "LFM2", "BLOOM", "OPT"])
def test_families_whose_caches_and_positions_are_of_other_kinds(family):
    model = wrap(FAMILIES[family](), tokenizer(), name=family, revision="0" * 64)
    requests = [
        asked(model, prompt, Plan(direction(number, depth=model.depth, width=model.width), unit="raw"))
        for number, prompt in enumerate(PROMPTS * 2)
    ]
    with Live(model, most=3) as live:
        answers = [ticket.result(WAIT) for ticket in [live.submit(request) for request in requests]]
    assert answers == [alone(model, request) for request in requests]


def test_an_error_ends_its_own_request_only(small):
    broken = [
        asked(small, "Hi", plan(1, span="positions(200)")),
        asked(small, "Hi", plan(1, coefficient=3e38) + plan(2, [2], coefficient=3e38), Sampling(8, temperature=1.0)),
        asked(small, "Hi", plan(1, span="generated"), Sampling(1)),
    ]
    requests = many(small, 6, seed=5, temperature=1.0)
    with Live(small, most=9) as live:
        good = [live.submit(request) for request in requests[:3]]
        bad = [live.submit(request) for request in broken]
        good += [live.submit(request) for request in requests[3:]]
        assert [ticket.result(WAIT) for ticket in good] == [alone(small, request) for request in requests]
        for ticket, error in zip(bad, (InterventionError, InputError, InterventionError), strict=True):
            with pytest.raises(error, match=r"expected a plan under which|never applied"):
                ticket.result(WAIT)
            with pytest.raises(error):
                list(ticket)


def test_one_that_cannot_be_taken_in_is_told_so(small, monkeypatch):
    with Live(small, most=2) as live:
        with monkeypatch.context() as patch:
            patch.setattr("steersman.model.slots.Table.take_in", lambda *_: 1 / 0)
            ticket = live.submit(asked(small, "Hi", plan(1)))
            with pytest.raises(ZeroDivisionError):
                ticket.result(WAIT)
        request = asked(small, "Hi", plan(1))
        assert live.submit(request).result(WAIT) == alone(small, request)


def test_a_failed_pass_ends_those_in_it_and_the_next_ones_are_answered(small, monkeypatch):
    with Live(small, most=2) as live:
        live.submit(asked(small, "Hi")).result(WAIT)
        with monkeypatch.context() as patch:
            patch.setattr("steersman.model.underway.start_rows", lambda *_: 1 / 0)
            ticket = live.submit(asked(small, "Hi"))
            with pytest.raises(ZeroDivisionError):
                ticket.result(WAIT)
        request = asked(small, "Hi", plan(1))
        assert live.submit(request).result(WAIT) == alone(small, request)


def test_nothing_is_kept_of_those_that_have_gone(small):
    hooks = [dict(module._forward_hooks) for module in small.hf.modules()]
    with Live(small, most=4) as live:
        requests = many(small, 60, seed=6)
        for ticket in [live.submit(request) for request in requests]:
            ticket.result(WAIT)
        deadline = time.monotonic() + WAIT
        while live.load != (0, 0) and time.monotonic() < deadline:
            time.sleep(0.01)
        slots = live._slots
        assert live.load == (0, 0)
        assert slots.editing.operations == []
        assert not slots.editing.excused
        assert sorted(slots._free) == [0, 1, 2, 3]
        assert not any(slots.rows.tokens)
        assert all(len(each) == 0 for each in slots.rows.plans)
        assert live._alive._cache is None
        assert not live._pending
        assert small.under_way == []
    assert [dict(module._forward_hooks) for module in small.hf.modules()] == hooks
    assert not live._thread.is_alive()


def test_a_long_prompt_is_read_in_pieces_between_the_steps_of_others(small, monkeypatch):
    for module in ("admitting", "arranging"):
        monkeypatch.setattr(f"steersman.model.{module}.pass_tokens", lambda _: 16)
    long = "a long tale of foxes " * 10
    runners = (asked(small, "Hi", plan(number), Sampling(60)) for number in range(20))
    runner = next(each for each in runners if len(alone(small, each).tokens) == 60)
    waiting = [asked(small, long, plan(1, span=span), Sampling(5)) for span in ("all", "last", "generated", "prompt")]
    gated = asked(small, long, Plan(direction(1), gate=Gate(Site(0), torch.ones(32), -1e6)), Sampling(5))
    others = [*waiting, gated, asked(small, "Hi", plan(2))]
    heard = []
    with Live(small) as live:
        first = live.submit(runner)
        next(iter(first))
        first.on_token(lambda _: heard.append("runner"))
        tickets = [live.submit(request) for request in others]
        tickets[0].on_token(lambda _: heard.append("long"))
        answers = [ticket.result(WAIT) for ticket in tickets]
        assert first.result(WAIT) == alone(small, runner)
    # Fourteen pieces, each with a step of the first request beside it.
    assert heard[: heard.index("long")].count("runner") >= 12
    assert answers == [alone(small, request) for request in others]


def test_other_verbs_take_turns_with_it(small):
    running = [asked(small, prompt, plan(1), Sampling(40)) for prompt in PROMPTS]
    wanted = [alone(small, request) for request in running]
    steered = small.generate("Hi", plan(4))
    with Live(small) as live:
        tickets = [live.submit(request) for request in running]
        next(iter(tickets[0]))
        assert small.generate("Hi", plan(4)) == steered
        with steer(small, plan(2)):
            assert [small.generate("Hi")] == [small.generate("Hi")]
            with pytest.raises(InputError, match="in the request itself"):
                live.submit(running[0])
        assert [ticket.result(WAIT) for ticket in tickets] == wanted


def test_parts_of_blocks_are_found_out_beside_a_running_batch():
    fresh = wrap(tiny_model("llama").hf, tokenizer(), name="fresh", revision="0" * 64)
    site = Site(1, "mlp_out")
    made = Plan(Direction({site: torch.ones(32)}, {site: 3.0}, direction(1).origin, "made up"), unit="raw")
    with Live(fresh) as live:
        running = live.submit(asked(fresh, "Hi", plan(1), Sampling(60)))
        next(iter(running))
        request = asked(fresh, "Hi", made)
        answer = live.submit(request).result(WAIT)
        running.result(WAIT)
    assert answer == alone(fresh, request)


def test_it_sleeps_when_nothing_is_asked(small, monkeypatch):
    turns = []
    turn = Live._turn
    monkeypatch.setattr(Live, "_turn", lambda self: (turns.append(1), turn(self)))
    with Live(small) as live:
        live.submit(asked(small, "Hi", sampling=Sampling(3))).result(WAIT)
        time.sleep(0.2)
        before = len(turns)
        time.sleep(0.3)
        assert len(turns) == before
        assert before <= 5


def test_what_cannot_be_is_refused_with_a_sentence(small):
    with Live(small, most=1, queue=1) as live:
        for request, words in (
            (Request(()), "at least one token"),
            (asked(small, "Hi", sampling=Sampling(5000)), "fit in 256 tokens"),
            (Request((1, 9999)), "token ids from 0"),
            (Request((1,), logprobs=-1), "0 or more"),
            (Request((1,), stop=("",)), "empty"),
            (asked(small, "Hi", Plan(direction(1, depth=9))), "for 9 layers"),
            (asked(small, "Hi", plan(1, coefficient=1e308)), "float32 can hold"),
        ):
            with pytest.raises(InputError, match=words):
                live.submit(request)
        running = live.submit(asked(small, "Hi", sampling=Sampling(200)))
        next(iter(running))
        waiting = live.submit(asked(small, "Hi"))
        with pytest.raises(BusyError, match="queue"):
            live.submit(asked(small, "Hi"))
        waiting.cancel()
        assert waiting.result(WAIT).finish == "cancelled"
        live.submit(asked(small, "Hi", sampling=Sampling(1)))
    with pytest.raises(ClosedError):
        live.submit(asked(small, "Hi"))
    for counts in ({"most": 0}, {"queue": 0}):
        with pytest.raises(InputError, match="at least one"):
            Live(small, **counts)


@pytest.mark.parametrize("finish", [True, False])
def test_closing_finishes_or_cancels_what_runs_and_refuses_what_waits(small, finish):
    live = Live(small, most=1)
    running, waiting = (live.submit(asked(small, "Hi", sampling=Sampling(50))) for _ in range(2))
    next(iter(running))
    live.close(finish=finish)
    assert running.result(0).finish == ("length" if finish else "cancelled")
    with pytest.raises(ClosedError, match="before this request"):
        waiting.result(0)
    live.close()


def test_closing_does_not_wait_for_ever(small):
    live = Live(small, most=1)
    running = live.submit(asked(small, "Hi", sampling=Sampling(240)))
    next(iter(running))
    live.close(timeout=0.01)
    assert running.result(WAIT).finish in ("cancelled", "length")


def test_stop_texts_end_an_answer_and_are_never_told(small):
    whole = alone(small, asked(small, PROMPTS[0], plan(2), Sampling(24))).text
    for at, length in ((0, 1), (3, 1), (5, 3), (9, 4)):
        stop = whole[at : at + length]
        request = asked(small, PROMPTS[0], plan(2), Sampling(24), stop=("never said", stop))
        with Live(small) as live:
            ticket = live.submit(request)
            answer = ticket.result(WAIT)
        assert answer.text == whole[: whole.index(stop)]
        assert answer.finish == "stop"
        assert "".join(token.text for token in ticket) == answer.text
    with Live(small) as live:
        # The beginning of a stop text that does not come is told in the end.
        ticket = live.submit(asked(small, PROMPTS[0], plan(2), Sampling(24), stop=(whole[-2:] + "?",)))
        assert "".join(token.text for token in ticket) == whole == ticket.result(WAIT).text


@torch.inference_mode()
def test_log_probabilities_are_the_steered_models(small):
    request = asked(small, "Hi", plan(1), Sampling(6), logprobs=3)
    with Live(small) as live:
        tokens = list(live.submit(request))
    ids = [*request.tokens, *(token.id for token in tokens)]
    with steer(small, request.plan):
        wanted = small.hf(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)[len(request.tokens) - 1 : -1]
    for token, row in zip(tokens, wanted, strict=True):
        assert token.logprob == pytest.approx(float(row[token.id]), abs=1e-4)
        assert [each for each, _ in token.top] == row.topk(3).indices.tolist()
        assert [value for _, value in token.top] == pytest.approx(row.topk(3).values.tolist(), abs=1e-4)


def test_a_listener_hears_every_token_and_the_end(small):
    heard, ended = [], threading.Event()

    def told(token):
        heard.append(token)
        if token is None:
            ended.set()

    with Live(small) as live:
        ticket = live.submit(asked(small, PROMPTS[0], plan(1)))
        ticket.on_token(told)
        assert ended.wait(WAIT)
        assert heard == [*ticket, None]
        late = []
        ticket.on_token(late.append)
        assert late == heard
        with pytest.raises(TimeoutError, match="within"):
            live.submit(asked(small, "Hi", sampling=Sampling(200))).result(0.0)
