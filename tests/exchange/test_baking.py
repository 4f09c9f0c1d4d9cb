"""Permanent forms: the folder does by itself what steering does, and what cannot be written into weights is refused."""

import json

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from steersman.edits import Ablate, Clamp
from steersman.errors import FileError, InputError
from steersman.exchange.baking import RECORD, bake
from steersman.gates import Gate
from steersman.intervention import steer
from steersman.model.load import load, wrap
from steersman.plan import Plan
from steersman.where import Site
from tiny import DEPTH, HEADS, VOCABULARY, WIDTH, direction, plan, tiny_model, tiny_network, tokenizer

ROW = [1, 40, 50, 60, 45, 70, 8, 9, 77, 33, 20]


def more(kind, config, **settings):
    """Return a tiny model of a family that tests/tiny.py does not have."""
    made = config(
        vocab_size=len(VOCABULARY),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        **{"num_key_value_heads": HEADS // 2, "max_position_embeddings": 256, "initializer_range": 0.25} | settings,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return wrap(kind(made).float().eval(), tokenizer(), name=kind.__name__, revision="1" * 64)


def logits(model, steered=None):
    with torch.inference_mode(), steer(model, steered or Plan()):
        return model.hf(torch.tensor([ROW])).logits[0]


def everywhere(fraction=1.0, points=("resid_pre", "attn_out", "mlp_out"), seed=5):
    return Plan(direction(seed, [1]).everywhere(points), Ablate(), coefficient=fraction)


def agrees(model, steered, folder):
    """Bake, load as anybody would, and compare; the model it came from must not have changed by a bit."""
    before = {name: weight.clone() for name, weight in model.hf.state_dict().items()}
    settings = model.hf.config.to_dict()
    made = bake(model, steered, folder)
    assert all(torch.equal(before[name], weight) for name, weight in model.hf.state_dict().items())
    assert model.hf.config.to_dict() == settings
    again = load(str(folder), dtype="float32")
    assert type(again.hf) is type(model.hf)
    assert float((logits(again) - logits(model, steered)).abs().max()) < 1e-4
    assert float((logits(again) - logits(model)).abs().max()) > 0.1
    assert made.difference < 1e-4
    return again, made


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("site", ["resid_post.2", "attn_out.1", "mlp_out.3", "resid_pre.2", "resid_pre.0"])
def test_an_addition_becomes_a_bias(tmp_path, family, site):
    here = Site.parse(site)
    held = direction(3, [here.layer])
    moved = type(held)({here: held.vectors[Site(here.layer)]}, {here: 6.0}, held.origin, held.method)
    agrees(tiny_model(family), Plan(moved, coefficient=0.8, unit="raw"), tmp_path / "baked")


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_an_ablation_everywhere_becomes_orthogonal_weights(tmp_path, family):
    model = tiny_model(family)
    again, _ = agrees(model, everywhere(), tmp_path / "baked")
    along = direction(5, [1]).units(Site(1)).float()
    with torch.inference_mode():
        hidden = again.hf(torch.tensor([ROW]), output_hidden_states=True).hidden_states[:-1]
    assert all(float((states @ along).abs().max()) < 1e-4 for states in hidden)


def test_an_ablation_everywhere_of_mistral_and_qwen3(tmp_path):
    agrees(more(MistralForCausalLM, MistralConfig), everywhere(), tmp_path / "mistral")
    agrees(more(Qwen3ForCausalLM, Qwen3Config, head_dim=8), everywhere(), tmp_path / "qwen3")


@pytest.mark.parametrize("kind", ["addition", "ablation"])
@pytest.mark.parametrize("family", ["parallel", "scaled"])
def test_blocks_of_other_forms_bake_too(tmp_path, family, kind):
    if family == "parallel":
        model = more(GPTNeoXForCausalLM, GPTNeoXConfig, use_parallel_residual=True)
    else:
        model = more(GraniteForCausalLM, GraniteConfig, residual_multiplier=0.3, embedding_multiplier=3.0)
    agrees(model, plan(1, [2]) if kind == "addition" else everywhere(), tmp_path / "baked")


def test_an_ablation_after_every_block_as_well_changes_nothing_more(tmp_path):
    points = ("resid_pre", "attn_out", "mlp_out", "resid_post")
    agrees(tiny_model("llama"), everywhere(points=points), tmp_path / "baked")


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_a_fraction_taken_from_single_writers_becomes_weights(tmp_path, family):
    agrees(tiny_model(family), everywhere(0.4, ("attn_out", "mlp_out")), tmp_path / "baked")


def test_steps_of_both_kinds_go_together_in_their_order(tmp_path):
    both = everywhere(0.7, ("attn_out",)) + plan(1, [1, 3], coefficient=0.4) + plan(2, [3], coefficient=-1.1)
    _, made = agrees(tiny_model("llama"), both, tmp_path / "baked")
    assert "model.layers.3.mlp.down_proj.bias" in made.changed


@pytest.mark.parametrize("tied", [True, False])
def test_the_head_stays_as_it_was(tmp_path, tied):
    network = tiny_network("llama")
    network.config.tie_word_embeddings = tied
    network.tie_weights()
    model = wrap(network, tokenizer(), name="tied", revision="2" * 64)
    head = network.lm_head.weight.detach().clone()
    again, _ = agrees(model, everywhere(), tmp_path / "baked")
    assert torch.equal(again.hf.lm_head.weight, head)
    assert again.hf.config.tie_word_embeddings is False
    assert not torch.equal(again.hf.get_input_embeddings().weight, network.get_input_embeddings().weight)


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2", "gemma2"])
def test_coefficient_nought_bakes_to_the_same_weights(tmp_path, family):
    model = tiny_model(family)
    made = bake(model, plan(1, [2], coefficient=0.0), tmp_path / "baked")
    again = load(str(made.folder), dtype="float32")
    ours, theirs = model.hf.state_dict(), again.hf.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert made.changed == ()
    assert made.difference == 0


def test_a_bias_that_the_configuration_switches_on_leaves_the_others_at_nought(tmp_path):
    again, made = agrees(tiny_model("llama"), plan(1, [2]), tmp_path / "baked")
    assert made.changed == ("model.layers.2.mlp.down_proj.bias",)
    assert f"1 weight changed, {3 * DEPTH - 1} biases of zero new" in made.words
    modes = {
        path.stat().st_mode for path in (tmp_path / "baked").iterdir() if path.name.startswith(("config", "model"))
    }
    assert len(modes) == 1
    assert json.loads((tmp_path / "baked" / "config.json").read_text())["mlp_bias"] is True
    biases = {name: weight for name, weight in again.hf.named_parameters() if name.endswith(".bias")}
    moved = [name for name, weight in biases.items() if bool(weight.any())]
    assert moved == ["model.layers.2.mlp.down_proj.bias"]
    assert len(biases) == 3 * DEPTH


def test_the_folder_says_what_is_in_it_and_both_forms_of_the_rotary_base(tmp_path):
    model = tiny_model("llama")
    bake(model, plan(1, [2]), tmp_path / "baked")
    record = json.loads((tmp_path / "baked" / RECORD).read_text())
    assert record["model"] == model.name
    assert record["steps"][0]["site"] == "resid_post.2"
    config = json.loads((tmp_path / "baked" / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 10000.0
    assert sorted(tmp_path.iterdir()) == [tmp_path / "baked"]


# What no weight can hold


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (lambda: plan(1, [2], span="generated"), "the span 'all' to bake, got 'generated' at resid_post.2"),
        (lambda: Plan(direction(1, [2]), Clamp(0.5)), "edits 'add' and 'ablate' to bake, got 'clamp'"),
        (lambda: Plan(direction(1, [2]), gate=Gate(Site(1), torch.ones(WIDTH), 0.0)), "without gates to bake"),
        (lambda: Plan(direction(1, [2]), Ablate()), "whole stream to bake at resid_post.2, got one where resid_pre.0"),
        (lambda: everywhere(0.5), "a fraction of 0.5 is taken again and again|is not ablated"),
    ],
)
def test_what_no_weight_can_hold_is_named(tmp_path, refused, words):
    with pytest.raises(InputError, match=words):
        bake(tiny_model("llama"), refused(), tmp_path / "baked")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["addition", "ablation"])
def test_a_norm_behind_the_writer_is_the_reason_given(tmp_path, kind):
    wanted = plan(1, [2]) if kind == "addition" else everywhere()
    with pytest.raises(InputError, match=r"to end in a linear layer, got a Gemma2RMSNorm.*a norm"):
        bake(tiny_model("gemma2"), wanted, tmp_path / "baked")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (lambda: more(MistralForCausalLM, MistralConfig), "mlp.down_proj of MistralForCausalLM.*MistralConfig"),
        (lambda: more(Qwen3ForCausalLM, Qwen3Config, head_dim=8), "mlp.down_proj of Qwen3ForCausalLM.*Qwen3Config"),
        (lambda: tiny_model("qwen2"), "mlp.down_proj of tiny-qwen2.*Qwen2Config"),
    ],
)
def test_a_family_without_such_a_bias_is_told_so(tmp_path, make, layer):
    with pytest.raises(InputError, match=rf"can have a bias, got model.layers.2.{layer} gives it one"):
        bake(make(), plan(1, [2]), tmp_path / "baked")
    assert not list(tmp_path.iterdir())


def test_a_choice_of_experts_is_the_reason_given(tmp_path):
    model = more(MixtralForCausalLM, MixtralConfig, num_local_experts=4)
    with pytest.raises(InputError, match=r"to end in a linear layer, got a MixtralSparseMoeBlock.*experts"):
        bake(model, everywhere(), tmp_path / "baked")


def test_a_norm_behind_the_embedding_is_found_by_what_comes_out(tmp_path):
    with pytest.raises(InputError, match=r"differ by up to .*; nothing was kept"):
        bake(more(BloomForCausalLM, BloomConfig), everywhere(), tmp_path / "baked")
    assert not list(tmp_path.iterdir())


def test_qwen3s_attention_can_have_one(tmp_path):
    held = direction(3, [2])
    site = Site(2, "attn_out")
    moved = type(held)({site: held.vectors[Site(2)]}, {site: 6.0}, held.origin, held.method)
    agrees(more(Qwen3ForCausalLM, Qwen3Config, head_dim=8), Plan(moved, unit="raw"), tmp_path / "baked")


def test_what_is_not_the_same_is_removed_again(tmp_path):
    # Twice as strong at the ablated direction: what the addition brings in, steering takes out of the stream later.
    back = Plan(direction(5, [1]), coefficient=2.0, unit="raw")
    with pytest.raises(InputError, match="this plan be written into its weights exactly; nothing was kept"):
        bake(tiny_model("gpt2"), everywhere() + back, tmp_path / "baked")
    assert not list(tmp_path.iterdir())


def test_only_what_was_baked_is_replaced(tmp_path):
    model = tiny_model("gpt2")
    precious = tmp_path / "mine"
    precious.mkdir()
    (precious / "notes.txt").write_text("keep")
    with pytest.raises(FileError, match="exists already"):
        bake(model, plan(1, [2]), precious, force=True)
    assert (precious / "notes.txt").read_text() == "keep"
    bake(model, plan(1, [2]), tmp_path / "baked")
    with pytest.raises(FileError, match="--force to replace it"):
        bake(model, plan(2, [2]), tmp_path / "baked")
    bake(model, plan(2, [2]), tmp_path / "baked", force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["baked", "mine"]


def test_weights_that_are_not_there_cannot_be_changed(tmp_path):
    network = tiny_network("gpt2")
    model = wrap(network, tokenizer(), name="gone", revision="3" * 64)
    network.to("meta")
    with pytest.raises(InputError, match="plain weights in memory"):
        bake(model, plan(1, [2]), tmp_path / "baked")
