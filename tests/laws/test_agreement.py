"""What is computed in batches with hooks equals the formula, written plainly."""

import pytest
import torch

from steersman.activations import Activations
from steersman.direction import Direction
from steersman.errors import InputError
from steersman.intervention import steer
from steersman.maths.geometry import cosine
from steersman.methods import MeanDifference
from steersman.model.encode import completion_tokens, prompt_tokens
from steersman.model.hooks import capturing, editing
from steersman.plan import Plan
from steersman.prompts import Example, Pair, content_hash
from steersman.recording import record
from steersman.where import Site
from tiny import COMPLETIONS, DEPTH, PROMPTS, WIDTH, direction, origin, plan

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
SUMMED = {"rtol": 1e-4, "atol": 1e-4}  # attention in another order of its sums
PAIRS = [
    Pair(f"p{number}", Example(prompt, COMPLETIONS[number]), Example(PROMPTS[4 - number], " no, never"))
    for number, prompt in enumerate(PROMPTS)
]


class Reader:
    """Wraps every block's forward in a function that keeps what it returns: no hook of PyTorch takes part."""

    def __init__(self, model, push=None):
        self.model, self.push, self.seen = model, push or {}, {}

    def __enter__(self):
        for layer, block in enumerate(self.model.layout.blocks):
            block.forward = self._reading(layer, block.forward)
        return self

    def __exit__(self, *_):
        for block in self.model.layout.blocks:
            del block.forward

    def _reading(self, layer, forward):
        def read(*args, **arguments):
            output = forward(*args, **arguments)
            hidden = output[0] if isinstance(output, tuple) else output
            if layer in self.push:
                hidden = hidden + self.push[layer]
                output = (hidden, *output[1:]) if isinstance(output, tuple) else hidden
            self.seen[layer] = hidden.detach()
            return output

        return read


@torch.no_grad()
def plain_score(model, head, tail, push=None):
    """Log-probabilities of `tail` after `head`: one unpadded row, one forward pass, one log-softmax."""
    with Reader(model, push):
        logits = model.hf(input_ids=torch.tensor([head + tail])).logits[0]
    logs = logits.log_softmax(-1)
    return torch.stack([logs[len(head) + k - 1, token] for k, token in enumerate(tail)])


def test_score_equals_a_plain_forward_pass(model):
    scores = model.score(PROMPTS, COMPLETIONS)
    for prompt, completion, score in zip(PROMPTS, COMPLETIONS, scores, strict=True):
        expected = plain_score(model, prompt_tokens(model, prompt), completion_tokens(model, completion))
        torch.testing.assert_close(torch.tensor(score.tokens), expected, **CLOSE)
        assert score.total == pytest.approx(float(expected.sum()), abs=1e-4)
        assert score.mean == pytest.approx(float(expected.mean()), abs=1e-5)
        assert score.minimum == pytest.approx(float(expected.min()), abs=1e-5)


def test_score_of_a_plain_text_conditions_on_its_beginning_only(model):
    text = "The sky is blue."
    tail = completion_tokens(model, text)
    (score,) = model.score("", [text])
    expected = plain_score(model, [model.tokenizer.bos_token_id], tail)
    torch.testing.assert_close(torch.tensor(score.tokens), expected, **CLOSE)


def test_steered_score_equals_a_plain_forward_pass_with_the_vector_added(model):
    vector = direction(1, [1]).vectors[Site(1)]
    (score,) = model.score(PROMPTS[0], [COMPLETIONS[2]], plan(1, [1], coefficient=-1.5))
    head, tail = prompt_tokens(model, PROMPTS[0]), completion_tokens(model, COMPLETIONS[2])
    torch.testing.assert_close(torch.tensor(score.tokens), plain_score(model, head, tail, {1: -1.5 * vector}), **CLOSE)


def test_norm_units_are_fractions_of_the_norm_at_the_site(bare):
    fitted = direction(1, [2])
    vector, norm = fitted.vectors[Site(2)], fitted.norms[Site(2)]
    (score,) = bare.score(PROMPTS[0], [COMPLETIONS[2]], Plan(fitted, coefficient=0.4, unit="norm"))
    head, tail = prompt_tokens(bare, PROMPTS[0]), completion_tokens(bare, COMPLETIONS[2])
    push = {2: 0.4 * norm * vector / vector.norm()}
    torch.testing.assert_close(torch.tensor(score.tokens), plain_score(bare, head, tail, push), **CLOSE)


@torch.no_grad()
def plain_record(model, example, span):
    """`{layer: [d]}` of one text by a plain pass, with the norms of all its tokens but the first."""
    head = prompt_tokens(model, example.prompt)
    tail = completion_tokens(model, example.completion) if example.completion else []
    with Reader(model) as reader:
        model.hf(input_ids=torch.tensor([head + tail]))
    kept = {
        "completion": slice(len(head), None),
        "last": slice(len(head) - 1, len(head)),
        "prompt": slice(0, len(head)),
    }
    chosen = kept.get(span, slice(None))
    return (
        {layer: hidden[0, chosen].mean(0) for layer, hidden in reader.seen.items()},
        {layer: hidden[0, 1:].norm(dim=-1) for layer, hidden in reader.seen.items()},
    )


@pytest.mark.parametrize("span", ["completion", "last", "prompt", "all"])
def test_record_equals_a_plain_loop(model, span):
    activations = record(model, PAIRS, span=span, batch_size=4)
    expected = [(plain_record(model, pair.positive, span), plain_record(model, pair.negative, span)) for pair in PAIRS]
    for layer in range(DEPTH):
        site = Site(layer)
        positive = torch.stack([plus[0][layer] for plus, _ in expected])
        negative = torch.stack([minus[0][layer] for _, minus in expected])
        torch.testing.assert_close(activations.positive[site], positive, **SUMMED)
        torch.testing.assert_close(activations.negative[site], negative, **SUMMED)
        norms = torch.cat([side[1][layer] for both in expected for side in both])
        assert activations.norms[site] == pytest.approx(float(norms.double().mean()), rel=1e-5)
    assert activations.origin.n == len(PAIRS)
    assert activations.origin.data == content_hash(PAIRS)
    assert (activations.origin.width, activations.origin.depth) == (WIDTH, DEPTH)


def test_record_of_bare_prompts_reads_their_last_token(model):
    bare = [Pair("a", Example(PROMPTS[0]), Example(PROMPTS[2]))]
    activations = record(model, bare, span="last", layers=[-1])
    assert activations.sites == [Site(3)]
    torch.testing.assert_close(
        activations.positive[Site(3)][0], plain_record(model, bare[0].positive, "last")[0][3], **CLOSE
    )
    with pytest.raises(InputError, match="expected pairs with completions"):
        record(model, bare)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pairs": []}, "at least one pair"),
        ({"layers": [4]}, "layer from -4 to 3, got 4"),
        ({"layers": []}, "at least one layer"),
        ({"span": "middle"}, "span among all, prompt"),
        ({"batch_size": 0}, "batch size of at least 1"),
    ],
)
def test_record_refuses_what_it_cannot_read(llama, arguments, message):
    with pytest.raises(InputError, match=message):
        record(llama, **{"pairs": PAIRS} | arguments)


@torch.no_grad()
def captured(model, plans):
    tokens = torch.tensor([prompt_tokens(model, PROMPTS[2])] * 2)
    seen = {}
    sites = [Site(layer) for layer in range(DEPTH)]
    with editing(model, plans), capturing(model, sites, lambda site, hidden, _: seen.__setitem__(site, hidden.clone())):
        model.hf(input_ids=tokens)
    return seen


def test_what_is_captured_is_what_was_written(bare):
    plain = captured(bare, [Plan()])
    vector = direction(1, [2]).vectors[Site(2)]
    steered = captured(bare, [plan(1, [2], coefficient=0.7)])
    assert torch.equal(steered[Site(2)], plain[Site(2)] + torch.tensor(0.7) * vector)
    for layer in (0, 1):
        assert torch.equal(steered[Site(layer)], plain[Site(layer)])
    assert not torch.allclose(steered[Site(3)], plain[Site(3)], atol=1e-2)


def test_only_the_row_and_the_token_asked_for_are_edited(bare):
    plain = captured(bare, [Plan()])
    vector = direction(1, [2]).vectors[Site(2)]
    steered = captured(bare, [Plan(), plan(1, [2], span="last", coefficient=2.0)])
    expected = plain[Site(2)].clone()
    expected[1, -1] += 2 * vector
    assert torch.equal(steered[Site(2)], expected)


def test_steps_at_one_site_add_up(bare):
    plain = captured(bare, [Plan()])
    vectors = [direction(seed, [1]).vectors[Site(1)] for seed in (1, 2, 3)]
    steered = captured(bare, [plan(1) + plan(2, span="last") - plan(3)])
    expected = plain[Site(1)] + vectors[0] - vectors[2]
    expected[:, -1] += vectors[1]
    torch.testing.assert_close(steered[Site(1)], expected, **CLOSE)


def test_recording_under_steering_reads_what_is_written(bare):
    with steer(bare, plan(1, [2], span="last")):
        steered = record(bare, PAIRS, span="last")
    plain = record(bare, PAIRS, span="last")
    shift = direction(1, [2]).vectors[Site(2)].expand(len(PAIRS), -1)
    torch.testing.assert_close(steered.positive[Site(2)] - plain.positive[Site(2)], shift, rtol=1e-4, atol=1e-5)


def planted(strength, seed=0, n=200):
    generator = torch.Generator().manual_seed(seed)
    concept = torch.randn(WIDTH, generator=generator)
    concept /= concept.norm()
    topic = 3 * torch.randn(n, WIDTH, generator=generator)  # what both sides of a pair share
    sides = [topic + torch.randn(n, WIDTH, generator=generator) + sign * strength / 2 * concept for sign in (1, -1)]
    sites = {Site(layer): 5.0 for layer in (0, 3)}
    positive, negative = (dict.fromkeys(sites, side) for side in sides)
    return concept, Activations(positive, negative, sites, origin(n=n))


def test_mean_difference_finds_a_planted_direction():
    concept, activations = planted(3.0)
    fitted = MeanDifference().fit(activations)
    assert fitted.sites == [Site(0), Site(3)]
    for site in fitted.sites:
        assert cosine(fitted.vectors[site], concept) > 0.95
        assert fitted.diagnostics["split_half_cosine"][site] > 0.8
    strong = MeanDifference().fit(planted(30.0)[1])
    assert strong.diagnostics["separation"][Site(0)] > 0.95


def test_mean_difference_of_noise_says_so():
    fitted = MeanDifference().fit(planted(0.0)[1])
    assert abs(fitted.diagnostics["separation"][Site(0)] - 0.5) < 0.1
    assert abs(fitted.diagnostics["split_half_cosine"][Site(0)]) < 0.5


def test_mean_difference_is_its_formula():
    _, activations = planted(1.0, n=7)
    positive, negative = (side[Site(3)].double() for side in (activations.positive, activations.negative))
    fitted = MeanDifference().fit(activations)
    torch.testing.assert_close(
        fitted.vectors[Site(3)], (positive.mean(0) - negative.mean(0)).float(), rtol=1e-6, atol=1e-7
    )
    turned = MeanDifference().fit(
        Activations(activations.negative, activations.positive, activations.norms, activations.origin)
    )
    assert torch.equal(turned.vectors[Site(3)], -fitted.vectors[Site(3)])
    assert fitted.norms == activations.norms
    assert fitted.origin == activations.origin


def test_mean_difference_of_a_few_pairs_has_no_halves_to_compare():
    few = MeanDifference().fit(planted(1.0, n=3)[1]).diagnostics
    assert not {"separation", "split_half_cosine"} & set(few)


def test_mean_difference_of_equal_sides_is_refused():
    _, activations = planted(1.0)
    with pytest.raises(InputError, match="positive length"):
        MeanDifference().fit(
            Activations(activations.positive, activations.positive, activations.norms, activations.origin)
        )


def test_record_fit_steer_goes_round(model):
    """Steering along the fitted difference moves a completion's log-probability towards the positive side."""
    fitted = MeanDifference().fit(record(model, PAIRS))
    assert isinstance(fitted, Direction)
    assert fitted.sites == [Site(layer) for layer in range(DEPTH)]
    up, down = (model.score(PROMPTS[0], ["abc"], Plan(fitted.at(2), coefficient=sign))[0].total for sign in (0.3, -0.3))
    assert up != pytest.approx(down, abs=1e-3)
