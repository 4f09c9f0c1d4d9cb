"""Whole methods as their papers write them, on a tiny Llama patched by hand, against the plans that stand for them."""

from contextlib import ExitStack

import numpy as np
import pytest
import torch

from laws.plain import patched
from steersman.edits import Ablate, Add, AddKeepingNorm
from steersman.gates import Gate
from steersman.model.encode import prompt_tokens
from steersman.model.hooks import editing
from steersman.plan import Plan
from steersman.where import Site
from tiny import COMPLETIONS, DEPTH, HEADS, PROMPTS, WIDTH, direction, made_at, tiny_model

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama", chat=True)


@pytest.fixture
def text(model):
    head = prompt_tokens(model, PROMPTS[2])
    return head + model.tokenizer(COMPLETIONS[2], add_special_tokens=False)["input_ids"], len(head)


@torch.no_grad()
def by_hand(model, tokens, changes):
    """Logits with some modules' inputs or outputs changed: `(module, before, change)`."""
    with ExitStack() as stack:
        for module, before, change in changes:
            stack.enter_context(patched(module, before, [change]))
        return model.hf(input_ids=torch.tensor([tokens])).logits[0]


@torch.no_grad()
def by_plan(model, tokens, prompt, plan):
    with editing(model, [plan], torch.tensor([prompt])):
        return model.hf(input_ids=torch.tensor([tokens])).logits[0]


def test_arditi_ablation_everywhere(model, text):
    """Section 2.4: x - r r^T x at every block's input and every attention and MLP output, all tokens."""
    tokens, prompt = text
    found = direction(1, [2])
    r = found.vectors[Site(2)] / found.vectors[Site(2)].norm()

    def ablate(x):
        return x - torch.einsum("i,j,bsj->bsi", r, r, x)

    layers = model.hf.model.layers
    changes = [(layer, True, ablate) for layer in layers]
    changes += [(module, False, ablate) for layer in layers for module in (layer.self_attn, layer.mlp)]
    steered = by_plan(model, tokens, prompt, Plan(found.everywhere(), Ablate()))
    torch.testing.assert_close(steered, by_hand(model, tokens, changes), **CLOSE)
    assert not torch.allclose(steered, by_hand(model, tokens, []), atol=1e-2)
    assert found.everywhere().sites == [
        Site(layer, point) for layer in range(DEPTH) for point in ("resid_pre", "attn_out", "mlp_out")
    ]


def test_arditi_addition_at_one_layer(model, text):
    """Section 2.4: x + r with the difference of means as it is, at all tokens of one layer."""
    tokens, prompt = text
    vector = direction(3, [1]).vectors[Site(1)]
    steered = by_plan(model, tokens, prompt, Plan(direction(3, [1]), unit="raw"))
    torch.testing.assert_close(
        steered, by_hand(model, tokens, [(model.hf.model.layers[1], False, lambda x: x + vector)]), **CLOSE
    )


def test_caa_adds_after_the_instruction(model, text):
    """Panickssery et al., section 3: the vector times alpha at every token after the user's words."""
    tokens, prompt = text
    vector = direction(3, [2]).vectors[Site(2)]
    instruction = len(tokens[:prompt]) - len(model.tokenizer("<eos><assistant>", add_special_tokens=False)["input_ids"])

    def add(x):
        changed = x.clone()
        changed[:, instruction:] += -1.5 * vector
        return changed

    plan = Plan(direction(3, [2]), span="after_instruction", coefficient=-1.5, unit="raw")
    steered = by_plan(model, tokens, prompt, plan)
    torch.testing.assert_close(steered, by_hand(model, tokens, [(model.hf.model.layers[2], False, add)]), **CLOSE)


def test_iti_adds_to_some_heads(model, text):
    """Li et al. (2023), equation 2: x_{l+1} = x_l + sum over heads of Q(Att + alpha sigma theta), at chosen heads."""
    tokens, prompt = text
    chosen = [(1, 0), (1, 3), (2, 2)]
    size = WIDTH // HEADS
    plan = Plan()
    changes = []
    for number, (layer, head) in enumerate(chosen):
        found = made_at(number, Site(layer, "head", head))
        plan += Plan(found, coefficient=2.0, unit="raw")
        (vector,) = found.vectors.values()

        def shift(z, head=head, vector=vector):
            heads = z.reshape(*z.shape[:2], HEADS, size).clone()
            heads[:, :, head] += 2.0 * vector
            return heads.reshape(z.shape)

        changes.append((model.hf.model.layers[layer].self_attn.o_proj, True, shift))
    torch.testing.assert_close(by_plan(model, tokens, prompt, plan), by_hand(model, tokens, changes), **CLOSE)


def test_repeng_keeps_the_norm(model, text):
    """repeng's `normalize=True`: y = x + v, then y |x| / |y|, at the layers controlled."""
    tokens, prompt = text

    def control(vector):
        def change(x):
            y = x + vector
            return y / torch.norm(y, dim=-1, keepdim=True) * torch.norm(x, dim=-1, keepdim=True)

        return change

    found = direction(4, [1, 2])
    changes = [(model.hf.model.layers[site.layer], False, control(found.vectors[site])) for site in found.sites]
    steered = by_plan(model, tokens, prompt, Plan(found, AddKeepingNorm(), unit="raw"))
    torch.testing.assert_close(steered, by_hand(model, tokens, changes), **CLOSE)


@pytest.mark.parametrize("below", [False, True])
def test_cast_steers_where_the_condition_holds(model, text, below):
    """Lee et al. (2024), section 3: f(sim(h, c)) x alpha x v, the similarity a cosine, decided on the prompt."""
    tokens, prompt = text
    condition, behaviour = direction(6, [1]).vectors[Site(1)], direction(7, [2]).vectors[Site(2)]
    seen = []

    def look(x):
        seen.append(x.clone())
        return x

    by_hand(model, tokens, [(model.hf.model.layers[1], False, look)])
    h = seen[0][0, prompt - 1].double().numpy()
    similarity = float(h @ condition.double().numpy() / np.linalg.norm(h) / np.linalg.norm(condition.double().numpy()))
    for threshold in (similarity - 0.05, similarity + 0.05):
        holds = (similarity > threshold) != below
        gate = Gate(Site(1), condition, threshold, measure="cosine", below=below)
        plan = Plan(direction(7, [2]), Add(), coefficient=1.3, unit="raw", gate=gate)
        changes = [(model.hf.model.layers[2], False, lambda x: x + 1.3 * behaviour)] if holds else []
        torch.testing.assert_close(by_plan(model, tokens, prompt, plan), by_hand(model, tokens, changes), **CLOSE)
