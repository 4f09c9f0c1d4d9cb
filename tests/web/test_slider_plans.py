"""Sliders to a plan: sums, warnings beyond a range, words."""

import re

import pytest

from steersman.gates import Gate
from steersman.plan import Plan
from steersman.range import Range, Slider
from steersman.web.shelf import Entry, Setting, slider_of
from steersman.web.steering import beyond, ends, signed, steering_of
from steersman.where import Site
from tiny import direction


def norm(_: int) -> float:
    return 5.0


def shelf() -> list[Entry]:
    found = (
        Range(Site(2), 1, tried=0.8, recommended=0.3, alarm=0.6),
        Range(Site(2), -1, tried=0.4, recommended=0.2),
    )
    return [
        Entry("warm", "warmer / colder", direction(1, [2]).with_ranges(*found)),
        Entry("long", "", direction(2, [1])),
        Entry("saved", "", Plan(direction(3, [3]), coefficient=0.2)),
    ]


def test_several_sliders_add_up_and_those_at_zero_do_nothing() -> None:
    found = steering_of(shelf(), {}, [0.3, 0.0, 1.5], norm)
    expected = Plan(direction(1, [2]), coefficient=0.3) + Plan(direction(3, [3]), coefficient=0.2).scaled(1.5)
    assert found.plan == expected
    assert found.words == "warm +0.30, saved +1.50"
    assert not found.warnings
    assert not steering_of(shelf(), {}, [0, 0, 0], norm).plan


def test_settings_move_and_gates_are_named() -> None:
    gate = Gate(Site(0), direction(9, [0]).vectors[Site(0)], 1.0)
    settings = {"warm": Setting(layer=0, span="generated", gated=True), "long": Setting(gated=True)}
    found = steering_of(shelf(), settings, [0.1, 0.2], norm, {"warm": gate})
    first, second = found.plan
    assert (first.site, str(first.span), first.gate) == (Site(0), "generated", gate)
    assert second.gate is None
    assert found.gates == {"resid_post.0": "warm"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.6, ""),
        (0.61, r"warm at \+0.61 is beyond \+0.60, where its text stopped being coherent. Recommended is \+0.30"),
        (-0.4, ""),
        (-0.5, "warm at −0.50 is beyond −0.40, where it was never tried any further. Recommended is −0.20"),
    ],
)
def test_beyond_the_range_there_is_a_sentence(value: float, words: str) -> None:
    found = beyond(shelf()[0], Setting(), value, norm)
    assert bool(found) == bool(words)
    assert re.match(words, found)


def test_where_nothing_was_measured_the_usual_range_warns() -> None:
    assert not beyond(shelf()[1], Setting(), 0.5, norm)
    assert "nothing was measured there" in beyond(shelf()[1], Setting(), -0.7, norm)
    assert "nothing was measured there" in beyond(shelf()[0], Setting(layer=1), 0.55, norm)
    assert "twice what was saved" in beyond(shelf()[2], Setting(), 2.5, norm)


def test_no_end_of_a_track_is_warned_of() -> None:
    for entry in shelf():
        low, high = ends(slider_of(entry, Setting(), norm))
        assert not beyond(entry, Setting(), low, norm)
        assert not beyond(entry, Setting(), high, norm)
    assert ends(Slider(-0.567, 0.8, 0.3, known=True)) == (-0.56, 0.8)
    assert ends(Slider(0.0, 0.4, 0.3, known=True), wider=2.5) == (0.0, 1.0)


def test_signs_are_shown() -> None:
    assert (signed(0.3), signed(-0.25), signed(None)) == ("+0.30", "−0.25", "+0.00")
