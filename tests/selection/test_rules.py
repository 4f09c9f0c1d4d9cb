"""Rules on curves with planted ends: where the alarm rings, what is recommended, and what is never made up."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.errors import InputError
from steersman.selection.curve import Curve, Trial
from steersman.selection.mark import COHERENCE, Mark
from steersman.selection.rules import RULES, Coherent, Product, Threshold, rule_named

WHOLE, BROKEN = {"low_logprob": -3.0, "repetition": 0.0}, {"low_logprob": -14.0, "repetition": 0.8}


def curve(values, signal="m", step=0.1):
    return Curve(tuple(Trial(round(step * i, 6), signals={signal: value}) for i, value in enumerate(values)))


def spoken(coherent, behaviour, sign=1):
    """A curve of trials that are whole or broken and show the behaviour so much."""
    trials = [
        Trial(sign * i / 10, signals={**(WHOLE if ok else BROKEN), "concept": shown})
        for i, (ok, shown) in enumerate(zip(coherent, behaviour, strict=True))
    ]
    return Curve(tuple(trials))


@pytest.mark.parametrize(
    ("coefficients", "match"),
    [
        ([0.1, 0.2], "rising in size from 0"),
        ([0.0], "rising in size from 0"),
        ([0.0, 0.2, 0.2], "rising in size from 0"),
        ([0.0, 0.1, -0.2], "of one sign"),
    ],
)
def test_what_is_no_curve_is_refused(coefficients, match):
    with pytest.raises(InputError, match=match):
        Curve(tuple(Trial(c) for c in coefficients))


def test_a_missing_signal_is_named_with_those_there_are():
    with pytest.raises(InputError, match="expected a signal among m, got 'x'"):
        curve([0, 1]).values("x")


def test_nearest_takes_the_gentler_of_two():
    assert curve([0, 0, 0]).nearest(0.15).coefficient == 0.1
    assert curve([0, 0, 0], step=-0.1).nearest(-9).coefficient == -0.2


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=12), st.floats(0.1, 3), st.sampled_from(["up", "down", "both"]))
def test_a_threshold_alarms_at_the_first_value_beyond_it(values, change, worse):
    found = Threshold("rule", "m", worse, change).pick(curve(values))
    beyond = [
        i
        for i, value in enumerate(values)
        if i and ((worse != "down" and value > values[0] + change) or (worse != "up" and value < values[0] - change))
    ]
    at = round(0.1 * beyond[0], 6) if beyond else None
    assert found.alarm == at
    if at is None:
        assert (found.status, found.recommended) == ("no alarm", found.tried)
        assert f"no alarm found up to {found.tried:g}" in found.reason
    elif beyond[0] == 1:
        assert (found.status, found.recommended) == ("never coherent", None)
    else:
        assert (found.status, found.recommended) == ("found", pytest.approx(at - 0.1))


def test_the_published_rule_is_a_fifth_of_a_negative_baseline_upwards():
    # Log-probabilities near -11: 20 % above is 80 % of the size; the alarm itself is taken, nothing held back.
    found = RULES["alert-published"].pick(curve([-10.0, -9.0, -8.01, -7.99, -3.0], "echo"))
    assert (found.status, found.alarm, found.recommended) == ("found", 0.3, 0.3)
    assert RULES["alert-published-0.6"].pick(curve([-10, -9, -7], "echo")).recommended == pytest.approx(0.12)


@pytest.mark.parametrize("worse", ["up", "down", "both"])
def test_what_is_not_a_number_rings(worse):
    pick = Threshold("t", "m", worse, 1.0).pick(curve([0.0, 0.1, math.nan, 0.1]))
    assert (pick.alarm, pick.recommended) == (pytest.approx(0.2), pytest.approx(0.1))


def test_a_window_passes_over_a_single_bad_value():
    values = [0, 0, -5, 0, -5, -5]
    assert Threshold("r", "m", "down", 1.0).pick(curve(values)).alarm == 0.2
    assert Threshold("r", "m", "down", 1.0, window=2).pick(curve(values)).alarm == 0.4
    assert Threshold("r", "m", "down", 1.0, window=3).pick(curve(values)).alarm is None


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"change": 0.0}, "a change above 0"),
        ({"window": 0}, "at least 1 trial"),
        ({"back_off": 1.5}, "share of the alarm"),
    ],
)
def test_thresholds_that_cannot_work_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        Threshold("r", "m", "up", **{"change": 1.0, **options})


@given(st.floats(-100, 0), st.floats(0, 1))
def test_a_reading_stays_within_the_marks(low, repetition):
    unsteered = {"low_logprob": -3.0, "repetition": 0.1}

    def read(low, repetition):
        return COHERENCE.read({"low_logprob": low, "repetition": repetition}, unsteered)

    mark = read(low, repetition)
    assert 1 <= mark <= 10
    assert mark >= read(low - 1, repetition)
    assert mark >= read(low, min(1.0, repetition + 0.1))
    # Another reader, to whom all such text is less likely, marks it the same.
    moved = COHERENCE.read({"low_logprob": low - 4, "repetition": repetition}, {**unsteered, "low_logprob": -7.0})
    assert mark == pytest.approx(moved)


def test_a_reading_is_its_formula():
    found = Mark(0.5, {"a": 2.0, "b": -1.0}, ("a",)).read({"a": 0.75, "b": 3.0}, {"a": 0.5, "b": 9.0})
    assert found == pytest.approx(1 + 9 / (1 + math.exp(-(0.5 + 0.5 - 3.0))))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_product_takes_what_shows_most_while_the_text_is_whole(sign):
    found = Product("p", ("concept",)).pick(
        spoken([1, 1, 1, 1, 1, 1, 0, 0, 0], [-20, -20, -18, -8, -4, -9, -1, 0, 0], sign)
    )
    assert found.status == "found"
    assert found.recommended == sign * 0.4
    assert found.onset == sign * 0.3
    # The last whole trial has a broken neighbour and still is whole on average.
    assert found.alarm == sign * 0.6
    assert found.tried == sign * 0.8


def test_a_lucky_trial_between_broken_ones_is_not_recommended():
    whole = [1, 1, 1, 1, 0, 0, 1, 0, 0]
    shown = [-20, -15, -10, -10, -5, -5, 0, -5, -5]
    found = Product("p", ("concept",)).pick(spoken(whole, shown))
    assert found.alarm == 0.4
    assert found.recommended in (0.2, 0.3)


def test_without_an_end_there_is_no_alarm_and_without_a_beginning_no_effect():
    whole = Product("p", ("concept",)).pick(spoken([1] * 6, [-9, -8, -5, -3, -2, -1]))
    assert (whole.status, whole.alarm, whole.recommended) == ("no alarm", None, 0.5)
    assert "no alarm found" in whole.reason
    flat = Product("p", ("concept",)).pick(spoken([1, 1, 1, 0, 0, 0], [-9, -9, -10, -9, -9, -9]))
    assert (flat.status, flat.recommended) == ("no effect", None)
    never = Product("p", ("concept",)).pick(spoken([1, 0, 0, 0], [-9, -3, -3, -3]))
    assert (never.status, never.recommended, never.alarm) == ("never coherent", None, 0.1)


@given(st.floats(0.1, 50), st.floats(-100, 100))
def test_the_unit_of_the_behaviour_drops_out(scale, shift):
    shown = [-20, -19, -15, -8, -4, -9, -1]
    first = Product("p", ("concept",)).pick(spoken([1] * 7, shown))
    moved = Product("p", ("concept",)).pick(spoken([1] * 7, [scale * value + shift for value in shown]))
    assert (first.recommended, first.onset, first.alarm) == (moved.recommended, moved.onset, moved.alarm)


@pytest.mark.parametrize("sign", [1, -1])
def test_coherence_alone_takes_the_strongest_that_is_whole_and_rings_where_the_product_does(sign):
    whole, shown = [1, 1, 1, 1, 1, 1, 0, 0, 0], [-20, -20, -18, -8, -4, -9, -1, 0, 0]
    own, product = (rule.pick(spoken(whole, shown, sign)) for rule in (Coherent("c"), Product("p", ("concept",))))
    # Averaged with the broken one behind it, the last whole trial is no longer whole.
    assert (own.status, own.recommended, own.alarm) == ("found", sign * 0.4, sign * 0.6)
    assert own.alarm == product.alarm
    alone = Coherent("c", neighbours=0).pick(spoken(whole, shown, sign))
    assert (alone.recommended, alone.alarm) == (sign * 0.5, sign * 0.6)
    ever = Coherent("c").pick(spoken([1] * 5, [0] * 5, sign))
    assert (ever.status, ever.recommended, ever.alarm) == ("no alarm", sign * 0.4, None)
    never = Coherent("c").pick(spoken([1, 0, 0, 0], [0] * 4, sign))
    assert (never.status, never.recommended, never.alarm) == ("never coherent", None, sign * 0.1)


def test_text_can_wear_out_before_it_breaks():
    trials = tuple(
        Trial(0.1 * i, signals={"m": mark}) for i, mark in enumerate([9.0, 3.0, 3.0, 0.5, 0.4, 0.3, 0.2, -9, -9])
    )
    found = Coherent("c", Mark(0.0, {"m": 1.0}), neighbours=0).pick(Curve(trials))
    # 0.5 reads as 6.6: below 8 and above 5.
    assert (found.recommended, found.alarm) == (pytest.approx(0.2), pytest.approx(0.7))
    assert "below 8 from 0.3 on; coherence lost at 0.7" in found.reason
    unbroken = Coherent("c", Mark(0.0, {"m": 1.0}), neighbours=0).pick(Curve(trials[:7]))
    assert (unbroken.status, unbroken.recommended, unbroken.alarm) == ("no alarm", pytest.approx(0.2), None)
    with pytest.raises(InputError, match="ask more of whole text"):
        Coherent("c", whole=4.0)
    with pytest.raises(InputError, match="neighbours from 0 up"):
        Coherent("c", neighbours=-1)


def test_several_signals_of_the_behaviour_are_averaged():
    shown = [-20, -15, -10, -5, 0]
    trials = spoken([1] * 5, shown).trials
    other = [Trial(t.coefficient, signals={**t.signals, "n": x}) for t, x in zip(trials, [0, 8, 10, 0, 0], strict=True)]
    assert Product("p", ("concept",)).pick(Curve(tuple(other))).recommended == 0.4
    assert Product("p", ("n",), neighbours=0).pick(Curve(tuple(other))).recommended == 0.2
    assert Product("p", ("concept", "n"), neighbours=0).pick(Curve(tuple(other))).recommended == 0.2


def test_products_that_cannot_work_are_refused():
    with pytest.raises(InputError, match="at least one signal"):
        Product("p", ())
    with pytest.raises(InputError, match="neighbours from 0 up"):
        Product("p", ("concept",), neighbours=-1)


def test_where_trials_lie_close_a_single_bad_one_counts_less():
    def at(coefficients, broken):
        trials = [
            Trial(c, signals={**(BROKEN if c in broken else WHOLE), "concept": 10 * c}) for c in (0.0, *coefficients)
        ]
        return Product("p", ("concept",)).pick(Curve(tuple(trials)))

    # Two broken ones in a row are the end; two that lie among many whole ones, within a mean distance, are not.
    assert at((0.1, 0.2, 0.3, 0.4, 0.5, 0.6), {0.3, 0.4}).alarm == 0.3
    close = at((0.2, 0.28, 0.29, 0.295, 0.3, 0.305, 0.31, 0.32, 0.8), {0.3, 0.305})
    assert (close.status, close.alarm) == ("no alarm", None)


def test_rules_are_found_by_their_names():
    assert all(rule_named(name).name == name for name in RULES)
    with pytest.raises(InputError, match=r"expected a rule among alert-published, .*got 'loudest'"):
        rule_named("loudest")
