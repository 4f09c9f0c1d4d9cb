"""Both answers as they come: the engine's own texts, read token by token; stopped, and gone wrong, without a trace."""

import threading
import time
from collections.abc import Iterator

import pytest

from steersman.errors import InputError
from steersman.gates import Gate
from steersman.model.generate import Sampling
from steersman.model.live import Live, Request
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.web.answering import answer
from steersman.web.steering import Steering
from steersman.web.talk import LONGEST, Session, Side, Turn, context_length, turn_tokens
from steersman.where import Site
from tiny import direction, plan, tiny_model

SAMPLING = Sampling(12, repetition_penalty=1.1)


@pytest.fixture(scope="module")
def chat() -> Model:
    return tiny_model("llama", chat=True)


@pytest.fixture
def live(chat: Model) -> Iterator[Live]:
    with Live(chat) as running:
        yield running


def steering(own: Plan, gates: dict[str, str] | None = None) -> Steering:
    return Steering(own, "warm +1.00", [], gates or {})


def test_both_answers_are_those_of_the_model_itself(live: Live, chat: Model) -> None:
    session, own = Session(), plan(1, [1])
    seen = [len(turn.steered.tokens) for turn in answer(live, session, "Hi", steering(own), SAMPLING)]
    assert seen == sorted(seen)
    plain, steered = chat.complete(["Hi", "Hi"], [Plan(), own], SAMPLING)
    (turn,) = session.turns
    assert turn.plain.text == plain.text
    assert turn.steered.text == steered.text
    assert turn.plain.text != turn.steered.text
    assert (turn.plain.state, turn.steered.state) == (plain.finish, steered.finish)


def test_every_token_is_read_by_the_unsteered_model(live: Live, chat: Model) -> None:
    session, along = Session(), direction(3, [2])
    for _ in answer(live, session, "Hi", steering(plan(1, [1])), SAMPLING, ("warm", along)):
        pass
    (turn,) = session.turns
    assert turn.colour == "warm"
    for side in turn.sides.values():
        assert len(side.read) == len(side.tokens) == len(side.pieces)
        assert all(each.projection is not None and each.logprob < 0 for each in side.read)


def test_each_model_goes_on_from_its_own_answers(live: Live, chat: Model) -> None:
    session = Session()
    for said in ("Hi", "And then?"):
        for _ in answer(live, session, said, steering(plan(1, [1])), SAMPLING):
            pass
    first, second = session.turns
    for which, own in (("plain", Plan()), ("steered", plan(1, [1]))):
        tokens = turn_tokens(chat, [first], "And then?", which, 12)  # type: ignore[arg-type]
        side = second.sides[which]  # type: ignore[index]
        assert chat.tokenizer.decode(tokens).count("<assistant>") == 2
        with Live(chat) as other:
            assert other.submit(Request(tuple(tokens), own, SAMPLING, key="And then?")).result(60).text == side.text


def test_stopped_it_keeps_what_was_written_and_the_next_one_is_whole(live: Live) -> None:
    session, long = Session(), Sampling(150)
    for turn in answer(live, session, "Hi", steering(plan(1, [1])), long):
        if turn.steered.tokens:
            session.stop.set()
    (turn,) = session.turns
    assert 0 < len(turn.steered.tokens) < 150
    assert "cancelled" in (turn.plain.state, turn.steered.state)
    for _ in answer(live, session, "Hi", steering(Plan()), SAMPLING):
        pass
    assert session.turns[-1].plain.state != "cancelled"


def test_a_page_that_is_left_frees_its_rows(live: Live) -> None:
    running = answer(live, Session(), "Hi", steering(plan(1, [1])), Sampling(200))
    next(running)
    running.close()
    limit = time.monotonic() + 20
    while live.load != (0, 0) and time.monotonic() < limit:
        time.sleep(0.02)
    assert live.load == (0, 0)


def test_gates_say_whether_they_fired(live: Live) -> None:
    vector = direction(2, [0]).vectors[Site(0)]
    for threshold, fired in ((-1e6, True), (1e6, False)):
        own = Plan(direction(1, [1]), gate=Gate(Site(0), vector, threshold))
        session = Session()
        for _ in answer(live, session, "Hi", steering(own, {"resid_post.0": "warm"}), SAMPLING):
            pass
        assert session.turns[0].steered.gates == {"warm": fired}
        assert session.turns[0].plain.gates == {}


@pytest.mark.parametrize(
    ("said", "words"), [("   ", "a few words"), ("x" * (LONGEST + 1), "characters"), ("x" * 300, "tokens")]
)
def test_what_cannot_be_answered_leaves_the_conversation_as_it_was(live: Live, said: str, words: str) -> None:
    session = Session()
    with pytest.raises(InputError, match=words):
        list(answer(live, session, said, steering(Plan()), SAMPLING))
    assert not session.turns


def test_a_plan_that_does_not_fit_is_said(live: Live) -> None:
    session = Session()
    with pytest.raises(InputError, match="width"):
        list(answer(live, session, "Hi", steering(Plan(direction(width=16))), SAMPLING))
    assert not session.turns


def test_the_earliest_turns_are_left_out_where_all_do_not_fit(chat: Model) -> None:
    turns = [Turn(f"{number} " + "word " * 12, plain=Side(["an answer"])) for number in range(9)]
    tokens = turn_tokens(chat, turns, "now", "plain", 40)
    text = chat.tokenizer.decode(tokens)
    assert len(tokens) <= context_length(chat) - 40
    assert "8 word" in text
    assert "0 word" not in text


def test_a_base_model_goes_on_with_one_text(llama: Model) -> None:
    turns = [Turn("Once", plain=Side([" upon", " a time"]))]
    tokens = turn_tokens(llama, turns, "Then", "plain", 8)
    assert llama.tokenizer.decode(tokens, skip_special_tokens=True) == "Once upon a time\nThen"


def test_two_visitors_at_once_get_what_each_would_alone(live: Live, chat: Model) -> None:
    sessions = [Session() for _ in range(4)]

    def visit(session: Session, seed: int) -> None:
        for _ in answer(live, session, "Hi", steering(plan(seed, [1])), SAMPLING):
            pass

    threads = [threading.Thread(target=visit, args=(each, seed)) for seed, each in enumerate(sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    expected = chat.complete(["Hi"] * 4, [plan(seed, [1]) for seed in range(4)], SAMPLING)
    assert [session.turns[0].steered.text for session in sessions] == [each.text for each in expected]
