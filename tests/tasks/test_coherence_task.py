"""Coherence of completions, and what becomes of empty ones."""

import pytest

from fakes import FakeEngine, by_table
from steersman.model.generate import Generation, Sampling
from steersman.model.score import Score
from steersman.plan import Plan
from steersman.prompts import PromptItem
from steersman.tasks import CoherenceTask, CompletionTask, Setting
from steersman.tasks.coherence import COHERENCE_METRICS, coherence_of
from tiny import plan, tiny_model

STEERED = Setting("steered", plan(1), system="Be kind.", coefficient=1.0)
TEXTS = {"a": "Bread needs an oven.", "b": "so so so so", "c": "", "d": " \n"}
ITEMS = [PromptItem(f"item-{prompt}", prompt, "sort") for prompt in TEXTS]


def test_every_measure_by_hand():
    made = Generation("so so so it goes", (5, 5, 5, 9), "stop")
    found = coherence_of(made, Score((-1.0, -4.0, -0.5, -0.5)))
    assert found == {
        "completion_logprob": -1.5,
        "completion_min_logprob": -4.0,
        "repetition": pytest.approx(1 / 3),  # 55 55 59
        "distinct_1": pytest.approx(3 / 5),
        "distinct_2": pytest.approx(3 / 4),
        "distinct_3": 1.0,
    }


def test_an_empty_completion_counts_as_empty_and_in_nothing_else():
    rate = by_table(dict.fromkeys(TEXTS.items(), (-1.0, -3.0)))
    task = CoherenceTask(ITEMS)
    outcomes = task.measure(FakeEngine(TEXTS, rate), 0, 4, [STEERED])[0]
    every = {metric.name for metric in task.metrics}
    assert [set(outcome.metrics) for outcome in outcomes] == [every, every, {"empty_rate"}, {"empty_rate"}]
    assert [outcome.metrics["empty_rate"] for outcome in outcomes] == [0.0, 0.0, 1.0, 1.0]
    assert outcomes[1].metrics["distinct_1"] == 1 / 4
    assert task.remarks(outcomes) == ["2 of 4 completions are empty, and no measure of coherence counts them"]
    assert task.remarks(outcomes[:2]) == []


def test_texts_are_made_steered_and_read_unsteered_without_the_system_prompt():
    engine = FakeEngine({"a": "x y z"})
    CoherenceTask(ITEMS[:1]).measure(engine, 0, 1, [STEERED])
    made, read = engine.log
    assert made == ("complete", ("a",), (STEERED.plan.digest(),), ("Be kind.",))
    assert read == ("score", ("a",), (Plan().digest(),), (None,))


def test_both_tasks_give_the_same_numbers():
    one = CoherenceTask(ITEMS).measure(FakeEngine(TEXTS), 0, 4, [STEERED])[0]
    other = CompletionTask("refusal", ITEMS).measure(FakeEngine(TEXTS), 0, 4, [STEERED])[0]
    names = [metric.name for metric in COHERENCE_METRICS]
    for a, b in zip(one, other, strict=True):
        assert {n: a.metrics.get(n) for n in names} == {n: b.metrics.get(n) for n in names}


def test_a_models_own_greedy_text_is_likelier_to_it_than_what_it_writes_steered():
    """On a real forward pass: the least likely token bounds the mean, and steering hard costs likelihood."""
    model = tiny_model("llama", chat=True)
    task = CoherenceTask([PromptItem(str(i), p) for i, p in enumerate(("How are you?", "2+2="))], sampling=Sampling(12))
    plain = task.measure(model, 0, 2, [Setting("unsteered")])[0]
    steered = task.measure(model, 0, 2, [Setting("steered", plan(3, [2], coefficient=8.0))])[0]
    for a, b in zip(plain, steered, strict=True):
        assert a.metrics["completion_min_logprob"] <= a.metrics["completion_logprob"]
        assert b.metrics["completion_logprob"] < a.metrics["completion_logprob"]


def test_the_key_holds_the_sampling():
    keys = [CoherenceTask(ITEMS, sampling=Sampling(n)).settings_key() for n in (10, 11)]
    assert len({*keys, CompletionTask("coherence", ITEMS).settings_key()}) == 3
