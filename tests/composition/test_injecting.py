"""Simultaneous injection: the plan does what its parts do together, and the prediction is what the stream shows."""

from contextlib import ExitStack

import pytest
import torch

from steersman.composition import compose, inject
from steersman.errors import InputError
from steersman.intervention import steer
from steersman.model.load import wrap
from steersman.plan import UNITS, Plan
from steersman.range import Range
from steersman.where import Site
from tiny import PROMPTS, direction, made_at, tiny_network, tokenizer

WEIGHTS = {"one": 1.0, "two": -0.5, "three": 2.0}
AT = {"one": 0, "two": 2, "three": 3}


@pytest.fixture
def held():
    return {name: direction(seed, [0, 1, 2, 3]) for seed, name in enumerate(WEIGHTS)}


@torch.no_grad()
def logits(model, *plans):
    """Return the logits of a prompt, within one context for each plan."""
    ids = model.tokenizer(PROMPTS[2], return_tensors="pt")
    with ExitStack() as stack:
        for plan in plans:
            stack.enter_context(steer(model, plan))
        return model.hf(**ids).logits


def singles(held, at, unit, scale):
    """Return each direction's plan by itself, written plainly."""
    return [
        Plan(held[name].at(at[name]), coefficient=scale * weight, unit=unit, span="all")
        for name, weight in WEIGHTS.items()
    ]


@pytest.mark.parametrize("unit", UNITS)
def test_the_plan_is_the_sum_of_single_plans(bare, held, unit):
    found = inject(held, at=AT, weights=WEIGHTS, scale=0.2, unit=unit)
    together = logits(bare, found.plan)
    torch.testing.assert_close(together, logits(bare, *singles(held, AT, unit, 0.2)), rtol=1e-4, atol=1e-4)
    plain = logits(bare)
    assert float((together - plain).abs().max()) > 0.01
    for one in singles(held, AT, unit, 0.2):
        assert float((together - logits(bare, one)).abs().max()) > 0.01


@torch.no_grad()
def test_the_plan_adds_the_vectors_to_the_blocks_outputs(llama, held):
    found = inject(held, at=AT, weights=WEIGHTS, scale=0.2)
    hooks = []
    for name, layer in AT.items():
        vector = held[name].vectors[Site(layer)]
        push = 0.2 * WEIGHTS[name] * held[name].norms[Site(layer)] * vector / vector.norm()

        def hook(module, inputs, output, push=push):
            return (output[0] + push, *output[1:]) if isinstance(output, tuple) else output + push

        hooks.append(llama.hf.model.layers[layer].register_forward_hook(hook))
    try:
        expected = logits(llama)
    finally:
        for each in hooks:
            each.remove()
    torch.testing.assert_close(logits(llama, found.plan), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("unit", UNITS)
def test_at_one_site_it_is_the_sum(llama, held, unit):
    common = inject(held, at=2, weights=WEIGHTS, scale=0.2, unit=unit)
    one = compose(held, "sum", at=2, weights=WEIGHTS, scale=0.2, unit=unit)
    assert {step.site for step in common.plan} == {Site(2)}
    assert [each.effect for each in common.members] == pytest.approx([each.effect for each in one.members])
    assert common.pushes == pytest.approx(one.pushes)
    torch.testing.assert_close(logits(llama, common.plan), logits(llama, one.plan), rtol=1e-4, atol=1e-4)


def test_scale_is_linear(held):
    once, thrice = (inject(held, at=AT, weights=WEIGHTS, scale=scale) for scale in (0.1, 0.3))
    for step, other in zip(once.plan.scaled(3), thrice.plan, strict=True):
        assert step.what == other.what
        assert step.coefficient == pytest.approx(other.coefficient)
    for one, three in zip(once.members, thrice.members, strict=True):
        assert (three.asked, three.effect) == (pytest.approx(3 * one.asked), pytest.approx(3 * one.effect))


@torch.no_grad()
def stream(model, *plans):
    """Return the residual stream behind every block, `[depth, seq, d]` float64, seen after what is added there."""
    seen = {}

    def hook(layer):
        def keep(module, inputs):
            seen[layer] = inputs[0][0].double()

        return keep

    # A block's output is the next one's input; the last one's is the norm's.
    modules = [*model.hf.model.layers[1:], model.hf.model.norm]
    with ExitStack() as stack:
        for layer, module in enumerate(modules):
            stack.callback(module.register_forward_pre_hook(hook(layer)).remove)
        logits(model, *plans)
    return torch.stack([seen[layer] for layer in range(len(modules))])


@pytest.mark.parametrize("unit", UNITS)
def test_where_blocks_pass_the_stream_on_the_prediction_is_exact(held, unit):
    network = tiny_network("llama")
    with torch.no_grad():
        for block in network.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
    model = wrap(network, tokenizer(), name="passing-on", revision="1" * 64)
    found = inject(held, at=AT, weights=WEIGHTS, scale=0.2, unit=unit)
    moved = stream(model, found.plan) - stream(model)
    for member in found.members:
        one = held[member.name]
        vector = one.vectors[member.site].double()
        size = one.norms[member.site] if unit == "norm" else float(vector.norm())
        reached = moved[member.site.layer] @ vector / vector.norm() / size
        torch.testing.assert_close(reached, torch.full_like(reached, member.effect), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("unit", UNITS)
def test_what_cancels_is_refused_as_a_sum_is(held, unit):
    turned = {**held, "two": held["one"]}
    match = r"leave something when added at resid_post\.2, got ones that cancel"
    for at in (2, {"one": 2, "two": 2, "three": 3}):
        with pytest.raises(InputError, match=match):
            inject(turned, at=at, weights={"two": -1.0, "three": 0.0}, unit=unit)
    # A weight of 0 asks for nothing: that site is empty on purpose.
    found = inject(held, at=AT, weights={"three": 0.0}, unit=unit)
    assert found.pushes[Site(3)] == 0


def test_what_is_added_later_does_not_reach_back(held):
    first = inject(held, at=AT, weights=WEIGHTS, scale=0.2).members[0]
    assert first.effect == pytest.approx(0.2)
    last = inject(held, at={**AT, "one": 3}, weights=WEIGHTS, scale=0.2).members[0]
    assert last.effect != pytest.approx(0.2, abs=1e-3)


def test_parts_of_a_block_hear_nothing_of_the_stream():
    site = Site(2, "attn_out")
    held = {"one": direction(1, [1]), "two": made_at(2, site), "three": direction(3, [2])}
    one, two, three = inject(held, scale=0.2).members
    assert (one.effect, two.effect) == (pytest.approx(0.2), pytest.approx(0.2))
    alone = inject({name: held[name] for name in ("two", "three")}, scale=0.2).members[1]
    assert alone.effect != pytest.approx(0.2, abs=1e-4)  # what attention writes stands in the block's output
    assert three.effect != pytest.approx(alone.effect, abs=1e-4)


def test_what_is_known_of_each_ones_coefficients_still_warns(held):
    known = Range(Site(2), 1, tried=0.6, recommended=0.2, alarm=0.4)
    held = {**held, "two": held["two"].with_ranges(known)}
    assert inject(held, at=AT, scale=0.3).plan.beyond() == []
    (sentence,) = inject(held, at=AT, scale=0.5).plan.beyond()
    assert sentence.startswith("coefficient 0.5 norm at resid_post.2 is beyond 0.4")


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (None, "expected one site for one, got 4; name one, such as resid_post.0"),
        ({"one": 0, "two": 1}, "expected one site for three, got 4"),
        ({"uno": 0}, "expected a name among one, two, three, got 'uno'"),
        ({**AT, "two": 9}, "two: expected a layer from -4 to 3, got 9"),
        (9, "one: expected a layer from -4 to 3, got 9"),
    ],
)
def test_a_place_that_is_none_is_said(held, at, message):
    with pytest.raises(InputError, match=message):
        inject(held, at=at)
