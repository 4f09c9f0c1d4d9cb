"""What the page's buttons do, without a browser: every way to go wrong ends in a sentence."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

from pages import tiny_desk

from steersman.errors import InputError
from steersman.files import load_direction, save_direction
from steersman.web.desk import MOST, Desk
from steersman.web.handlers import NONE, Handlers
from steersman.web.making import EFFORTS, Effort
from steersman.web.notices import alert, sentence, warning
from tiny import direction


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with tiny_desk(folder=tmp_path / "saved") as found:
        yield found


@pytest.fixture
def handlers(desk: Desk, tmp_path: Path) -> Handlers:
    return Handlers(desk, tmp_path)


def test_a_message_is_answered_and_the_box_emptied(handlers: Handlers, desk: Desk) -> None:
    session = desk.begin()
    shown = list(handlers.send(session, "Hi", 8, 0.0, "warm", 1.0, 0.0))
    assert shown[0][1]["value"] == ""
    transcript, _, notice, send, stop, tries = shown[-1]
    assert "steered: warm +1.00" in transcript
    assert notice == ""
    assert (send["visible"], stop["visible"], tries["visible"]) == (True, False, False)
    assert not session.answering
    assert 'class="t' in transcript


@pytest.mark.parametrize(
    ("text", "words"), [("", "Type a few words"), (None, "Type a few words"), ("x" * 400, "tokens")]
)
def test_what_cannot_be_answered_is_said(handlers: Handlers, desk: Desk, text: Any, words: str) -> None:
    session = desk.begin()
    *_, last = handlers.send(session, text, 8, 0.0, "warm", 1.0)
    assert words in last[2]
    assert 'role="alert"' in last[2]
    assert not session.turns


def test_what_is_chosen_to_colour_by_while_answers_are_written_is_done_at_their_end(
    handlers: Handlers, desk: Desk
) -> None:
    session = desk.begin()
    sent = handlers.send(session, "Hi", 8, 0.0, "warm", 1.0, 0.0)
    next(sent)
    handlers.recolour(session, "long")
    assert session.turns[0].colour == "warm"
    *_, last = sent
    assert session.turns[0].colour == "long"
    chosen = last[0]
    assert handlers.recolour(session, "long")[0] == chosen
    assert handlers.recolour(session, "warm")[0] != chosen


def test_without_a_session_everything_says_so(handlers: Handlers) -> None:
    assert "being prepared" in list(handlers.send(None, "Hi", 8, 0, "", 0))[-1][2]
    assert "being prepared" in handlers.widen(None, True)[-1]
    assert "being prepared" in handlers.clear(None)[1]
    assert "being prepared" in handlers.recolour(None, "warm")[2]
    assert "being prepared" in handlers.add_hub(None, "a/b", False)[0]
    assert "being prepared" in next(handlers.make(None, "", "", "", "", "", False))[1]
    handlers.stop(None)
    handlers.quit(None)


def test_sliders_warn_and_widen(handlers: Handlers, desk: Desk) -> None:
    session = desk.begin()
    assert handlers.moved(session, 1.5, 0.0) == ""
    assert "beyond +1.50" in handlers.moved(session, 1.6, 0.0)
    *tracks, warned = handlers.widen(session, True, 1.0, 0.2)
    assert (tracks[0]["maximum"], tracks[0]["value"], tracks[1]["value"]) == (3.75, 1.0, 0.2)
    assert warned == ""
    *tracks, _ = handlers.widen(session, False, 3.0, 0.2)
    assert tracks[0]["value"] == 1.5
    assert tracks[2]["visible"] is False
    assert len(tracks) == MOST


def test_a_direction_acts_where_it_is_told_to(handlers: Handlers, desk: Desk) -> None:
    session = desk.begin()
    layer, span, gate = handlers.pick(session, "long")
    assert [value for _, value in layer["choices"]] == list(range(desk.model.depth))
    assert (span["value"], gate["value"]) == ("all", False)
    handlers.place(session, "warm", 3, "generated", True, False, 1.0)
    (step,) = desk.steering(session, [0.4]).plan
    assert (step.site.layer, str(step.span)) == (3, "generated")
    assert step.gate is not None
    assert "Expected a layer" in handlers.place(session, "warm", 99, "all", False, False, 1.0)[-1]
    list(handlers.send(session, "Hi", 8, 0.0, "warm", 0.4))
    assert list(session.turns[0].steered.gates) == ["warm"]
    assert "gate" in handlers.show(session)


def test_another_direction_colours_what_stands_there(handlers: Handlers, desk: Desk) -> None:
    session = desk.begin()
    list(handlers.send(session, "Hi", 8, 0.0, "warm", 1.0))
    before = [each.projection for each in session.turns[0].plain.read]
    shown, legend, notice = handlers.recolour(session, "long")
    assert [each.projection for each in session.turns[0].plain.read] != before
    assert notice == ""
    assert "more long" in legend
    handlers.recolour(session, "warm")
    after = [each.projection for each in session.turns[0].plain.read]
    assert after == pytest.approx(before, abs=1e-4)
    assert "not coloured" in handlers.recolour(session, NONE)[1]
    assert "projection" not in handlers.show(session)
    assert shown


def test_files_come_onto_the_page_or_are_refused_in_a_sentence(handlers: Handlers, desk: Desk, tmp_path: Path) -> None:
    session = desk.begin()
    save_direction(direction(5, [2]), tmp_path / "mine.safetensors")
    save_direction(direction(5, [2], width=16), tmp_path / "wide.safetensors")
    said, colours, _, *sliders = handlers.add_file(session, str(tmp_path / "mine.safetensors"), False, 0.5, 0.0)
    assert "mine is on the page" in said
    assert "mine" in colours["choices"]
    assert sliders[2]["label"] == "mine"
    assert sliders[0]["value"] == 0.5
    assert "width" in handlers.add_file(session, str(tmp_path / "wide.safetensors"), False)[0]
    assert "got" in handlers.add_file(session, None, False)[0]
    assert "owner/name" in handlers.add_hub(session, "not an address", False)[0]
    assert len(session.shelf) == 3


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EFFORTS, "quick", Effort(8, (0.4, 0.6), 10, 2))


@pytest.mark.usefixtures("small")
def test_a_direction_is_made_put_on_the_shelf_downloaded_and_saved(handlers: Handlers, desk: Desk) -> None:
    session = desk.begin()
    assert "Make a direction first" in handlers.save(session)
    shown = list(handlers.make(session, "cheerful", "gloomy", "", "", "quick", False, 1.0, 0.5))
    assert "Making" in shown[0][0]
    view, notice, button, cancel, results, file, *_ = shown[-1]
    assert notice == ""
    assert "<svg" in view
    assert (button["visible"], cancel["visible"], results["visible"]) == (True, False, True)
    loaded = load_direction(file["value"])
    assert session.shelf[-1].name == "cheerful"
    assert len(loaded.sites) == desk.model.depth
    sliders = shown[-1][-MOST:]
    assert [each["value"] for each in sliders[:2]] == [0.0, 0.0]
    assert "Saved as cheerful.safetensors" in handlers.save(session)
    assert "Saved as cheerful-2.safetensors" in handlers.save(session)
    assert not session.making


@pytest.mark.usefixtures("small")
def test_making_is_cancelled_and_one_at_a_time(handlers: Handlers, desk: Desk) -> None:
    first, second = desk.begin(), desk.begin()
    running = handlers.make(first, "cheerful", "gloomy", "", "", "quick", False)
    assert "Making" in next(running)[0]
    assert "one direction to be made at a time" in next(handlers.make(second, "a", "b", "", "", "quick", False))[1]
    handlers.quit(first)
    begun = time.monotonic()
    *_, last = running
    assert time.monotonic() - begun < 10
    assert "was stopped" in last[0]
    assert len(first.shelf) == 2
    *_, last = handlers.make(second, "", "gloomy", "", "", "quick", False)
    assert "a concept is missing" in last[1]


def test_reports_are_framed_only_where_they_are(handlers: Handlers) -> None:
    assert "iframe" not in handlers.report("../x")
    assert "iframe" not in handlers.report(None)


def test_errors_are_sentences(caplog: pytest.LogCaptureFixture) -> None:
    assert sentence(InputError("expected x,\n  got y")) == "Expected x, got y."
    assert "ZeroDivisionError" in sentence(ZeroDivisionError("1/0"))
    assert "the demo met an error" in caplog.text
    assert "<b>" not in alert("<b>x</b>")
    assert "<b>" not in warning(["<b>x</b>"])
    assert warning([]) == alert("") == ""
