"""Budgets: read as they are written, kept and broken as their limits say, and never by what nobody measured."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.errors import InputError
from steersman.selection import Budget
from steersman.selection.budget import KNOWN

limits = st.dictionaries(st.sampled_from(sorted(KNOWN)), st.floats(0, 1).map(lambda value: round(value, 4)), min_size=1)
values = st.floats(-2, 2)


@given(limits)
def test_a_budget_is_read_back_as_it_is_written(chosen):
    assert Budget.parse(str(Budget(chosen))) == Budget(chosen)


def test_the_order_and_the_spelling_do_not_matter():
    text = "over_refusal=0.05, kl = 0.5,knowledge=2"
    assert Budget.parse(text) == Budget({"knowledge": 2, "kl": 0.5, "over-refusal": 0.05})
    assert str(Budget.parse(text)) == "kl=0.5,knowledge=2,over-refusal=0.05"
    assert Budget.parse(text).words == (
        "kl at most 0.5 nats per token, knowledge at most 2 percentage points, over-refusal at most 0.05 share"
    )


@given(limits, st.data())
def test_costs_are_within_when_none_is_above_its_limit(chosen, data):
    costs = {name: data.draw(values) for name in KNOWN}
    budget = Budget(chosen)
    above = [name for name in KNOWN if name in chosen and costs[name] > chosen[name]]
    assert budget.within(costs) == (not above)
    assert [words.split()[0] for words in budget.broken(costs)] == above
    assert (budget.spent(costs) > 1) == bool(above) or math.isclose(budget.spent(costs), 1)


@given(limits, st.data())
def test_a_smaller_cost_spends_no_more(chosen, data):
    costs = {name: data.draw(values) for name in KNOWN}
    less = {name: value - data.draw(st.floats(0, 1)) for name, value in costs.items()}
    assert Budget(chosen).spent(less) <= Budget(chosen).spent(costs)


def test_a_broken_limit_is_told_with_its_figures():
    budget = Budget.parse("kl=0.5,knowledge=2")
    assert budget.broken({"kl": 0.75, "knowledge": 3.25}) == [
        "kl 0.75 above 0.5 nats per token",
        "knowledge 3.25 above 2 percentage points",
    ]
    assert budget.spent({"kl": 0.75, "knowledge": 3.0}) == 1.5


def test_what_is_not_a_number_is_never_within():
    budget = Budget.parse("kl=0.5")
    assert budget.broken({"kl": math.nan}) == ["kl nan above 0.5 nats per token"]
    assert budget.spent({"kl": math.nan}) == math.inf


def test_a_limit_of_nothing_lets_nothing_pass():
    budget = Budget.parse("over-refusal=0")
    assert budget.within({"over-refusal": 0.0})
    assert budget.within({"over-refusal": -0.1})
    assert not budget.within({"over-refusal": 0.001})
    assert budget.spent({"over-refusal": 0.001}) == math.inf


def test_a_cost_that_nobody_measured_is_an_error():
    budget = Budget.parse("kl=0.5,knowledge=2")
    for verb in (budget.within, budget.broken, budget.spent):
        with pytest.raises(InputError, match="every cost in the budget, got none of knowledge; measure it"):
            verb({"kl": 0.1, "cross-entropy": 0.1})


def test_a_budget_keeps_its_own_limits():
    limits_given = {"kl": 0.5}
    budget = Budget(limits_given)
    limits_given["kl"] = 9.0
    assert budget.limits == {"kl": 0.5}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "expected a budget such as kl=0.5,"),
        ("kl", "expected a budget such as"),
        ("kl=", "expected a budget such as"),
        ("kl=much", "expected a budget such as"),
        ("kl=0.5,,", "expected a budget such as"),
        ("=0.5", "expected a budget of kl, cross-entropy, knowledge, over-refusal, got ''"),
        ("time=3", "expected a budget of kl, cross-entropy, knowledge, over-refusal, got 'time'"),
        ("kl=-0.1", "expected a limit of at least 0 nats per token for kl, got -0.1"),
        ("kl=nan", "expected a limit of at least 0 nats per token for kl, got nan"),
        ("kl=inf", "expected a limit of at least 0 nats per token for kl, got inf"),
        ("over-refusal=5", "expected a limit of at least 0 and at most 1 share for over-refusal, got 5"),
        ("knowledge=101", "expected a limit of at least 0 and at most 100 percentage points for knowledge"),
        ("kl=0.5,kl=0.6", "expected every cost once in a budget, got 'kl' twice"),
    ],
)
def test_what_is_no_budget_is_refused_in_a_sentence(text, match):
    with pytest.raises(InputError, match=match) as caught:
        Budget.parse(text)
    assert len(str(caught.value)) < 250


def test_no_limit_is_no_budget():
    with pytest.raises(InputError, match="at least one limit"):
        Budget({})
