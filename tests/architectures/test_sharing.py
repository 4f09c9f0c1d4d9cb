"""What rows have in common is computed once, and no result tells: whatever the family, the plans and the spans."""

from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from itertools import product

import pytest
import torch
from measuring import mixed_plans, subject

from families import FAMILIES
from steersman.edits import Add
from steersman.gates import Gate
from steersman.intervention import steer
from steersman.maths.geometry import unit
from steersman.model import prefixes
from steersman.model.generate import Sampling
from steersman.model.layout import hidden_of
from steersman.plan import Plan
from steersman.prompts import Example
from steersman.recording import record_texts
from steersman.where import Site
from tiny import mixed_plans as tiny_plans
from tiny import plan, tiny_model

SHOTS = "".join(
    f"Q: {text}. " for text in ("one and one? A: two", "two and two? A: four", "three and three? A: six") * 2
)
QUESTIONS = ("three and one", "two", "five and sixteen", "two")
PROMPTS = [f"{SHOTS}Q: {question}? A:" for question in QUESTIONS]
PROMPTS.insert(2, "Another beginning altogether, read on its own.")
OPTIONS = [[" two", " four hundred", "6"], [" 1", " two"], [" x"], [" two", " four hundred", "6"], [" 1", " two"]]
SPANS = {
    "nothing": [Plan()],
    "strengths": [plan(1, [2], coefficient=value) for value in (0.0, 0.5, 1.0, -1.0)],
    "layers": [plan(1, [layer]) for layer in range(4)],
    "prompt": [plan(1, [0, 2], span="prompt"), plan(1, [2], span="prompt")],
    "generated": [plan(1, [1], span="generated"), plan(2, [1], span="generated"), Plan()],
    "last": [plan(1, [1], span="last", coefficient=2.0), Plan()],
    "first(3)": [plan(1, [1], span="first(3)"), plan(1, [2], span="first(3)")],
    "positions": [plan(1, [1], span="positions(2,60)"), plan(1, [1], span="positions(-25,-1)")],
    "two spans": [plan(1, [1], span="last") + plan(2, [3], span="generated"), plan(2, [3], span="generated")],
}
CLOSE = {"rtol": 1e-4, "atol": 2e-4}


@contextmanager
def work(model):
    """Yield a counter of the positions that each block computes."""
    # What is found out about a model once is no work of this call.
    model.find_out()
    done = Counter()

    def note(number):
        def count(_module, args, arguments):
            done[number] += (args[0] if args else arguments["hidden_states"]).shape[:2].numel()

        return count

    handles = [
        block.register_forward_pre_hook(note(number), with_kwargs=True)
        for number, block in enumerate(model.layout.blocks)
    ]
    try:
        yield done
    finally:
        for handle in handles:
            handle.remove()


def crossed(plans, prompts=PROMPTS, *others):
    """Every prompt under every plan, plan by plan: rows and their plans, and what goes with each prompt."""
    rows = [prompt for _ in plans for prompt in prompts]
    return rows, [each for each in plans for _ in prompts], *([one for _ in plans for one in other] for other in others)


def flat(rows):
    return torch.tensor([value for row in rows for each in row for value in each.tokens])


def options_together_and_alone(model, plans):
    rows, each, options = crossed(plans, PROMPTS, OPTIONS)
    with work(model) as together:
        found = model.score_options(rows, options, each, chat=False)
    with work(model) as alone:
        apart = [
            model.score_options([row], [own], [one], chat=False)[0]
            for row, own, one in zip(rows, options, each, strict=True)
        ]
    return flat(found), flat(apart), together, alone


@pytest.mark.parametrize("name", SPANS)
def test_every_span_is_scored_together_as_alone(name):
    found, apart, together, alone = options_together_and_alone(tiny_model("llama"), SPANS[name])
    torch.testing.assert_close(found, apart, **CLOSE)
    assert together[0] < (0.7 if len(SPANS[name]) > 1 else 1) * alone[0]
    assert all(together[block] <= alone[block] for block in alone)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_scored_together_as_alone(name):
    model = subject(name)
    found, apart, together, alone = options_together_and_alone(model, mixed_plans(name))
    torch.testing.assert_close(found, apart, **CLOSE)
    assert together[0] < alone[0] or not model.reads_on


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_told_of_its_texts_together_as_alone(name):
    model = subject(name)
    rows, each = crossed(mixed_plans(name))
    told = {"divergence": True, "entropy": True, "ranks": True, "chat": False}
    found = model.score(rows, [" four"] * len(rows), each, **told)
    apart = [model.score([row], [" four"], [one], **told)[0] for row, one in zip(rows, each, strict=True)]
    for name in ("tokens", "divergence", "entropy"):
        left, right = (torch.tensor([getattr(one, name) for one in those]) for those in (found, apart))
        torch.testing.assert_close(left, right, rtol=1e-4, atol=5e-4)
    assert [one.ranks for one in found] == [one.ranks for one in apart]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_writes_together_as_alone(name):
    model = subject(name)
    if not model.reads_on and "Mamba" in name:
        pytest.skip("hands no cache on")
    rows, each = crossed(mixed_plans(name)[:3])
    found = model.generate(rows, each, max_new_tokens=6, batch_size=4)
    apart = [model.generate([row], [one], max_new_tokens=6)[0] for row, one in zip(rows, each, strict=True)]
    assert found == apart


def test_most_families_fork():
    told = {name: subject(name).forking.reason for name in FAMILIES}
    stubborn = {name for name, reason in told.items() if reason}
    assert len(stubborn) <= 4, told
    assert all(told[name] for name in stubborn)


def test_layers_below_the_lowest_edit_run_once_for_every_plan():
    model = tiny_model("llama")
    rows, each = crossed([plan(1, [2], coefficient=value) for value in (0.5, 1.0, 1.5)], ["How are you today?"])
    with work(model) as done:
        model.score(rows, [" fine"] * 3, each)
    # The edit is made at block 2's output: it is the last one that all plans share.
    assert done[0] == done[1] == done[2]
    assert done[3] == 3 * done[0]


def test_plans_with_other_sites_form_a_tree():
    model = tiny_model("llama")
    plans = [plan(1, [layer]) for layer in range(4)]
    rows, each = crossed(plans, ["How are you today?"])
    with work(model) as done:
        model.score(rows, [" fine"] * 4, each)
    # Behind block 0 one plan parts from the others, behind block 1 another one, and so on.
    assert [done[block] // done[0] for block in range(4)] == [1, 2, 3, 4]


def test_rows_that_differ_in_nothing_are_read_once():
    model = tiny_model("llama")
    model.score("Hi", [" x"])
    with work(model) as one:
        model.score("Hi there", [" fine"])
    with work(model) as many:
        found = model.score(["Hi there"] * 7, [" fine"] * 7)
    assert one == many
    assert len({score.total for score in found}) == 1


def test_the_same_tokens_with_other_prompts_are_told_apart():
    model = tiny_model("llama")
    each = plan(1, [1], span="generated", coefficient=3.0)
    one, other = model.score(["How are", "How a"], [" you", "re you"], each)
    assert one.tokens[-1] != pytest.approx(other.tokens[-1], abs=1e-4)
    assert other.total == pytest.approx(model.score("How a", ["re you"], each)[0].total, abs=1e-4)


def test_gates_decide_for_every_row_that_another_stands_for():
    model = tiny_model("llama")
    vector = unit(torch.randn(model.width, generator=torch.Generator().manual_seed(0)))
    texts = [Example("", prompt) for prompt in PROMPTS]
    read = record_texts(model, texts, texts, span="last", layers=[0]).positive[Site(0)]
    gate = Gate(Site(0), vector, float((read @ vector).median()))
    direction = plan(3, [2])
    steps = [Plan.of(_gated(direction.scaled(value), gate)) for value in (0.5, 1.0, 2.0)]
    rows, each = crossed(steps)
    found = model.score(rows, [" four"] * len(rows), each)
    apart = [model.score([row], [" four"], [one])[0] for row, one in zip(rows, each, strict=True)]
    torch.testing.assert_close(flat([found]), flat([apart]), **CLOSE)
    together = model.complete(rows, each, Sampling(max_new_tokens=4))
    single = [model.complete([row], [one], Sampling(max_new_tokens=4))[0] for row, one in zip(rows, each, strict=True)]
    assert [one.text for one in together] == [one.text for one in single]
    assert [one.gates for one in together] == [one.gates for one in single]
    assert {fired for one in together for fired in one.gates.values()} == {True, False}


def _gated(what, gate):
    return [replace(step, gate=gate) for step in what]


def test_under_a_context_of_the_users_nothing_is_shared():
    model = tiny_model("llama")
    rows, each, options = crossed([Plan(), plan(2, [3])], PROMPTS, OPTIONS)
    with steer(model, plan(1, [1])), work(model) as done:
        found = model.score_options(rows, options, each)
    apart = model.score_options(rows, options, [one + plan(1, [1]) for one in each])
    torch.testing.assert_close(flat(found), flat(apart), **CLOSE)
    assert done[0] == done[3]


def test_with_a_chat_template_its_ending_stays_among_a_rows_own_tokens(monkeypatch):
    model = tiny_model("llama", chat=True)
    each = plan(1, [1], span="after_instruction")
    some = model.score_options(PROMPTS, OPTIONS, each)
    monkeypatch.setattr(prefixes, "SPARED", 10**9)
    others = model.score_options(PROMPTS, OPTIONS, each)
    torch.testing.assert_close(flat(some), flat(others), **CLOSE)


@pytest.mark.parametrize(("most", "seed"), list(product((1, 3, 5, None), (0, 1))))
def test_waiting_rows_take_the_place_of_finished_ones(most, seed):
    model = tiny_model("llama")
    rows, each = crossed(tiny_plans(), [f"{prompt}{'!' * seed}" for prompt in PROMPTS])
    widths = []
    handle = model.layout.blocks[3].register_forward_hook(lambda _m, _a, out: widths.append(hidden_of(out).shape[:2]))
    # Rows of unlike lengths: some end at once, by themselves.
    ended = [10 + 7 * (number % 4) for number in range(len(rows))]
    try:
        found = model.generate(rows, each, max_new_tokens=max(ended), batch_size=most)
    finally:
        handle.remove()
    apart = [model.generate([row], [one], max_new_tokens=max(ended))[0] for row, one in zip(rows, each, strict=True)]
    assert found == apart
    assert max(batch for batch, length in widths if length == 1) <= (most or 64)


def test_drawn_rows_draw_the_same_in_any_company():
    model = tiny_model("llama")
    rows, each = crossed(tiny_plans())
    drawn = {"temperature": 1.5, "top_p": 0.9, "repetition_penalty": 1.2, "seed": 3, "max_new_tokens": 12}
    found = model.generate(rows, each, **drawn)
    assert found == [model.generate([row], [one], **drawn)[0] for row, one in zip(rows, each, strict=True)]
    assert Add() == each[0].steps[0].edit


def test_the_head_sees_only_the_positions_that_are_wanted():
    model = tiny_model("llama")
    seen = []
    handle = model.hf.get_output_embeddings().register_forward_hook(lambda _m, _a, out: seen.append(out.shape))
    assert model.head is not None
    seen.clear()
    try:
        model.score(["How are you today?", "Hi"], [" fine, thank you", " x"])
        scored = sum(shape[:-1].numel() for shape in seen)
        seen.clear()
        model.score_options(["How are you today?", "Hi"], [["a", "b"], ["a"]])
        options = sum(shape[:-1].numel() for shape in seen)
    finally:
        handle.remove()
    assert scored == len(" fine, thank you") + len(" x")
    assert options == 2
