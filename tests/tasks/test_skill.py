"""Next-token skill: against numbers by hand, and against the model's logits read plainly."""

from collections import Counter
from dataclasses import dataclass

import pytest
import torch

from fakes import FakeEngine
from steersman.errors import InputError
from steersman.model.encode import text_tokens
from steersman.model.score import Score
from steersman.plan import Plan
from steersman.prompts import Passage
from steersman.tasks import Setting, SkillTask
from steersman.tasks.skill import CHARACTERS, frequent_tokens, token_weighted
from tiny import plan, tiny_model

PLAIN = Setting("unsteered")
TEXTS = ("the cat sat on the mat", "a dog and a log", "Why is the sky blue? Light scatters.")


def passages(*texts):
    return [Passage(f"text-{i}", text) for i, text in enumerate(texts)]


@dataclass
class Ranking(FakeEngine):
    """Scores each character as a token: its id, as rank its place in the text, a log-probability of minus its id."""

    def score(self, prompts, completions, plans=None, **asked):
        self.log.append(("score", tuple(completions), bool(asked.get("ranks"))))
        return [
            Score(tuple(-float(ord(c)) for c in text), tuple(map(ord, text)), tuple(range(len(text))))
            for text in completions
        ]


def test_accuracies_and_cross_entropy_by_hand():
    (outcome,) = SkillTask(passages("abcdefghijklmnop")).measure(Ranking(), 0, 1, [PLAIN])[0]
    assert outcome.metrics == {
        "top1_accuracy": 1 / 16,
        "top10_accuracy": 10 / 16,
        "cross_entropy": sum(range(97, 113)) / 16,
    }
    assert outcome.details == {"tokens": 16, "left_out": 0}


def test_a_text_is_cut_to_its_first_tokens():
    engine = Ranking()
    (outcome,) = SkillTask(passages("abcdefghij" * 10), tokens=4).measure(engine, 0, 1, [PLAIN])[0]
    assert outcome.metrics["cross_entropy"] == sum(map(ord, "abcd")) / 4
    assert outcome.metrics["top10_accuracy"] == 1.0
    assert engine.log == [("score", (("abcdefghij" * 10)[: 4 * CHARACTERS],), True)]


def test_the_filter_leaves_out_exactly_the_most_frequent_tokens_of_the_whole_corpus():
    task = SkillTask(passages("aab", "abc", "zzzz"), leave_out=2)
    assert frequent_tokens(Ranking(), task.items, task.tokens, 2) == {ord("z"), ord("a")}
    first, second, third = task.measure(Ranking(), 0, 3, [PLAIN])[0]
    assert first.metrics["cross_entropy"] == ord("b")
    assert first.metrics["top1_accuracy"] == 0.0  # "b" stands third; the first "a" no longer counts
    assert second.metrics["cross_entropy"] == (ord("b") + ord("c")) / 2
    assert third.metrics == {}
    assert [o.details for o in (first, second, third)] == [
        {"tokens": 1, "left_out": 2},
        {"tokens": 2, "left_out": 1},
        {"tokens": 0, "left_out": 4},
    ]
    assert task.remarks([first, second]) == []
    assert task.remarks([first, second, third]) == [
        "1 of 3 texts consist of the 2 most frequent tokens and are not counted"
    ]


def test_frequency_is_counted_over_scored_tokens_only():
    # Behind the cut stand many "z"; they are read by nobody.
    task = SkillTask(passages("aabb" + "z" * 20), tokens=4, leave_out=1)
    assert frequent_tokens(Ranking(), task.items, task.tokens, 1) == {ord("a")}


def test_batches_change_no_outcome():
    task = SkillTask(passages("aab", "abc", "zzzz", "bcd"), leave_out=1)
    whole = task.measure(Ranking(), 0, 4, [PLAIN])[0]
    assert [o for i in range(4) for o in task.measure(Ranking(), i, i + 1, [PLAIN])[0]] == whole


def plain_reading(model, text, tokens, left_out, steered=None):
    """Return top-1, top-10 and cross-entropy from all logits of one unpadded row."""
    ids = text_tokens(model, text)[: tokens + 1]
    with torch.inference_mode():
        logits = model.hf(torch.tensor([ids])).logits[0, :-1].double()
    wanted = torch.tensor(ids[1:])
    keep = torch.tensor([i not in left_out for i in ids[1:]])
    order = logits.argsort(dim=-1, descending=True)
    hits = [(order[:, :k] == wanted[:, None]).any(1)[keep].double().mean().item() for k in (1, 10)]
    nats = -logits.log_softmax(-1).gather(1, wanted[:, None])[:, 0][keep].mean().item()
    return [*hits, nats]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("leave_out", [0, 3])
def test_it_equals_the_models_logits_read_plainly(family, leave_out):
    model = tiny_model(family)
    task = SkillTask(passages(*TEXTS), tokens=20, leave_out=leave_out)
    counts = Counter(i for text in TEXTS for i in text_tokens(model, text)[1:21])
    left_out = sorted(counts, key=lambda i: (-counts[i], i))[:leave_out]
    assert frequent_tokens(model, task.items, 20, leave_out) == set(left_out)
    for text, outcome in zip(TEXTS, task.measure(model, 0, 3, [PLAIN])[0], strict=True):
        expected = plain_reading(model, text, 20, left_out)
        assert list(outcome.metrics.values()) == pytest.approx(expected, abs=1e-5)
        ids = text_tokens(model, text)[1:21]
        assert outcome.details == {
            "tokens": sum(i not in left_out for i in ids),
            "left_out": sum(i in left_out for i in ids),
        }


def test_steering_reaches_the_texts_and_an_empty_plan_does_not_change_them():
    model = tiny_model("llama")
    task = SkillTask(passages(*TEXTS))
    plain = task.measure(model, 0, 3, [PLAIN])[0]
    assert task.measure(model, 0, 3, [Setting("steered", Plan())])[0] == plain
    steered = task.measure(model, 0, 3, [Setting("steered", plan(1))])[0]
    assert all(a.metrics["cross_entropy"] != b.metrics["cross_entropy"] for a, b in zip(plain, steered, strict=True))


def test_the_corpus_as_one_text_weighs_every_token_alike():
    model = tiny_model("llama")
    task = SkillTask(passages(*TEXTS))
    outcomes = task.measure(model, 0, 3, [PLAIN])[0]
    scores = model.score("", list(TEXTS))
    every = [value for score in scores for value in score.tokens]
    assert token_weighted(outcomes, "cross_entropy") == pytest.approx(-sum(every) / len(every), abs=1e-5)


def test_nothing_counted_has_no_weighted_mean():
    with pytest.raises(InputError, match=r"at least one counted token of cross_entropy, got none"):
        token_weighted([], "cross_entropy")


def test_an_engine_that_tells_no_ids_cannot_filter():
    task = SkillTask(passages("ab"), leave_out=1)
    with pytest.raises(InputError, match=r"tells the ids of scored tokens to leave out frequent ones"):
        task.measure(FakeEngine(), 0, 1, [PLAIN])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"tokens": 1}, r"at least 2 tokens of each text, got 1"), ({"leave_out": -1}, r"leave out of 0 or more, got -1")],
)
def test_what_would_count_nothing_is_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        SkillTask(passages("ab"), **wrong)


def test_the_key_holds_what_decides():
    keys = [
        SkillTask(passages("a")).settings_key(),
        SkillTask(passages("a"), tokens=64).settings_key(),
        SkillTask(passages("a"), leave_out=5).settings_key(),
    ]
    assert len(set(keys)) == 3
