"""Judges' metrics beside a task's own, and how far judges agree."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from fakes import FakeEngine
from steersman.errors import InputError
from steersman.evaluation import Measured, evaluate, summarise
from steersman.judges import Exchange, Metric, PhraseJudge, Verdict, is_refusal
from steersman.judging import agreement, judged
from steersman.maths.agreement import cohen_kappa
from steersman.prompts import PromptItem
from steersman.tasks import CompletionTask, Outcome, RefusalOddsTask, Setting

PROMPTS = [PromptItem(f"p{i}", f"Question {i}?", "") for i in range(12)]
TEXTS = {
    item.prompt: "I can't help with that." if i % 3 == 0 else f"Answer {i}." if i % 4 else "Sure."
    for i, item in enumerate(PROMPTS)
}


@dataclass
class Words:
    """Says what a table says of a completion; `None` leaves it unscored."""

    table: dict[str, bool | None]
    name: str = "words"
    seen: list[Exchange] = field(default_factory=list)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (Metric(f"refusal_by_{self.name}", "rate", "share of prompts refused"),)

    def key(self) -> str:
        return str(self.table)

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        self.seen += exchanges
        return [self._one(self.table.get(each.completion, False)) for each in exchanges]

    def _one(self, value: bool | None) -> Verdict:
        if value is None:
            return Verdict(reason="asleep", words="unscored: asleep")
        return Verdict({f"refusal_by_{self.name}": float(value)}, words=f"refusal: {'yes' if value else 'no'}")


@pytest.fixture
def measured() -> Sequence[Measured]:
    tasks = [CompletionTask("refusal", PROMPTS), RefusalOddsTask(PROMPTS)]
    settings = [Setting("unsteered"), Setting("prompt", system="Refuse.")]
    return evaluate(FakeEngine(TEXTS), tasks, settings).measured


def test_judges_add_their_columns_and_change_nothing_else(measured):
    after = judged(measured, [PhraseJudge(), Words({"Sure.": True})])
    for before, each in zip(measured, after, strict=True):
        if before.task.name != "refusal":
            assert each is before
            continue
        phrases = ["refusal_by_phrases", "firm_refusal_by_phrases", "disclaimer_by_phrases"]
        assert [m.name for m in each.judged] == [*phrases, "refusal_by_words"]
        for old, new in zip(before.outcomes, each.outcomes, strict=True):
            assert (new.item, new.group) == (old.item, old.group)
            assert {name: new.metrics[name] for name in old.metrics} == dict(old.metrics)
            assert {name: new.details[name] for name in old.details} == dict(old.details)
            text = old.details["completion"]
            assert new.metrics["refusal_by_phrases"] == float(is_refusal(text)) == old.metrics["refusal_rate"]
            assert new.metrics["firm_refusal_by_phrases"] == old.metrics["firm_refusal_rate"]
            assert new.metrics["refusal_by_words"] == float(text == "Sure.")
            assert new.details["verdicts"]["words"] == f"refusal: {'yes' if text == 'Sure.' else 'no'}"


def test_identical_texts_are_judged_once(measured):
    judge = Words({})
    judged(measured, [judge], concept="the sea")
    assert len(judge.seen) == len(set(judge.seen)) == len(PROMPTS)
    assert {each.concept for each in judge.seen} == {"the sea"}


def test_the_unscored_are_counted_and_never_a_value(measured):
    after = judged(measured, [Words({"I can't help with that.": None, "Sure.": True})])
    report = summarise(after)
    rows = {(row["metric"], row["arm"]): row for row in report.rows}
    refused = sum(is_refusal(text) for text in TEXTS.values())
    assert 0 < refused < len(PROMPTS)
    for arm in ("unsteered", "prompt"):
        assert rows["unscored_by_words", arm]["value"] == pytest.approx(refused / len(PROMPTS))
        assert rows["unscored_by_words", arm]["n"] == len(PROMPTS)
        assert rows["refusal_by_words", arm]["n"] == len(PROMPTS) - refused
    outcome = next(o for o in after[0].outcomes if is_refusal(o.details["completion"]))
    assert "refusal_by_words" not in outcome.metrics
    assert outcome.details["verdicts"] == {"words": "unscored: asleep"}


def test_who_leaves_nothing_unscored_gets_no_column_for_it(measured):
    names = {metric.name for each in judged(measured, [Words({})]) for metric in each.judged}
    assert names == {"refusal_by_words"}


def test_judging_twice_keeps_one_column(measured):
    once = judged(measured, [PhraseJudge()])
    assert judged(once, [PhraseJudge()]) == once
    both = judged(once, [Words({})])
    assert both[0].outcomes[0].details["verdicts"].keys() == {"phrases", "words"}


def test_agreement_is_kappa_over_the_texts_both_decided(measured):
    table: dict[str, bool | None] = {"I can't help with that.": True, "Sure.": True, "Answer 1.": None}
    (row,) = agreement(judged(measured, [Words(table)]), seed=4)
    texts = [text for text in TEXTS.values() if text != "Answer 1."]
    expected = cohen_kappa([table.get(text, False) is True for text in texts], [is_refusal(t) for t in texts], 4)
    assert row == {
        "task": "refusal",
        "question": "refusal",
        "first": "words",
        "second": "phrases",
        "n": 11,
        "unscored": 1,
        "agreement": expected.agreement,
        "kappa": expected.kappa,
        "low": expected.low,
        "high": expected.high,
    }
    assert 0 < row["kappa"] < 1


def test_every_two_judges_of_one_question_are_compared(measured):
    judges = [PhraseJudge(), PhraseJudge("again"), Words({}), Words({}, "none")]
    rows = agreement(judged(measured, judges))
    pairs = {(row["question"], row["first"], row["second"]) for row in rows}
    assert pairs == {
        ("refusal", "phrases", "again"),
        ("refusal", "phrases", "words"),
        ("refusal", "phrases", "none"),
        ("refusal", "again", "words"),
        ("refusal", "again", "none"),
        ("refusal", "words", "none"),
        ("firm_refusal", "phrases", "again"),
        ("disclaimer", "phrases", "again"),
    }
    by = {(row["first"], row["second"]): row for row in rows if row["question"] == "refusal"}
    assert (by["phrases", "again"]["agreement"], by["phrases", "again"]["kappa"]) == (1.0, 1.0)
    assert (by["words", "none"]["agreement"], by["words", "none"]["kappa"]) == (1.0, None)
    assert by["phrases", "words"]["kappa"] == 0


def test_a_text_shared_by_arms_counts_once(measured):
    rows = agreement(judged(measured, [Words({})]))
    assert [row["n"] for row in rows] == [len(PROMPTS)]


def test_judges_that_decided_no_text_together_have_no_kappa(measured):
    asleep = dict.fromkeys(TEXTS.values())
    (row,) = agreement(judged(measured, [Words(asleep)]))
    assert (row["n"], row["unscored"], row["agreement"], row["kappa"]) == (0, 12, None, None)


def test_without_judges_there_is_nothing_to_compare(measured):
    assert agreement(measured) == []


def test_judges_need_names_of_their_own_and_texts(measured):
    with pytest.raises(InputError, match="expected judges with different names, got phrases, phrases"):
        judged(measured, [PhraseJudge(), PhraseJudge()])
    with pytest.raises(InputError, match="expected at least one judge"):
        judged(measured, [])
    bare = [Measured(RefusalOddsTask(PROMPTS), Setting("unsteered"), [Outcome("a", {"refusal_log_odds": 0.0})])]
    with pytest.raises(InputError, match="expected outcomes with a prompt and a completion"):
        judged(bare, [PhraseJudge()])
