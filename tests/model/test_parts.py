"""Parts of a block, found by what they do; what does not add up is refused, and the stream itself is not."""

import pytest
import torch

from families import DEPTH, FAMILIES, of
from steersman.errors import ModelError
from steersman.intervention import steer
from steersman.model.load import wrap
from steersman.plan import Plan
from steersman.where import Site
from tiny import direction, tokenizer

TOKENS = torch.tensor([[1, 40, 50, 60, 70, 80]])


def logits(model):
    with torch.no_grad():
        return model.hf(input_ids=TOKENS).logits


def names(model):
    found = {module: name for block in model.layout.blocks for name, module in block.named_modules()}
    return [tuple(found.get(module) for module in (part.mixer, part.mlp, part.projection)) for part in model.parts]


def scaled_stream():
    network = FAMILIES["Llama"]()
    for block in network.model.layers:
        block.register_forward_hook(lambda module, args, output: output * 1.1)
    return network


def post_norm():
    return of("OPT", ffn_dim=64, do_layer_norm_before=False, word_embed_proj_dim=32)()


@pytest.mark.parametrize("made", [scaled_stream, post_norm])
def test_blocks_that_add_no_parts_are_refused_inside_and_steered_outside(made):
    model = wrap(made(), tokenizer())
    before = logits(model)
    for site in (Site(1, "attn_out"), Site(1, "mlp_out"), Site(1, "head", 0)):
        with pytest.raises(ModelError, match=r"block at layer 0 that adds .* take the points resid_pre and"):
            model.place(site)
    with steer(model, Plan(direction(0, [1], depth=DEPTH), unit="raw")) as active:
        assert not torch.equal(logits(model), before)
    assert active.applications == {"resid_post.1": 6}
    assert torch.equal(logits(model), before)


def test_a_part_that_two_blocks_share_is_refused():
    network = FAMILIES["Llama"]()
    network.model.layers[2].mlp = network.model.layers[1].mlp
    with pytest.raises(ModelError, match="got mlp at layer 2, which an earlier block runs as well"):
        wrap(network, tokenizer()).place(Site(0, "mlp_out"))


@pytest.mark.parametrize("family", ["Llama", "Falcon", "Gemma 2", "Granite", "OLMoE"])
def test_half_precision_shows_the_same_parts(family):
    fine, coarse = (wrap(FAMILIES[family]().to(kind), tokenizer()) for kind in (torch.float32, torch.bfloat16))
    assert names(fine) == names(coarse)
    for part, other in zip(fine.parts, coarse.parts, strict=True):
        assert part.factor == pytest.approx(other.factor, rel=0.01)


def test_the_factor_is_what_the_block_multiplies_by():
    assert [part.factor for part in wrap(FAMILIES["Llama"](), tokenizer()).parts] == [1.0] * DEPTH
    for part in wrap(FAMILIES["Granite"](), tokenizer()).parts:
        assert part.factor == pytest.approx(0.4, rel=1e-5)


@pytest.mark.skipif("Falcon-H1" not in FAMILIES, reason="needs transformers 5")
def test_what_stands_side_by_side_is_counted():
    model = wrap(FAMILIES["Falcon-H1"](), tokenizer())
    assert {(part.mixers, part.mlps, part.mixer, part.heads) for part in model.parts} == {(2, 1, None, 4)}
    with pytest.raises(ModelError, match="expected one module that writes attn_out in the block of layer 1, got 2"):
        model.place(Site(1, "attn_out"))


def test_finding_parts_leaves_no_hook_and_changes_nothing():
    model = wrap(FAMILIES["Falcon"](), tokenizer())
    before, state = logits(model), {name: value.clone() for name, value in model.hf.state_dict().items()}
    assert len(model.parts) == DEPTH
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.hf.modules())
    assert torch.equal(logits(model), before)
    assert all(torch.equal(value, state[name]) for name, value in model.hf.state_dict().items())
