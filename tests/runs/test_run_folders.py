"""A changed evaluation computes what it touches and nothing else; its folder holds every number it came to."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from fakes import FakeEngine
from steersman.errors import InputError
from steersman.evaluation import address, evaluate
from steersman.judges import REFUSAL_PATTERNS
from steersman.prompts import Passage, PromptItem
from steersman.runs import ItemStore, write_results
from steersman.tasks import CompletionTask, FluencyTask, Setting
from tiny import plan

PROMPTS = [PromptItem(f"p{i}", f"prompt {i}", "odd" if i % 2 else "even") for i in range(5)]
TEXTS = [Passage(f"t{i}", f"text {i}") for i in range(4)]
TASKS = [CompletionTask("refusal", PROMPTS), FluencyTask(TEXTS)]
SETTINGS = [
    Setting("unsteered"),
    Setting("steered", plan(1), site="resid_post.1", coefficient=1.0, unit="raw"),
    Setting("steered", plan(1).scaled(2), site="resid_post.1", coefficient=2.0, unit="raw"),
]
ALL = 9 * 3


@dataclass
class Counting:
    """A task that counts the items it is asked to compute."""

    task: Any
    computed: list[str] = field(default_factory=list)

    def __getattr__(self, name):
        return getattr(self.task, name)

    def measure(self, engine, start, stop, settings):
        self.computed += [item.id for item in self.task.items[start:stop]] * len(settings)
        return self.task.measure(engine, start, stop, settings)


def computed(store, tasks=TASKS, settings=SETTINGS, **how):
    """Return how many items an evaluation into this store computes, and its report."""
    counting = [Counting(task) for task in tasks]
    report = evaluate(FakeEngine(), counting, settings, store=store, **how)
    return sum(len(each.computed) for each in counting), report


@dataclass(frozen=True)
class OtherJudge:
    """The same completions, judged by other words."""

    task: CompletionTask

    def __getattr__(self, name):
        return getattr(self.task, name)

    def settings_key(self):
        return self.task.settings_key().replace(json.dumps(REFUSAL_PATTERNS[0])[1:-1], "cannot")


CHANGES = {
    "nothing": ({}, 0),
    "the seed of the bootstrap": ({"seed": 5}, 0),
    "one coefficient": ({"settings": [*SETTINGS[:2], replace(SETTINGS[2], plan=plan(1).scaled(3))]}, 9),
    "an arm more": ({"settings": [*SETTINGS, Setting("prompt", system="Refuse.")]}, 9),
    "a label": ({"settings": [SETTINGS[0], replace(SETTINGS[1], site="elsewhere"), SETTINGS[2]]}, 0),
    "one task's items": ({"tasks": [TASKS[0], FluencyTask([*TEXTS, Passage("t9", "more")])]}, 5 * 3),
    "one item's words": ({"tasks": [TASKS[0], FluencyTask([replace(TEXTS[0], text="x"), *TEXTS[1:]])]}, 4 * 3),
    "one judge": ({"tasks": [OtherJudge(TASKS[0]), TASKS[1]]}, 5 * 3),
    "the engine": ({"context": "another"}, ALL),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_computes_what_it_touches(tmp_path, change):
    how, wanted = CHANGES[change]
    store = ItemStore(tmp_path / "items.jsonl")
    assert computed(store)[0] == ALL
    before = dict(store)
    assert computed(store, **how)[0] == wanted
    store.close()
    assert len(store) == ALL + wanted
    assert {key: store[key] for key in before} == before


def test_the_address_of_an_item_tells_parts_apart():
    task = TASKS[0]
    assert address(replace(task, name="a"), SETTINGS[0], "b|c") != address(replace(task, name="c|a"), SETTINGS[0], "b")


def test_two_items_of_one_id_are_refused():
    with pytest.raises(InputError, match=r"items with different ids in the task fluency, got 't0' more than once"):
        computed({}, tasks=[FluencyTask([TEXTS[0], TEXTS[0]])])


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_folder_holds_what_was_measured(tmp_path):
    _, report = computed({})
    kappa = [{"task": "refusal", "kappa": 0.5}]
    write_results(tmp_path, report, summary={"complete": True}, provenance={"seeds": {}}, agreement=kappa)
    read = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert read["results"] == [dict(row) for row in report.rows]
    assert read["differences"] == [dict(row) for row in report.differences]
    assert (read["groups"], read["remarks"]) == (list(report.groups), list(report.remarks))
    assert (read["agreement"], read["provenance"], read["summary"]) == (kappa, {"seeds": {}}, {"complete": True})
    outcomes = lines(tmp_path / "outcomes.jsonl")
    assert len(outcomes) == ALL
    by_label = {(o["task"], o["item"], o["coefficient"]): o["metrics"] for o in outcomes}
    for measured in report.measured:
        for outcome in measured.outcomes:
            key = measured.task.name, outcome.item, measured.setting.coefficient
            assert by_label[key] == outcome.metrics
    texts = lines(tmp_path / "completions.jsonl")
    assert len(texts) == 5 * 3
    assert {text["task"] for text in texts} == {"refusal"}
    assert all({"prompt", "completion", "arm", "seed", "completion_logprob"} <= set(text) for text in texts)


def test_a_summary_is_written_last_so_that_a_failed_write_leaves_no_finished_run(tmp_path):
    _, report = computed({})
    bad = replace(report, remarks=[{"remark": float("nan")}])
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_results(tmp_path, bad, summary={"complete": True})
    assert not (tmp_path / "summary.json").exists()
