"""Corpora: every word of a file in pieces of bounded length, whatever the path leads to."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from steersman.builders import corpus
from steersman.builders.corpora import _cut
from steersman.errors import DataError, InputError


def texts(*arguments, **settings):
    made = corpus(*arguments, **settings)
    assert all(example.prompt == "" for example in made)  # plain texts, which no template wraps
    return [example.completion for example in made]


@given(some.text(alphabet="ab \n\té", max_size=60), some.integers(1, 20))
def test_pieces_lose_nothing_but_white_space_and_keep_their_length(text, chars):
    pieces = _cut(text, chars)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(0 < len(piece) <= chars and piece == piece.strip() for piece in pieces)


@given(some.lists(some.text(alphabet="abc", min_size=1, max_size=8), min_size=1, max_size=12), some.integers(8, 30))
def test_no_word_is_cut_that_fits(words, chars):
    assert [word for piece in _cut(" ".join(words), chars) for word in piece.split()] == words


def test_a_file_is_cut_between_words(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one two three four\nfive", encoding="utf-8")
    assert texts(path, chars=9) == ["one two", "three", "four\nfive"]
    assert texts(path, chars=3) == ["one", "two", "thr", "ee", "fou", "r", "fiv", "e"]


def test_jsonl_is_one_text_a_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "  one two", "code": "x = 1"}\n{"text": "three", "code": "y"}\n', encoding="utf-8")
    assert texts(path, chars=5) == ["one t", "three"]
    assert texts(path, field="code") == ["x = 1", "y"]


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "a.py").write_text("a", encoding="utf-8")
    (tmp_path / "below" / "b.py").write_text("b", encoding="utf-8")
    (tmp_path / "below" / "c.txt").write_text("c", encoding="utf-8")
    (tmp_path / "d.py").write_bytes(b"\xff\xfe")
    return tmp_path


def test_folders_and_patterns_leave_out_what_is_no_text(tree, monkeypatch):
    assert texts(tree) == ["a", "b", "c"]
    assert texts(f"{tree}/**/*.py") == ["a", "b"]
    assert texts(f"{tree}/*.py") == ["a"]
    monkeypatch.chdir(tree)
    assert texts("below/*") == ["b", "c"]


def test_the_sample_follows_the_seed(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(" ".join(f"word{i}" for i in range(300)), encoding="utf-8")
    every = texts(path, limit=None, chars=20)
    drawn = texts(path, limit=30, chars=20, seed=5)
    assert drawn == texts(path, limit=30, chars=20, seed=5) != texts(path, limit=30, chars=20, seed=6)
    assert drawn == [text for text in every if text in set(drawn)]
    assert (len(drawn), len(every) > 100) == (30, True)


@pytest.mark.parametrize(
    ("source", "settings", "error", "message"),
    [
        ("d.py", {}, DataError, r"d\.py: cannot be read as UTF-8 text"),
        (
            "none",
            {},
            DataError,
            r"expected at least one text in '.*none', got none; give a file, a folder or a pattern",
        ),
        ("*.md", {}, DataError, "expected at least one text"),
        ("x**y/*.py", {}, DataError, r"expected (a file, a folder|at least one text)"),
        ("a.py", {"chars": 0}, InputError, "expected texts of at least 1 character, got 0"),
        ("a.py", {"limit": 0}, InputError, "expected a limit of at least 1, got 0"),
    ],
)
def test_what_gives_no_text_is_refused(tree, source, settings, error, message):
    with pytest.raises(error, match=message):
        corpus(tree / source, **settings)


def test_an_empty_path_is_not_the_folder_at_hand():
    with pytest.raises(DataError, match="expected a file, a folder or a pattern, got an empty path"):
        corpus("")


def test_a_bad_line_is_told(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x"}\n{"prompt": "y"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: expected 'text' as a non-empty string, got nothing"):
        corpus(path)
