"""Seeded samples: the same draw for the same seed, and as many of each kind as there can be."""

from collections import Counter

import pytest

from steersman.builders.sampling import balanced, sampled
from steersman.errors import InputError


@pytest.mark.parametrize("limit", [1, 2, 6, 7, 10, 40])
def test_kinds_that_alternate_are_drawn_equally(limit):
    items, kinds = list(range(40)), ["Yes", "No"] * 20
    drawn = balanced(items, limit, 0, kinds)
    assert drawn == sorted(drawn)
    assert len(set(drawn)) == limit
    counts = Counter(kinds[item] for item in drawn)
    assert abs(counts["Yes"] - counts["No"]) == limit % 2


def test_a_kind_that_is_rare_is_taken_whole():
    kinds = ["Yes"] * 30 + ["No"] * 3
    drawn = balanced(range(33), 10, 5, kinds)
    assert Counter(kinds[item] for item in drawn) == {"Yes": 7, "No": 3}
    assert balanced(range(33), None, 5, kinds) == balanced(range(33), 99, 5, kinds) == list(range(33))


def test_a_draw_depends_on_its_seed_alone():
    kinds = ["Yes", "No"] * 50
    first = balanced(range(100), 20, 1, kinds)
    assert first == balanced(range(100), 20, 1, kinds) != balanced(range(100), 20, 2, kinds)
    assert first != list(range(0, 100, 5))


@pytest.mark.parametrize("draw", [lambda n: sampled("ab", n, 0), lambda n: balanced("ab", n, 0, "xy")])
def test_an_empty_draw_is_refused(draw):
    with pytest.raises(InputError, match="limit of at least 1, got 0"):
        draw(0)
