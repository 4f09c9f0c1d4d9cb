"""Wrapping as pieces come: the words stay, lines keep within their width, and how the text was cut does not matter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from steersman.chat.wrapping import Wrapping


def wrapped(pieces: list[str], width: int | None) -> str:
    own = Wrapping(width)
    return "".join(own.feed(piece) for piece in pieces) + own.rest()


def test_lines_break_between_words():
    assert wrapped(["The sea is ", "truly in", "credible"], 11) == "The sea is\ntruly\nincredible"


def test_new_lines_and_indents_stay():
    assert wrapped(["a\n\n  b c\n"], 9) == "a\n\n  b c\n"


def test_without_a_width_the_text_is_left_as_it_is():
    text = "one  two\n three " * 9
    assert wrapped([text], None) == text


def test_a_word_is_shown_once_it_is_whole():
    own = Wrapping(20)
    assert own.feed("Hel") == ""
    assert own.feed("lo wor") == "Hello"
    assert own.rest() == " wor"


@given(st.lists(st.text("ab \n語é", max_size=8), max_size=12), st.integers(4, 12))
def test_the_cut_into_pieces_does_not_matter_and_no_word_is_lost(pieces, width):
    text = "".join(pieces)
    shown = wrapped(pieces, width)
    if all(cell_len(word) < width for word in text.split()):
        assert shown == wrapped([text], width)
        assert shown.split() == text.split()
        assert all(cell_len(line.strip()) <= width for line in shown.split("\n"))
    assert "".join(shown.split()) == "".join(text.split())


@pytest.mark.parametrize("width", [1, 2])
def test_a_word_longer_than_the_line_is_shown_all_the_same(width):
    assert "".join(wrapped(["abc", "def g"], width).split()) == "abcdefg"
