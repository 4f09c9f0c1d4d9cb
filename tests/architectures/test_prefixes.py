"""What prompts share is read once, and no score tells: whatever the family, the plan and the span."""

import pytest
import torch
from measuring import plan_at, subject

from families import FAMILIES
from steersman.intervention import steer
from steersman.model import score
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.where import Site
from tiny import mixed_plans, plan, tiny_model

SHOTS = "Q: one and one? A: two. Q: two and two? A: four. "
QUESTIONS = ("three and one", "two", "five and sixteen", "six and two", "one")
PROMPTS = [f"{SHOTS}Q: {question}? A:" for question in QUESTIONS]
PROMPTS.insert(2, "Another beginning altogether, read on its own.")
OPTIONS = [[" two", " four hundred", "6"]] * len(PROMPTS)
PLANS = {
    "nothing": Plan(),
    "all": plan(1, [1]),
    "prompt": plan(1, [0, 2], span="prompt"),
    "generated": plan(1, [1], span="generated"),
    "last": plan(1, [1], span="last", coefficient=2.0),
    "first(3)": plan(1, [1], span="first(3)"),
    "positions(2,60)": plan(1, [1], span="positions(2,60)"),
    "all-bos": plan(2, [1], span="all-bos"),
    "two spans": plan(1, [1], span="last") + plan(2, [1], span="generated"),
}
CLOSE = {"rtol": 1e-4, "atol": 2e-4}


def totals(rows):
    return torch.tensor([[each.total for each in row] for row in rows])


def both(model: Model, monkeypatch, plans, options=OPTIONS, **more):
    """Scores with what is shared read once, and without; and how many tokens the first way spared."""
    assert model.accepts  # read off the forward's own signature, before another stands in for it
    read, forward = [], model.hf.forward

    def counted(*args, **arguments):
        read.append(arguments["input_ids"].numel())
        return forward(*args, **arguments)

    monkeypatch.setattr(model.hf, "forward", counted)
    monkeypatch.setattr(score, "SHARED", 20)
    shared = model.score_options(PROMPTS, options, plans, chat=False, **more)
    spent = sum(read)
    read.clear()
    monkeypatch.setattr(score, "SHARED", 10**9)
    apart = model.score_options(PROMPTS, options, plans, chat=False, **more)
    return totals(shared), totals(apart), spent, sum(read)


@pytest.mark.parametrize("name", PLANS)
def test_every_span_is_scored_as_without_sharing(name, monkeypatch):
    shared, apart, spent, usual = both(tiny_model("llama"), monkeypatch, PLANS[name])
    torch.testing.assert_close(shared, apart, **CLOSE)
    assert spent < usual


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_scored_as_without_sharing(name, monkeypatch):
    model = subject(name)
    shared, apart, spent, usual = both(model, monkeypatch, plan_at(model, Site(1)))
    torch.testing.assert_close(shared, apart, **CLOSE)
    assert spent < usual or not model.reads_on


def test_rows_with_other_plans_are_read_apart(monkeypatch):
    plans = [*mixed_plans(), mixed_plans()[0]]
    assert len(plans) == len(PROMPTS)
    shared, apart, *_ = both(tiny_model("llama"), monkeypatch, plans)
    torch.testing.assert_close(shared, apart, **CLOSE)


def test_tokens_counted_from_the_end_are_read_apart(monkeypatch):
    shared, apart, spent, usual = both(tiny_model("llama"), monkeypatch, plan(1, [1], span="positions(-25,-1)"))
    assert torch.equal(shared, apart)
    assert spent == usual


def test_under_a_context_of_the_users_nothing_is_shared(monkeypatch):
    model = tiny_model("llama")
    with steer(model, plan(1, [1])):
        shared, apart, spent, usual = both(model, monkeypatch, Plan())
    assert torch.equal(shared, apart)
    assert spent == usual


def test_with_a_chat_template_its_ending_stays_among_a_rows_own_tokens(monkeypatch):
    model = tiny_model("llama", chat=True)
    monkeypatch.setattr(score, "SHARED", 20)
    some = model.score_options(PROMPTS, OPTIONS, plan(1, [1], span="after_instruction"))
    monkeypatch.setattr(score, "SHARED", 10**9)
    others = model.score_options(PROMPTS, OPTIONS, plan(1, [1], span="after_instruction"))
    torch.testing.assert_close(totals(some), totals(others), **CLOSE)
