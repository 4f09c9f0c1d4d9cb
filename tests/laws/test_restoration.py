"""Leaving a steered model, by whatever way, leaves the model as it was; asking for nothing changes no bit."""

import pytest
import torch

from steersman.edits import Ablate, Add, AddKeepingNorm, Clamp, Rotate
from steersman.errors import InterventionError, MismatchError
from steersman.intervention import steer
from steersman.model.encode import pad, prompt_tokens
from steersman.model.generate import Sampling
from steersman.model.hooks import capturing
from steersman.model.load import wrap
from steersman.plan import Plan
from steersman.where import Site
from tiny import PROMPTS, direction, plan, tiny_network, tokenizer

NOTHING = {
    "empty": Plan(),
    "coefficient 0": plan(1, [0, 1, 2, 3], coefficient=0.0),
    "scaled to 0": plan(1, [1], span="last").scaled(0.0),
    "minus 0": -plan(1, [2], coefficient=0.0),
    "sum of zeros": plan(1, [1], coefficient=0.0) + Plan() + plan(2, [3], span="generated", coefficient=0.0),
}


class StopError(Exception):
    """What a body raises."""


def hooks(model):
    """Every hook on every module, as PyTorch keeps them."""
    kept = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")
    return {(name, kind): len(getattr(module, kind)) for name, module in model.hf.named_modules() for kind in kept}


def weights(model):
    return {name: value.clone() for name, value in model.hf.state_dict().items()}


def prompt_batch(model):
    rows = [prompt_tokens(model, prompt) for prompt in PROMPTS]
    return pad(model, rows, [len(row) for row in rows])


def logits(model, **arguments):
    batch = prompt_batch(model)
    with torch.no_grad():
        return model.hf(input_ids=batch.tokens, attention_mask=batch.mask, **arguments).logits


@pytest.fixture
def untouched(bare):
    """Check after the test that the model is as it was before."""
    before, numbers = hooks(bare), weights(bare)
    yield bare
    assert hooks(bare) == before
    assert bare.under_way == []
    assert all(torch.equal(value, numbers[name]) for name, value in bare.hf.state_dict().items())


@pytest.mark.parametrize("nothing", NOTHING.values(), ids=NOTHING)
def test_a_plan_that_asks_for_nothing_leaves_logits_bit_identical(untouched, nothing):
    plain = logits(untouched)
    with steer(untouched, nothing):
        steered = logits(untouched)
    assert torch.equal(plain, steered)


@pytest.mark.parametrize("nothing", NOTHING.values(), ids=NOTHING)
def test_a_plan_that_asks_for_nothing_writes_and_scores_the_same(untouched, nothing):
    plain = untouched.complete(PROMPTS, [Plan()] * len(PROMPTS), Sampling(8))
    assert untouched.complete(PROMPTS, [nothing] * len(PROMPTS), Sampling(8)) == plain
    assert untouched.score(PROMPTS, [" yes"] * 5, nothing) == untouched.score(PROMPTS, [" yes"] * 5)


def test_a_row_that_asks_for_nothing_is_bit_identical_beside_steered_ones(untouched):
    plain = logits(untouched)
    with steer(untouched, [plan(1), Plan(), plan(2, span="last"), plan(3, coefficient=0.0), plan(4, [3])]):
        steered = logits(untouched)
    assert torch.equal(plain[[1, 3]], steered[[1, 3]])
    assert not any(torch.allclose(plain[row], steered[row], atol=1e-2) for row in (0, 2, 4))


def test_tokens_before_the_span_are_bit_identical(untouched):
    plain = logits(untouched)
    with steer(untouched, plan(1, span="last")):
        steered = logits(untouched)
    real = prompt_batch(untouched).mask.bool()[:, :-1]  # padding attends to anything, and nothing attends to it
    assert torch.equal(plain[:, :-1][real], steered[:, :-1][real])
    assert not torch.allclose(plain[:, -1], steered[:, -1], atol=1e-2)


def test_steering_moves_the_logits_and_leaves_no_trace(untouched):
    plain = logits(untouched)
    with steer(untouched, plan(1, [0, 1, 2, 3])) as active:
        assert hooks(untouched) != hooks_of_nothing(untouched)
        steered = logits(untouched)
        tokens = sum(len(prompt_tokens(untouched, prompt)) for prompt in PROMPTS)
        assert active.applications == {f"resid_post.{layer}": tokens for layer in range(4)}
    assert not torch.allclose(plain, steered, atol=1e-2)
    assert torch.equal(plain, logits(untouched))


def hooks_of_nothing(model):
    return dict.fromkeys(hooks(model), 0)


@pytest.mark.parametrize("kind", [StopError, KeyboardInterrupt, GeneratorExit])
def test_an_exception_in_the_body_comes_out_itself_and_leaves_no_hook(untouched, kind):
    plain = logits(untouched)

    def steer_and_fail():
        with steer(untouched, plan(1)):
            logits(untouched)
            raise kind

    with pytest.raises(kind):
        steer_and_fail()
    # Nothing was applied yet here, and still the body's own exception is the one to see.
    with pytest.raises(kind), steer(untouched, plan(1)):
        raise kind
    with pytest.raises(kind), capturing(untouched, [Site(0)], lambda *_: None):
        raise kind
    assert torch.equal(plain, logits(untouched))


def test_an_exception_in_the_middle_of_a_forward_pass_leaves_no_hook(untouched, monkeypatch):
    plain = logits(untouched)

    def fail(*_args, **_arguments):
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(untouched.layout.blocks[2], "forward", fail)
        for call in (
            lambda: untouched.generate(list(PROMPTS), plan(1)),
            lambda: untouched.score(PROMPTS[0], [" yes"], plan(1)),
            lambda: untouched.score_options(PROMPTS[:2], [[" a", " bc"]] * 2, plan(1)),
        ):
            with pytest.raises(StopError):
                call()
    assert torch.equal(plain, logits(untouched))


@pytest.mark.parametrize("failing", ["base", "first block", "last block"])
def test_an_entry_that_fails_half_way_leaves_no_hook(untouched, monkeypatch, failing):
    module = {"base": untouched.layout.base, "first block": untouched.layout.blocks[0]}.get(
        failing, untouched.layout.blocks[3]
    )

    def fail(*_args, **_arguments):
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(module, "register_forward_hook", fail)
        patch.setattr(module, "register_forward_pre_hook", fail)
        with pytest.raises(StopError), steer(untouched, plan(1, [0, 1, 2, 3])):
            pytest.fail("the body ran although the entry failed")
        with pytest.raises(StopError), capturing(untouched, [Site(n) for n in range(4)], lambda *_: None):
            pytest.fail("the body ran although the entry failed")
    logits(untouched)


def test_a_refused_plan_leaves_no_hook(untouched):
    with pytest.raises(MismatchError), steer(untouched, [plan(1), Plan(direction(1, [0], width=16))]):
        pytest.fail("the body ran although a plan was refused")


def test_an_error_at_the_end_leaves_no_hook(untouched):
    with pytest.raises(InterventionError), steer(untouched, plan(1)):
        pass


def test_nested_contexts_equal_the_sum_of_their_plans(untouched):
    first, second = plan(1, [1]), plan(2, [1, 3], span="last")
    with steer(untouched, first + second):
        both = logits(untouched)
    with steer(untouched, first):
        with steer(untouched, second):
            nested = logits(untouched)
        only_first = logits(untouched)
    torch.testing.assert_close(nested, both, rtol=1e-5, atol=1e-5)
    with steer(untouched, first):
        assert torch.equal(only_first, logits(untouched))


@pytest.mark.parametrize("span", ["all", "all-bos", "prompt", "generated", "last", "first(2)", "positions(0,3)"])
@pytest.mark.parametrize("edit", [Add(), AddKeepingNorm(), Ablate(), Clamp(0.7), Rotate(50)], ids=repr)
def test_a_plan_minus_itself_is_the_identity(untouched, span, edit):
    second = direction(9, [0, 2]) if edit.planar else None
    one = Plan(direction(1, [0, 2]), edit, span=span, coefficient=0.9, second=second)
    other = plan(3, [2])
    plain = logits(untouched)
    with steer(untouched, one - one):
        assert torch.equal(logits(untouched), plain)
    with steer(untouched, one + other - one):
        around = logits(untouched)
    with steer(untouched, other):
        assert torch.equal(around, logits(untouched))


def test_what_two_contexts_add_and_take_away_comes_back(untouched):
    one = plan(1, [0, 2], coefficient=1.3)
    with steer(untouched, one), steer(untouched, -one) as active:
        steered = logits(untouched)
    assert sum(active.applications.values()) > 0
    torch.testing.assert_close(steered, logits(untouched), rtol=1e-5, atol=1e-5)


def test_steps_of_a_site_are_rounded_once_in_bfloat16():
    network = tiny_network("llama").to(torch.bfloat16)
    model = wrap(network, tokenizer())
    plain = logits(model)
    one = plan(1, [0, 2], coefficient=1.3)
    other = plan(1, [0, 2], coefficient=-1.3, span="prompt")
    with steer(model, one + other) as active:
        steered = logits(model)
    assert sum(active.applications.values()) > 0
    # Both edits of a site are made in float32 and rounded once: rounding after each would not come back.
    assert float((steered - plain).abs().max()) <= 0.02 * float(plain.abs().max())


def test_gradients_pass_through_an_edit(llama):
    one = plan(1, [1])
    batch = torch.tensor([prompt_tokens(llama, PROMPTS[0])])
    embedded = llama.hf.get_input_embeddings()(batch).detach().requires_grad_()
    with steer(llama, one):
        llama.hf(inputs_embeds=embedded).logits.sum().backward()
    assert embedded.grad is not None
    assert float(embedded.grad.abs().sum()) > 0
    llama.hf.zero_grad()
