"""The laws of steering on every family of decoders."""

import dataclasses

import pytest
import torch
from measuring import (
    ROUNDING,
    furthest,
    heads,
    mixed_plans,
    of_cache,
    of_left_padding,
    of_right_padding,
    plan_at,
    sites,
    streams,
    subject,
    whole,
)

from families import DEPTH, FAMILIES, WIDTH
from steersman.errors import MismatchError, ModelError
from steersman.intervention import steer
from steersman.model.generate import Sampling
from steersman.plan import Plan
from steersman.where import POINTS, Site
from tiny import COMPLETIONS, PROMPTS

NO_CACHE = {"Mamba"}  # hands its state on in a form of its own


@pytest.fixture(params=FAMILIES)
def family(request) -> str:
    return request.param


def first_logits(model):
    tokens = torch.tensor([heads(model)[2]])
    with torch.no_grad():
        return model.hf(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False).logits


def test_the_blocks_are_found_and_hand_the_stream_from_one_to_the_next(family):
    model = subject(family)
    assert (model.depth, model.width) == (DEPTH, WIDTH)
    seen = streams(model, [Site(layer, point) for layer in range(DEPTH) for point in ("resid_pre", "resid_post")])
    for layer in range(DEPTH - 1):
        assert torch.equal(seen[Site(layer)], seen[Site(layer + 1, "resid_pre")])


def test_an_edit_at_every_site_moves_the_logits_and_coefficient_zero_not_a_bit(family):
    model = subject(family)
    before = first_logits(model)
    for site in [site for point in POINTS for site in sites(model, point)]:
        with steer(model, plan_at(model, site)) as active:
            assert furthest(first_logits(model), before) > 100 * ROUNDING, site
        assert active.applications == {str(site): len(heads(model)[2])}
        with steer(model, plan_at(model, site).scaled(0)):
            assert torch.equal(first_logits(model), before)
    assert torch.equal(first_logits(model), before)


def test_what_the_parts_write_adds_up_to_what_the_block_adds(family):
    model = subject(family)
    summed = 0
    for layer, part in enumerate(model.parts):
        if part.mixers > 1 or part.mlps > 1:
            continue
        points = [point for point, module in (("attn_out", part.mixer), ("mlp_out", part.mlp)) if module is not None]
        seen = streams(model, [Site(layer, point) for point in ("resid_pre", "resid_post", *points)])
        written = torch.stack([seen[Site(layer, point)] for point in points]).sum(0)
        expected = seen[Site(layer, "resid_pre")] + part.factor * written
        torch.testing.assert_close(seen[Site(layer)], expected, rtol=1e-5, atol=1e-5)
        summed += 1
    assert summed == DEPTH or any(part.mixers > 1 or part.mlps > 1 for part in model.parts)


def test_only_the_mixer_looks_at_other_tokens(family):
    """An edit at the last token but one reaches the last one through a mixer, and through an MLP only behind one."""
    model = subject(family)
    last = [site for point in ("attn_out", "mlp_out") for site in sites(model, point) if site.layer == DEPTH - 1]
    if not last:
        return
    before_last = len(heads(model)[2]) - 2  # near enough for windows and short convolutions
    edited = plan_at(model, Site(DEPTH - 1, "resid_pre"), span=f"positions({before_last})", coefficient=3.0)
    before = streams(model, last)
    with steer(model, edited):
        after = streams(model, last)
    for site in last:
        moved = furthest(before[site][-1], after[site][-1]) > ROUNDING
        if site.point == "attn_out" or model.parts[-1].mixers == 0:
            assert moved == (site.point == "attn_out")


def test_heads_lie_side_by_side_before_the_projection(family):
    """All heads changed one by one write the same to the stream as the mixer's output says."""
    model = subject(family)
    for layer, part in enumerate(model.parts):
        if not part.heads:
            assert not [site for site in sites(model, "head") if site.layer == layer]
            with pytest.raises(ModelError, match="expected a head below 0"):
                model.place(Site(layer, "head", 0))
            continue
        assert part.projection is not None
        wide = {site: model.site_width(site) for site in sites(model, "head") if site.layer == layer}
        assert len(wide) == part.heads == 4
        joined = torch.cat([values for _, values in sorted(streams(model, list(wide)).items())], -1)
        assert joined.shape[-1] == sum(wide.values())
        with torch.no_grad():
            written = part.projection(joined[None])[0]
        if part.mixer is not None and not list(part.mixer.parameters(recurse=False)):
            torch.testing.assert_close(written, streams(model, [Site(layer, "attn_out")])[Site(layer, "attn_out")])


def test_a_point_that_a_block_lacks_is_refused_and_the_stream_is_not(family):
    model = subject(family)
    for layer, part in enumerate(model.parts):
        for point, module in (("attn_out", part.mixer), ("mlp_out", part.mlp)):
            if module is None:
                with pytest.raises(ModelError, match=rf"one module that writes {point} in the block of layer {layer}"):
                    model.place(Site(layer, point))
        assert model.place(Site(layer)).module is model.layout.blocks[layer]


@pytest.mark.parametrize("measured", [of_cache, of_left_padding, of_right_padding])
def test_steering_adds_nothing_to_what_cache_and_padding_change(family, measured):
    if measured is of_cache and family in NO_CACHE:
        return
    deviation = measured(family)
    assert deviation.steered <= deviation.allowed


def test_a_row_with_a_plan_of_its_own_is_as_it_is_alone(family):
    model, plans = subject(family), mixed_plans(family)
    together = whole(model, plans)
    for row in (1, 3):
        alone = whole(model, [plans[row]], rows=[row])
        assert furthest(together[row : row + 1], alone) <= of_left_padding(family).allowed
        assert furthest(alone, whole(model, [Plan()], rows=[row])) > 100 * ROUNDING


def stopping(family):
    """The model ending its texts at tokens that some rows write early and others late or never."""
    model = dataclasses.replace(subject(family), stop_tokens=frozenset())
    free = model.complete(PROMPTS, mixed_plans(family), Sampling(6))
    stops = frozenset(row.tokens[at] for row, at in zip(free, (0, 2, 4), strict=False))
    return dataclasses.replace(model, stop_tokens=stops)


def test_generation_with_plans_is_the_same_in_a_batch_and_alone(family):
    if family in NO_CACHE:
        with pytest.raises(ModelError, match="hands its cache on as past_key_values"):
            subject(family).generate(PROMPTS[0], mixed_plans(family)[0], max_new_tokens=3)
        return
    model, plans = stopping(family), mixed_plans(family)
    together = model.complete(PROMPTS, plans, Sampling(6))
    assert together == [
        model.complete([prompt], [plan], Sampling(6))[0] for prompt, plan in zip(PROMPTS, plans, strict=True)
    ]
    assert any(row.finish == "stop" for row in together)


def test_hugging_faces_own_generation_is_steered_the_same(family):
    if family in NO_CACHE:
        return
    model = dataclasses.replace(subject(family), stop_tokens=frozenset())
    plan, tokens = mixed_plans(family)[0], torch.tensor([heads(model)[0]])
    with steer(model, plan):
        written = model.hf.generate(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            do_sample=False,
            max_new_tokens=5,
            eos_token_id=None,
        )
    ours = model.complete([PROMPTS[0]], [plan], Sampling(5))[0]
    assert tuple(written[0, tokens.shape[1] :].tolist()) == ours.tokens


def test_options_score_as_each_does_alone(family):
    if family in NO_CACHE:
        return
    model, plans = subject(family), mixed_plans(family)[:2]
    options = [[" yes", " no!"], [COMPLETIONS[0], COMPLETIONS[2]]]
    together = model.score_options(list(PROMPTS[:2]), options, list(plans))
    for number in range(2):
        alone = model.score(list(PROMPTS[:2]), [row[number] for row in options], list(plans))
        for one, other in zip(alone, [row[number] for row in together], strict=True):
            torch.testing.assert_close(
                torch.tensor(other.tokens), torch.tensor(one.tokens), rtol=0, atol=of_cache(family).allowed
            )


def test_the_model_is_restored_exactly(family):
    model = subject(family)
    state = {name: value.clone() for name, value in model.hf.state_dict().items()}
    before = first_logits(model)
    hooks = [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.hf.modules()]
    plan = plan_at(model, *(sites(model, point)[0] for point in POINTS if sites(model, point)))
    with steer(model, plan):
        assert not torch.equal(first_logits(model), before)
    with pytest.raises(MismatchError, match="expected a 2-D attention mask"), steer(model, plan):
        model.hf(input_ids=torch.tensor([heads(model)[1]]), attention_mask=torch.ones(1, 1, 3, 3))
    assert hooks == [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.hf.modules()]
    assert torch.equal(first_logits(model), before)
    assert all(torch.equal(value, state[name]) for name, value in model.hf.state_dict().items())
