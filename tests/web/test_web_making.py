"""Making a direction: what is asked for, what it comes to, ended at once, and how all of it looks."""

import threading
import time
from collections.abc import Callable

import pytest

from steersman.errors import InputError
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.web import making_view
from steersman.web.making import EFFORTS, Effort, Progress, Quit, Wish, checked, interruptible, make, pasted
from tiny import tiny_model

PASTED = "I love it. => I hate it.\nWhat a day! => What a mess!\n\nGood. => Bad."


@pytest.fixture(scope="module")
def chat() -> Model:
    return tiny_model("llama", chat=True)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EFFORTS, "quick", Effort(8, (0.4, 0.6), 10, 2))


def test_pasted_lines_become_pairs() -> None:
    found, span = pasted(PASTED)
    assert [(each.positive.completion, each.negative.completion) for each in found] == [
        ("I love it.", "I hate it."),
        ("What a day!", "What a mess!"),
        ("Good.", "Bad."),
    ]
    assert span == "all-bos"


def test_pasted_json_is_read_as_pair_files_are() -> None:
    line = '{"positive": {"prompt": "Hi", "completion": "Yes"}, "negative": {"prompt": "Hi", "completion": "No"}}'
    found, span = pasted(f"{line}\n{line}")
    assert (found[0].positive.completion, found[0].negative.completion, span) == ("Yes", "No", "completion")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a => b\nno arrow here", "line 2: expected two different texts"),
        ("same => same", "line 1"),
        ("a => b", "at least two pairs"),
        ('{"positive": 1}\n{"x"', "line 2: expected JSON,"),
        ('{"positive": 1}', "line 1: expected 'positive' as an object"),
        ("a => b\n" * 513, "at most 512"),
    ],
)
def test_other_lines_are_refused_by_number(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        pasted(text)


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (Wish(), "a concept is missing"),
        (Wish("cheerful"), "its opposite is missing"),
        (Wish("cheerful", "Cheerful"), "another word"),
        (Wish("x" * 121, "y"), "a word or a short phrase"),
        (Wish("a", "b", effort="endless"), "expected an effort"),
    ],
)
def test_a_wish_that_says_too_little_or_too_much_is_refused(chat: Model, wish: Wish, words: str) -> None:
    with pytest.raises(InputError, match=words):
        checked(wish, chat)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("wish", [Wish("cheerful", "gloomy"), Wish(pairs=PASTED, name="liked")])
def test_a_wish_becomes_a_direction_with_its_ranges(chat: Model, wish: Wish) -> None:
    progress = Progress()
    made = make(chat, wish, progress, threading.Event())
    assert made.name == (wish.name or wish.concept)
    assert made.direction.origin.depth == chat.depth
    assert len(made.direction.sites) == chat.depth
    assert made.direction.ranges
    assert progress.stage == "done"
    assert progress.share == 1.0
    assert progress.texts == 2 * progress.count
    assert progress.sites[0] == progress.sites[1] == len(made.selection.considered)
    assert {each.site for each in progress.tried} == {each.site for each in made.selection.considered}
    if made.selection.chosen is not None:
        assert made.direction.ranges[0].site == made.selection.best.site
    shown = making_view.finished(made)
    assert "<svg" in shown
    assert made.name in shown
    chat.check(Plan(made.direction))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("after", ["reading", "selecting"])
def test_it_ends_at_once_wherever_it_is(chat: Model, after: str) -> None:
    progress, quit_ = Progress(), threading.Event()
    found: list[BaseException] = []

    def run() -> None:
        try:
            make(chat, Wish("cheerful", "gloomy"), progress, quit_)
        except BaseException as error:
            found.append(error)

    if after == "reading":
        quit_.set()
    hooks = len(chat.layout.base._forward_pre_hooks)
    thread = threading.Thread(target=run)
    thread.start()
    _wait(lambda: after == "reading" or bool(progress.tried))
    quit_.set()
    thread.join(20)
    assert not thread.is_alive()
    assert isinstance(found[0], Quit)
    assert progress.stage == after
    assert len(chat.layout.base._forward_pre_hooks) == hooks
    assert chat.generate("Hi", max_new_tokens=3) == tiny_model("llama", chat=True).generate("Hi", max_new_tokens=3)


def test_only_its_own_thread_is_ended(chat: Model) -> None:
    quit_ = threading.Event()
    quit_.set()
    texts: list[str] = []
    with interruptible(chat, quit_):
        other = threading.Thread(target=lambda: texts.extend(chat.generate("Hi", max_new_tokens=2)))
        other.start()
        other.join(20)
        with pytest.raises(Quit):
            chat.generate("Hi", max_new_tokens=2)
    assert len(texts) == 1


def test_progress_grows_and_is_shown() -> None:
    progress = Progress("reading", 10)
    shares = [progress.share]
    for texts in (10, 20):
        progress.texts = texts
        shares.append(progress.share)
    progress.stage, progress.sites = "selecting", (1, 2)
    shares.append(progress.share)
    assert shares == sorted(shares)
    shown = making_view.under_way(progress, "<b>me</b>")
    assert "20 of 20 texts" in shown
    assert "1 of 2 layers" in shown
    assert "<b>me" not in shown
    assert 'aria-valuenow="57"' in shown


def _wait(met: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not met():
        assert time.monotonic() < limit
        time.sleep(0.01)
