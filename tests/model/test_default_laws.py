"""The laws that the tiny models obey, on the real default model in float32: what must be real is."""

import itertools

import pytest
import torch

from steersman.direction import Direction
from steersman.edits import Ablate, AddKeepingNorm, Clamp, Rotate
from steersman.gates import Gate
from steersman.intervention import steer
from steersman.methods import MeanDifference
from steersman.model.encode import completion_tokens, forward_arguments, pad, prompt_tokens
from steersman.model.generate import Sampling
from steersman.model.hooks import capturing, editing
from steersman.model.load import load
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.prompts import Example, Pair
from steersman.recording import record
from steersman.where import POINTS, Site

# Rounding through 30 blocks, in nats or units of logits; residual norms are about 100.
CLOSE = {"rtol": 1e-3, "atol": 2e-3}
LAYER = 15
PROMPTS = (
    "Name a colour.",
    "How do I boil an egg?",
    "What is 12 + 30?",
    "Write one sentence about a fox and a goose who meet by the river.",
    "Hi",
    "Who wrote Hamlet?",
    "Is the sky blue?",
    "List three fruits, in English and in French.",
)
COMPLETIONS = (" I am sorry, but I cannot help with that.", " Sure, here is how.", " No.", " It is 42, of course!")
PAIRS = [
    Pair(f"pair-{number}", Example(prompt, COMPLETIONS[0]), Example(prompt, COMPLETIONS[1 + number % 3]))
    for number, prompt in enumerate(PROMPTS[:4])
]


@pytest.fixture(scope="module")
def default() -> Model:
    return load("default", dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def recorded(default):
    return record(default, PAIRS, batch_size=8)


@pytest.fixture(scope="module", params=["additions", "every edit"])
def plans(request, default, recorded) -> list[Plan]:
    """One plan for each of four prompts, no two alike; each strong enough to change what is said."""
    fitted = MeanDifference().fit(recorded)
    if request.param == "every edit":
        return every_edit(fitted, MeanDifference().fit(record(default, PAIRS, layers=[18], points=POINTS)))
    return [
        Plan(fitted.at(LAYER), coefficient=0.4),
        Plan(),
        Plan(fitted.at(LAYER), coefficient=-0.4, span="generated"),
        Plan(fitted.at(10), coefficient=0.2, span="prompt") + Plan(fitted.at(20), coefficient=0.3, span="last"),
    ]


def every_edit(fitted: Direction, inside: Direction) -> list[Plan]:
    """Ablation everywhere, a clamp and a head behind gates, and a rotation; at other sites, over other spans."""
    end = Gate(Site(9), fitted.vectors[Site(9)], -1e6)
    tokens = Gate(Site(4, "resid_post"), fitted.vectors[Site(4)], 0.0, when="token")
    head = inside.at(Site(18, "head", 3))
    return [
        Plan(fitted.at(LAYER).everywhere(), Ablate()),
        Plan(),
        Plan(fitted.at(LAYER), Clamp(0.5), span="generated", gate=end) + Plan(head, coefficient=2.0, gate=tokens),
        Plan(fitted.at(12), Rotate(120), span="after_instruction", second=fitted.at(20).moved(12, 1.0))
        + Plan(inside.at(Site(18, "attn_out")), AddKeepingNorm(), coefficient=1.5)
        + Plan(inside.at(Site(18, "mlp_out")), coefficient=0.5, span="first(4)-bos"),
    ]


@torch.inference_mode()
def logits(model, rows, plans, side="left"):
    """The logits of one pass over prompts and completions, at each row's last four tokens."""
    batch = pad(model, [head + tail for head, tail in rows], [len(head) for head, _ in rows], side)
    with editing(model, plans, batch.prompt_lengths):
        every = model.hf(**forward_arguments(model, batch)).logits
    return torch.stack([row[mask.bool()][-4:] for row, mask in zip(every, batch.mask, strict=True)])


def rows_of(model):
    return [
        (prompt_tokens(model, prompt), completion_tokens(model, completion)[:4])
        for prompt, completion in zip(PROMPTS[:4], [COMPLETIONS[n] for n in (0, 1, 0, 3)], strict=True)
    ]


def test_coefficient_0_is_bit_identical_to_no_plan(default, plans):
    nothing = [plan.scaled(0.0) for plan in plans]
    rows = rows_of(default)
    assert torch.equal(logits(default, rows, nothing), logits(default, rows, [Plan()] * 4))
    assert default.score(PROMPTS[:4], COMPLETIONS, nothing) == default.score(PROMPTS[:4], COMPLETIONS)
    assert default.generate(PROMPTS[:4], nothing, max_new_tokens=6) == default.generate(PROMPTS[:4], max_new_tokens=6)


def test_the_plans_do_something(default, plans):
    rows = rows_of(default)
    moved = (logits(default, rows, plans) - logits(default, rows, [Plan()] * 4)).abs().amax((1, 2))
    assert moved[1] < 0.01
    assert (moved[[0, 2, 3]] > 1).all()


def test_batch_1_equals_batch_8(default, plans):
    each = plans * 2
    one = default.generate(PROMPTS, each, max_new_tokens=10, batch_size=1)
    assert default.generate(PROMPTS, each, max_new_tokens=10, batch_size=8) == one
    assert default.generate(PROMPTS[::-1], each[::-1], max_new_tokens=10, batch_size=8)[::-1] == one
    assert len(set(one)) == 8


def test_one_full_pass_equals_cached_decoding_and_right_padding(default, plans):
    rows = rows_of(default)
    whole = logits(default, rows, plans)
    torch.testing.assert_close(logits(default, rows, plans, "right"), whole, **CLOSE)
    batch = pad(default, [head for head, _ in rows], [len(head) for head, _ in rows])
    written, mask, seen = torch.tensor([tail for _, tail in rows]), batch.mask, []
    with torch.inference_mode(), steer(default, plans, prompt_lengths=batch.prompt_lengths.tolist()):
        cache = default.hf(**forward_arguments(default, batch), use_cache=True).past_key_values
        for chunk in written.split([1, 1, 2], 1):
            mask = torch.cat([mask, torch.ones_like(chunk)], 1)
            positions = (mask.cumsum(1) - 1)[:, -chunk.shape[1] :]
            output = default.hf(
                input_ids=chunk, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
            cache = output.past_key_values
            seen.append(output.logits)
    torch.testing.assert_close(torch.cat(seen, 1), whole, **CLOSE)


def test_recording_is_the_same_with_right_padding_and_other_batches(default, recorded):
    other = record(default, PAIRS, batch_size=3, padding="right")
    for site in recorded.sites:
        norm = recorded.norms[site]
        for ours, theirs in ((recorded.positive, other.positive), (recorded.negative, other.negative)):
            assert float((ours[site] - theirs[site]).norm(dim=-1).max()) < 1e-4 * norm
        assert other.norms[site] == pytest.approx(norm, rel=1e-5)


@torch.inference_mode()
def test_what_is_captured_is_what_was_written(default, recorded):
    fitted = MeanDifference().fit(recorded).at(LAYER)
    tokens = torch.tensor([prompt_tokens(default, PROMPTS[0])])
    seen: dict[str, torch.Tensor] = {}

    def read(name, plan):
        def take(site, hidden, _progress):
            seen[f"{name} {site.layer}"] = hidden.clone()

        with editing(default, [plan]), capturing(default, [Site(LAYER - 1), Site(LAYER), Site(LAYER + 1)], take):
            default.hf(input_ids=tokens)

    read("plain", Plan())
    read("steered", Plan(fitted, coefficient=0.5, unit="raw", span="all"))
    written = seen[f"plain {LAYER}"] + torch.tensor(0.5) * fitted.vectors[Site(LAYER)]
    assert torch.equal(seen[f"steered {LAYER}"], written)
    assert torch.equal(seen[f"steered {LAYER - 1}"], seen[f"plain {LAYER - 1}"])
    assert not torch.allclose(seen[f"steered {LAYER + 1}"], seen[f"plain {LAYER + 1}"], atol=0.1)


def test_options_score_as_each_does_alone(default, plans):
    options = [[*COMPLETIONS[1:], " Yes"]] * 4
    together = default.score_options(PROMPTS[:4], options, plans)
    for number in range(4):
        alone = default.score(PROMPTS[:4], [row[number] for row in options], plans)
        for one, row in zip(alone, together, strict=True):
            torch.testing.assert_close(torch.tensor(row[number].tokens), torch.tensor(one.tokens), **CLOSE)


def test_generation_is_hugging_faces_own(default, plans):
    batch = pad(default, [prompt_tokens(default, prompt) for prompt in PROMPTS[:4]], [0] * 4)
    for each in ([Plan()] * 4, plans):
        with steer(default, each):
            tokens = default.hf.generate(
                input_ids=batch.tokens, attention_mask=batch.mask, do_sample=False, max_new_tokens=12
            )
        ours = default.complete(PROMPTS[:4], each, Sampling(12))
        for row, generation in zip(tokens[:, batch.tokens.shape[1] :].tolist(), ours, strict=True):
            kept = itertools.takewhile(lambda token: token not in default.stop_tokens, row)
            assert tuple(kept) == generation.tokens
