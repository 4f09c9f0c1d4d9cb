"""Recording at every site, of pairs, corpora and two models."""

import pytest
import torch

from laws.plain import module_at, patched
from steersman.errors import InputError, MismatchError
from steersman.methods import MeanDifference
from steersman.model.encode import prompt_tokens
from steersman.model.load import wrap
from steersman.plan import Plan
from steersman.prompts import Example, Pair
from steersman.recording import record, record_models, record_texts, sites_of
from steersman.where import POINTS, Site
from tiny import COMPLETIONS, DEPTH, FAMILIES, HEADS, PROMPTS, WIDTH, tiny_model, tiny_network, tokenizer

CLOSE = {"rtol": 1e-4, "atol": 2e-5}
TEXTS = [Example(prompt) for prompt in PROMPTS]
PAIRS = [
    Pair(str(number), Example(prompt, COMPLETIONS[number]), Example(prompt, " no, never"))
    for number, prompt in enumerate(PROMPTS)
]


@torch.no_grad()
def read_by_hand(model, family, site, tokens):
    """`[seq, width]` of one text at a site: the module's forward wrapped, nothing of steersman's hooks."""
    seen = []
    with patched(*module_at(model, family, site), [lambda hidden: seen.append(hidden[0].clone()) or hidden]):
        model.hf(input_ids=torch.tensor([tokens]))
    size = WIDTH // HEADS
    return seen[0] if site.head is None else seen[0][:, site.head * size : (site.head + 1) * size]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_site_reads_what_passes_there(family):
    model = tiny_model(family)
    held = record_texts(model, TEXTS[:3], TEXTS[3:], span="prompt", points=POINTS, batch_size=2)
    assert len(held.sites) == DEPTH * (len(POINTS) - 1 + HEADS)
    assert held.sites == sorted(held.sites)
    for site in held.sites:
        every = [read_by_hand(model, family, site, prompt_tokens(model, prompt)) for prompt in PROMPTS]
        expected = torch.stack([rows.mean(0) for rows in every])
        torch.testing.assert_close(held.positive[site], expected[:3], **CLOSE)
        torch.testing.assert_close(held.negative[site], expected[3:], **CLOSE)
        norms = torch.cat([rows[1:].norm(dim=-1) for rows in every])
        assert held.norms[site] == pytest.approx(float(norms.mean()), rel=1e-4)


@pytest.mark.parametrize("point", POINTS)
def test_what_is_fitted_at_a_site_steers_there(bare, point):
    fitted = MeanDifference().fit(record(bare, PAIRS, layers=[0.5], points=[point]))
    plain = bare.score(PROMPTS, COMPLETIONS)
    steered = bare.score(PROMPTS, COMPLETIONS, Plan(fitted, coefficient=0.5))
    assert all(abs(one.total - other.total) > 1e-4 for one, other in zip(plain, steered, strict=True))


def test_layers_are_named_in_every_way(llama):
    assert sites_of(llama, [0.5, -1, 0]) == [Site(0), Site(2), Site(3)]
    assert sites_of(llama, [1], ["head", "resid_pre"]) == [
        Site(1, "resid_pre"),
        *(Site(1, "head", head) for head in range(HEADS)),
    ]


@pytest.mark.parametrize(
    "span", ["end", "after_instruction", "first(2)", "positions(1,2)", "positions(-2)", "last-bos", "mean"]
)
def test_spans_are_averages_over_their_tokens(span):
    model = tiny_model("llama", chat=True)
    held = record(model, PAIRS, span=span, layers=[1])
    for row, pair in enumerate(PAIRS):
        head = prompt_tokens(model, pair.positive.prompt)
        tail = model.tokenizer(pair.positive.completion, add_special_tokens=False)["input_ids"]
        rows = read_by_hand(model, "llama", Site(1), head + tail)
        chosen = {
            "end": rows[-1:],
            "after_instruction": rows[len(head) - 2 :],
            "first(2)": rows[:2],
            "positions(1,2)": rows[1:3],
            "positions(-2)": rows[len(head) - 2 : len(head) - 1],
            "last-bos": rows[len(head) - 1 : len(head)],
            "mean": rows,
        }[span]
        torch.testing.assert_close(held.positive[Site(1)][row], chosen.mean(0), **CLOSE)
    assert held.origin.span == ("all" if span == "mean" else span)


def test_a_plain_text_is_all_prompt_and_wrapped_by_nothing():
    model = tiny_model("llama", chat=True)
    text = [Example("", "def f(x):")]
    tokens = [model.tokenizer.bos_token_id, *model.tokenizer("def f(x):", add_special_tokens=False)["input_ids"]]
    rows = read_by_hand(model, "llama", Site(2), tokens)
    for span, expected in (("last", rows[-1]), ("prompt", rows.mean(0)), ("all-bos", rows[1:].mean(0))):
        held = record_texts(model, text, text, span=span, layers=[2])
        torch.testing.assert_close(held.positive[Site(2)][0], expected, **CLOSE)


def test_corpora_may_differ_in_size_and_have_no_pairs(bare):
    held = record_texts(bare, TEXTS[:2], TEXTS[2:])
    assert (held.origin.n, len(held.negative[Site(0)])) == (2, 3)
    with pytest.raises(InputError, match="expected pairs, got two corpora"):
        held.differences(Site(0))
    fitted = MeanDifference().fit(held)
    torch.testing.assert_close(
        fitted.vectors[Site(1)], held.positive[Site(1)].mean(0) - held.negative[Site(1)].mean(0), rtol=1e-5, atol=1e-6
    )


def test_two_models_differ_by_what_one_has_learned(llama):
    other = wrap(tiny_network("llama"), tokenizer(), name="other")
    shift = torch.randn(WIDTH, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name in ("o_proj", "down_proj"):
            module = other.hf.model.layers[1].self_attn if name == "o_proj" else other.hf.model.layers[1].mlp
            linear = getattr(module, name)
            linear.bias = torch.nn.Parameter(shift / 2)
    held = record_models(llama, other, TEXTS, layers=[0, 1], points=["resid_post", "attn_out"])
    assert held.paired
    assert held.origin.model == llama.name
    torch.testing.assert_close(held.differences(Site(0)).float(), torch.zeros(5, WIDTH), **CLOSE)
    torch.testing.assert_close(held.differences(Site(1, "attn_out")).float(), (shift / 2).expand(5, -1), **CLOSE)
    same = record_texts(llama, TEXTS, TEXTS, layers=[1])
    torch.testing.assert_close(held.negative[Site(1)], same.positive[Site(1)], **CLOSE)
    assert held.norms[Site(1)] == pytest.approx(same.norms[Site(1)])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: record_texts(m, [], TEXTS), InputError, "texts of both kinds, got 0 positive and 5 negative"),
        (lambda m: record_models(m, m, []), InputError, "at least one text"),
        (
            lambda m: record_models(m, tiny_model("gpt2", chat=True), TEXTS),
            MismatchError,
            "begin a text and end a prompt alike",
        ),
        (lambda m: record(m, PAIRS, points=[]), InputError, "points among resid_pre, .* got none"),
        (lambda m: record(m, PAIRS, points=["resid_mid"]), InputError, "points among resid_pre, .* got resid_mid"),
        (lambda m: record(m, PAIRS, layers=[1.5]), InputError, "share of the depth from 0 to 1, got 1.5"),
        (lambda m: record(m, PAIRS, span="positions(500)"), InputError, "selects a token of every text"),
        (lambda m: record(m, PAIRS, span="after_instruction"), InputError, "a model with a chat template"),
    ],
)
def test_what_cannot_be_read_is_refused(llama, call, error, message):
    with pytest.raises(error, match=message):
        call(llama)


def test_models_of_unlike_shape_are_refused(llama):
    other = wrap(tiny_network("llama", depth=3), tokenizer())
    with pytest.raises(MismatchError, match="one shape, got width 32 and 4 layers against 32 and 3"):
        record_models(llama, other, TEXTS)
