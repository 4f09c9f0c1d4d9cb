"""Drift: exactly nothing where nothing steers, the plain formula where something does."""

import pytest
import torch

from fakes import FakeEngine
from steersman.errors import InputError
from steersman.intervention import steer
from steersman.model.encode import text_tokens
from steersman.plan import Plan
from steersman.prompts import Passage
from steersman.tasks import DriftTask, Setting
from steersman.tasks.skill import token_weighted
from tiny import plan, tiny_model

TEXTS = ("the cat sat on the mat", "a dog and a log", "Why is the sky blue? Light scatters.")
ITEMS = [Passage(f"text-{i}", text) for i, text in enumerate(TEXTS)]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "qwen2"])
def test_the_unsteered_arm_has_no_drift_to_the_bit(family):
    model = tiny_model(family)
    for setting in (Setting("unsteered"), Setting("steered", plan(1).scaled(0.0))):
        outcomes = DriftTask(ITEMS).measure(model, 0, 3, [setting])[0]
        assert [outcome.metrics for outcome in outcomes] == [{"drift": 0.0, "drift_max": 0.0}] * 3


def plain_divergences(model, text, what):
    tokens = torch.tensor([text_tokens(model, text)])
    with torch.inference_mode():
        before = model.hf(tokens).logits[0, :-1].double().log_softmax(-1)
        with steer(model, what):
            after = model.hf(tokens).logits[0, :-1].double().log_softmax(-1)
    return (before.exp() * (before - after)).sum(-1)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_it_is_the_divergence_of_whole_distributions_per_token(family):
    model, what = tiny_model(family), plan(2, [1, 3], coefficient=0.5)
    task = DriftTask(ITEMS)
    outcomes = task.measure(model, 0, 3, [Setting("steered", what)])[0]
    every = []
    for text, outcome in zip(TEXTS, outcomes, strict=True):
        expected = plain_divergences(model, text, what)
        assert outcome.metrics["drift"] == pytest.approx(expected.mean().item(), rel=1e-4)
        assert outcome.metrics["drift_max"] == pytest.approx(expected.max().item(), rel=1e-4)
        assert (outcome.details["tokens"], outcome.details["at"]) == (len(expected), expected.argmax().item())
        every += expected.tolist()
    assert token_weighted(outcomes, "drift") == pytest.approx(sum(every) / len(every), rel=1e-4)


def test_only_the_first_tokens_count():
    model, what = tiny_model("llama"), plan(2)
    (outcome,) = DriftTask(ITEMS[2:], tokens=5).measure(model, 0, 1, [Setting("steered", what)])[0]
    expected = plain_divergences(model, TEXTS[2], what)[:5]
    assert outcome.metrics["drift"] == pytest.approx(expected.mean().item(), rel=1e-4)


def test_stronger_steering_drifts_further():
    model = tiny_model("llama")
    found = [
        DriftTask(ITEMS).measure(model, 0, 1, [Setting("steered", plan(1, coefficient=c))])[0][0].metrics["drift"]
        for c in (0.1, 0.5, 2.0)
    ]
    assert 0 < found[0] < found[1] < found[2]


@pytest.mark.parametrize("what", [Plan(), plan(1).scaled(0.0)], ids=["empty", "coefficient 0"])
def test_a_prompt_alone_gives_no_number_rather_than_nought(what):
    task, engine = DriftTask(ITEMS), FakeEngine()
    outcomes = task.measure(engine, 0, 3, [Setting("prompt", what, system="Refuse.")])[0]
    assert engine.log == []
    assert [outcome.metrics for outcome in outcomes] == [{}] * 3
    assert task.remarks(outcomes) == [
        "a system prompt without steering has no drift: it is taken to the unsteered model in the same context"
    ]


def test_beside_a_prompt_the_reference_is_behind_the_same_prompt():
    model, what, system = tiny_model("llama"), plan(1), "Be kind."
    task = DriftTask(ITEMS)
    outcomes = task.measure(model, 0, 3, [Setting("prompt+steered", what, system=system)])[0]
    scores = model.score("", list(TEXTS), what, system=system, divergence=True)
    assert [o.metrics["drift"] for o in outcomes] == pytest.approx(
        [sum(s.divergence) / len(s.divergence) for s in scores]
    )
    assert task.remarks(outcomes) == [
        "drift is taken to the unsteered model behind the same system prompt, and leaves out what the prompt does"
    ]
    assert task.remarks(task.measure(model, 0, 3, [Setting("steered", what)])[0]) == []


def test_an_engine_without_divergences_is_refused():
    with pytest.raises(InputError, match=r"an engine that tells divergences, got one that tells none"):
        DriftTask(ITEMS).measure(FakeEngine(), 0, 1, [Setting("steered", plan(1))])


def test_one_token_is_too_few():
    with pytest.raises(InputError, match=r"at least 2 tokens of each text, got 1"):
        DriftTask(ITEMS, tokens=1)


def test_the_key_holds_the_cut():
    assert DriftTask(ITEMS).settings_key() != DriftTask(ITEMS, tokens=64).settings_key()


def test_beside_others_a_prompt_alone_is_left_out_of_the_call():
    model, what = tiny_model("llama"), plan(1)
    settings = [
        Setting("unsteered"),
        Setting("prompt", system="Be kind."),
        Setting("steered", what),
        Setting("prompt", Plan(), system="Refuse."),
    ]
    read: list[int] = []

    class Counting:
        def score(self, prompts, completions, *rest, **how):
            read.append(len(completions))
            return model.score(prompts, completions, *rest, **how)

    found = DriftTask(ITEMS).measure(Counting(), 0, 3, settings)
    assert read == [6]
    for setting, outcomes in zip(settings, found, strict=True):
        for together, alone in zip(outcomes, DriftTask(ITEMS).measure(model, 0, 3, [setting])[0], strict=True):
            assert together.metrics == pytest.approx(alone.metrics, abs=1e-6)
            assert together.details == alone.details
