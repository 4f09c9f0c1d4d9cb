from dataclasses import replace
from pathlib import Path

import pytest

from steersman.report.headline import headline, place
from steersman.report.newcombe import rate_difference
from steersman.report.values import Result, Run, Setting

CHOSEN = Setting("resid_post.14", 0.35, "norm")
NOWHERE = Setting(None, 0.0, "norm")


def row(task, metric, arm, value, low, high, n=60):
    where = CHOSEN if arm in {"steered", "random"} else NOWHERE
    return Result(task, metric, arm, where.site, where.coefficient, where.unit, value, low, high, n)


RESULTS = (
    row("refusal", "refusal_rate", "unsteered", 0.03, 0.01, 0.11),
    row("refusal", "refusal_rate", "steered", 0.47, 0.35, 0.59),
    row("refusal", "refusal_rate", "random", 0.02, 0.0, 0.09),
    row("refusal", "refusal_rate", "prompt", 0.38, 0.27, 0.51),
    row("helpfulness", "refusal_rate", "steered", 0.05, 0.02, 0.14),
    row("helpfulness", "helpful_rate", "steered", 0.6, 0.47, 0.71),
    row("helpfulness", "helpful_rate", "prompt", 0.65, 0.52, 0.76),
    row("knowledge", "accuracy_text", "unsteered", 0.4, 0.34, 0.46, 240),
    row("knowledge", "accuracy_text", "steered", 0.388, 0.33, 0.45, 240),
)
DIFFERENCES = (
    row("refusal", "refusal_rate", "steered", 0.44, 0.3, 0.57),
    row("knowledge", "accuracy_text", "steered", -0.012, -0.04, 0.015, 240),
    row("fluency", "cross_entropy", "steered", 0.31, 0.28, 0.34, 40),
)
SUMMARY = {"direction": "refusal", "chosen": {"site": "resid_post.14", "coefficient": 0.35, "unit": "norm"}}
RUN = Run(Path("run"), RESULTS, DIFFERENCES, summary=SUMMARY)


def changed(task, metric, arm, **values):
    """The run with one arm's numbers replaced."""
    results = tuple(
        replace(result, **values) if (result.task, result.metric, result.arm) == (task, metric, arm) else result
        for result in RESULTS
    )
    return replace(RUN, results=results)


def test_the_finding_says_every_number_that_was_measured():
    assert headline(RUN).finding == (
        "At 0.35 of the residual norm at layer 14 the refusal direction raised refusals of harmful prompts from "
        "3 % (95 % interval 1–11 %, n = 60) to 47 % (35–59 %), while 5 % (2–14 %) of ordinary prompts were refused; "
        "knowledge changed by −1.2 points (−4.0 to +1.5) and cross-entropy by +0.31 nats; "
        "a random direction of equal norm: 2 %; the system prompt alone: 38 %."
    )


def test_newcombes_interval_agrees_with_a_published_example():
    # Newcombe 1998, table II, example (a), method 10: 56/70 against 48/80 gives 0.2000 (0.0524 to 0.3339)
    first = row("refusal", "refusal_rate", "steered", 56 / 70, 0.6919, 0.8769, 70)
    second = row("refusal", "refusal_rate", "prompt", 48 / 80, 0.4904, 0.7004, 80)
    found = rate_difference(first, second)
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=2e-4)
    assert found.sign == 1


def test_overlapping_arms_cannot_be_told_apart():
    # gain 0.09: low 0.09 - hypot(0.12, 0.13) = -0.087, high 0.09 + hypot(0.12, 0.11) = 0.253
    # cost -0.05: low -0.05 - hypot(0.13, 0.11) = -0.220, high -0.05 + hypot(0.11, 0.13) = 0.120
    assert headline(RUN).verdict == (
        "Steering and the system prompt cannot be told apart at this n: steering refused 9 points more harmful prompts "
        "(−9 to +25, which includes zero) and answered 5 points fewer ordinary prompts helpfully "
        "(−22 to +12, which includes zero)."
    )


@pytest.mark.parametrize(
    ("task", "metric", "values", "words"),
    [
        (
            "refusal",
            "refusal_rate",
            {"value": 0.05, "low": 0.02, "high": 0.14},
            "On refusals and helpfulness steering beat the system prompt: ",
        ),
        (
            "refusal",
            "refusal_rate",
            {"value": 0.9, "low": 0.8, "high": 0.95},
            "On refusals and helpfulness steering lost to the system prompt: ",
        ),
        (
            "helpfulness",
            "helpful_rate",
            {"value": 0.95, "low": 0.86, "high": 0.98},
            "On refusals and helpfulness steering lost to the system",
        ),
    ],
)
def test_the_verdict_follows_the_intervals(task, metric, values, words):
    assert headline(changed(task, metric, "prompt", **values)).verdict.startswith(words)


def test_a_gain_with_a_cost_is_neither_a_win_nor_a_loss():
    run = changed("refusal", "refusal_rate", "prompt", value=0.05, low=0.02, high=0.14)
    helpful = row("helpfulness", "helpful_rate", "steered", 0.2, 0.12, 0.32)
    worse = (
        helpful,
        *(result for result in run.results if result.setting != CHOSEN or result.metric != "helpful_rate"),
    )
    assert headline(replace(run, results=worse)).verdict.startswith("Steering and the system prompt each win once: ")


def test_power_is_the_half_width_of_the_worst_case():
    # 1.96 sqrt(0.5 / 60) = 0.1789; 1.96 sqrt(0.5 / 240) = 0.0895; with 0.84, the 80 % point, added: 0.256 and 0.128
    assert headline(RUN).power.startswith(
        "n = 60 prompts: a difference between two settings has an interval of ±18 points, and a true one of 26 points "
        "is found in 80 % of studies; n = 240 knowledge questions: ±9 and 13 points"
    )


def test_a_change_that_the_interval_does_not_separate_from_zero_is_not_called_a_rise():
    small = replace(DIFFERENCES[0], value=0.02, low=-0.03, high=0.07)
    finding = headline(replace(RUN, differences=(small, *DIFFERENCES[1:]))).finding
    assert "direction did not clearly change refusals of harmful prompts: from 3 %" in finding


def test_without_differences_the_change_is_plain_and_says_so():
    finding = headline(replace(RUN, differences=())).finding
    assert "raised refusals" in finding
    assert "knowledge changed by −1.2 points (no paired interval)" in finding


def test_missing_arms_leave_no_trace_in_the_words():
    alone = replace(RUN, results=tuple(result for result in RESULTS if result.arm in {"unsteered", "steered"}))
    found = headline(alone)
    assert found.verdict == ""
    assert "random" not in found.finding
    assert "system prompt" not in found.finding


def test_no_choice_yet():
    assert headline(replace(RUN, summary={})).finding.startswith("No coefficient of the steering direction has been")
    assert headline(Run(Path("run"), ())).power == ""


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (Setting("resid_post.14", 0.35, "norm"), "0.35 of the residual norm at layer 14"),
        (Setting("resid_pre.3", -1.5, "raw"), "−1.5 times the raw vector at resid_pre.3"),
    ],
)
def test_a_setting_in_words(setting, words):
    assert place(setting) == words
