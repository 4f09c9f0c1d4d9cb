"""The same items under every setting, the intervals of the statistics floor, and a table no interruption changes."""

import json
from dataclasses import replace
from itertools import accumulate

import pytest

from fakes import FakeEngine
from steersman import evaluation
from steersman.errors import InputError, InterventionError
from steersman.evaluation import Measured, evaluate, summarise
from steersman.maths.statistics import mean_interval, paired_difference, wilson
from steersman.model.generate import Sampling
from steersman.model.score import Score
from steersman.prompts import Passage, PromptItem, Question
from steersman.runs import ItemStore
from steersman.tasks import CompletionTask, FluencyTask, KnowledgeTask, Metric, Outcome, Setting
from tiny import plan, tiny_model

PROMPTS = [PromptItem(f"p{i}", f"prompt {i}") for i in range(7)]
QUESTIONS = [Question(f"q{i}", "sums", f"question {i}", ("a", "b", "c", "d"), i % 4) for i in range(4)]
TEXTS = [Passage(f"t{i}", f"text {i}") for i in range(3)]
TASKS = [CompletionTask("helpfulness", PROMPTS, helpfulness=True), KnowledgeTask(QUESTIONS), FluencyTask(TEXTS)]
SETTINGS = [
    Setting("unsteered"),
    Setting("steered", plan(1), site="resid_post.1", coefficient=1.0, unit="raw"),
    Setting("prompt", system="Refuse."),
]
ITEMS = 7 + 4 + 3


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(evaluation, "BATCH", 3)


def table(report) -> str:
    return json.dumps([report.rows, report.differences])


@pytest.fixture
def calm():
    """The table that nobody disturbed, and what it took."""
    engine = FakeEngine()
    return table(evaluate(engine, TASKS, SETTINGS)), engine.log


# Rows.


def hand_made(name, metrics, *arms):
    """Return measured settings of one task from `(arm, {item: metrics})`."""

    class Hand:
        items = ()

        def remarks(self, outcomes):
            return []

    Hand.name, Hand.metrics = name, metrics
    return [
        Measured(Hand(), Setting(arm), [Outcome(item, values) for item, values in outcomes.items()])
        for arm, outcomes in arms
    ]


def test_rates_are_wilson_and_means_are_bootstrap():
    metrics = [Metric("rate", "rate", ""), Metric("mean", "mean", "nats")]
    values = {f"i{i}": {"rate": float(i < 3), "mean": i * i / 7} for i in range(10)}
    rate, mean = summarise(hand_made("task", metrics, ("unsteered", values)), seed=5).rows
    expected = wilson(3, 10)
    assert (rate["value"], rate["low"], rate["high"], rate["n"]) == (0.3, expected.low, expected.high, 10)
    expected = mean_interval([i * i / 7 for i in range(10)], 5)
    assert (mean["value"], mean["low"], mean["high"], mean["n"]) == (expected.value, expected.low, expected.high, 10)
    assert mean["low"] < mean["value"] < mean["high"]
    assert list(rate) == ["task", "metric", "arm", "seed", "site", "coefficient", "unit", "value", "low", "high", "n"]


def test_differences_are_paired_by_item_whatever_the_order():
    before = {f"i{i}": {"m": i * 10.0} for i in range(8)}
    after = {f"i{i}": {"m": i * 10.0 + i % 3} for i in reversed(range(8))}
    arms = [("unsteered", before), ("steered", after)]
    (difference,) = summarise(hand_made("task", [Metric("m", "mean", "")], *arms), seed=2).differences
    expected = paired_difference(
        [i * 10.0 + i % 3 for i in reversed(range(8))], [i * 10.0 for i in reversed(range(8))], 2
    )
    assert difference["value"] == expected.value == 7 / 8  # 0 1 2 0 1 2 0 1
    assert (difference["low"], difference["high"], difference["n"]) == (expected.low, expected.high, 8)
    # Paired: as wide as the changes, not as the items.
    assert difference["high"] - difference["low"] < 2


def test_what_one_side_lacks_is_in_no_difference():
    before = {"a": {"m": 1.0}, "b": {}, "c": {"m": 3.0}, "d": {"m": 100.0}}
    after = {"a": {"m": 2.0}, "b": {"m": -50.0}, "c": {"m": 5.0}, "d": {}}
    report = summarise(hand_made("task", [Metric("m", "mean", "")], ("unsteered", before), ("steered", after)))
    assert [row["n"] for row in report.rows] == [3, 3]
    assert [(row["value"], row["n"]) for row in report.differences] == [(1.5, 2)]


def test_a_metric_that_nothing_has_makes_no_row():
    report = summarise(hand_made("task", [Metric("m", "mean", "")], ("unsteered", {"a": {}})))
    assert (report.rows, report.differences) == ([], [])


def test_differences_are_taken_to_the_first_unsteered_setting():
    arms = [("unsteered", {"a": {"m": 1.0}}), ("steered", {"a": {"m": 4.0}}), ("unsteered", {"a": {"m": 2.0}})]
    report = summarise(hand_made("task", [Metric("m", "mean", "")], *arms))
    assert [row["value"] for row in report.differences] == [3.0]
    assert summarise(hand_made("task", [Metric("m", "mean", "")], arms[1])).differences == []


def test_one_row_for_every_task_metric_and_setting(calm):
    report = evaluate(FakeEngine(), TASKS, SETTINGS)
    wanted = [
        (t.name, m.name, s.arm, s.site, s.coefficient, s.unit) for s in SETTINGS for t in TASKS for m in t.metrics
    ]
    keys = ("task", "metric", "arm", "site", "coefficient", "unit")
    assert [tuple(row[key] for key in keys) for row in report.rows] == wanted
    assert [tuple(row[key] for key in keys) for row in report.differences] == [w for w in wanted if w[2] != "unsteered"]
    assert table(report) == calm[0]


def test_all_settings_of_a_batch_are_asked_in_one_call():
    engine = FakeEngine()
    report = evaluate(engine, TASKS, SETTINGS)
    asked = [call for call in engine.log if call[0] == "complete"]
    assert [call[1] for call in asked] == [tuple(p.prompt for p in PROMPTS[i : i + 3]) * 3 for i in (0, 3, 6)]
    for prompts, (_, rows, plans, systems) in zip((3, 3, 1), asked, strict=True):
        assert len(rows) == prompts * len(SETTINGS)
        assert plans == tuple(each.plan.digest() for each in SETTINGS for _ in range(prompts))
        assert systems == tuple(each.system for each in SETTINGS for _ in range(prompts))
    # Completions are read twice, questions scored two ways, texts once.
    assert len(engine.log) == 3 * 3 + 2 * 2 + 1
    for measured in report.measured:
        assert [outcome.item for outcome in measured.outcomes] == [item.id for item in measured.task.items]


def test_settings_that_act_alike_are_computed_once():
    engine, alike = FakeEngine(), replace(SETTINGS[1], site="elsewhere")
    report = evaluate(engine, TASKS[2:], [*SETTINGS, alike])
    assert [len(call[1]) for call in engine.log] == [3 * len(SETTINGS)]
    assert report.measured[-1].setting == alike
    assert report.measured[-1].outcomes == report.measured[1].outcomes


@pytest.mark.parametrize(("tasks", "settings"), [([], SETTINGS), (TASKS, [])])
def test_nothing_to_evaluate_is_an_error(tasks, settings):
    with pytest.raises(InputError, match="at least one task and one setting"):
        evaluate(FakeEngine(), tasks, settings)


def test_a_task_without_items_is_an_error_before_anything_runs():
    engine = FakeEngine()
    with pytest.raises(InputError, match="at least one item in the task fluency, got none"):
        evaluate(engine, [*TASKS, FluencyTask([])], SETTINGS)
    assert engine.log == []


def test_notify_counts_every_item_once_also_those_found(tmp_path):
    store = ItemStore(tmp_path / "items.jsonl")
    for _ in range(2):
        counts: list[int] = []
        evaluate(FakeEngine(), TASKS, SETTINGS, store=store, notify=counts.append)
        assert counts == [9, 9, 3, 9, 3, 9]
        assert sum(counts) == ITEMS * len(SETTINGS)
    store.close()


# The store.


def test_interrupted_at_any_call_the_same_command_ends_in_the_same_table(tmp_path, calm):
    wanted, log = calm
    for call in range(len(log)):
        path = tmp_path / f"{call}.jsonl"
        store, first = ItemStore(path), FakeEngine(interrupt=call)
        with pytest.raises(KeyboardInterrupt):
            evaluate(first, TASKS, SETTINGS, store=store)
        store.close()
        finished = len(store)
        store, second = ItemStore(path), FakeEngine()
        assert table(evaluate(second, TASKS, SETTINGS, store=store)) == wanted
        store.close()
        assert len(store) == ITEMS * len(SETTINGS) == len(path.read_text(encoding="utf-8").splitlines()) - 1
        # Only the batch under way was lost: its calls alone were made twice.
        assert first.log == log[:call]
        assert second.log == log[len(log) - len(second.log) :]
        again = len(first.log) + len(second.log) - len(log)
        assert 0 <= again <= 2
        assert finished in accumulate([0, 9, 9, 3, 9, 3, 9])


def test_killed_at_any_byte_the_same_command_ends_in_the_same_table(tmp_path, calm):
    store = ItemStore(tmp_path / "items.jsonl")
    evaluate(FakeEngine(), TASKS[1:], SETTINGS, store=store)
    store.close()
    wanted = table(evaluate(FakeEngine(), TASKS[1:], SETTINGS))
    content = store.path.read_bytes()
    for length in range(0, len(content), 97):
        store.path.write_bytes(content[:length])
        again = ItemStore(store.path)
        assert table(evaluate(FakeEngine(), TASKS[1:], SETTINGS, store=again)) == wanted
        again.close()


def test_a_finished_store_asks_the_engine_nothing(tmp_path, calm):
    store = ItemStore(tmp_path / "items.jsonl")
    evaluate(FakeEngine(), TASKS, SETTINGS, store=store)
    store.close()
    engine, store = FakeEngine(interrupt=0), ItemStore(store.path)
    assert table(evaluate(engine, TASKS, SETTINGS, store=store)) == calm[0]
    store.close()


OTHER_ANSWER = [replace(QUESTIONS[0], answer=3), *QUESTIONS[1:]]
CHANGES = {
    "a setting more": (TASKS, [*SETTINGS, Setting("steered", plan(1).scaled(2), coefficient=2.0)], 6),
    "another coefficient": (TASKS, [SETTINGS[0], replace(SETTINGS[1], plan=plan(1).scaled(3)), SETTINGS[2]], 6),
    "another vector": (TASKS, [SETTINGS[0], replace(SETTINGS[1], plan=plan(2)), SETTINGS[2]], 6),
    "another system prompt": (TASKS, [*SETTINGS[:2], Setting("prompt", system="Refuse!")], 6),
    "another label": (TASKS, [SETTINGS[0], replace(SETTINGS[1], site="elsewhere"), SETTINGS[2]], 0),
    "another order": (TASKS[::-1], SETTINGS[::-1], 0),
    "fewer": (TASKS[:1], SETTINGS[:1], 0),
    "another limit of tokens": ([replace(TASKS[0], sampling=Sampling(5)), *TASKS[1:]], SETTINGS, 9),
    "another item": ([TASKS[0], replace(TASKS[1], items=OTHER_ANSWER), TASKS[2]], SETTINGS, 6),
    "an item less": ([*TASKS[:2], replace(TASKS[2], items=TEXTS[:2])], SETTINGS, 3),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_redoes_only_what_it_touches(change):
    tasks, settings, wanted = CHANGES[change]
    store: dict[str, Outcome] = {}
    evaluate(FakeEngine(), TASKS, SETTINGS, store=store)
    before, engine = dict(store), FakeEngine()
    report = evaluate(engine, tasks, settings, store=store)
    # Settings times batches; completions are read again without a setting, questions scored two ways.
    shares = {"complete": 2, "score_options": 1, "score": 0}
    asked = [(2 if call[1][0] == "" else shares[call[0]], set(zip(*call[2:], strict=True))) for call in engine.log]
    assert sum(share * len(acting) for share, acting in asked) == 2 * wanted
    assert {key: store[key] for key in before} == before
    assert table(report) == table(evaluate(FakeEngine(), tasks, settings))


def test_another_engine_shares_nothing():
    store: dict[str, Outcome] = {}
    evaluate(FakeEngine(), TASKS, SETTINGS, store=store, context="one")
    engine = FakeEngine()
    evaluate(engine, TASKS, SETTINGS, store=store, context="other")
    fresh = FakeEngine()
    evaluate(fresh, TASKS, SETTINGS)
    assert engine.log == fresh.log
    assert len(store) == 2 * ITEMS * len(SETTINGS)


# Steps that nothing can apply.


def late(coefficient=1.0):
    return [SETTINGS[0], Setting("steered", plan(1, span="generated", coefficient=coefficient), site="resid_post.1")]


def test_a_span_without_a_token_is_refused_before_anything_runs(monkeypatch):
    model = tiny_model("llama", chat=True)
    store: dict[str, Outcome] = {}
    match = "for the task knowledge, whose options are one token long, got 'generated'.* --task, or another span"
    with pytest.raises(InputError, match=match):
        evaluate(model, TASKS, late(), store=store)
    assert store == {}
    # A step that does nothing, a task with longer texts and an engine whose tokens nobody knows are let through.
    for engine, tasks, settings in (
        (model, TASKS[1:2], late(0.0)),
        (model, TASKS[2:], late()),
        (FakeEngine(), TASKS, late()),
    ):
        assert len(evaluate(engine, tasks, settings).measured) == len(tasks) * 2


def test_options_of_several_tokens_hold_generated_ones():
    model = tiny_model("llama", chat=True)
    plain = model.tokenizer

    class Pieces:
        """Every letter takes two tokens."""

        def __getattr__(self, name):
            return getattr(plain, name)

        def __call__(self, text, **how):
            return plain(text + " ", **how)

    pieces = replace(model, tokenizer=Pieces())
    assert len(evaluate(pieces, TASKS[1:2], late()).measured) == 2


def test_a_step_that_was_never_applied_is_said_with_its_task():
    engine = FakeEngine()

    def failing(prompts, options, plans, **_):
        if rows := [str(row) for row, each in enumerate(plans) if len(each)]:
            raise InterventionError(
                f"steering was asked for at resid_post.1 (rows {', '.join(rows)}) and never applied: no token"
            )
        return [[Score((-1.0,))] * len(each) for each in options]

    engine.score_options = failing
    store: dict[str, Outcome] = {}
    match = (
        "^task knowledge, steered arm, items 0 to 2: steering was asked for at resid_post.1 and never applied: "
        "no token; choose other tasks with --task, or another span$"
    )
    with pytest.raises(InterventionError, match=match):
        evaluate(engine, TASKS, SETTINGS, store=store)
    assert len(store) == len(PROMPTS) * len(SETTINGS)  # what was finished is kept


def test_an_error_that_no_setting_gives_alone_is_said_of_all():
    engine = FakeEngine()

    def failing(prompts, options, plans, **_):
        if len(plans) > 3:
            raise InterventionError("two steps of one batch do not go together")
        return [[Score((-1.0,))] * len(each) for each in options]

    engine.score_options = failing
    match = "^task knowledge, one of 3 arms, items 0 to 2: two steps of one batch do not go together; choose"
    with pytest.raises(InterventionError, match=match):
        evaluate(engine, TASKS[1:2], SETTINGS)


def test_tasks_and_settings_that_no_row_could_tell_apart_are_refused_before_anything_runs():
    engine = FakeEngine()
    twice = [KnowledgeTask(QUESTIONS), KnowledgeTask(QUESTIONS, form="plain")]
    with pytest.raises(InputError, match="tasks with different names, got 'knowledge' 2 times"):
        evaluate(engine, twice, SETTINGS)
    alike = [*SETTINGS, replace(SETTINGS[1], plan=plan(2))]
    with pytest.raises(
        InputError, match=r"settings that differ in arm, .* got 2 of the arm steered at site resid_post.1"
    ):
        evaluate(engine, TASKS, alike)
    assert engine.log == []
