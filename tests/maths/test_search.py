"""The search of a strength: what it finds, how many questions that takes, and that it cannot be led astray."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.errors import InputError
from steersman.maths.search import Landmarks, Reach, ask, rounds

REACH = Reach(0.1, 0.01, 2.0)
THRESHOLDS = st.floats(0.011, 1.99)


def first_passing(tried: list[float], passes) -> float | None:
    return next((size for size in sorted(tried) if passes(size)), None)


def searched(passes, total: int, *, batch: int = 1, best=None, reach: Reach = REACH) -> list[float]:
    """Ask until there is nothing left, and return all that was tried, in order of asking."""
    tried: list[float] = []
    while len(tried) < total:
        marks = Landmarks(alarm=first_passing(tried, passes), best=best(tried) if best and tried else None)
        asked = ask(tried, marks, reach, min(batch, total - len(tried)))
        if not asked:
            break
        tried += asked
    return tried


@settings(deadline=None)
@given(THRESHOLDS, st.integers(1, 4))
def test_a_threshold_is_bracketed_tightly_wherever_it_lies(threshold, batch):
    tried = searched(lambda size: size >= threshold, 14, batch=batch)
    above = min(size for size in tried if size >= threshold)
    below = max((size for size in tried if size < threshold), default=REACH.least)
    assert above / below <= 1.3
    assert len(tried) <= 14


@settings(deadline=None)
@given(THRESHOLDS)
def test_what_never_passes_ends_at_the_largest_size_after_few_questions(threshold):
    del threshold
    tried = searched(lambda _: False, 6)
    assert max(tried) == REACH.largest
    assert tried.index(REACH.largest) <= math.ceil(math.log2(REACH.largest / REACH.first))


@settings(deadline=None, max_examples=60)
@given(st.randoms(use_true_random=False), st.integers(1, 5), st.integers(1, 24))
def test_noise_breaks_no_promise(random, batch, total):
    answers: dict[float, bool] = {}

    def passes(size: float) -> bool:
        return answers.setdefault(size, random.random() < 0.3)

    tried = searched(passes, total, batch=batch, best=lambda tried: random.choice(tried) * random.uniform(0.5, 1.5))
    assert len(tried) == len(set(tried)) <= total
    assert all(REACH.least <= size <= REACH.largest for size in tried)


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 2.0), min_size=1, max_size=6, unique=True), st.integers(1, 4))
def test_the_same_answers_give_the_same_questions_in_any_order(tried, count):
    marks = Landmarks(alarm=max(tried), best=min(tried))
    assert ask(tried, marks, REACH, count) == ask(tried[::-1], marks, REACH, count)
    assert list(ask(tried, marks, REACH, count)) == sorted(set(ask(tried, marks, REACH, count)))


@settings(deadline=None)
@given(st.floats(0.15, 0.9))
def test_the_peak_of_an_effect_is_closed_in_on(peak):
    def merit(size: float) -> float:
        return -abs(math.log(size / peak))

    tried = searched(lambda size: size > 1.2, 14, batch=2, best=lambda tried: max(tried, key=merit))
    assert min(abs(math.log(size / peak)) for size in tried) <= math.log(1.15)


def test_a_best_that_was_not_tried_is_asked_for_itself_and_first():
    asked = ask([0.1, 0.2, 0.4], Landmarks(alarm=0.4, best=0.24), REACH, 1)
    assert asked == (0.24,)
    assert 0.24 not in ask([0.1, 0.2, 0.24, 0.4], Landmarks(alarm=0.4, best=0.24), REACH, 3)


def test_the_first_round_is_a_ladder_and_the_second_goes_on_from_its_end():
    assert ask([], Landmarks(), REACH, 4) == (0.1, 0.2, 0.4, 0.8)
    assert ask([0.1, 0.2, 0.4, 0.8], Landmarks(), REACH, 1) == (2.0,)  # 1.6 would end too near to the largest
    assert ask([0.1, 0.2, 0.4, 0.8], Landmarks(alarm=0.1), REACH, 2) == (0.025, 0.05)


def test_what_lies_beyond_the_alarm_is_not_asked_for():
    asked = ask([0.1, 0.2, 0.4, 0.8, 2.0], Landmarks(alarm=0.4, onset=0.2, best=0.2), REACH, 12)
    assert max(asked) < 0.4


def test_nothing_is_asked_where_every_gap_is_closed():
    close = Reach(1.0, 1.0, 1.05)
    assert ask([1.0, 1.05], Landmarks(), close, 3) == ()


@pytest.mark.parametrize("total", range(1, 27))
def test_rounds_add_up_and_get_smaller(total):
    sizes = rounds(total)
    assert sum(sizes) == total
    assert all(a >= b for a, b in pairwise(sizes))
    assert len(sizes) <= 6


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: Reach(0.1, 0.2, 2.0), "0 < least <= first <= largest"),
        (lambda: Reach(0.1, 0.1, math.inf), "0 < least <= first <= largest"),
        (lambda: Reach(0.1, 0.1, 1.0, growth=1.0), "growth and a resolution above 1"),
        (lambda: ask([], Landmarks(), REACH, 0), "at least one question, got 0"),
        (lambda: ask([0.0], Landmarks(), REACH, 1), "positive sizes"),
    ],
)
def test_what_is_no_search_is_refused(call, match):
    with pytest.raises(InputError, match=match):
        call()
