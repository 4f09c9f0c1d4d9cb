"""What must not change a row's result: the cache, the padding, the batch, the order, the neighbours."""

import copy
import dataclasses
import itertools

import pytest
import torch

from steersman.intervention import steer
from steersman.model.encode import forward_arguments, pad, prompt_tokens
from steersman.model.generate import Sampling
from steersman.model.hooks import editing
from steersman.model.score import score_tokens
from steersman.plan import Plan
from steersman.prompts import Example, Pair
from steersman.recording import record
from tiny import COMPLETIONS, PROMPTS, mixed_plans, plan

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
# Hidden states are larger than logits, and processors differ in how they add up a batch.
ROUNDED = {"rtol": 1e-5, "atol": 5e-5}
SPAN_PLANS = {
    "all": plan(1, [1]),
    "prompt": plan(1, [0, 2], span="prompt"),
    "generated": plan(1, [1], span="generated"),
    "completion": plan(1, [3], span="completion"),
    "last": plan(1, [1], span="last", coefficient=2.0),
    "two spans at one site": plan(1, [1], span="last") + plan(2, [1], span="generated"),
    "nothing": Plan(),
}
TEXT = " and then the fox ran home"
SIXTEEN = [f"{prompt} {number * 7}" for number, prompt in zip(range(16), itertools.cycle(PROMPTS), strict=False)]
SIXTEEN_PLANS = [
    each.scaled(1 + number / 16) for number, each in zip(range(16), itertools.cycle(mixed_plans()), strict=False)
]
PAIRS = [
    Pair(
        f"pair-{number}",
        Example(prompt, COMPLETIONS[number % 5]),
        Example(PROMPTS[number % 4], " no" * (number % 3 + 1)),
    )
    for number, prompt in enumerate(SIXTEEN)
]


def heads(model):
    return [prompt_tokens(model, prompt) for prompt in PROMPTS]


def tails(model, length=10):
    """Other tokens for every row, all of one length."""
    return [model.tokenizer(TEXT[start:], add_special_tokens=False)["input_ids"][:length] for start in range(5)]


def totals(scores):
    return torch.tensor([score.total for score in scores])


@torch.no_grad()
def whole(model, plans, side="left"):
    """The logits of one pass over prompt and completion, at the completion's tokens: `[batch, 10, vocab]`."""
    rows = [head + tail for head, tail in zip(heads(model), tails(model), strict=True)]
    batch = pad(model, rows, [len(head) for head in heads(model)], side)
    with editing(model, plans, batch.prompt_lengths):
        logits = model.hf(**forward_arguments(model, batch)).logits
    return torch.stack([row[mask.bool()][-10:] for row, mask in zip(logits, batch.mask, strict=True)])


@torch.no_grad()
def cached(model, plans, sizes):
    """The same logits, from a pass over the prompts and cached passes of so many tokens each."""
    batch = pad(model, heads(model), [len(head) for head in heads(model)])
    written, mask, logits = torch.tensor(tails(model)), batch.mask, []
    with steer(model, plans, prompt_lengths=batch.prompt_lengths.tolist()):
        cache = model.hf(**forward_arguments(model, batch), use_cache=True).past_key_values
        for chunk in written.split(sizes, 1):
            mask = torch.cat([mask, torch.ones_like(chunk)], 1)
            output = model.hf(
                input_ids=chunk,
                attention_mask=mask,
                position_ids=(mask.cumsum(1) - 1)[:, -chunk.shape[1] :],
                past_key_values=cache,
                use_cache=True,
            )
            cache = output.past_key_values
            logits.append(output.logits)
    return torch.cat(logits, 1)


@pytest.mark.parametrize("sizes", [[1] * 10, [4, 3, 3]], ids=["token by token", "in chunks"])
@pytest.mark.parametrize("each", SPAN_PLANS.values(), ids=SPAN_PLANS)
def test_one_full_pass_equals_cached_decoding(bare, each, sizes):
    torch.testing.assert_close(cached(bare, [each], sizes), whole(bare, [each]), **CLOSE)


def test_one_full_pass_equals_cached_decoding_with_a_plan_for_each_row(bare):
    torch.testing.assert_close(cached(bare, mixed_plans(), [1] * 10), whole(bare, mixed_plans()), **CLOSE)


@pytest.mark.parametrize("each", SPAN_PLANS.values(), ids=SPAN_PLANS)
def test_left_padding_equals_right_padding(bare, each):
    torch.testing.assert_close(whole(bare, [each], "left"), whole(bare, [each], "right"), **CLOSE)


def test_left_padding_equals_right_padding_with_a_plan_for_each_row(bare):
    torch.testing.assert_close(whole(bare, mixed_plans(), "left"), whole(bare, mixed_plans(), "right"), **CLOSE)


@pytest.mark.parametrize("span", ["completion", "last", "prompt", "all"])
def test_recording_is_the_same_whatever_the_padding_and_the_batch(model, span):
    one = record(model, PAIRS, span=span, batch_size=1)
    for other in (
        record(model, PAIRS, span=span, batch_size=16),
        record(model, PAIRS, span=span, batch_size=5, padding="right"),
    ):
        for site in one.sites:
            torch.testing.assert_close(other.positive[site], one.positive[site], **ROUNDED)
            torch.testing.assert_close(other.negative[site], one.negative[site], **ROUNDED)
            assert other.norms[site] == pytest.approx(one.norms[site], rel=1e-5)
        assert other.origin == one.origin


def test_recording_does_not_depend_on_the_order_of_pairs(model):
    straight, turned = record(model, PAIRS), record(model, PAIRS[::-1])
    for site in straight.sites:
        torch.testing.assert_close(turned.positive[site].flip(0), straight.positive[site], **CLOSE)
        torch.testing.assert_close(turned.negative[site].flip(0), straight.negative[site], **CLOSE)


def test_generation_is_the_same_in_any_batch_and_order(model):
    one = model.generate(SIXTEEN, SIXTEEN_PLANS, max_new_tokens=6, batch_size=1)
    assert model.generate(SIXTEEN, SIXTEEN_PLANS, max_new_tokens=6, batch_size=16) == one
    assert model.generate(SIXTEEN[::-1], SIXTEEN_PLANS[::-1], max_new_tokens=6, batch_size=7)[::-1] == one


def test_scores_are_the_same_in_any_batch_and_order(model):
    completions = [COMPLETIONS[number % 5] + "!" for number in range(16)]
    one = model.score(SIXTEEN, completions, SIXTEEN_PLANS, batch_size=1)
    many = model.score(SIXTEEN, completions, SIXTEEN_PLANS, batch_size=16)
    turned = model.score(SIXTEEN[::-1], completions[::-1], SIXTEEN_PLANS[::-1], batch_size=7)[::-1]
    for other in (many, turned):
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(torch.tensor(b.tokens), torch.tensor(a.tokens), **CLOSE)


def test_option_scores_are_the_same_in_any_batch_and_order(model):
    options = [[" yes", " n", " perhaps not"], [" 4", " five", " six!"]] * 8
    one = model.score_options(SIXTEEN, options, SIXTEEN_PLANS, batch_size=1)
    many = model.score_options(SIXTEEN, options, SIXTEEN_PLANS, batch_size=16)
    turned = model.score_options(SIXTEEN[::-1], options[::-1], SIXTEEN_PLANS[::-1], batch_size=7)[::-1]
    for other in (many, turned):
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(totals(b), totals(a), **CLOSE)


@pytest.mark.parametrize("each", [*SPAN_PLANS.values(), None], ids=[*SPAN_PLANS, "one for each row"])
def test_options_score_as_each_does_alone(model, each):
    options = [
        [" yes", " no!", " perhaps not"],
        [" 4.", " five", " six!"],
        [" a b", " c d", " e"],
        [" x"] * 3,
        ["??"] * 3,
    ]
    plans = mixed_plans() if each is None else each
    together = model.score_options(PROMPTS, options, plans)
    for number in range(3):
        alone = model.score(PROMPTS, [row[number] for row in options], plans)
        for a, b in zip(alone, [row[number] for row in together], strict=True):
            torch.testing.assert_close(torch.tensor(b.tokens), torch.tensor(a.tokens), **CLOSE)


def test_a_batch_with_many_plans_equals_one_run_for_each_row(model):
    for number, each in enumerate(mixed_plans()):
        alone = model.score(PROMPTS[number], [TEXT], each)[0]
        beside = model.score(PROMPTS, [TEXT] * 5, mixed_plans())[number]
        torch.testing.assert_close(torch.tensor(beside.tokens), torch.tensor(alone.tokens), **CLOSE)


def test_plans_for_each_row_do_different_things(model):
    texts = model.complete([PROMPTS[0]] * 5, mixed_plans(), Sampling(12))
    assert len({text.tokens for text in texts}) >= 3


def stopping(model):
    """The model ending its texts at tokens that some of its rows write early and others late or never."""
    written = [row.tokens for row in model.complete(SIXTEEN, SIXTEEN_PLANS, Sampling(10))]
    stops = frozenset({row[at] for at, row in zip((0, 1, 2, 3, 5), (w for w in written if len(w) > 5), strict=False)})
    return dataclasses.replace(model, stop_tokens=stops)


def test_rows_that_finish_early_do_not_change_the_others(bare):
    ending = stopping(bare)
    alone = [
        ending.complete([prompt], [each], Sampling(10))[0] for prompt, each in zip(SIXTEEN, SIXTEEN_PLANS, strict=True)
    ]
    together = ending.complete(SIXTEEN, SIXTEEN_PLANS, Sampling(10))
    assert together == alone
    assert len({len(row.tokens) for row in together if row.finish == "stop"}) >= 2
    free = dataclasses.replace(bare, stop_tokens=frozenset()).complete(SIXTEEN, SIXTEEN_PLANS, Sampling(10))
    for row, unbound in zip(together, free, strict=True):
        assert row.tokens == unbound.tokens[: len(row.tokens)]
        assert not set(row.tokens) & ending.stop_tokens
        assert (row.finish == "stop") == (len(row.tokens) < 10)


@pytest.mark.parametrize("span", ["all", "prompt", "generated", "last"])
def test_steering_around_the_models_own_verbs_equals_giving_them_the_plan(bare, span):
    one = plan(3, [1, 2], span=span)
    ending = stopping(bare)
    with steer(ending, one):
        written = ending.complete(SIXTEEN, [Plan()] * 16, Sampling(10))
        scored = ending.score(PROMPTS, [TEXT] * 5)
        optional = ending.score_options(PROMPTS, [[" yes", " perhaps"]] * 5)
    assert written == ending.complete(SIXTEEN, [one] * 16, Sampling(10))
    torch.testing.assert_close(totals(scored), totals(ending.score(PROMPTS, [TEXT] * 5, one)), **CLOSE)
    for a, b in zip(optional, ending.score_options(PROMPTS, [[" yes", " perhaps"]] * 5, one), strict=True):
        torch.testing.assert_close(totals(a), totals(b), **CLOSE)


def test_plans_for_each_row_around_generation_follow_the_rows_that_stay(bare):
    ending = stopping(bare)
    with steer(ending, SIXTEEN_PLANS):
        written = ending.complete(SIXTEEN, [Plan()] * 16, Sampling(10))
    assert written == ending.complete(SIXTEEN, SIXTEEN_PLANS, Sampling(10))


@pytest.mark.parametrize("use_cache", [True, False], ids=["cache", "no cache"])
@pytest.mark.parametrize("span", ["all", "prompt", "generated", "last"])
def test_hugging_faces_own_generation_is_steered_the_same(bare, span, use_cache):
    one = plan(5, [0, 2], span=span)
    batch = pad(bare, heads(bare), [len(head) for head in heads(bare)])
    lengths = None if use_cache else [len(head) for head in heads(bare)]
    with steer(bare, one, prompt_lengths=lengths):
        tokens = bare.hf.generate(
            input_ids=batch.tokens, attention_mask=batch.mask, do_sample=False, max_new_tokens=10, use_cache=use_cache
        )
    ours = bare.complete(PROMPTS, [one] * 5, Sampling(10))
    for row, generation in zip(tokens[:, batch.tokens.shape[1] :].tolist(), ours, strict=True):
        kept = list(itertools.takewhile(lambda token: token not in bare.stop_tokens, row))
        assert tuple(kept) == generation.tokens


def test_hugging_faces_own_generation_takes_a_plan_for_each_row(bare):
    batch = pad(bare, heads(bare), [len(head) for head in heads(bare)])
    with steer(bare, mixed_plans()):
        tokens = bare.hf.generate(input_ids=batch.tokens, attention_mask=batch.mask, do_sample=False, max_new_tokens=10)
    for row, generation in zip(
        tokens[:, batch.tokens.shape[1] :].tolist(), bare.complete(PROMPTS, mixed_plans(), Sampling(10)), strict=True
    ):
        assert tuple(itertools.takewhile(lambda token: token not in bare.stop_tokens, row)) == generation.tokens


def test_the_same_seed_draws_the_same_text_in_any_batch(model):
    drawing = Sampling(6, temperature=0.8, top_p=0.9, seed=3)
    together = model.complete(SIXTEEN, SIXTEEN_PLANS, drawing)
    assert together == model.complete(SIXTEEN, SIXTEEN_PLANS, drawing)
    assert together[:5] == [model.complete([SIXTEEN[n]], [SIXTEEN_PLANS[n]], drawing)[0] for n in range(5)]
    assert together != model.complete(SIXTEEN, SIXTEEN_PLANS, dataclasses.replace(drawing, seed=4))


def test_rows_of_one_batch_draw_each_for_itself(bare):
    """At a temperature where the model has no say, two prompts still do not draw the same tokens."""
    rows = bare.complete(PROMPTS, [Plan()] * 5, Sampling(6, temperature=1e6))
    assert len({row.tokens for row in rows}) == 5


def test_drawing_touches_no_global_generator(llama):
    state = torch.random.get_rng_state()
    first = llama.generate(list(PROMPTS), temperature=1.0, max_new_tokens=5)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(3)
    assert llama.generate(list(PROMPTS), temperature=1.0, max_new_tokens=5) == first


def test_a_very_low_temperature_is_greedy(model):
    cold = model.complete(PROMPTS, mixed_plans(), Sampling(8, temperature=1e-4))
    assert cold == model.complete(PROMPTS, mixed_plans(), Sampling(8))
    narrow = model.complete(PROMPTS, mixed_plans(), Sampling(8, temperature=1.0, top_p=1e-6))
    assert narrow == cold


def test_a_repetition_penalty_does_not_see_padding(bare):
    penalised = Sampling(8, repetition_penalty=1.8)
    usual = bare.complete(PROMPTS, [Plan()] * 5, penalised)
    assert usual != bare.complete(PROMPTS, [Plan()] * 5, Sampling(8))
    assert usual == [bare.complete([prompt], [Plan()], penalised)[0] for prompt in PROMPTS]
    # Padded with the very tokens that the rows write first: seeing them would push these away.
    for first in {row.tokens[0] for row in usual if row.tokens}:
        words = copy.deepcopy(bare.tokenizer)
        words.pad_token_id = first
        padded = dataclasses.replace(bare, tokenizer=words).complete(PROMPTS, [Plan()] * 5, penalised)
        assert [row.tokens for row in padded] == [row.tokens for row in usual]


def test_scoring_agrees_with_what_generation_chose(model):
    """Under the same plan no other first token scores above the one that greedy generation wrote."""
    written = model.complete(PROMPTS, mixed_plans(), Sampling(1 + 1))
    heads_and_plans = zip(PROMPTS, mixed_plans(), written, strict=True)
    for prompt, each, row in heads_and_plans:
        if not row.tokens:
            continue
        head = prompt_tokens(model, prompt)
        others = [row.tokens[0], 20, 40, 60, 80]
        scores = score_tokens(model, [head] * 5, [[token, 9] for token in others], [each] * 5)
        assert scores[0].tokens[0] >= max(score.tokens[0] for score in scores[1:]) - 1e-5
