"""The chat on tiny models, with a script in the place of a person."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from rich.console import Console

from steersman.chat import JsonScreen, Session, TextScreen, converse
from steersman.chat.commands import COMMANDS, words_after
from steersman.chat.history import prompt_of
from steersman.errors import InputError
from steersman.model.generate import Sampling
from steersman.model.live import Live, Request
from steersman.plan import Plan
from steersman.range import Range
from steersman.ready import Ready, ready_of
from steersman.where import Site
from tiny import direction, tiny_model


def made(seed: int, limit: float = 0.6) -> Ready:
    up = Range(Site(2), 1, 2.0, 0.3, 0.1, limit, reason="made up")
    return ready_of(f"d{seed}", direction(seed, [1, 2]).with_ranges(up, replace(up, sign=-1)))


KNOWN = {"sunny": made(1), "stiff": made(2)}


class Talk:
    """A session on a tiny model whose screen is kept."""

    def __init__(self, live: Live, *, as_json: bool = False, length: int = 6, **changed) -> None:
        self.session = Session(live, dict(KNOWN), Sampling(length), **changed)
        self.out, self.err = io.StringIO(), io.StringIO()
        consoles = [Console(file=file, width=100) for file in (self.out, self.err)]
        self.screen = JsonScreen(*consoles) if as_json else TextScreen(*consoles)

    def say(self, *lines: str) -> str:
        """Return what was noted while a script of lines ran."""
        before = self.err.tell()
        converse(self.session, self.screen, iter(lines))
        self.err.seek(before)
        return self.err.read()

    @property
    def answers(self) -> list[str]:
        return [turn.answer for turn in self.session.turns]


@pytest.fixture(scope="module", params=["chat", "base"])
def live(request) -> Iterator[Live]:
    with Live(tiny_model("llama", chat=request.param == "chat")) as found:
        yield found


@pytest.fixture
def talk(live) -> Talk:
    return Talk(live)


def test_the_first_answer_is_what_the_model_generates(talk, live):
    talk.say("Hi")
    assert talk.answers == live.model.generate(["Hi"], max_new_tokens=6)
    assert talk.out.getvalue().strip() == talk.answers[0].strip()


def test_a_steered_answer_is_what_the_model_generates_with_that_plan(talk, live):
    talk.say("/steer sunny 0.5", "Hi")
    plan = KNOWN["sunny"].plan(0.5)
    assert talk.answers == live.model.generate(["Hi"], plan, max_new_tokens=6)
    assert talk.answers != live.model.generate(["Hi"], max_new_tokens=6)
    (turn,) = talk.session.turns
    assert turn.steering[0]["coefficient"] == 0.5
    assert turn.steps == plan.describe()


def test_several_directions_add_up(talk, live):
    talk.say("/steer sunny 0.3", "/steer stiff -0.2", "Hi")
    plan = KNOWN["sunny"].plan(0.3) + KNOWN["stiff"].plan(-0.2)
    assert talk.answers == live.model.generate(["Hi"], plan, max_new_tokens=6)
    assert talk.session.steering.words() == "sunny +0.3, stiff -0.2"


def test_later_turns_see_the_earlier_ones(talk, live):
    talk.say("Hi", "Why?")
    first, second = talk.session.turns
    model = live.model
    prompt = prompt_of(model, [first], "Why?", "", None)
    if model.template:
        text = f"<user>Hi<eos><assistant>{first.answer}<eos><user>Why?<eos><assistant>"
        expected = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    else:
        expected = model.tokenizer(f"Hi{first.answer}\nWhy?")["input_ids"]
    assert list(prompt.tokens) == expected
    assert prompt.dropped == 0
    alone = Talk(live)
    alone.say("Why?")
    assert second.answer != alone.answers[0]


def test_a_system_prompt_stands_first_and_goes_away_again(talk, live):
    talk.say("/system Be brief.", "Hi", "/system off", "/reset", "Hi")
    assert talk.session.turns[0].answer == live.model.generate(["Hi"], max_new_tokens=6)[0]
    assert talk.session.system == ""
    talk.say("/reset", "/system Be brief.", "Hi")
    assert talk.answers == live.model.generate(["Hi"], max_new_tokens=6, system="Be brief.")


def test_a_direction_is_turned_off_alone_or_with_all(talk, live):
    assert "steering: stiff +0.1" in talk.say("/steer sunny 0.3", "/steer stiff 0.1", "/off sunny")
    assert "steering: nothing" in talk.say("/off")
    talk.say("Hi")
    assert talk.answers == live.model.generate(["Hi"], max_new_tokens=6)


def test_without_a_coefficient_the_recommended_one_is_taken_and_zero_is_off(talk):
    assert "sunny +0.3 at resid_post.2" in talk.say("/steer sunny")
    assert "steering: nothing" in talk.say("/steer sunny 0")


def test_beyond_the_range_a_warning_is_shown(talk):
    assert "warning" not in talk.say("/steer sunny 0.6")
    said = talk.say("/steer sunny 0.61")
    assert "warning: sunny: coefficient 0.61 norm at resid_post.2 is beyond 0.6" in said
    assert "(recommended 0.3)" in said
    assert "is beyond -0.6" in talk.say("/steer sunny -0.7")


def test_a_span_without_a_range_of_its_own_is_warned_of_by_the_known_one(talk):
    assert "is beyond 0.6" in talk.say("/span generated", "/steer sunny 0.9")


def test_together_beyond_what_one_may_have_is_warned_of(talk):
    assert "together come to 1.2 times" in talk.say("/steer sunny 0.4", "/steer stiff 0.3")


def test_where_nobody_measured_the_usual_limit_is_warned_of(talk):
    said = talk.say("/steer sunny 0.4", "/layer 1", "/steer sunny 0.55")
    assert "sunny acts at resid_post.1; its file holds resid_post.1, resid_post.2" in said
    assert "nobody has measured it at resid_post.1" in said


def test_layer_and_span_change_where_it_acts(talk, live):
    talk.say("/steer sunny 0.5", "/layer sunny 1", "/span generated", "Hi")
    plan = Plan(direction(1, [1]), coefficient=0.5, span="generated")
    assert talk.answers == live.model.generate(["Hi"], plan, max_new_tokens=6)
    talk.say("/reset", "/layer own", "/span own", "Hi")
    assert talk.answers == live.model.generate(["Hi"], KNOWN["sunny"].plan(0.5), max_new_tokens=6)


def test_compare_answers_the_last_message_twice_and_keeps_neither(talk, live):
    talk.say("Hi", "Why?", "/steer sunny -1.5", "/compare")
    assert len(talk.session.turns) == 2
    unsteered, steered = talk.out.getvalue().rpartition("[unsteered] ")[2].split("[steered: sunny -1.5] ")
    assert unsteered == talk.answers[1] + "\n"
    prompt = prompt_of(live.model, talk.session.turns[:1], "Why?", "", None)
    alone = live.submit(Request(prompt.tokens, KNOWN["sunny"].plan(-1.5), Sampling(6))).result(60)
    assert steered == alone.text + "\n"
    assert steered != unsteered


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["/bogus"], "expected a command"),
        (["/"], "expected a command"),
        (["/steer nobody 1"], "expected the name of a direction (sunny, stiff), got 'nobody'"),
        (["/steer sunny much"], "expected a coefficient such as 0.3, got 'much'"),
        (["/steer sunny nan"], "finite coefficient"),
        (["/steer sunny inf"], "finite coefficient"),
        (["/steer sunny 1 2 3"], "expected /steer NAME COEFFICIENT"),
        (["/steer 'sunny"], "expected /steer NAME COEFFICIENT"),
        (["/off sunny"], "expected a direction that is on (none is), got 'sunny'"),
        (["/compare"], "say something first"),
        (["Hi", "/compare"], "first /steer NAME"),
        (["/compare now"], "expected /compare alone"),
        (["/span nowhere"], "expected a span among"),
        (["/span end"], "expected a span"),
        (["/layer 3"], "first /steer NAME"),
        (["/layer sunny 3"], "expected a layer that the direction holds (1, 2), got 3"),
        (["/layer sunny deep"], "expected a site such as"),
        (["/layer sunny 99999999999999999999"], "expected a layer from"),
        (["/seed x"], "expected a seed such as 7"),
        (["/temperature -1"], "expected a temperature of 0 or more"),
        (["/temperature nan"], "expected a temperature of 0 or more"),
        (["/length 0"], "expected max_new_tokens of at least 1"),
        (["/length 256"], "expected answers shorter than the 256 tokens"),
        (["/reset all"], "expected /reset alone"),
        (["/save"], "expected /save FILE"),
        (["/load /nowhere/at/all.json"], "/nowhere/at/all.json"),
        (["/quit now"], "expected /quit alone"),
        (["x" * 400], "expected a message of at most 250 tokens"),
    ],
)
def test_bad_input_is_one_sentence_and_the_chat_goes_on(talk, lines, sentence):
    said = talk.say(*lines, "Go on.")
    assert sentence in said
    assert talk.session.turns[-1].said == "Go on."
    assert not talk.session.steering.active


def test_every_command_that_needs_nothing_runs_alone(talk):
    alone = [name for name in COMMANDS if name not in ("compare", "quit", "save", "load")]
    said = talk.say(*(f"/{name}" for name in alone))
    assert "expected" not in said
    for name in COMMANDS:
        assert f"/{name}" in said


def test_a_message_may_begin_with_a_slash_when_it_is_written_twice(talk):
    talk.say("//help me")
    assert talk.session.turns[0].said == "/help me"


def test_blank_lines_are_passed_over_and_quit_ends(talk):
    talk.say("", "   ", "Hi", "/quit", "Never said.")
    assert [turn.said for turn in talk.session.turns] == ["Hi"]


def test_the_oldest_turns_are_left_out_where_all_do_not_fit(talk):
    said = talk.say("a" * 90, "b" * 90, "c" * 90)
    assert "oldest turn" in said
    assert len(talk.session.turns) == 3
    long = prompt_of(talk.session.live.model, talk.session.turns, "d" * 90, "", 250)
    assert long.dropped in (1, 2)
    assert len(long.tokens) <= 250


def test_draws_follow_the_seed(talk, live):
    talk.say("/temperature 1", "/seed 5", "Hi", "/reset", "Hi")
    expected = live.model.generate(["Hi"], max_new_tokens=6, temperature=1.0, seed=5)
    assert talk.answers == expected
    talk.say("/reset", "/seed 6", "Hi")
    assert talk.answers == live.model.generate(["Hi"], max_new_tokens=6, temperature=1.0, seed=6)


def test_json_gives_one_object_for_each_answer(live):
    talk = Talk(live, as_json=True)
    said = talk.say("Hi", "/steer sunny -1.5", "Why?", "/compare", "/directions")
    first, second, third = [json.loads(line) for line in talk.out.getvalue().splitlines()]
    assert first["user"] == "Hi"
    assert first["steering"] == first["warnings"] == []
    assert second["assistant"] == talk.answers[1]
    assert second["steering"][0] | {"digest": ""} == {
        "name": "sunny", "coefficient": -1.5, "unit": "norm", "site": "resid_post.2", "span": "all", "digest": "",
    }  # fmt: skip
    assert "is beyond -0.6" in second["warnings"][0]
    assert third["steered"] == talk.answers[1]
    assert third["unsteered"] != third["steered"]
    assert "recommended" in said


def test_ctrl_c_stops_the_answer_and_not_the_chat(live):
    talk = Talk(live, length=200)

    class Impatient:
        pieces = 0

        def __getattr__(self, name):
            return getattr(talk.screen, name)

        def piece(self, text: str) -> None:
            self.pieces += 1
            if self.pieces == 3:
                raise KeyboardInterrupt

    converse(talk.session, Impatient(), iter(["Hi"]))
    (turn,) = talk.session.turns
    assert turn.finish == "cancelled"
    assert len(turn.answer) < 150
    talk.session.draw(length=6)
    talk.say("Go on.")
    assert len(talk.session.turns) == 2
    assert live.load == (0, 0)


def test_ctrl_c_at_the_prompt_only_says_how_to_leave(talk):
    left: list[str | KeyboardInterrupt] = [KeyboardInterrupt(), "Hi", KeyboardInterrupt()]

    class Lines:
        def __iter__(self):
            return self

        def __next__(self):
            if not left:
                raise StopIteration
            found = left.pop(0)
            if isinstance(found, KeyboardInterrupt):
                raise found
            return found

    converse(talk.session, talk.screen, Lines())
    assert len(talk.session.turns) == 1
    assert talk.err.getvalue().count("/quit or Ctrl-D leaves") == 2


def test_what_a_model_writes_cannot_reach_the_terminal_as_control_characters(talk):
    talk.screen.piece("a\x1b[31mred\x07 [bold]b[/bold]\n")
    assert talk.out.getvalue() == "a[31mred [bold]b[/bold]\n"


def test_words_complete_commands_names_and_spans(talk):
    session = talk.session
    assert words_after(session, "/st") == ["/steer"]
    assert words_after(session, "/steer s") == ["sunny", "stiff"]
    assert words_after(session, "/off ") == []
    talk.say("/steer stiff 0.1")
    assert words_after(session, "/off ") == ["stiff"]
    assert words_after(session, "/span g") == ["generated"]
    assert words_after(session, "Hello wor") == []


def test_a_session_refuses_answers_that_leave_no_room(live):
    with pytest.raises(InputError, match="expected answers shorter than the 256 tokens"):
        Session(live, KNOWN, Sampling(256))
