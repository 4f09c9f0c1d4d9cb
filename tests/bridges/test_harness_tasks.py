"""The harness's tasks in `evaluate`: its own numbers, every arm, the store; and what cannot be had so is refused."""

from pathlib import Path
from typing import Any

import pytest
from local_tasks import CHOICE, WRITING, write_tasks

from fakes import FakeEngine
from steersman.bridges.harness_run import run_lm_eval
from steersman.bridges.harness_tasks import harness_tasks
from steersman.errors import DataError, InputError
from steersman.evaluation import evaluate
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.tasks import Outcome, Setting
from tiny import plan

MEANS = ["local_choice", "local_writing"]


def steering() -> Plan:
    return plan(3, [1], coefficient=2.0)


def test_rows_are_the_harness_own_means_under_every_setting(plain: Model, local_tasks: Path) -> None:
    tasks = harness_tasks(MEANS, shots=1, include_path=local_tasks)
    settings = [Setting("unsteered"), Setting("steered", steering(), coefficient=2.0, unit="raw")]
    report = evaluate(plain, tasks, settings)
    for setting in settings:
        told = run_lm_eval(plain, setting.plan, MEANS, shots=1, include_path=local_tasks, bootstraps=0)
        expected = {(row["task"], row["metric"]): (row["value"], row["n"]) for row in told.rows}
        found = {
            (row["task"], row["metric"]): (row["value"], row["n"]) for row in report.rows if row["arm"] == setting.arm
        }
        assert found == {key: (pytest.approx(value), count) for key, (value, count) in expected.items()}
        assert {key[1] for key in found} == {"acc", "acc_norm", "exact_match"}
    answers = {
        each.setting.arm: [outcome.details["answers"] for outcome in each.outcomes]
        for each in report.measured
        if each.task.name == "local_choice"
    }
    assert answers["unsteered"] != answers["steered"]
    assert {row["n"] for row in report.differences if row["task"] == "local_choice"} == {7}


def test_what_is_stored_is_not_asked_again(plain: Model, local_tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store: dict[str, Outcome] = {}
    settings = [Setting("unsteered"), Setting("prompt", system="Bark.")]
    once = evaluate(plain, harness_tasks(["local_choice"], include_path=local_tasks), settings, store=store)
    assert len(store) == 14
    monkeypatch.setattr("steersman.bridges.harness_tasks._answer", None)
    again = evaluate(plain, harness_tasks(["local_choice"], include_path=local_tasks), settings, store=store)
    assert once.rows == again.rows
    prompts = [each.outcomes[0].details["prompt"] for each in once.measured]
    assert prompts[1] == "Bark." + prompts[0] or prompts[1].startswith("Bark.")


def test_settings_keys_tell_shots_templates_and_files_apart(local_tasks: Path, tmp_path: Path) -> None:
    other = write_tasks(tmp_path, {**CHOICE, "doc_to_text": "{{question}}"})
    made = [
        harness_tasks(["local_choice"], include_path=local_tasks)[0],
        harness_tasks(["local_choice"], include_path=local_tasks, shots=2)[0],
        harness_tasks(["local_choice"], include_path=local_tasks, chat=True)[0],
        harness_tasks(["local_choice"], include_path=other)[0],
    ]
    assert len({each.settings_key() for each in made}) == 4
    again = harness_tasks(["local_choice"], include_path=local_tasks)[0]
    assert made[0].settings_key() == again.settings_key()
    assert made[0].items == again.items


def test_a_task_file_fixing_no_shots_keeps_it_and_a_limit_takes_the_first(tmp_path: Path) -> None:
    where = write_tasks(tmp_path, {**CHOICE, "num_fewshot": 0})
    [task] = harness_tasks([str(where / "local_choice.yaml")], shots=3, limit=2)
    assert task.task.get_config("num_fewshot") == 0
    assert [item.id for item in task.items] == ["0", "1"]


def test_answer_filters_and_metrics_that_are_no_means(plain: Model, tmp_path: Path) -> None:
    filters = [
        {"name": "letter", "filter": [{"function": "regex", "regex_pattern": "([a-z])"}, {"function": "take_first"}]},
        {"name": "none", "filter": [{"function": "take_first"}]},
    ]
    both = [*CHOICE["metric_list"], {"metric": "f1", "aggregation": "f1", "higher_is_better": True}]
    where = write_tasks(tmp_path, {**WRITING, "filter_list": filters}, {**CHOICE, "metric_list": both})
    writing, choice = harness_tasks(["local_writing", "local_choice"], include_path=where)
    assert [metric.name for metric in writing.metrics] == ["exact_match,letter", "exact_match"]
    assert [(metric.name, metric.kind) for metric in choice.metrics] == [("acc", "rate"), ("acc_norm", "rate")]
    [remark] = choice.remarks([])
    assert remark.startswith("f1: no mean over documents")
    outcomes = writing.measure(plain, 0, 2, [Setting("unsteered")])[0]
    assert all(set(outcome.metrics) == {"exact_match,letter", "exact_match"} for outcome in outcomes)


@pytest.mark.parametrize(
    ("names", "options", "sentence"),
    [
        (["local_rolling"], {}, "expected a task with a metric that is a mean over documents, .* --model steersman"),
        (["local_choise"], {}, "expected a task of lm-evaluation-harness, such as .*, or a task file, got 'local_choi"),
        ([], {}, "expected at least one task of lm-evaluation-harness, got none"),
        (["local_choice"], {"limit": 0}, "expected at least one document of the task local_choice, got 0"),
        (["local_choice"], {"include_path": "/nowhere"}, "expected a folder with task files, got '/nowhere'"),
    ],
)
def test_what_cannot_be_had_is_refused(
    names: list[str], options: dict[str, Any], sentence: str, local_tasks: Path
) -> None:
    with pytest.raises(InputError, match=sentence):
        harness_tasks(names, **({"include_path": local_tasks} | options))


def test_data_that_is_not_there_is_told_in_a_sentence(tmp_path: Path) -> None:
    where = write_tasks(tmp_path, CHOICE)
    (where / "local_choice.jsonl").unlink()
    with pytest.raises(DataError, match="the data of local_choice could not be loaded"):
        harness_tasks(["local_choice"], include_path=where)


def test_another_engine_is_refused(local_tasks: Path) -> None:
    [task] = harness_tasks(["local_choice"], include_path=local_tasks)
    with pytest.raises(InputError, match="expected a loaded model for the task local_choice, got FakeEngine"):
        task.measure(FakeEngine(), 0, 1, [Setting("unsteered")])
