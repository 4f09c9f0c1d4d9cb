"""Only what is needed is read, and no result tells: early ends, shared beginnings, batches by tokens."""

import copy
import inspect

import pytest
import torch

from families import FAMILIES
from steersman.errors import InputError
from steersman.gates import Gate
from steersman.intervention import steer
from steersman.model import prefixes
from steersman.model.budget import FEWEST, MOST, pass_tokens
from steersman.model.load import wrap
from steersman.plan import Plan
from steersman.prompts import Example, Pair
from steersman.reading import BEHIND, Reader
from steersman.recording import record, record_texts
from steersman.streaming import record_moments, record_text_moments
from steersman.where import POINTS, Site, Span
from tiny import COMPLETIONS, DEPTH, WIDTH, direction, plan, tiny_model, tokenizer

CLOSE = {"rtol": 1e-4, "atol": 1e-4}
SYSTEM = "You are a helpful goose."
WORDS = ("one", "three and four", "Why is the sky blue, and since when?", "2+2=", "a fox", "no", "what then?")
PAIRS = [
    Pair(
        str(number),
        Example(f"Tell me: {word}", COMPLETIONS[number % 5]),
        Example(f"Tell me: {WORDS[number - 1]}", " no" * (1 + number % 3)),
    )
    for number, word in enumerate(WORDS)
]
SPANS = (
    "all",
    "all-bos",
    "prompt",
    "completion",
    "last",
    "end",
    "after_instruction",
    "first(3)",
    "first(3)-bos",
    "positions(1,30)",
    "positions(-2)",
)


class Watched:
    """A model whose passes through the decoder are noted: rows and tokens of each."""

    def __init__(self, model, monkeypatch):
        self.model, self.passes = model, []
        assert model.reads_on is not None  # found out before another forward stands in
        forward = model.layout.base.forward

        def noted(*args, **arguments):
            self.passes.append(tuple(arguments["input_ids"].shape))
            return forward(*args, **arguments)

        noted.__signature__ = inspect.signature(forward)  # what a pass's arguments are called is read from it
        monkeypatch.setattr(model.layout.base, "forward", noted)

    def tokens(self):
        spent = sum(rows * length for rows, length in self.passes)
        self.passes.clear()
        return spent


def both(model, monkeypatch, verb, *args, **arguments):
    """What is recorded with beginnings read once and without, and the tokens that each way read."""
    watched = Watched(model, monkeypatch)
    monkeypatch.setattr(prefixes, "SPARED", 1)
    shared = verb(model, *args, **arguments)
    spent = watched.tokens()
    monkeypatch.setattr(prefixes, "SPARED", 10**9)
    apart = verb(model, *args, **arguments)
    return shared, apart, spent, watched.tokens()


def assert_same(one, other, **close):
    assert one.sites == other.sites
    for site in one.sites:
        for side in ("positive", "negative"):
            torch.testing.assert_close(getattr(one, side)[site], getattr(other, side)[site], **(CLOSE | close))
        assert one.norms[site] == pytest.approx(other.norms[site], rel=1e-4)


def assert_moments_same(one, other):
    for site in one.sites:
        torch.testing.assert_close(one.sides(site).shift, other.sides(site).shift, **CLOSE)
        assert one.norms[site] == pytest.approx(other.norms[site], rel=1e-4)


@pytest.fixture
def counted(monkeypatch):
    """The tiny Llama, and the blocks that ran since."""
    model, ran = tiny_model("llama"), []
    for number, block in enumerate(model.layout.blocks):

        def noted(*args, number=number, forward=block.forward, **arguments):
            ran.append(number)
            return forward(*args, **arguments)

        assert model.parts
        monkeypatch.setattr(block, "forward", noted)
    return model, ran


@pytest.mark.parametrize("point", POINTS)
def test_blocks_behind_the_last_site_do_not_run(counted, point):
    model, ran = counted
    record(model, PAIRS, layers=[0, 2], points=[point], batch_size=99)
    assert ran == ([0, 1] if point == "resid_pre" else [0, 1, 2])
    ran.clear()
    record_texts(model, [PAIRS[0].positive], [PAIRS[1].positive], layers=[-1], points=[point])
    assert set(ran) == set(range(DEPTH - (point == "resid_pre")))


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_what_an_ended_pass_showed_is_what_a_whole_one_shows(family, point):
    model = tiny_model(family)
    # transformers leaves hooks on the blocks of a model once asked for its hidden states.
    before = [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.hf.modules()]
    ended = record(model, PAIRS, layers=[1], points=[point], batch_size=3)
    whole = record(model, PAIRS, points=POINTS, batch_size=3)
    for site in ended.sites:
        assert torch.equal(ended.positive[site], whole.positive[site])
        assert ended.norms[site] == whole.norms[site]
    assert not model.under_way
    after = [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.hf.modules()]
    assert after == before


def test_a_context_around_sees_whole_passes(counted):
    model, ran = counted
    with steer(model, plan(1, [1])):
        steered = record(model, PAIRS, layers=[1], span="last")
    ran.clear()
    with steer(model, plan(1, [1]) + plan(2, [DEPTH - 1])) as active:
        held = record(model, PAIRS, layers=[1], span="last")
    assert DEPTH - 1 in ran
    assert all(active.applications.values())
    assert_same(held, steered)


def test_a_model_that_shows_its_hidden_states_runs_to_the_end(counted, monkeypatch):
    model, ran = counted
    monkeypatch.setattr(model.hf.config, "output_hidden_states", True)
    record(model, PAIRS, layers=[0], batch_size=99)
    assert ran == list(range(DEPTH))


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("batch_size", [1, 3, None])
@pytest.mark.parametrize("span", SPANS)
def test_every_span_is_read_as_without_sharing(span, batch_size, padding, monkeypatch):
    model = tiny_model("llama", chat=True)
    more = {"span": span, "batch_size": batch_size, "padding": padding, "system": SYSTEM, "points": POINTS}
    shared, apart, spent, usual = both(model, monkeypatch, record, PAIRS, **more)
    assert_same(shared, apart)
    assert spent < usual or Span.parse(span).from_end
    moments, others, spent, usual = both(model, monkeypatch, record_moments, PAIRS, **more)
    assert_moments_same(moments, others)
    assert_moments_same(moments, record_moments(model, PAIRS, **(more | {"batch_size": 4})))
    assert spent < usual or Span.parse(span).from_end


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_read_as_without_sharing(name, monkeypatch):
    """ALiBi counts padding as distance, windows slide over it, state-space layers may not read on: none may tell."""
    model = wrap(FAMILIES[name](), tokenizer(), name=f"tiny {name}", revision="0" * 64)
    texts = [Example(f"Q: one and one? A: two. Q: {word}? A:") for word in WORDS]
    for span in ("last", "all"):
        with monkeypatch.context() as patch:
            shared, apart, spent, usual = both(model, patch, record_texts, texts[:3], texts[3:], span=span)
        assert_same(shared, apart, atol=1e-3)
        assert (spent < usual) == model.reads_on
    moments, others, *_ = both(model, monkeypatch, record_text_moments, texts[:3], texts[3:], batch_size=3)
    assert_moments_same(moments, others)


def test_groups_share_their_own_beginnings(monkeypatch):
    model = tiny_model("llama")
    persona = [f"Act as a very {kind} goose that tells stories: " for kind in ("happy", "sad")]
    texts = [[Example(f"{words}{word} {number}") for number, word in enumerate(WORDS * 3)] for words in persona]
    watched = Watched(model, monkeypatch)
    grouped = record_texts(model, *texts)
    spent = watched.tokens()
    monkeypatch.setattr(prefixes, "SPARED", 10**9)
    assert_same(grouped, record_texts(model, *texts))
    usual = watched.tokens()
    saved = sum((len(words) - 3) * (len(WORDS) * 3 - 1) for words in persona)
    assert spent < usual - 0.8 * saved


@pytest.mark.parametrize("when", ["prompt", "token"])
def test_nothing_is_shared_inside_a_context(monkeypatch, when):
    model = tiny_model("llama", chat=True)
    gate = Gate(Site(0), direction(3).vectors[Site(1)], 0.0, when=when)
    gated = Plan(direction(1), unit="raw", coefficient=1.0, gate=gate)
    for each in (plan(1, [1], span="positions(-3)"), gated):
        with steer(model, each), monkeypatch.context() as patch:
            shared, apart, spent, usual = both(model, patch, record, PAIRS, span="last", system=SYSTEM)
        assert_same(shared, apart)
        assert spent == usual


def test_batches_hold_so_many_tokens(monkeypatch):
    model = tiny_model("llama")
    monkeypatch.setattr("steersman.model.budget.CPU_TOKENS", 64)
    texts = [Example("x" * length) for length in (1, 90, 5, 3, 30, 20, 7, 2, 11)]
    watched = Watched(model, monkeypatch)
    record_texts(model, texts[:4], texts[4:])
    assert sum(rows for rows, _ in watched.passes) == len(texts)
    assert all(rows * length <= 64 or rows == 1 for rows, length in watched.passes)
    watched.passes.clear()
    record_moments(model, [Pair(str(n), each, Example("y")) for n, each in enumerate(texts)], span="last")
    assert all(rows % 2 == 0 and (rows * length <= 64 or rows == 2) for rows, length in watched.passes)


def test_copies_of_a_long_beginning_are_counted(monkeypatch):
    model = tiny_model("llama")
    monkeypatch.setattr("steersman.model.budget.CPU_TOKENS", 32)
    watched = Watched(model, monkeypatch)
    texts = [Example("goose " * 15 + str(number)) for number in range(20)]
    record_texts(model, texts[:10], texts[10:])
    (one, length), *passes = watched.passes
    assert one == 1
    assert sum(rows for rows, _ in passes) == 20
    assert all(rows * (length + own) <= BEHIND * 32 for rows, own in passes)
    assert max(rows for rows, _ in passes) == BEHIND * 32 // (length + max(own for _, own in passes))


def test_a_larger_device_reads_more_at_once(monkeypatch):
    model = copy.copy(tiny_model("llama"))
    object.__setattr__(model, "device", torch.device("cuda"))
    for memory, tokens in ((10**9, 10**9 // (48 * 32 * WIDTH)), (10**12, MOST), (10**7, FEWEST)):
        properties = type("Properties", (), {"total_memory": memory})
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device, found=properties: found)
        assert pass_tokens(model) == max(FEWEST, min(MOST, tokens))


def test_norms_of_nothing_are_refused(llama):
    with pytest.raises(InputError, match="at least one text before a mean of norms"):
        Reader(llama, Span("last"), [Site(0)]).means  # noqa: B018
