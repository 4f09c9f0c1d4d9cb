"""A run of any tasks and arms is reported plainly: every arm, seed, test, group, warning and judge has its place."""

import json
import random
import re

import pytest

from steersman.evaluation import Measured, summarise
from steersman.report import headline, read_run, write_report
from steersman.report.frontier import frontier_of
from steersman.report.metrics import metric_for
from steersman.report.series import Dot
from steersman.runs import write_results
from steersman.tasks import Metric, Outcome, Setting
from steersman.tasks.task import ARM_WORDS

METRICS = {
    "behaviour": (Metric("matching_logprob", "rate", ""), Metric("behaviour_by_grader", "mean", "")),
    "skill": (Metric("top1_accuracy", "mean", ""),),
    "odd": (Metric("never_heard_of", "mean", "furlongs"),),
}
CHOSEN = {"site": "resid_post.3", "coefficient": 0.3}
EFFECTS = {"steered": 0.4, "prompt": 0.3, "prompt+steered": 0.5, "negated": -0.2}


class Made:
    """A task whose numbers are given."""

    def __init__(self, name, n):
        self.name, self.metrics, self.items = name, METRICS[name], range(n)

    def remarks(self, outcomes):
        return ["one answer stands in 97 % of the items"] if self.name == "behaviour" else []


def settings(*coefficients):
    drawn = [Setting("random", seed=seed, **CHOSEN) for seed in (1, 2, 3)]
    rest = [Setting(arm, seed=1 if arm in {"permuted", "shuffled"} else None, **CHOSEN) for arm in ARM_WORDS
            if arm in {"permuted", "negated", "shuffled", "prompt+steered"}]  # fmt: skip
    steered = [Setting("steered", site="resid_post.3", coefficient=value) for value in coefficients]
    return [Setting("unsteered"), *steered, *drawn, *rest, Setting("prompt", system="Agree.")]


def outcome(task, i, setting):
    draw = random.Random(f"{task} {i}")
    effect = EFFECTS.get(setting.arm, 0.0) * (setting.coefficient / 0.3 if setting.arm == "steered" else 1)
    uniform, cost = draw.random(), 0.2 * setting.coefficient
    found = {
        "matching_logprob": float(uniform < 0.3 + effect),
        "behaviour_by_grader": 1 + 9 * uniform,
        "top1_accuracy": 0.4 + 0.2 * uniform - cost,
        "never_heard_of": 40 * uniform,
    }
    group = f"subject <{i % 3}>" if task == "behaviour" else ""
    return Outcome(f"i{i}", {metric.name: found[metric.name] for metric in METRICS[task]}, {}, group)


def free_run(folder, *coefficients, **summary):
    tasks = [Made("behaviour", 90), Made("skill", 30), Made("odd", 30)]
    measured = [
        Measured(task, setting, [outcome(task.name, i, setting) for i in task.items])
        for setting in settings(*coefficients)
        for task in tasks
    ]
    folder.mkdir()
    kappa = [{"task": "behaviour", "first": "phrases", "second": "guard", "kappa": 0.71, "low": None, "n": 90}]
    told = {"study": "evaluation", "title": "Agreeableness", "direction": "agreeableness", "system_prompt": "Agree."}
    write_results(folder, summarise(measured), summary=told | summary, provenance={"seeds": {}}, agreement=kappa)
    (folder / "config.yaml").write_text("seed: 0\n")
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = free_run(tmp_path_factory.mktemp("free") / "run", 0.3)
    return write_report(folder).read_text(encoding="utf-8")


def test_every_arm_has_its_words_and_every_metric_its_table(page):
    for words in ARM_WORDS.values():
        assert re.search(rf'class="arm [a-z-]+">{words}', page)
    for name in ("matching by log-probability (behaviour)", "behaviour, 1 to 10, judged by grader (behaviour)",
                 "next token right (skill)", "never heard of (odd)"):  # fmt: skip
        assert f"<summary>{name}<span>" in page.lower() or f"<summary>{name.capitalize()}<span>" in page
    assert "40" in page
    assert "unit not stated" in page


def test_seeds_are_told_apart_and_pooled(page):
    for words in ("seed 1", "seed 2", "seed 3", "mean of 3 seeds"):
        assert f"random direction, {words}" in page


def test_warnings_groups_judges_and_tests_are_on_the_page(page):
    assert page.count("one answer stands in 97") == 1
    assert "subject &lt;1&gt;" in page
    assert "<td>0.71</td>" in page
    assert "How far the judges agree" in page
    assert '<th scope="col">p</th>' in page
    # one setting was tried: there is nothing to allow for
    assert '<th scope="col">Adjusted p</th>' not in page


def test_the_headline_of_a_free_run_is_plain(tmp_path):
    words = headline(read_run(free_run(tmp_path / "run", 0.3)))
    assert re.match(
        r"At 0.3 of the residual norm at layer 3, agreeableness: matching by log-probability \(behaviour\) went from "
        r"\d+ % to \d+ %, \+\d+\.\d points \(\+[\d.]+ to \+[\d.]+, n = 90\); also changed: next token right \(skill\) "
        r"−6\.0 points; a random direction of equal norm: \d+ % \(mean of 3 seeds\); the system prompt alone: \d+ %",
        words.finding,
    )
    assert "system prompt" in words.verdict
    assert words.power.startswith(
        "n = 90 items of behaviour: a difference between two settings has an interval of ±15 points"
    )


def test_a_sweep_without_a_choice_says_so(tmp_path):
    folder = free_run(tmp_path / "run", 0.0001, 0.2, 0.3)
    assert '<th scope="col">Adjusted p</th><th scope="col">Adjusted interval</th>' in write_report(folder).read_text()
    words = headline(read_run(folder))
    assert words.finding.startswith(
        "3 settings of agreeableness were measured and none chosen; 2 of them changed matching by log-probability "
        "(behaviour) clearly, most at 0.3 of the residual norm at resid_post.3: +"
    )
    assert words.verdict == ""


def test_what_the_summary_says_of_the_prompt_is_shown_as_it_is(tmp_path):
    run = read_run(free_run(tmp_path / "run", 0.3, verdict=["The vector loses to the prompt.", "By 3 points."]))
    assert headline(run).verdict == "The vector loses to the prompt. By 3 points."


def test_less_of_what_is_wanted_less_is_a_win(tmp_path):
    gain = {"task": "behaviour", "metric": "matching_logprob", "better": "lower"}
    run = read_run(free_run(tmp_path / "run", -0.2, gain=gain))
    assert headline(run).verdict.startswith("Steering beat the system prompt on matching by log-probability")
    del gain["better"]
    run = read_run(free_run(tmp_path / "other", -0.2, gain=gain))
    assert headline(run).verdict.startswith("Steering lost to the system prompt on matching by log-probability")


def test_an_interval_of_shares_ends_where_shares_do(tmp_path):
    row = {"task": "refusal", "arm": "steered", "site": "resid_post.3", "coefficient": 0.3, "unit": "norm", "n": 6}
    rows = [
        row | {"metric": "distinct_2", "value": 0.7, "low": -0.2, "high": 1.2},
        row | {"metric": "completion_logprob", "value": -1.0, "low": -2.5, "high": 1.5},
        row | {"metric": "odd_rate", "value": 3.0, "low": 2.0, "high": 4.0},  # called a rate, and none
    ]
    (tmp_path / "results.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "differences.json").write_text(json.dumps(rows[:1]), encoding="utf-8")
    run = read_run(tmp_path)
    assert [(each.low, each.high) for each in run.results] == [(0.0, 1.0), (-2.5, 1.5), (2.0, 4.0)]
    assert (run.differences[0].low, run.differences[0].high) == (-0.2, 1.2)  # a change may be either way


# The frontier.

GAIN, COST = metric_for("refusal", "refusal_rate"), metric_for("knowledge", "accuracy_text")


def pair(gain, cost):
    return Dot(0.0, float(gain), None, None), Dot(0.0, float(cost), None, None)


def test_the_frontier_leaves_out_what_is_beaten_and_says_its_area():
    found = frontier_of(GAIN, COST, 1, [pair(50, 30), pair(40, 20), pair(75, 10)], pair(0, 40), pair(60, 35))
    assert found.pairs == (pair(0, 40), pair(50, 30), pair(75, 10))
    # of 100 by 40: 50 wide and 30 high, and 25 more wide and 10 high
    assert (
        "covers 44 % of the box from the unsteered 0 % to 100 % across and from 0 % to the unsteered 40 %"
        in found.words
    )
    assert found.words.endswith("The system prompt lies on or beyond it.")
    within = frontier_of(GAIN, COST, 1, [pair(50, 30)], pair(0, 40), pair(45, 25))
    assert within.words.endswith("The system prompt lies within it.")


def test_where_less_is_wanted_the_frontier_lies_on_the_other_side():
    found = frontier_of(GAIN, COST, -1, [pair(50, 30), pair(20, 20), pair(90, 10)], pair(80, 40), None)
    assert found.pairs == (pair(80, 40), pair(50, 30), pair(20, 20))
