"""Every edit x span x site x family x padding x cache, each held against the plain formula applied by hand.

The rows of a batch carry the combinations, none like its neighbour, so that the independence of rows is under test in
every one of them; the truth is a single row in a single pass (`plain.py`).
"""

import itertools
from functools import cache

import pytest
import torch

from laws.plain import HEAD, plain_logits
from steersman.edits import Ablate, Add, AddKeepingNorm, Clamp, Rotate
from steersman.gates import Gate
from steersman.model.encode import forward_arguments, pad, prompt_tokens
from steersman.model.hooks import editing
from steersman.plan import Plan
from steersman.where import Site, Span
from tiny import DEPTH, FAMILIES, PROMPTS, VOCABULARY, WIDTH, made_at, tiny_model

CLOSE = {"rtol": 1e-4, "atol": 5e-5}
BATCH = 32
TAIL = " and then home"
EDITS = {
    "add": (Add(), 0.8),
    "add keeping the norm": (AddKeepingNorm(), -0.6),
    "ablate": (Ablate(), 1.0),
    "ablate in part": (Ablate(), 0.4),
    "clamp": (Clamp(0.5), 1.0),
    "clamp from above": (Clamp(-0.1, "above"), 1.0),
    "rotate": (Rotate(70), 0.7),
}
SPANS = ("all", "all-bos", "prompt", "generated", "after_instruction", "last", "first(3)", "positions(-2,1,4,40)")
POINTS = ("resid_pre", "head", "attn_out", "mlp_out", "resid_post")
COMBINATIONS = list(itertools.product(EDITS, SPANS, POINTS))
GATES = (None, "prompt", "token")


def site_of(number, point, depth=DEPTH):
    return Site(number % depth, point, number % 4 if point == "head" else None)


def made_plan(number, edit, span, point):
    """A plan of its own for every combination: other vectors, layers and heads."""
    what, coefficient = EDITS[edit]
    # What is done to the prompt in the last block reaches no later token.
    site = site_of(number, point, DEPTH if span in ("all", "all-bos", "generated", "after_instruction") else DEPTH - 1)
    second = made_at(1_000 + number, site) if what.planar else None
    return Plan(made_at(number, site), what, span=span, coefficient=coefficient, unit="raw", second=second)


@cache
def texts(family):
    """A prompt and a tail for every combination: of unlike lengths, so that every batch is padded."""
    model = tiny_model(family, chat=True)
    heads = [
        prompt_tokens(model, PROMPTS[number % len(PROMPTS)][: 3 + number % 7]) for number in range(len(COMBINATIONS))
    ]
    # Two in three begin with the beginning-of-sequence token, which the chat template by itself does not set.
    heads = [[VOCABULARY["<bos>"], *head] if number % 3 else head for number, head in enumerate(heads)]
    tail = model.tokenizer(TAIL, add_special_tokens=False)["input_ids"]
    return heads, [tail[number % 5 :][:9] for number in range(len(COMBINATIONS))]


@cache
def truth(family):
    """`[9, vocab]` logits at every combination's tail, and those of the unsteered model."""
    model = tiny_model(family, chat=True)
    steered, plain = [], []
    for number, (combination, head, tail) in enumerate(zip(COMBINATIONS, *texts(family), strict=True)):
        plan = made_plan(number, *combination)
        steered.append(plain_logits(model, family, head + tail, len(head), plan)[-9:])
        plain.append(plain_logits(model, family, head + tail, len(head), Plan())[-9:])
    return torch.stack(steered), torch.stack(plain)


@torch.no_grad()
def whole(model, heads, tails, plans, side):
    rows = [head + tail for head, tail in zip(heads, tails, strict=True)]
    batch = pad(model, rows, [len(head) for head in heads], side)
    with editing(model, plans, batch.prompt_lengths):
        logits = model.hf(**forward_arguments(model, batch)).logits
    return torch.stack([row[mask.bool()][-9:] for row, mask in zip(logits, batch.mask, strict=True)])


@torch.no_grad()
def cached(model, heads, tails, plans, side):
    batch = pad(model, heads, [len(head) for head in heads], side)
    mask, logits = batch.mask, []
    with editing(model, plans, batch.prompt_lengths):
        past = model.hf(**forward_arguments(model, batch), use_cache=True).past_key_values
        # Some tokens one by one, some together.
        for chunk in torch.tensor(tails).split([1, 1, 1, 4, 2], 1):
            mask = torch.cat([mask, torch.ones_like(chunk)], 1)
            positions = (mask.cumsum(1) - 1)[:, -chunk.shape[1] :]
            output = model.hf(
                input_ids=chunk, attention_mask=mask, position_ids=positions, past_key_values=past, use_cache=True
            )
            logits.append(output.logits)
    return torch.cat(logits, 1)


WAYS = [
    (family, run, side)
    for family, run, side in itertools.product(FAMILIES, (whole, cached), ("left", "right"))
    if (family, run, side) != ("gemma2", cached, "right")
]


@pytest.mark.parametrize(("family", "run", "side"), WAYS)
def test_every_combination_is_its_formula(family, run, side, laws):
    model = tiny_model(family, chat=True)
    heads, tails = texts(family)
    steered, _ = truth(family)
    plans = [made_plan(number, *combination) for number, combination in enumerate(COMBINATIONS)]
    for start in range(0, len(plans), BATCH):
        part = slice(start, start + BATCH)
        logits = run(model, heads[part], tails[part], plans[part], side)
        for number, row in enumerate(logits, start):
            torch.testing.assert_close(
                row, steered[number], **CLOSE, msg=lambda text, number=number: f"{COMBINATIONS[number]}: {text}"
            )
            laws(1)


def test_a_sliding_window_that_caches_padding_on_the_right_fails_unsteered_too():
    """Why `WAYS` leaves one out: Gemma 2's cache of 6 positions holds the padding in the text's place."""
    model, (heads, tails) = tiny_model("gemma2", chat=True), texts("gemma2")
    nothing = [Plan()] * BATCH
    truth = whole(model, heads[:BATCH], tails[:BATCH], nothing, "left")
    torch.testing.assert_close(cached(model, heads[:BATCH], tails[:BATCH], nothing, "left"), truth, **CLOSE)
    assert not torch.allclose(cached(model, heads[:BATCH], tails[:BATCH], nothing, "right"), truth, atol=0.1)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_combination_does_something(family):
    """The truth itself differs from the unsteered model, in all but the caps that find nothing above them."""
    steered, plain = truth(family)
    still = [
        combination
        for combination, one, other in zip(COMBINATIONS, steered, plain, strict=True)
        if torch.allclose(one, other, atol=1e-4)
    ]
    assert {edit for edit, _, _ in still} <= {"clamp from above"}
    assert len(still) < len(SPANS) * len(POINTS) / 4


@pytest.mark.parametrize("family", FAMILIES)
def test_32_rows_with_unlike_plans_equal_32_runs(family):
    """Vector, site, edit, span, unit and gate mixed; several steps in a row; each equal to its run alone, to 1e-5
    of the largest logit."""
    model = tiny_model(family, chat=True)
    plans = [mixed_plan(number, model) for number in range(BATCH)]
    assert len({plan.digest() for plan in plans}) == BATCH
    heads, tails = (each[:BATCH] for each in texts(family))
    for run, side in [(run, side) for name, run, side in WAYS if name == family]:
        together = run(model, heads, tails, plans, side)
        for number, row in enumerate(together):
            alone = run(
                model, heads[number : number + 1], tails[number : number + 1], plans[number : number + 1], side
            )[0]
            assert float((row - alone).abs().max()) <= 1e-5 * max(1.0, float(alone.abs().max()))
            truth = plain_logits(model, family, heads[number] + tails[number], len(heads[number]), plans[number])[-9:]
            torch.testing.assert_close(row, truth, **CLOSE)


def mixed_plan(number, model):
    """Two or three steps of different kinds, every other one behind a gate."""
    edits, steps = list(EDITS), Plan()
    for turn in range(2 + number % 2):
        kind = number * 3 + turn * 5
        site = site_of(2 + (number + turn) % 2, POINTS[kind % 5])
        what, coefficient = EDITS[edits[kind % len(edits)]]
        when = GATES[(number + turn) % 3]
        gate = when and Gate(
            Site((number + turn) % 2, ("resid_pre", "resid_post")[number % 2]),
            torch.randn(WIDTH, generator=torch.Generator().manual_seed(kind)),
            threshold=(-0.5, 0.0, 0.3)[number % 3],
            when=when,
            measure=("projection", "cosine", "probe")[number % 3],
            bias=0.2,
            below=number % 5 == 0,
        )
        steps += Plan(
            made_at(10_000 + 10 * number + turn, site),
            what,
            span=Span.parse(SPANS[(number + turn) % len(SPANS)]),
            coefficient=coefficient,
            unit=("norm", "raw")[number % 2],
            second=made_at(20_000 + number, site) if what.planar else None,
            gate=gate,
        )
    return steps


def test_heads_are_as_wide_as_written_down():
    for family in FAMILIES:
        assert tiny_model(family).site_width(Site(1, "head", 0)) == HEAD
