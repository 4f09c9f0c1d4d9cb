"""Plans are plain values that add, scale and describe themselves."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steersman.edits import Ablate, Add, AddKeepingNorm, Clamp, Rotate
from steersman.errors import InputError, MismatchError
from steersman.gates import Gate
from steersman.plan import Plan
from steersman.where import Site, Span
from tiny import direction, plan


def gate(threshold):
    return Gate(Site(1), torch.ones(32), threshold)


finite = st.floats(-1e6, 1e6, allow_nan=False)


def coefficients(some):
    return [step.coefficient for step in some]


def test_every_site_of_the_direction_becomes_a_step():
    made = Plan(direction(1, [3, 0, 2]), coefficient=0.5)
    assert [step.site for step in made] == [Site(0), Site(2), Site(3)]
    assert len(made) == 3
    assert all(step.edit == Add() and step.span == Span("all") and step.unit == "norm" for step in made)
    assert {(step.width, step.depth) for step in made} == {(32, 4)}


def test_units_give_the_length_of_coefficient_one():
    one = direction(1, [2])
    raw, norm = Plan(one, unit="raw").steps[0].vector, Plan(one, unit="norm").steps[0].vector
    assert torch.equal(raw, one.vectors[Site(2)])
    assert float(norm.norm()) == pytest.approx(one.norms[Site(2)], rel=1e-6)
    torch.testing.assert_close(norm / norm.norm(), raw / raw.norm())
    (described,) = Plan(one, coefficient=-0.5).describe()
    assert described == {
        "site": "resid_post.2",
        "edit": "add",
        "span": "all",
        "coefficient": -0.5,
        "unit": "norm",
        "length": pytest.approx(0.5 * one.norms[Site(2)], rel=1e-6),
    }


def test_the_empty_plan_has_no_steps():
    assert len(Plan()) == 0
    assert list(Plan()) == []
    assert (Plan() + plan(1)).digest() == plan(1).digest()


@given(finite, finite)
def test_scaling_multiplies_every_coefficient(coefficient, factor):
    both = plan(1, [0, 2], coefficient=coefficient) + plan(2, [1], coefficient=1.0)
    assert coefficients(both.scaled(factor)) == [coefficient * factor] * 2 + [factor]
    assert coefficients(both) == [coefficient] * 2 + [1.0]


@given(finite)
def test_minus_turns_every_sign(coefficient):
    one, other = plan(1, [0, 1], coefficient=coefficient), plan(2, [3])
    assert one.scaled(-1).scaled(-1).digest() == one.digest()
    assert (one - other).digest() == (one + -other).digest()
    assert coefficients(one - other) == [coefficient, coefficient, -1.0]


@given(finite, finite)
def test_equal_steps_add_up(first, second):
    both = plan(1, [0, 2], coefficient=first) + plan(3, [2]) + plan(1, [0, 2], coefficient=second)
    assert coefficients(both) == [first + second, first + second, 1.0]
    assert plan(1, coefficient=first) + plan(1, coefficient=first) == plan(1, coefficient=first).scaled(2)
    assert plan(1, coefficient=first) - plan(1, coefficient=first) == Plan()


def test_steps_that_differ_in_anything_stay_apart():
    one = direction(1, [1])
    unlike = [
        Plan(one),
        Plan(one, span="last"),
        Plan(one, unit="raw"),
        Plan(one, AddKeepingNorm()),
        Plan(one, Clamp(0.1)),
        Plan(one, Clamp(0.2)),
        Plan(one, gate=gate(0.5)),
        Plan(one, gate=gate(0.6)),
        Plan(one, Rotate(5), second=direction(2, [1])),
        Plan(one, Rotate(5), second=direction(3, [1])),
    ]
    total = sum(unlike, Plan())
    assert len(total) == len(unlike)
    assert len({each.digest() for each in unlike}) == len(unlike)
    assert len(total + Plan(one, gate=gate(0.5)) + Plan(one, Clamp(0.1), coefficient=0.0)) == len(unlike)


def test_two_ablations_of_one_direction_are_refused_when_used(llama):
    with pytest.raises(InputError, match="coefficient of 'ablate', got 2; equal steps of a plan add up"):
        llama.check(Plan(direction(1), Ablate()) + Plan(direction(1), Ablate()))


def test_steps_for_two_models_stay_apart_and_are_both_checked(llama):
    one, other = direction(1), direction(1, depth=8)
    both = Plan(one) + Plan(other)
    assert len(both) == 2
    assert Plan(one) != Plan(other)
    with pytest.raises(MismatchError, match="got width 32 for 8 layers"):
        llama.check(both)


def test_a_plan_of_steps_is_checked_when_it_is_used(llama):
    (step,) = Plan(direction(1)).steps
    with pytest.raises(InputError, match=r"known while a text is being written at resid_post\.1, got 'end'"):
        llama.check(Plan.of([replace(step, span=Span("end"))]))


def test_a_factor_before_or_behind_scales():
    assert 2 * plan(1) == plan(1) * 2 == plan(1).scaled(2)


def test_what_is_printed_is_short():
    whole = direction(1, [0, 1, 2, 3])
    gated = Plan(whole, Clamp(0.2), span="last", gate=Gate(Site(0), torch.ones(32), 0.5))
    assert repr(gated).startswith("Plan(Clamp(value=0.2, side='both') at resid_post.0 over last, 1 norm, gate at")
    assert repr(gated).endswith("... 4 steps)")
    assert repr(whole) == (
        "Direction(made up, seed 1, tiny, width 32, at resid_post.0, resid_post.1, resid_post.2, resid_post.3)"
    )
    assert all(len(repr(each)) < 400 for each in (gated, whole, gated.steps[0].gate))


def test_a_gate_reads_no_later_than_its_step_acts():
    with pytest.raises(InputError, match=r"no later than its step acts \(resid_post\.1\), got one at resid_pre\.2"):
        Plan(direction(1, [1]), gate=Gate(Site(2, "resid_pre"), torch.ones(32), 0.0))
    assert len(Plan(direction(1, [1, 2]), gate=gate(0.0))) == 2


def test_the_end_of_a_text_cannot_be_steered():
    with pytest.raises(InputError, match="known while a text is being written, got 'end'"):
        Plan(direction(1), span="end")


def test_sums_keep_the_order_of_steps():
    a, b, c = plan(1), plan(2), plan(3)
    assert ((a + b) + c).digest() == (a + (b + c)).digest()
    assert (a + b).digest() != (b + a).digest()


def test_the_digest_tells_apart_all_that_acts():
    one = direction(1, [1])
    variants = [
        Plan(one),
        Plan(one, coefficient=1.0 + 1e-12),
        Plan(one, coefficient=-1.0),
        Plan(one, span="last"),
        Plan(one, unit="raw"),
        Plan(direction(2, [1])),
        Plan(direction(1, [2])),
        Plan(direction(1, [1, 2])),
        Plan(),
    ]
    assert len({variant.digest() for variant in variants}) == len(variants)
    assert Plan(direction(1, [1])).digest() == Plan(one).digest()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coefficient": math.nan}, "finite coefficient, got nan"),
        ({"coefficient": math.inf}, "finite coefficient, got inf"),
        ({"span": "middle"}, "span among all, prompt"),
        ({"unit": "metres"}, "unit among norm, raw, got 'metres'"),
    ],
)
@pytest.mark.parametrize("given_direction", [direction(1), None], ids=["a direction", "no direction"])
def test_what_is_no_plan_is_refused(arguments, message, given_direction):
    with pytest.raises(InputError, match=message):
        Plan(given_direction, **arguments)


@pytest.mark.parametrize("factor", [math.nan, math.inf, 1e308])
def test_a_factor_that_leads_out_of_the_numbers_is_refused(factor):
    with pytest.raises(InputError, match="finite"):
        plan(1, coefficient=10.0).scaled(factor)


def test_plans_are_frozen():
    with pytest.raises(AttributeError):
        plan(1).steps = ()
