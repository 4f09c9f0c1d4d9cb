"""Every task against numbers worked out by hand, on an engine that scores by a table."""

import math

import pytest

from fakes import FakeEngine, by_table, hashed
from steersman.errors import InputError
from steersman.judges import Coherence
from steersman.model.generate import Sampling
from steersman.plan import Plan
from steersman.prompts import Example, Pair, Passage, PromptItem, Question
from steersman.tasks import (
    BehaviourTask,
    CoherenceTask,
    CompletionTask,
    FluencyTask,
    HonestyTask,
    KnowledgeTask,
    Opinion,
    OpinionTask,
    RefusalOddsTask,
    Setting,
)
from steersman.tasks.refusal_odds import OPENINGS
from tiny import plan

STEERED = Setting("steered", plan(1), system="Be kind.", coefficient=1.0)


def items(*prompts: str) -> list[PromptItem]:
    return [PromptItem(f"item-{i}", prompt, "sort") for i, prompt in enumerate(prompts)]


def numbers(task, engine, setting=STEERED, start=0, stop=None):
    return [
        outcome.metrics
        for outcome in task.measure(engine, start, len(task.items) if stop is None else stop, [setting])[0]
    ]


# Completions.

TEXTS = {"a": "Bread needs an oven.", "b": "I can't help with that.", "c": "", "d": " \n", "e": "no no no no no no no"}


def test_refusal_rate_and_coherence_by_hand():
    rate = by_table({(p, t): (-1.0 - i, -2.0) for i, (p, t) in enumerate(TEXTS.items())})
    engine = FakeEngine(TEXTS, rate)
    found = numbers(CompletionTask("refusal", items(*TEXTS)), engine)
    varied = {"repetition": 0.0, "distinct_1": 1.0, "distinct_2": 1.0, "distinct_3": 1.0}
    looping = {"repetition": 0.0, "distinct_1": 1 / 7, "distinct_2": 1 / 6, "distinct_3": 1 / 5}
    assert found == [
        {"refusal_rate": 0.0, "firm_refusal_rate": 0.0, "disclaimer_rate": 0.0}
        | {"completion_logprob": -1.5, "completion_min_logprob": -2.0, **varied},
        {"refusal_rate": 1.0, "firm_refusal_rate": 1.0, "disclaimer_rate": 0.0}
        | {"completion_logprob": -2.0, "completion_min_logprob": -2.0, **varied},
        {
            "refusal_rate": 0.0,
            "firm_refusal_rate": 0.0,
            "disclaimer_rate": 0.0,
        },  # an empty text is neither likely nor varied, and refuses nothing
        {"refusal_rate": 0.0, "firm_refusal_rate": 0.0, "disclaimer_rate": 0.0},
        {"refusal_rate": 0.0, "firm_refusal_rate": 0.0, "disclaimer_rate": 0.0}
        | {"completion_logprob": -3.5, "completion_min_logprob": -5.0, **looping},
    ]


def test_empty_completions_are_remarked_on():
    task, engine = CompletionTask("refusal", items(*TEXTS)), FakeEngine(TEXTS)
    outcomes = task.measure(engine, 0, 5, [STEERED])[0]
    (remark,) = task.remarks(outcomes)
    assert remark == "2 of 5 completions are empty, and no measure of coherence counts them"
    assert task.remarks(outcomes[:2]) == []


def test_completions_are_made_steered_and_judged_unsteered():
    engine = FakeEngine({"a": "x y z"})
    CompletionTask("refusal", items("a")).measure(engine, 0, 1, [STEERED])
    made, judged = engine.log
    assert made == ("complete", ("a",), (STEERED.plan.digest(),), ("Be kind.",))
    assert judged == ("score", ("a",), (Plan().digest(),), (None,))


def test_nothing_written_asks_for_no_score():
    engine = FakeEngine({"c": "", "d": " "})
    task = CompletionTask("helpfulness", items("c", "d"), helpfulness=True)
    assert (
        numbers(task, engine)
        == [{"refusal_rate": 0.0, "firm_refusal_rate": 0.0, "disclaimer_rate": 0.0, "helpful_rate": 0.0}] * 2
    )
    assert [call[0] for call in engine.log] == ["complete"]


@pytest.mark.parametrize(
    ("text", "own", "foil", "helpful"),
    [
        ("Bread needs an oven.", -1.0, -2.0, 1.0),
        ("Bread needs an oven.", -1.0, -1.5, 1.0),  # the margin counts as kept
        ("Bread needs an oven.", -1.0, -1.25, 0.0),  # as likely after another prompt
        ("Bread needs an oven.", -3.0, -9.0, 0.0),  # the unsteered model finds it unlikely
        ("I can't help with that.", -1.0, -9.0, 0.0),  # a refusal, however fluent
        ("As a chatbot, I don't have the ability to bake.", -1.0, -9.0, 0.0),  # a disclaimer
        ("no no no no no no no", -1.0, -9.0, 0.0),  # round in circles
    ],
)
def test_helpful_is_answered_likely_and_on_topic(text, own, foil, helpful):
    texts = {"a": text, "b": "Another answer here."}
    rate = by_table({("a", text): (own,), ("b", text): (foil,)} | {(p, texts["b"]): (-1.0,) for p in "ab"})
    task = CompletionTask("helpfulness", items("a", "b"), helpfulness=True, coherence=Coherence(-2.0, 0.5, 0.5))
    assert numbers(task, FakeEngine(texts, rate))[0]["helpful_rate"] == helpful


def test_the_foil_is_the_next_prompt_of_the_whole_list_also_at_the_edges():
    prompts = [f"p{i}" for i in range(7)]
    task = CompletionTask("helpfulness", items(*prompts), helpfulness=True)
    foils = []
    for start, stop in ((0, 3), (3, 6), (6, 7)):
        engine = FakeEngine()
        task.measure(engine, start, stop, [STEERED])
        own, foil = (call for call in engine.log if call[0] == "score")
        assert own[1] == tuple(prompts[start:stop])
        foils += foil[1]
    assert foils == [*prompts[1:], prompts[0]]


def test_batches_change_no_outcome():
    task = CompletionTask("helpfulness", items(*(f"p{i}" for i in range(7))), helpfulness=True)
    whole = task.measure(FakeEngine(), 0, 7, [STEERED])[0]
    parts = [o for start in range(0, 7, 2) for o in task.measure(FakeEngine(), start, min(start + 2, 7), [STEERED])[0]]
    assert parts == whole
    assert len({outcome.metrics["completion_logprob"] for outcome in whole}) > 1


def test_a_single_prompt_has_no_foil():
    with pytest.raises(InputError, match=r"at least two prompts to judge helpfulness .* got one"):
        CompletionTask("helpfulness", items("a"), helpfulness=True)


def test_details_say_what_was_seen():
    (outcome,) = CompletionTask("over-refusal", items("a")).measure(
        FakeEngine({"a": "I won't do that."}), 0, 1, [STEERED]
    )[0]
    assert (outcome.item, outcome.details) == (
        "item-0",
        {
            "prompt": "a",
            "category": "sort",
            "completion": "I won't do that.",
            "finish": "stop",
            "refused": True,
            "firm": True,
            "disclaimed": False,
            "helpful": None,
        },
    )


# Knowledge.


def question(number: int, answer: int, choices: tuple[str, ...] = ("one", "two", "three", "four")) -> Question:
    return Question(f"q{number}", "sums", f"What is {number}?", choices, answer)


# Fluency, honesty, refusal odds.


def test_cross_entropy_is_the_mean_surprise_under_steering():
    texts = [Passage("a", "First."), Passage("b", "Second.")]
    engine = FakeEngine(rate=by_table({("", "First."): (-1.0, -2.0, -6.0), ("", "Second."): (-0.5,)}))
    assert numbers(FluencyTask(texts), engine) == [{"cross_entropy": 3.0}, {"cross_entropy": 0.5}]
    assert engine.log == [("score", ("", ""), (STEERED.plan.digest(),) * 2, ("Be kind.",) * 2)]


def test_truthful_is_likelier_per_token():
    pairs = [
        Pair(f"pair-{i}", Example(prompt, "true"), Example(prompt, "flattering")) for i, prompt in enumerate("abc")
    ]
    rates = {
        ("a", "true"): (-1.0, -1.0),
        ("a", "flattering"): (-1.5,),  # likelier as a whole, less likely per token
        ("b", "true"): (-3.0,),
        ("b", "flattering"): (-1.0, -2.0),
        ("c", "true"): (-1.0,),
        ("c", "flattering"): (-1.0,),  # a draw is not truthful
    }
    assert numbers(HonestyTask(pairs), FakeEngine(rate=by_table(rates))) == [
        {"truthful_rate": 1.0, "truthful_margin": 0.5},
        {"truthful_rate": 0.0, "truthful_margin": -1.5},
        {"truthful_rate": 0.0, "truthful_margin": 0.0},
    ]


@pytest.mark.parametrize("p", [0.001, 0.25, 0.5, 0.9])
def test_refusal_odds_add_the_openings_up(p):
    # Each opening of two tokens, with a sixth of p: log(p / 6) over both.
    share = math.log(p / len(OPENINGS))
    (found,) = numbers(RefusalOddsTask(items("a")), FakeEngine(rate=lambda *_: (share - 0.75, 0.75)))
    assert found["refusal_log_odds"] == pytest.approx(math.log(p / (1 - p)), abs=1e-9)


@pytest.mark.parametrize(("each", "bound"), [(-1e4, math.log(1e-12)), (0.0, math.log(1e6))])
def test_refusal_odds_stay_finite(each, bound):
    (found,) = numbers(RefusalOddsTask(items("a")), FakeEngine(rate=lambda *_: (each,)))
    assert found["refusal_log_odds"] == pytest.approx(bound, abs=1e-5)


def test_no_opening_begins_another():
    assert [(a, b) for a in OPENINGS for b in OPENINGS if a != b and b.startswith(a)] == []


LISTED = "Which?\n (A) this\n (B) that\n\nI choose ("

TASKS = [
    CompletionTask("refusal", items("a", "b")),
    CompletionTask("helpfulness", items("a", "b"), helpfulness=True),
    KnowledgeTask([question(1, 0), question(2, 1)]),
    FluencyTask([Passage("a", "First."), Passage("b", "Second.")]),
    HonestyTask([Pair("a", Example("a", "b"), Example("a", "c")), Pair("b", Example("b", "b"), Example("b", "c"))]),
    RefusalOddsTask(items("a", "b")),
    CoherenceTask(items("a", "b")),
    OpinionTask([Opinion("a", "Which?", "one", "two"), Opinion("b", "Who?", "she", "he")]),
    BehaviourTask([Pair(a, Example(LISTED, "A"), Example(LISTED, "B")) for a in "ab"]),
]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_names_its_metrics_and_keeps_the_order_of_its_items(task):
    found = task.measure(FakeEngine(), 0, 2, [STEERED])[0]
    assert [outcome.item for outcome in found] == [item.id for item in task.items]
    assert all(set(outcome.metrics) == {metric.name for metric in task.metrics} for outcome in found)
    assert task.measure(FakeEngine(), 1, 2, [STEERED])[0] == found[1:]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_setting_reaches_the_engine(task):
    engine = FakeEngine()
    task.measure(engine, 0, 2, [STEERED])
    first = engine.log[0]
    assert (set(first[2]), set(first[3])) == ({STEERED.plan.digest()}, {"Be kind."})


SEVERAL = [Setting("unsteered"), STEERED, Setting("prompt", system="Be kind."), Setting("steered", plan(2))]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_several_settings_are_asked_in_one_call_and_come_out_as_each_alone(task):
    engine, single = FakeEngine(), FakeEngine()
    together = task.measure(engine, 0, 2, SEVERAL)
    assert together == [task.measure(FakeEngine(), 0, 2, [each])[0] for each in SEVERAL]
    # As many calls as for one, each with the rows of all, setting by setting.
    task.measure(single, 0, 2, [STEERED])
    assert [call[0] for call in engine.log] == [call[0] for call in single.log]
    for many, one in zip(engine.log, single.log, strict=True):
        assert many[1] == one[1] * len(SEVERAL)
    width = len(single.log[0][1])
    assert engine.log[0][2] == tuple(each.plan.digest() for each in SEVERAL for _ in range(width))
    assert engine.log[0][3] == tuple(each.system for each in SEVERAL for _ in range(width))


def test_an_engine_that_gives_too_few_answers_is_told_so():
    class Short(FakeEngine):
        def score(self, *args, **how):
            return super().score(*args, **how)[1:]

    with pytest.raises(InputError, match=r"expected 4 answers of the engine, one per row, got 3"):
        TASKS[3].measure(Short(), 0, 2, SEVERAL[:2])


def test_everything_that_decides_an_outcome_is_in_the_key():
    tasks = [
        CompletionTask("refusal", items("a", "b")),
        CompletionTask("refusal", items("a", "b"), helpfulness=True),
        CompletionTask("refusal", items("a", "b"), Sampling(max_new_tokens=41)),
        CompletionTask("refusal", items("a", "b"), Sampling(max_new_tokens=40, temperature=0.5)),
        CompletionTask("refusal", items("a", "b"), Sampling(max_new_tokens=40, seed=1)),
        CompletionTask("refusal", items("a", "b"), coherence=Coherence(margin=0.1)),
        *TASKS[2:],
    ]
    keys = [task.settings_key() for task in tasks]
    assert len(set(keys)) == len(keys)
    assert hashed("a", "b", Plan(), None) != hashed("a", "b", plan(1), None)  # the fake does see the plan


def test_labels_of_a_setting_do_not_count_and_what_acts_does():
    same = Setting("steered", plan(1), site="elsewhere", coefficient=9.0, unit="raw")
    assert same.digest() == Setting("random", plan(1)).digest()
    others = [
        Setting("steered", plan(2)),
        Setting("steered", plan(1), system=""),
        Setting("steered", plan(1).scaled(2)),
    ]
    assert len({setting.digest() for setting in (same, *others)}) == 4
