"""Learned directions: they do what they were fitted for, within their length, and leave the model as it was."""

from dataclasses import replace

import pytest
import torch

from steersman.direction import Direction
from steersman.edits import Add
from steersman.errors import InputError, MismatchError
from steersman.learning import Optimiser, optimise
from steersman.plan import Plan
from steersman.prompts import Example
from steersman.where import Site
from tiny import COMPLETIONS, PROMPTS, direction, tiny_model

SITE = Site(1)
WANTED = [Example(prompt, " no, never") for prompt in PROMPTS[:3]]
QUICK = Optimiser(steps=25, batch_size=3, limit=1.0)


def mean_logprob(model, examples, plan=None):
    scores = model.score([e.prompt for e in examples], [e.completion for e in examples], plan)
    return sum(score.mean for score in scores) / len(scores)


def length(held: Direction) -> float:
    return float(held.vectors[SITE].norm()) / held.norms[SITE]


def raw(held: Direction) -> Plan:
    return Plan(held, coefficient=1.0, unit="raw")


@pytest.fixture(scope="module")
def own(bare):
    """What the model itself says to other prompts."""
    prompts = ["What is that?", "abc", "Count to ten."]
    texts = bare.generate(prompts, max_new_tokens=8)
    return [Example(prompt, text or " .") for prompt, text in zip(prompts, texts, strict=True)]


@pytest.fixture(scope="module")
def learned(bare, own):
    return optimise(bare, direction(0, [1]), WANTED, own, QUICK)


def test_the_wanted_becomes_likelier(bare, learned):
    before = mean_logprob(bare, WANTED)
    assert mean_logprob(bare, WANTED, raw(learned)) > before + 0.5
    start = direction(0, [1])
    assert mean_logprob(bare, WANTED, raw(learned)) > mean_logprob(
        bare, WANTED, Plan(start, coefficient=length(learned))
    )


def test_the_kept_is_left_likelier_than_without_keeping(bare, own, learned):
    careless = optimise(bare, direction(0, [1]), WANTED, own, Optimiser(steps=25, batch_size=3, limit=1.0, keep=0.0))
    assert mean_logprob(bare, own, raw(learned)) > mean_logprob(bare, own, raw(careless)) + 0.2


def test_the_result_says_what_it_is(learned):
    start = direction(0, [1])
    assert (learned.sites, learned.norms, learned.origin) == ([SITE], start.norms, start.origin)
    assert learned.method == "optimised from made up, seed 0"
    assert (learned.vectors[SITE].dtype, learned.vectors[SITE].requires_grad) == (torch.float32, False)
    assert torch.equal(start.vectors[SITE], direction(0, [1]).vectors[SITE])


@pytest.mark.parametrize("limit", [0.05, 0.2])
def test_the_length_keeps_its_limit(llama, limit):
    kept = [Example("abc", " def")]
    how = Optimiser(steps=6, batch_size=2, limit=limit, learning_rate=5.0)
    held = optimise(llama, direction(0, [1]), WANTED, kept, how)
    free = optimise(llama, direction(0, [1]), WANTED, kept, replace(how, limit=100.0))
    assert length(held) <= limit * (1 + 1e-5)
    assert length(free) > limit  # the steps are long enough to leave it


def state(model):
    return {name: (value.clone(), value.requires_grad) for name, value in model.hf.named_parameters()}


def same(model, before):
    after = dict(model.hf.named_parameters())
    return set(after) == set(before) and all(
        torch.equal(after[name], value) and after[name].requires_grad == tracked and after[name].grad is None
        for name, (value, tracked) in before.items()
    )


class StopError(Exception):
    pass


@pytest.mark.parametrize("stop_at", [None, 1, 2])
def test_the_model_is_left_as_it_was_also_by_an_exception(stop_at):
    model = tiny_model("qwen2")
    frozen = next(model.hf.parameters())
    frozen.requires_grad_(False)
    try:
        before, logits = state(model), model.score(PROMPTS, COMPLETIONS)
        hooked = hooks(model)
        steps = []

        def notify(count: int) -> None:
            steps.append(count)
            if len(steps) == stop_at:
                raise StopError

        def learn():
            optimise(
                model, direction(0, [1]), WANTED, [Example("a", " b")], Optimiser(steps=3, batch_size=1), notify=notify
            )

        if stop_at is None:
            learn()
            assert steps == [1, 1, 1]
        else:
            with pytest.raises(StopError):
                learn()
        assert same(model, before)
        assert model.under_way == []
        assert hooks(model) == hooked
        assert model.score(PROMPTS, COMPLETIONS) == logits
    finally:
        frozen.requires_grad_(True)


def hooks(model):
    """How many hooks there are; transformers itself leaves some that it captures outputs with."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.hf.modules())


def test_an_error_inside_a_step_leaves_no_hook(llama, monkeypatch):
    before, hooked = state(llama), hooks(llama)
    calls = iter(range(3))

    def broken(*arguments):
        if next(calls) == 2:
            raise StopError
        return plain(*arguments)

    plain = Add.__call__
    monkeypatch.setattr(Add, "__call__", broken)
    with pytest.raises(StopError):
        optimise(llama, direction(0, [1]), WANTED, WANTED, QUICK)
    assert same(llama, before)
    assert hooks(llama) == hooked


def test_the_same_seed_gives_the_same_vector_and_another_another(llama):
    # More examples than a batch holds, so that their order matters.
    wanted = [Example(prompt, completion) for prompt, completion in zip(PROMPTS, COMPLETIONS, strict=True)]

    def learn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed + 100)  # nothing is drawn from the global generator
        state = torch.get_rng_state()
        held = optimise(llama, direction(0, [1]), wanted, wanted, Optimiser(steps=3, batch_size=2, seed=seed))
        assert torch.equal(torch.get_rng_state(), state)
        return held.vectors[SITE]

    assert torch.equal(learn(0), learn(0))
    assert not torch.equal(learn(0), learn(1))


def test_only_the_first_tokens_count(llama):
    def learn(completion: str) -> torch.Tensor:
        wanted = [Example("Hi", completion)]
        held = optimise(llama, direction(0, [1]), wanted, wanted, Optimiser(steps=2, batch_size=1, tokens=3))
        return held.vectors[SITE]

    assert torch.equal(learn(" noes"), learn(" noise"))
    assert not torch.equal(learn(" yes"), learn(" noise"))


EXAMPLE = [Example("a", " b")]


@pytest.mark.parametrize(
    ("start", "wanted", "kept", "error", "match"),
    [
        (direction(0, [1, 2]), EXAMPLE, EXAMPLE, InputError, "a start with one site, got 2; take one with .at"),
        (direction(0, [1]), [], EXAMPLE, InputError, "examples of both kinds, wanted and kept, got none of one"),
        (direction(0, [1]), EXAMPLE, [], InputError, "examples of both kinds, wanted and kept, got none of one"),
        (direction(0, [1]), [Example("a")], EXAMPLE, InputError, "a completion of at least one token"),
        (direction(0, [1], width=16), EXAMPLE, EXAMPLE, MismatchError, "width 32 for 4 layers .*, got width 16"),
        (direction(0, [1], depth=9), EXAMPLE, EXAMPLE, MismatchError, "width 32 for 4 layers .*, got width 32 for 9"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(llama, start, wanted, kept, error, match):
    before = state(llama)
    with pytest.raises(error, match=match):
        optimise(llama, start, wanted, kept, QUICK)
    assert same(llama, before)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"steps": 0}, "steps, batch_size and tokens of at least 1"),
        ({"batch_size": 0}, "steps, batch_size and tokens of at least 1"),
        ({"tokens": 0}, "steps, batch_size and tokens of at least 1"),
        ({"learning_rate": 0.0}, "learning_rate and limit above 0"),
        ({"limit": -1.0}, "learning_rate and limit above 0"),
        ({"keep": -0.1}, "keep of at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(change, match):
    with pytest.raises(InputError, match=match):
        Optimiser(**change)
