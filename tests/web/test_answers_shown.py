"""The conversation as HTML: colours by projection, coherence in words, gates; nothing a model writes is markup."""

import pytest

from steersman.web.following import Read
from steersman.web.talk import Side, Turn
from steersman.web.transcript import coherence, colour, meter, tokens, transcript


def side(text: str = "a quiet day", logprob: float = -0.5, projection: float = 0.0, **more: object) -> Side:
    pieces = [f"{word} " for word in text.split()]
    read = [Read(logprob, projection) for _ in pieces]
    return Side(pieces, list(range(len(pieces))), read, state="stop", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "name"), [(0, ""), (0.3, ""), (0.5, "p1"), (-0.5, "n1"), (2.0, "p3"), (99, "p5"), (-99, "n5")]
)
def test_a_colour_grows_with_the_distance_and_is_one_of_ten(value: float, name: str) -> None:
    assert colour(value) == name


def test_tokens_are_coloured_one_by_one_and_unread_ones_are_plain() -> None:
    given = Side(["good", " bad", " new"], [1, 2, 3], [Read(-0.1, 8.0), Read(-2.0, -8.0)])
    found = tokens(given, lambda value: value / 2)
    assert '<span class="t p5" title="projection +4.0 sd, log-probability −0.10 nats">good</span>' in found
    assert '<span class="t n5" title="projection −4.0 sd' in found
    assert found.endswith(" new")
    assert "t p" not in tokens(given, None)


def test_what_a_model_or_a_person_writes_is_never_markup() -> None:
    bad = "<script>alert(1)</script>"
    turn = Turn(bad, f"{bad} +0.30", "warm", side(bad), side(f"x {bad}", gates={bad: True}))
    found = transcript([turn], lambda _: lambda value: value, chat=True)
    assert "<script" not in found
    assert found.count("&lt;script&gt;") >= 4


@pytest.mark.parametrize(
    ("text", "mean", "word"),
    [
        ("a day like any other", -0.9, "coherent"),
        ("a day like any other", -2.2, "drifting"),
        ("a day like any other", -3.0, "falling apart"),
        ("on and on and on and on and on", -0.2, "going in circles"),
        ("a day like any other", float("nan"), "falling apart"),
    ],
)
def test_coherence_is_said_in_words(text: str, mean: float, word: str) -> None:
    assert coherence(text, mean)[1] == word


def test_the_meter_says_the_figure_and_waits_for_enough_of_it() -> None:
    assert "−0.50 nats a token" in meter(side(logprob=-0.5))
    assert meter(Side(["a"], [1], [Read(-0.1)], state="stop")) == ""
    assert "reading" in meter(Side())


def test_gates_and_ends_are_said() -> None:
    turn = Turn("hello", "warm +0.30", "", side(), side(gates={"warm": False, "cold": True}))
    turn.steered.state = "cancelled"
    found = transcript([turn], lambda _: None, chat=True)
    assert "warm gate did not fire" in found
    assert "cold gate fired" in found
    assert "stopped" in found
    assert "steered: warm +0.30" in found
    assert "every slider stands at 0" in transcript([Turn("x")], lambda _: None, chat=False)


def test_an_answer_under_way_has_a_caret_and_an_empty_one_says_so() -> None:
    assert "caret" in transcript([Turn("x")], lambda _: None, chat=True)
    done = Turn("x", plain=Side(state="stop"), steered=Side(state="stop"))
    found = transcript([done], lambda _: None, chat=True)
    assert "caret" not in found
    assert found.count("nothing was written") == 2
