"""The shipped statements: many, short, unlike each other, unfinished, in plain characters."""

import itertools
import re
from collections import Counter

from steersman.builders import statements

NEAR = 0.4
"""Jaccard index of two statements' words from which they count as near-duplicates; the nearest stand at 0.37."""


def words(text):
    return frozenset(re.findall(r"[a-z0-9']+", text.lower()))


def test_there_are_many_and_none_twice():
    bank = statements()
    assert len(bank) >= 240
    assert len({text.casefold() for text in bank}) == len(bank)


def test_no_two_are_nearly_alike():
    bank = [(text, words(text)) for text in statements()]
    near = [(a, b) for (a, x), (b, y) in itertools.combinations(bank, 2) if len(x & y) >= NEAR * len(x | y)]
    assert near == []


def test_no_two_begin_alike():
    heads = Counter(" ".join(text.lower().split()[:3]) for text in statements())
    assert [head for head, count in heads.items() if count > 1] == []
    first = Counter(text.split()[0] for text in statements())
    assert max(first.values()) < 0.4 * len(statements())


def test_each_is_the_beginning_of_a_sentence():
    for text in statements():
        assert 4 <= len(text.split()) <= 14, text
        assert re.fullmatch(r"[A-Z][A-Za-z0-9 ,;'-]*[A-Za-z0-9]", text), text
        assert "  " not in text
