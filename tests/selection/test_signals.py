"""Signals agree with their formulas, written plainly on a tiny model's logits; an empty completion is the worst."""

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from steersman.errors import InputError
from steersman.model.encode import completion_tokens, prompt_tokens
from steersman.model.score import Score
from steersman.plan import Plan
from steersman.selection.signals import (
    ALONE,
    ASKED,
    ENACT,
    SIGNALS,
    TOLD,
    average,
    read_signals,
    read_text_signals,
)
from tiny import plan, tiny_model

PROMPTS = ["How are you?", "Tell me a story."]
TEXTS = [" fine fine fine", " Once upon a time."]
CONCEPT = "old tales"


def logits_of(model, tokens):
    return model.hf(input_ids=torch.tensor([tokens])).logits[0].float().log_softmax(-1)


def plainly(model, head, text):
    """Log-probabilities of the text's tokens, and the whole row's log-softmax, in one unpadded pass."""
    tail = completion_tokens(model, text)
    rows = logits_of(model, [*head, *tail])
    here = rows[len(head) - 1 : -1]
    return [float(row[token]) for row, token in zip(here, tail, strict=True)], here, rows, [*head, *tail]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("chat", [True, False])
@torch.inference_mode()
def test_every_signal_is_its_formula(family, chat):
    model = tiny_model(family, chat=True)
    found = read_signals(model, PROMPTS, TEXTS, list(SIGNALS), concept=CONCEPT, chat=chat)
    for prompt, text, signals in zip(PROMPTS, TEXTS, found, strict=True):
        values, here, rows, tokens = plainly(model, prompt_tokens(model, prompt, chat=chat), text)
        fifth = max(1, len(values) // 5)
        mean = sum(values) / len(values)
        told, *_ = plainly(model, prompt_tokens(model, prompt, TOLD.format(concept=CONCEPT), chat=chat), text)
        behind, *_ = plainly(model, prompt_tokens(model, text + ASKED, chat=False), f" {CONCEPT}")
        alone, *_ = plainly(model, prompt_tokens(model, ALONE + ASKED, chat=False), f" {CONCEPT}")
        asked, _, _, _ = plainly(model, prompt_tokens(model, ENACT.format(concept=f": {CONCEPT}")), text)
        neutral, _, _, _ = plainly(model, prompt_tokens(model, ENACT.format(concept="")), text)
        gains = sorted((one - other for one, other in zip(asked, neutral, strict=True)), reverse=True)
        pairs = list(pairwise(tokens))[-len(values) + 1 :]
        triples = [tuple(text.split()[i : i + 3]) for i in range(len(text.split()) - 2)]
        expected = {
            "logprob": mean,
            "min_logprob": min(values),
            "low_logprob": sum(sorted(values)[:fifth]) / fifth,
            "cross_entropy": -mean,
            "perplexity": math.exp(-mean),
            "entropy": float(-(here.exp() * here).sum(-1).mean()),
            "repetition": 1 - len(set(pairs)) / len(pairs),
            "distinct": len(set(triples)) / len(triples),
            # One position off: each token's log-probability in the logits at itself, the prompt's tokens among them.
            "echo": float(torch.stack([row[token] for row, token in zip(rows, tokens, strict=True)]).mean()),
            "contrast": sum(told) / len(told) - mean,
            "concept": sum(behind) - sum(alone),
            "enacted": sum(gains[:fifth]) / fifth,
        }
        assert set(expected) == set(SIGNALS)
        assert signals == pytest.approx(expected, rel=1e-5, abs=2e-4)


def test_an_empty_completion_is_worse_than_any_other_in_every_signal():
    model = tiny_model("llama", chat=True)
    names = list(SIGNALS)
    empty, blank, whole = read_signals(model, [PROMPTS[0]] * 3, ["", " \n", TEXTS[0]], names, concept=CONCEPT)
    assert empty == blank
    assert all(math.isfinite(value) for value in empty.values())
    for name in ("logprob", "min_logprob", "low_logprob", "distinct", "concept", "enacted", "echo"):
        # An echo is high where tokens repeat: there the highest is the worst.
        assert (empty[name] > whole[name]) if name == "echo" else (empty[name] < whole[name]), name
    for name in ("cross_entropy", "perplexity", "entropy", "repetition"):
        assert empty[name] > whole[name], name


def test_what_cannot_be_read_in_numbers_is_the_worst_there_is():
    lost = Score((math.nan, math.nan), divergence=(math.nan, math.nan), entropy=(math.nan, math.nan))
    engine = SimpleNamespace(score=lambda prompts, texts, *_, **__: [lost for _ in texts])
    names = ["logprob", "low_logprob", "perplexity", "entropy"]
    (read,) = read_signals(engine, ["so"], ["it goes"], names)
    (empty,) = read_signals(engine, ["so"], [""], names)
    assert read == empty
    assert all(math.isfinite(value) for value in read.values())
    (plain,) = read_text_signals(engine, ["so it goes"], [Plan()])
    assert plain == {"text_cross_entropy": 20.0, "text_kl": 20.0}


def test_rows_are_read_alone_and_repeated_texts_once():
    model = tiny_model("llama", chat=True)
    names = ["logprob", "entropy", "echo", "concept"]
    together = read_signals(model, [*PROMPTS, PROMPTS[0]], [*TEXTS, TEXTS[0]], names, concept=CONCEPT)
    assert together[0] == together[2]
    for prompt, text, signals in zip(PROMPTS, TEXTS, together, strict=False):
        assert signals == pytest.approx(read_signals(model, [prompt], [text], names, concept=CONCEPT)[0], abs=2e-4)


def test_a_steered_evaluator_reads_otherwise():
    model = tiny_model("llama")
    plain = read_signals(model, PROMPTS, TEXTS, ["logprob"])
    steered = read_signals(model, PROMPTS, TEXTS, ["logprob"], plans=plan(coefficient=2.0))
    assert all(one["logprob"] != other["logprob"] for one, other in zip(plain, steered, strict=True))
    assert read_signals(model, PROMPTS, TEXTS, ["logprob"], plans=[Plan(), plan(coefficient=2.0)]) == [
        pytest.approx(plain[0], abs=2e-4),
        pytest.approx(steered[1], abs=2e-4),
    ]


def test_plain_text_under_a_plan_costs_nothing_at_zero_and_more_the_stronger():
    model = tiny_model("llama")
    texts = ["A fox and a goose.", "Why is the sky blue?"]
    none, some, more = read_text_signals(model, texts, [Plan(), plan(coefficient=0.5), plan(coefficient=4.0)])
    assert none["text_kl"] == 0
    assert 0 < some["text_kl"] < more["text_kl"]
    scores = model.score("", texts)
    expected = -sum(score.total for score in scores) / sum(len(score.tokens) for score in scores)
    assert none["text_cross_entropy"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("concept", [None, " "])
def test_signals_that_cannot_be_read_are_refused(concept):
    model = tiny_model("llama")
    with pytest.raises(InputError, match=r"expected signals among logprob, .* got 'mood'"):
        read_signals(model, PROMPTS, TEXTS, ["mood"])
    for name in ("contrast", "concept", "enacted"):
        with pytest.raises(InputError, match=f"a concept in words for the signal {name}"):
            read_signals(model, PROMPTS, TEXTS, ["logprob", name], concept=concept)


def test_an_average_is_over_the_same_signals():
    assert average([{"a": 1.0, "b": 0.0}, {"a": 2.0, "b": 4.0}]) == {"a": 1.5, "b": 2.0}
    with pytest.raises(InputError, match="the same signals"):
        average([{"a": 1.0}, {"b": 1.0}])
    with pytest.raises(InputError, match="got none"):
        average([])
