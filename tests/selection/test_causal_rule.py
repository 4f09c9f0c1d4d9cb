"""The causal site rule: a planted layer is found, every figure is the paper's formula, and batches change nothing."""

import math

import pytest
import torch

from laws.plain import patched
from selection.planted_refusal import HARMFUL, HARMLESS, REFUSES, planted_model
from steersman.errors import InputError, MismatchError
from steersman.intervention import steer
from steersman.methods import MeanDifference
from steersman.model.encode import prompt_tokens
from steersman.prompts import Example
from steersman.recording import record_texts
from steersman.selection import (
    CausalLimits,
    OpeningOdds,
    Prompts,
    Reading,
    TokenOdds,
    causal_site,
    discover_tokens,
)
from steersman.selection.candidates import mean_differences, separated_prompts
from steersman.selection.causal import divergence, measure_candidates
from steersman.where import Site
from tiny import DEPTH, PROMPTS, VOCABULARY, plan, tiny_model

TRAIN, VALIDATION = Prompts(HARMFUL[:3], HARMLESS[:3]), Prompts(HARMFUL[3:], HARMLESS[3:])
ODDS = TokenOdds((REFUSES,))
OTHERS = Prompts(PROMPTS[:3], PROMPTS[3:])
SOME = TokenOdds((VOCABULARY["I"], VOCABULARY["S"], VOCABULARY["a"]))


@pytest.fixture(scope="module")
def chat():
    return tiny_model("llama", chat=True)


# The planted layer.


@pytest.mark.parametrize("planted", [2, 3])
def test_the_planted_layer_is_found(planted):
    model = planted_model(planted)
    found = causal_site(model, TRAIN, VALIDATION, odds=ODDS)
    assert found.choice.site == Site(planted, "resid_pre")
    assert found.bypass > 0 > found.induce
    best = found.choice.best
    assert best.figures["induce"] > 0
    assert best.figures["bypass"] == pytest.approx(found.induce, abs=1.0)  # nothing of the refusal is left
    assert best.effect == pytest.approx(found.bypass - best.figures["bypass"])
    others = [each.figures["bypass"] for each in found.choice.ranked if each.site.layer != planted]
    assert others
    assert min(others) > best.figures["bypass"] + 0.5
    vector = found.direction.vectors[Site(planted, "resid_pre")]
    assert found.direction.sites == [Site(planted, "resid_pre")]
    assert int(vector.abs().argmax()) == 2
    assert found.direction.origin.span == f"positions({best.position})"
    assert found.kept == (3, 3, 2, 2)


def test_a_planted_layer_among_the_last_is_dropped_for_its_depth():
    found = causal_site(planted_model(4), TRAIN, VALIDATION, odds=ODDS)
    (late,) = (each for each in found.choice.judged if (each.candidate.site.layer, each.candidate.position) == (4, -1))
    assert late.dropped == ("layer 4 is among the last, from 4 of 6 on",)
    assert late.merit > max(each.merit for each in found.choice.judged if each.candidate.site.layer < 4)
    assert found.choice.site.layer < 4
    assert causal_site(
        planted_model(4), TRAIN, VALIDATION, odds=ODDS, limits=CausalLimits(depth=1.0)
    ).choice.site == Site(4, "resid_pre")


def test_the_first_block_reads_no_difference_and_says_so():
    found = causal_site(planted_model(2), TRAIN, VALIDATION, odds=ODDS)
    first = [each for each in found.choice.judged if each.candidate.site.layer == 0]
    assert [each.candidate.position for each in first] == [-2, -1]
    for each in first:
        assert each.dropped[0] == "no direction: the two means are equal there, or not finite"
        assert each.candidate.figures["bypass"] == found.bypass
        assert each.candidate.costs == {"kl": 0.0}


def test_a_model_that_never_refuses_gets_an_answer_in_words():
    """Sides turned round: the direction leads away from refusal, and adding it induces none."""
    turned = Prompts(HARMLESS[:3], HARMFUL[:3])
    found = causal_site(planted_model(2), turned, VALIDATION, odds=ODDS)
    assert found.choice.status == "all dropped"
    assert found.choice.reason.startswith("no site: all 12 candidates were dropped; nearest: resid_pre.")
    assert "induce" in found.choice.reason
    with pytest.raises(InputError, match="expected a site to be chosen, got none: no site"):
        _ = found.direction


# Every figure, written plainly.


@torch.no_grad()
def plain_logits(model, text, changes):
    with_changes = torch.tensor([prompt_tokens(model, text)])
    contexts = [patched(module, before, [change]) for module, before, change in changes]
    for context in contexts:
        context.__enter__()
    try:
        return model.hf(input_ids=with_changes).logits[0, -1].double()
    finally:
        for context in reversed(contexts):
            context.__exit__(None, None, None)


def plain_odds(logits, tokens):
    p = logits.softmax(-1)[list(tokens)].sum()
    return float((p + 1e-8).log() - (1 - p + 1e-8).log())


def plain_figures(model, vector, layer, prompts, tokens):
    r = vector / vector.norm()

    def ablate(x):
        return x - (x @ r)[..., None] * r

    blocks = model.hf.model.layers
    out = [(block, True, ablate) for block in blocks]
    out += [(module, False, ablate) for block in blocks for module in (block.self_attn, block.mlp)]
    added = [(blocks[layer], True, lambda x: x + vector)]
    bypass = [plain_odds(plain_logits(model, text, out), tokens) for text in prompts.harmful]
    induce = [plain_odds(plain_logits(model, text, added), tokens) for text in prompts.harmless]
    kl = []
    for text in prompts.harmless:
        p, q = (plain_logits(model, text, changes).softmax(-1) for changes in ([], out))
        kl.append(float((p * ((p + 1e-6).log() - (q + 1e-6).log())).sum()))
    return [sum(values) / len(values) for values in (bypass, induce, kl)]


@torch.no_grad()
def plain_mean(model, texts, layer, position):
    total = torch.zeros(model.width, dtype=torch.float64)
    for text in texts:
        hidden = model.hf(input_ids=torch.tensor([prompt_tokens(model, text)]), output_hidden_states=True).hidden_states
        total += hidden[layer][0, position]
    return total / len(texts)


def test_every_figure_is_the_papers_formula(chat):
    directions, absent = mean_differences(chat, OTHERS)
    assert sorted(directions) == [-2, -1]
    assert absent == [(-2, Site(0, "resid_pre")), (-1, Site(0, "resid_pre"))]
    candidates, before, floor = measure_candidates(chat, directions, absent, OTHERS, SOME)
    assert len(candidates) == 2 * DEPTH
    for text_side, value in ((OTHERS.harmful, before), (OTHERS.harmless, floor)):
        odds = [plain_odds(plain_logits(chat, text, []), SOME.tokens) for text in text_side]
        assert value == pytest.approx(sum(odds) / len(odds), abs=1e-4)
    for each in candidates:
        if each.flaws:
            continue
        layer, position = each.site.layer, each.position
        assert position is not None
        vector = (
            plain_mean(chat, OTHERS.harmful, layer, position) - plain_mean(chat, OTHERS.harmless, layer, position)
        ).float()
        torch.testing.assert_close(directions[position].vectors[each.site], vector, rtol=1e-4, atol=1e-5)
        bypass, induce, kl = plain_figures(chat, vector, layer, OTHERS, SOME.tokens)
        assert each.figures["bypass"] == pytest.approx(bypass, abs=1e-3)
        assert each.figures["induce"] == pytest.approx(induce, abs=1e-3)
        assert each.costs["kl"] == pytest.approx(kl, abs=1e-4)


def test_directions_are_those_that_recording_and_the_mean_difference_give(chat):
    directions, _ = mean_differences(chat, OTHERS, layers=[1, 3])
    harmful, harmless = ([Example(text) for text in side] for side in (OTHERS.harmful, OTHERS.harmless))
    for position, direction in directions.items():
        acts = record_texts(chat, harmful, harmless, span=f"positions({position})", layers=[1, 3], points=["resid_pre"])
        other = MeanDifference().fit(acts)
        for site in direction.sites:
            torch.testing.assert_close(direction.vectors[site], other.vectors[site], rtol=1e-4, atol=1e-6)
            assert direction.norms[site] == pytest.approx(other.norms[site], rel=1e-5)
        assert (direction.origin.data, direction.origin.span) == (other.origin.data, other.origin.span)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_batches_change_nothing(chat, size):
    read = []
    one = causal_site(chat, OTHERS, OTHERS, odds=SOME, reading=Reading(batch_size=7))
    other = causal_site(chat, OTHERS, OTHERS, odds=SOME, reading=Reading(batch_size=size, notify=read.append))
    assert other.choice.status == one.choice.status
    for a, b in zip(one.choice.judged, other.choice.judged, strict=True):
        assert (a.candidate.site, a.candidate.position) == (b.candidate.site, b.candidate.position)
        assert b.candidate.figures == pytest.approx(a.candidate.figures, abs=1e-3)
        assert b.candidate.costs == pytest.approx(a.candidate.costs, abs=1e-4)
    # 5 texts for the means; unsteered log-odds and harmless logits; 6 candidates on 3 + 2 + 2 prompts.
    assert sum(read) == 5 + (5 + 2) + 6 * 7
    assert max(read) <= size


def test_the_order_of_prompts_changes_nothing(chat):
    turned = Prompts(OTHERS.harmful[::-1], OTHERS.harmless[::-1])
    one, other = (causal_site(chat, prompts, prompts, odds=SOME) for prompts in (OTHERS, turned))
    for a, b in zip(one.choice.judged, other.choice.judged, strict=True):
        assert b.candidate.figures == pytest.approx(a.candidate.figures, abs=1e-3)


def test_a_model_without_a_template_has_one_position():
    model = tiny_model("llama")
    directions, absent = mean_differences(model, OTHERS)
    assert list(directions) == [-1]
    assert not absent  # the prompts' own last tokens differ


# Log-odds.


def test_epsilons_bound_and_leave_the_formula():
    logits = torch.tensor([[0.0, 1.0, -2.0], [200.0, 0.0, 0.0]])
    plain = TokenOdds((0, 2), epsilon=0.0).of(logits)
    assert float(plain[0]) == pytest.approx(math.log((1 + math.exp(-2)) / math.exp(1)))
    assert float(TokenOdds((0, 2)).of(logits)[0]) == pytest.approx(float(plain[0]), abs=1e-6)
    assert float(TokenOdds((0,)).of(logits)[1]) == pytest.approx(-math.log(1e-8), abs=1e-6)
    other = torch.tensor([[0.5, 0.5, 0.0], [0.0, 300.0, 0.0]])
    exact = torch.distributions.kl_divergence(
        *(torch.distributions.Categorical(logits=each.double()) for each in (logits, other))
    )
    torch.testing.assert_close(divergence(logits, other, 0.0), exact)
    assert float(divergence(logits, logits)[0]) == 0.0
    assert float(divergence(logits, other)[1]) == pytest.approx(-math.log(1e-6), abs=1e-4)


def test_openings_of_one_token_are_that_token(chat):
    texts, plans = list(PROMPTS[:2]), [plan(1, [1]), plan(2, [2])]
    tokens = TokenOdds((VOCABULARY["I"], VOCABULARY["S"])).read(chat, texts, plans, None)
    assert OpeningOdds(("I", "S")).read(chat, texts, plans, None) == pytest.approx(tokens, abs=1e-4)
    longer = OpeningOdds(("I c", "S")).read(chat, texts, plans, None)
    assert all(one < other for one, other in zip(longer, tokens, strict=True))


def test_a_choice_by_openings_is_the_choice_by_their_tokens():
    model = planted_model(2)
    by_token, by_opening = (causal_site(model, TRAIN, VALIDATION, odds=odds) for odds in (ODDS, OpeningOdds(("N",))))
    assert by_opening.choice.site == by_token.choice.site
    assert by_opening.odds == "opening among 'N'"
    assert by_token.odds == f"first token among {REFUSES}"


def test_refusal_tokens_are_discovered_on_prompts_that_ask_for_them():
    model = planted_model(2)
    found = discover_tokens(model, HARMFUL, HARMLESS, openings=("No", "Yes, but"))
    assert found == TokenOdds((REFUSES,))
    without = causal_site(model, TRAIN, VALIDATION, odds=found)
    assert without.choice.site == Site(2, "resid_pre")
    with pytest.raises(InputError, match=r"none \('N' 0\.\d+ against 0\.\d+\); give the tokens, or whole openings"):
        discover_tokens(model, HARMLESS, HARMFUL, openings=("No",))


def test_prompts_that_the_model_does_not_separate_are_left_out():
    model = planted_model(2)
    mixed = Prompts([*HARMFUL, HARMLESS[0]], [*HARMLESS, HARMFUL[0]])
    kept = separated_prompts(model, mixed, ODDS)
    assert (tuple(kept.harmful), tuple(kept.harmless)) == (HARMFUL, HARMLESS)
    found = causal_site(model, mixed, mixed, odds=ODDS, separated=True)
    assert found.kept == (5, 5, 5, 5)
    with pytest.raises(InputError, match=r"got 0 of 5 harmful and 0 of 5 harmless ones \(first token among"):
        separated_prompts(model, Prompts(HARMLESS, HARMFUL), ODDS)


# Bad input.


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Prompts([], ["x"]), "prompts of both kinds, got 0 harmful and 1 harmless"),
        (lambda: TokenOdds(()), "at least one token id, each once"),
        (lambda: TokenOdds((3, 3)), "at least one token id, each once"),
        (lambda: TokenOdds((3,), epsilon=-1), "an epsilon of at least 0"),
        (lambda: TokenOdds((10_000,)).of(torch.zeros(1, 8)), "token ids below 8, got 10000"),
        (lambda: OpeningOdds(("I", "I can't")), r"none the beginning of another, got \[\"I can't\"\]"),
        (lambda: OpeningOdds(()), "none the beginning of another"),
        (lambda: OpeningOdds(epsilon=math.nan), "an epsilon of at least 0"),
        (lambda: Reading(batch_size=0), "a batch size of at least 1"),
        (lambda: Reading(kl_epsilon=-1e-6), "an epsilon of at least 0"),
    ],
)
def test_values_out_of_range_are_refused(make, match):
    with pytest.raises(InputError, match=match):
        make()


@pytest.mark.parametrize("positions", [[], [0], [-1, 2], [-500]])
def test_positions_that_are_not_there_are_refused(chat, positions):
    with pytest.raises(InputError, match=r"expected positions from -\d+ to -1, counted from the prompt's end"):
        causal_site(chat, OTHERS, OTHERS, odds=SOME, positions=positions)


def test_a_plan_for_every_row_around_it_is_refused(chat):
    with (
        pytest.raises(MismatchError, match="expected one plan for all rows around recording"),
        steer(chat, [plan(1, [1]), plan(2, [1])]),
    ):
        mean_differences(chat, OTHERS)
