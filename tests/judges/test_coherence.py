"""Coherence limits and distinct n-grams."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.errors import InputError
from steersman.judges import Coherence, distinct_ngrams
from steersman.judges.coherence import repeated_ngrams

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=12)


@pytest.mark.parametrize(
    ("text", "size", "value"),
    [
        ("", 3, 1.0),
        ("one two", 3, 1.0),
        ("one two three", 3, 1.0),
        ("a b c a b c", 3, 3 / 4),  # abc bca cab abc
        ("no no no no no", 3, 1 / 3),
        ("A a A a", 1, 1 / 4),
        ("a b a b", 2, 2 / 3),
        ("a\nb  a\tb", 2, 2 / 3),
    ],
)
def test_distinct_ngrams_by_hand(text, size, value):
    assert distinct_ngrams(text, size) == pytest.approx(value, abs=1e-12)


@given(WORDS, st.integers(1, 4))
def test_the_share_lies_between_one_gram_and_all(words, size):
    grams = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
    share = distinct_ngrams(" ".join(words), size)
    assert 0 < share <= 1
    assert (share == 1) == (len(set(grams)) == len(grams))


@pytest.mark.parametrize(
    ("tokens", "size", "value"),
    [
        ((), 2, 0.0),
        ((7,), 2, 0.0),
        ((7, 7), 2, 0.0),
        ((7, 7, 7), 2, 1 / 2),
        ((1, 2, 1, 2, 1), 2, 1 / 2),  # 12 21 12 21
        ((1, 2, 3, 1, 2), 1, 2 / 5),
        ((1, 2, 3, 4), 2, 0.0),
    ],
)
def test_repeated_ngrams_by_hand(tokens, size, value):
    assert repeated_ngrams(tokens, size) == pytest.approx(value, abs=1e-12)


@given(WORDS.filter(lambda words: len(words) >= 2), st.integers(1, 2))
def test_what_is_repeated_is_what_is_not_distinct(words, size):
    assert repeated_ngrams(words, size) + distinct_ngrams(" ".join(words), size) == pytest.approx(1)


@given(WORDS.filter(lambda words: len(words) >= 3))
def test_going_round_in_circles_lowers_the_share(words):
    assert distinct_ngrams(" ".join(words * 3)) < 1


@pytest.mark.parametrize(
    ("text", "logprob", "coherent"),
    [
        ("Boil the eggs for eight minutes.", -2.0, True),
        ("Boil the eggs for eight minutes.", -2.0 - 1e-9, False),
        ("Boil the eggs for eight minutes.", 0.0, True),
        ("", 0.0, False),
        (" \n", 0.0, False),
        ("a b c a b c", -1.0, True),  # 3 of 4
        ("a b c a b c a", -1.0, False),  # 3 of 5
    ],
)
def test_both_limits_include_their_edge(text, logprob, coherent):
    limits = Coherence(floor=-2.0, distinct=0.75)
    assert limits.coherent(text, logprob) is coherent


@pytest.mark.parametrize(
    ("own", "elsewhere", "on_topic"), [(-1.0, -1.25, True), (-1.0, -1.125, False), (-1.0, -0.5, False)]
)
def test_on_topic_is_a_margin_over_another_prompt(own, elsewhere, on_topic):
    assert Coherence(margin=0.25).on_topic(own, elsewhere) is on_topic


@pytest.mark.parametrize("share", [-0.01, 1.01, float("nan")])
def test_an_impossible_share_is_refused(share):
    with pytest.raises(InputError, match=r"share of distinct 3-grams from 0 to 1, got"):
        Coherence(distinct=share)
