"""Gated steering: decided once per row or per token, the same with and without a cache, in any batch."""

import pytest
import torch

from steersman.activations import Activations
from steersman.errors import InterventionError, MismatchError
from steersman.gates import Gate, fit_gate
from steersman.intervention import steer
from steersman.model.encode import forward_arguments, pad, prompt_tokens
from steersman.model.generate import Sampling
from steersman.model.hooks import capturing, editing
from steersman.plan import Plan
from steersman.prompts import Example
from steersman.recording import record_texts
from steersman.where import Site
from tiny import COMPLETIONS, PROMPTS, direction, plan

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def readings(model, site, prompts=PROMPTS):
    """What a projection gate reads at the end of each prompt, and its vector."""
    vector = direction(5, [site.layer]).vectors[Site(site.layer)]
    texts = [Example(prompt) for prompt in prompts]
    held = record_texts(model, texts, texts, layers=[site.layer], points=[site.point])
    return held.positive[site] @ vector / vector.norm(), vector


def gate_between(model, site, when="prompt"):
    """A gate that fires on some of `PROMPTS` and not on others, and on which."""
    values, vector = readings(model, site)
    middle = values.sort().values[2:4].mean()
    return Gate(site, vector, float(middle), when), (values > middle).tolist()


@pytest.mark.parametrize("site", [Site(0), Site(1, "resid_pre"), Site(1, "attn_out"), Site(1)], ids=str)
def test_the_rows_it_fires_on_are_steered_and_the_others_left_bit_identical(bare, site):
    gate, fired = gate_between(bare, site)
    assert 0 < sum(fired) < len(fired)
    gated, always = Plan(direction(1), gate=gate), Plan(direction(1))
    batch = pad(bare, *heads(bare))
    with torch.no_grad(), editing(bare, [gated], batch.prompt_lengths) as active:
        steered = bare.hf(**forward_arguments(bare, batch)).logits
    with torch.no_grad(), editing(bare, [always], batch.prompt_lengths):
        everywhere = bare.hf(**forward_arguments(bare, batch)).logits
    with torch.no_grad():
        plain = bare.hf(**forward_arguments(bare, batch)).logits
    assert active.fired == {str(site): fired}
    for row, fires in enumerate(fired):
        assert torch.equal(steered[row], (everywhere if fires else plain)[row])
    assert active.applications == {
        "resid_post.1": sum(int(n) for n, f in zip(batch.mask.sum(1), fired, strict=True) if f)
    }


def heads(model):
    rows = [prompt_tokens(model, prompt) for prompt in PROMPTS]
    return rows, [len(row) for row in rows]


@pytest.mark.parametrize("when", ["prompt", "token"])
def test_generation_behind_a_gate_is_the_same_in_any_batch(model, when):
    gate, _ = gate_between(model, Site(0), when)
    plans = [Plan(direction(1, [1, 2]), span=span, gate=gate) for span in ("all", "generated", "prompt", "last", "all")]
    together = model.complete(PROMPTS, plans, Sampling(8))
    alone = [model.complete([p], [each], Sampling(8))[0] for p, each in zip(PROMPTS, plans, strict=True)]
    assert together == alone


def test_a_row_keeps_its_decision_while_it_is_written_and_when_others_leave(bare):
    gate, fired = gate_between(bare, Site(0))
    gated = bare.complete(PROMPTS, [Plan(direction(1), span="generated", gate=gate)] * 5, Sampling(8))
    free = bare.complete(PROMPTS, [Plan()] * 5, Sampling(8))
    always = bare.complete(PROMPTS, [Plan(direction(1), span="generated")] * 5, Sampling(8))
    assert gated == [one if fires else other for one, other, fires in zip(always, free, fired, strict=True)]
    assert any(one != other for one, other in zip(always, free, strict=True))


@pytest.mark.parametrize("when", ["prompt", "token"])
def test_hugging_faces_own_generation_behind_a_gate_is_the_same(bare, when):
    gate, _ = gate_between(bare, Site(0), when)
    one = Plan(direction(1, [1, 2]), gate=gate)
    batch = pad(bare, *heads(bare))
    with steer(bare, one):
        tokens = bare.hf.generate(input_ids=batch.tokens, attention_mask=batch.mask, do_sample=False, max_new_tokens=6)
    ours = bare.complete(PROMPTS, [one] * 5, Sampling(6))
    for row, written in zip(tokens[:, batch.tokens.shape[1] :].tolist(), ours, strict=True):
        assert tuple(row[: len(written.tokens)]) == written.tokens


def test_options_behind_a_gate_score_as_each_does_alone(model):
    gate, _ = gate_between(model, Site(0))
    plans = [Plan(direction(1), span="generated", gate=gate), Plan(direction(2), gate=gate), plan(1), Plan(), plan(2)]
    options = [[" yes", " perhaps"]] * 5
    together = model.score_options(PROMPTS, options, plans)
    for number in range(2):
        alone = model.score(PROMPTS, [row[number] for row in options], plans)
        for a, b in zip(alone, [row[number] for row in together], strict=True):
            torch.testing.assert_close(torch.tensor(b.tokens), torch.tensor(a.tokens), **CLOSE)


def test_a_gate_by_token_lets_only_some_tokens_through(bare):
    gate, _ = gate_between(bare, Site(0), "token")
    batch = pad(bare, *heads(bare))
    seen = {}
    plain = {}
    sites = [Site(0), Site(2)]
    with torch.no_grad(), capturing(bare, sites, lambda s, h, _: plain.__setitem__(s, h.clone())):
        bare.hf(**forward_arguments(bare, batch))
    with (
        torch.no_grad(),
        editing(bare, [Plan(direction(1, [2]), unit="raw", gate=gate)]) as active,
        capturing(bare, sites, lambda s, h, _: seen.__setitem__(s, h.clone())),
    ):
        bare.hf(**forward_arguments(bare, batch))
    through = gate.fires(plain[Site(0)].flatten(0, 1)).reshape(batch.mask.shape) & batch.mask.bool()
    assert 0 < int(through.sum()) < int(batch.mask.sum())
    assert active.applications == {"resid_post.2": int(through.sum())}
    torch.testing.assert_close(seen[Site(2)][through], plain[Site(2)][through] + direction(1, [2]).vectors[Site(2)])
    assert torch.equal(seen[Site(2)][~through], plain[Site(2)][~through])


def test_a_gate_reads_before_the_edits_at_its_own_site_and_after_those_before_it(bare):
    gate, fired = gate_between(bare, Site(1))
    push = Plan(direction(5, [1]), coefficient=50.0)
    with torch.no_grad(), editing(bare, [push + Plan(direction(1, [1]), gate=gate)]) as active:
        bare.hf(**forward_arguments(bare, pad(bare, *heads(bare))))
    assert active.fired == {"resid_post.1": fired}
    push = Plan(direction(5, [1]).moved(0, 6.0), coefficient=50.0)
    with torch.no_grad(), editing(bare, [push + Plan(direction(1, [1]), gate=gate)]) as active:
        bare.hf(**forward_arguments(bare, pad(bare, *heads(bare))))
    assert active.fired == {"resid_post.1": [True] * 5}


def test_a_gate_that_never_fires_is_no_error_and_changes_no_bit(bare):
    never = Gate(Site(0), torch.ones(32), 1e6)
    assert bare.complete(PROMPTS, [Plan(direction(1), gate=never)] * 5, Sampling(6)) == bare.complete(
        PROMPTS, [Plan()] * 5, Sampling(6)
    )
    assert bare.score(PROMPTS, COMPLETIONS, Plan(direction(1), gate=never)) == bare.score(PROMPTS, COMPLETIONS)


def test_a_gate_whose_span_never_came_is_an_error(bare):
    never = Gate(Site(0), torch.ones(32), 1e6)
    with (
        pytest.raises(InterventionError, match="its span selected no token"),
        steer(bare, Plan(direction(1), span="generated", gate=never)),
        torch.no_grad(),
    ):
        bare.hf(input_ids=torch.tensor([[5, 6, 7]]))


def test_a_prompt_in_pieces_cannot_be_decided(bare):
    gate, _ = gate_between(bare, Site(0))
    with (
        torch.no_grad(),
        pytest.raises(
            InterventionError, match=r"gate at resid_post\.0 decides at the end of the prompt.*give every prompt"
        ),
        steer(bare, Plan(direction(1), gate=gate), prompt_lengths=[6]),
    ):
        bare.hf(input_ids=torch.tensor([[5, 6, 7]]), use_cache=True)


def test_every_new_text_is_decided_anew(bare):
    gate, fired = gate_between(bare, Site(0))
    with torch.no_grad(), steer(bare, Plan(direction(1), gate=gate)) as active:
        for prompt, fires in zip(PROMPTS, fired, strict=True):
            bare.hf(input_ids=torch.tensor([prompt_tokens(bare, prompt)]))
            assert active.fired == {"resid_post.0": [fires]}


def test_a_gate_of_another_width_is_refused(bare):
    with pytest.raises(MismatchError, match=r"gate of width 32 at resid_post\.0, got 16"):
        bare.generate(PROMPTS[0], Plan(direction(1), gate=Gate(Site(0), torch.ones(16), 0.0)))


def test_a_threshold_fitted_on_recorded_prompts_holds_while_steering(model):
    """What `record_texts` reads at the last token is what the gate reads when it decides."""
    positive, negative = [Example(p) for p in PROMPTS[:3]], [Example(p) for p in PROMPTS[3:]]
    held = record_texts(model, positive, negative, layers=[1])
    assert isinstance(held, Activations)
    assert not held.paired
    fit = fit_gate(direction(1), held, 0.0)
    with torch.no_grad(), steer(model, Plan(direction(2, [2]), gate=fit.gate)) as active:
        model.hf(**forward_arguments(model, pad(model, *heads(model))))
    assert active.fired == {"resid_post.1": [*fit.gate.fires(held.positive[Site(1)]).tolist(), False, False]}
