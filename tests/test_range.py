"""Ranges: what a selection found of a direction's coefficients, where it goes along, and when it warns."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.arms import Controls, comparison
from steersman.edits import EDITS, Ablate, AddKeepingNorm, Clamp, Rotate
from steersman.errors import InputError
from steersman.maths.geometry import length
from steersman.plan import Plan, edit_words
from steersman.range import LENGTHS, SHARES, Range, Slider
from steersman.where import Site
from tiny import direction

SITE = Site(1)
UP = Range(SITE, 1, tried=2.0, recommended=0.31, onset=0.1, alarm=0.52, reason="rule: it broke at 0.52")
DOWN = Range(SITE, -1, tried=1.5, recommended=0.7, onset=0.2)
sizes = st.floats(1e-6, 1e6)


def held(*ranges, layers=(1, 2)):
    return direction(1, layers).with_ranges(*(ranges or (UP, DOWN)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sign": 0}, "expected the sign 1 or -1 of a range, got 0"),
        ({"tried": 0.0}, "positive number as a range's tried, got 0.0"),
        ({"tried": None}, "positive number as a range's tried, got None"),
        ({"alarm": float("nan")}, "positive number as a range's alarm, got nan"),
        ({"onset": float("inf")}, "positive number as a range's onset, got inf"),
        ({"recommended": -0.3}, "positive number as a range's recommended, got -0.3"),
        ({"recommended": 0.53}, "recommended up to its limit, 0.52, got 0.53"),
        ({"alarm": 2.5}, "alarm up to its strongest trial, 2, got 2.5"),
        ({"unit": "metres"}, "unit among norm, raw, got 'metres'"),
        ({"span": "some"}, "expected a span among"),
        ({"edit": ""}, "expected a range's edit"),
        ({"reason": "x" * 3000}, "at most 2,000 characters, got 3,000"),
        ({"beside": (SITE,)}, r"other sites beside resid_post\.1, got itself"),
    ],
)
def test_what_is_no_range_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        replace(UP, **changes)


def test_edits_whose_coefficient_is_known_in_both_units_are_those_without_settings():
    assert {edit_words(edit()) for edit in EDITS.values() if "(" not in edit_words(edit())} == {*LENGTHS, *SHARES}
    assert edit_words(Clamp(0.2, "above")) == "clamp(value=0.2, side=above)"


# Where a range goes along, and where it does not.


def test_at_keeps_the_ranges_of_its_sites():
    far = replace(UP, site=Site(2))
    whole = held(UP, DOWN, far)
    assert whole.at(1).ranges == (UP, DOWN)
    assert whole.at(2).ranges == (far,)
    assert whole.at(2, 1).ranges == whole.ranges


def test_what_was_found_at_sites_together_goes_only_with_all_of_them():
    joint = replace(UP, beside=(Site(2),))
    assert held(joint).at(1).ranges == ()
    assert held(joint).at(1, 2).ranges == (joint,)


@pytest.mark.parametrize(
    "changed",
    [
        lambda one: one.moved(3, 5.0),
        lambda one: one.everywhere(),
        lambda one: one.masked(2),
        lambda one: one.random(0),
        lambda one: one.permuted(0),
    ],
)
def test_another_vector_has_no_ranges(changed):
    assert changed(held(layers=[1])).ranges == ()


def test_controls_have_no_ranges_and_the_steered_arm_has():
    found = comparison(held(layers=[1]), [0.9], controls=Controls(random=1, prompt=False, prompt_steered=False))
    warned = {setting.arm: setting.plan.beyond() for setting in found.settings}
    assert len(warned["steered"]) == 1
    assert warned["random"] == warned["permuted"] == warned["unsteered"] == []
    plans = comparison(Plan(held(layers=[1]), coefficient=0.9), [1.0], controls=Controls(random=1))
    assert [s.arm for s in plans.settings if s.plan.beyond()] == ["steered"]


def test_with_ranges_replaces_what_is_of_the_same_kind_and_puts_it_first():
    new, clamped = replace(UP, recommended=0.4), replace(UP, edit="clamp(value=0.2, side=both)")
    assert held().with_ranges(new, clamped).ranges == (new, clamped, DOWN)


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ([replace(UP, site=Site(3))], r"ranges at the direction's sites, got one at resid_post\.3"),
        ([replace(UP, beside=(Site(3),))], r"ranges at the direction's sites, got one at resid_post\.3"),
        ([UP, replace(UP, recommended=0.2)], r"one range of a kind at resid_post\.1, got two of sign 1"),
    ],
)
def test_ranges_that_do_not_belong_are_refused(ranges, message):
    with pytest.raises(InputError, match=message):
        direction(1, [1, 2]).with_ranges(*ranges)


# Units.


@given(norm=sizes, size=sizes, times=st.floats(0.01, 100))
def test_conversion_is_exact_and_turns_back(norm, size, times):
    raw = UP.converted(norm, size)
    back = raw.converted(norm, size)
    assert raw.unit == "raw"
    assert raw.tried * size == pytest.approx(UP.tried * norm, rel=1e-12)
    assert [back.tried, back.recommended, back.alarm] == pytest.approx([2.0, 0.31, 0.52], rel=1e-12)
    # A coefficient is beyond in one unit exactly where it is in the other.
    if abs(times - 1) > 1e-6:
        assert raw.passed_by(times * raw.limit) == UP.passed_by(times * UP.limit) == (times > 1)


def test_a_share_is_the_same_in_both_units_and_settings_are_not_converted():
    share = Range(SITE, 1, tried=1.0, recommended=0.5, edit="ablate")
    assert share.converted(6.0, 2.0) == replace(share, unit="raw")
    with pytest.raises(InputError, match="expected a range of add, add_keeping_norm, ablate at one site to convert"):
        replace(share, edit="clamp(value=0.2, side=both)").converted(6.0, 2.0)
    with pytest.raises(InputError, match="at one site to convert"):
        replace(UP, beside=(Site(2),)).converted(6.0, 2.0)
    with pytest.raises(InputError, match="positive residual norm and vector length, got 0 and 2"):
        UP.converted(0, 2)


def test_a_range_is_found_in_the_unit_asked_for():
    whole = held(UP)
    norm, size = whole.norms[SITE], length(whole.vectors[SITE])
    assert whole.range_for(SITE, 1) == UP
    assert whole.range_for(SITE, 1, "raw") == UP.converted(norm, size)
    own = replace(UP, unit="raw", recommended=0.2)
    assert whole.with_ranges(own).range_for(SITE, 1, "raw") == own
    for other in ((SITE, -1), (Site(2), 1), (SITE, 1, "norm", "ablate"), (SITE, 1, "norm", "add", "prompt")):
        assert whole.range_for(*other) is None


# Warnings.


@pytest.mark.parametrize("unit", ["norm", "raw"])
@pytest.mark.parametrize("one", [UP, DOWN])
def test_the_warning_begins_just_beyond_the_limit(one, unit):
    at = held(layers=[1])
    limit = at.range_for(SITE, one.sign, unit).limit * one.sign
    assert Plan(at, coefficient=limit, unit=unit).beyond() == []
    (sentence,) = Plan(at, coefficient=limit * (1 + 1e-6), unit=unit).beyond()
    assert f" {unit} at resid_post.1 is beyond {limit:g}, " in sentence


def test_what_the_warning_says():
    at = held(layers=[1])
    (sentence,) = Plan(at, coefficient=0.8).beyond()
    assert sentence == (
        "coefficient 0.8 norm at resid_post.1 is beyond 0.52, where this direction's text stopped being coherent "
        "(recommended 0.31)"
    )
    (sentence,) = Plan(at, coefficient=-2).beyond()
    assert sentence == (
        "coefficient -2 norm at resid_post.1 is beyond -1.5, as far as this direction was tried (recommended -0.7)"
    )
    unfit = held(replace(UP, recommended=None, onset=None), layers=[1])
    assert Plan(unfit, coefficient=0.8).beyond()[0].endswith("(nothing of this sign is recommended)")


def test_several_plans_are_warned_of_together_and_sums_and_multiples_like_any_plan():
    plan = Plan(held(layers=[1]), coefficient=0.3)
    (sentence,) = plan.beyond(plan + plan, plan.scaled(3.0), -plan)
    assert sentence.startswith("coefficients 0.6, 0.9 norm at resid_post.1 are beyond 0.52, where")


@pytest.mark.parametrize(
    "plan",
    [
        Plan(direction(1, [1]), coefficient=50.0),
        Plan(held(UP, layers=[1]), coefficient=-50.0),
        Plan(held().at(2), coefficient=50.0),
        Plan(held(), span="generated", coefficient=50.0),
        Plan(held(), AddKeepingNorm(), coefficient=50.0),
        Plan(held(), Ablate(), coefficient=1.0),
        Plan(held(), Rotate(30.0), second=direction(2, [1, 2])),
        Plan(),
    ],
)
def test_nothing_is_said_where_no_range_is_known(plan):
    assert plan.beyond() == []


def test_what_was_found_together_is_said_once_and_what_was_found_alone_of_more_sites_too():
    first, second = replace(UP, beside=(Site(2),)), replace(UP, site=Site(2), beside=(SITE,))
    (sentence,) = Plan(held(first, second), coefficient=0.8).beyond()
    assert sentence.startswith("coefficient 0.8 norm at resid_post.1, resid_post.2 is beyond 0.52")
    (sentence,) = Plan(held(UP), coefficient=0.8).beyond()
    assert sentence.startswith("coefficient 0.8 norm at resid_post.1 is beyond 0.52")


def test_ranges_are_no_part_of_what_a_plan_does():
    plain, known = Plan(direction(1, [1])), Plan(held(layers=[1]))
    assert known.steps[0].ranges == (UP, DOWN)
    assert plain == known
    assert len((plain + known).steps) == 1


# What to take where nobody gave a coefficient.


def test_the_recommendation_is_the_positive_one_where_there_is_one():
    assert held(layers=[1]).recommendation() == UP
    assert held(replace(UP, recommended=None), DOWN, layers=[1]).recommendation() == DOWN
    assert held(replace(UP, recommended=None), layers=[1]).recommendation() is None
    assert held(UP).recommendation() is None  # at two sites nothing was tried
    assert held(UP, layers=[1]).recommendation("norm", "ablate") is None
    joint = replace(UP, beside=(Site(2),))
    assert held(joint, replace(joint, site=Site(2), beside=(SITE,))).recommendation() == joint
    assert DOWN.coefficient == -0.7


@pytest.mark.parametrize(
    ("ranges", "slider"),
    [
        ([UP, DOWN], Slider(-1.5, 0.52, 0.31, True)),
        ([UP], Slider(-0.5, 0.52, 0.31, False)),
        ([replace(UP, alarm=0.35)], Slider(-0.35, 0.35, 0.31, False)),
        ([DOWN], Slider(-1.5, 0.5, -0.7, False)),
        ([replace(UP, recommended=None)], Slider(-0.5, 0.52, 0.0, False)),
    ],
)
def test_a_slider_goes_from_limit_to_limit(ranges, slider):
    assert held(*ranges, layers=[1]).slider() == slider


def test_a_slider_where_nothing_is_known_and_where_the_coefficient_is_a_share():
    plain = direction(1, [1])
    ratio = plain.norms[SITE] / length(plain.vectors[SITE])
    assert plain.slider() == Slider(-0.5, 0.5, 0.0, False)
    assert plain.slider("raw").high == pytest.approx(0.5 * ratio)
    assert held(layers=[1]).slider("raw").high == pytest.approx(0.52 * ratio)
    assert plain.slider(edit="ablate") == Slider(0.0, 1.0, 0.0, False)
    share = Range(SITE, 1, tried=1.0, recommended=0.5, edit="ablate")
    assert held(share, layers=[1]).slider(edit="ablate") == Slider(0.0, 1.0, 0.5, True)
    with pytest.raises(InputError, match="one site to draw a slider for, got 2"):
        held().slider()


@pytest.mark.parametrize("first", [True, False])
def test_a_sum_warns_by_whichever_side_knows_a_range(first):
    known, unknown = (Plan(each, coefficient=0.3) for each in (held(layers=[1]), direction(1, [1])))
    total = known + unknown if first else unknown + known
    assert len(total) == 1
    (sentence,) = total.beyond()
    assert "coefficient 0.6 norm at resid_post.1 is beyond 0.52" in sentence
