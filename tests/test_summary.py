"""Tests, families, pooled seeds and macro averages of the table."""

import json
import time

import numpy as np
import pytest

from steersman.errors import InputError
from steersman.maths.significance import holm, mcnemar, sign_flip
from steersman.maths.statistics import mean_interval, paired_rate_difference, tango
from steersman.summary import MACRO, Measured, estimate, macro_average, summarise
from steersman.tasks import Metric, Outcome, Setting

RATE, MEAN = Metric("hit", "rate", ""), Metric("score", "mean", "nats")


class Task:
    items = ()

    def __init__(self, name="task", metrics=(RATE, MEAN)):
        self.name, self.metrics = name, metrics

    def remarks(self, outcomes):
        return []


def measured(arm, rows, coefficient=0.0, seed=None, groups=None, task=None):
    outcomes = [Outcome(str(i), dict(row), group=groups[i] if groups else "") for i, row in enumerate(rows)]
    return Measured(task or Task(), Setting(arm, site="s", coefficient=coefficient, seed=seed), outcomes)


def rows(seed, n=40, rate=0.3, shift=0.0):
    draw = np.random.default_rng(seed)
    values = zip(draw.random(n) < rate, draw.normal(shift, 1.0, n), strict=True)
    return [{"hit": float(hit), "score": float(score)} for hit, score in values]


GRID = [measured("unsteered", rows(0)), *(measured("steered", rows(k, shift=k / 4), k / 10) for k in (1, 2, 3))]
CONTROLS = [measured("random", rows(10 + k), 0.3, seed=k) for k in (1, 2)]


def test_a_difference_has_the_tests_of_its_kind():
    report = summarise(GRID[:2], seed=4)
    rate, mean = report.differences
    after, before = ([row["hit"] for row in rows(k, shift=k / 4)] for k in (1, 0))
    expected = paired_rate_difference(after, before)
    gained, lost = (sum(a == x and b == 1 - x for a, b in zip(after, before, strict=True)) for x in (1, 0))
    assert (rate["value"], rate["low"], rate["high"], rate["n"]) == (
        expected.value, expected.low, expected.high, 40,
    )  # fmt: skip
    assert rate["p"] == mcnemar(gained, lost)
    moved = [a["score"] - b["score"] for a, b in zip(rows(1, shift=0.25), rows(0), strict=True)]
    assert (mean["low"], mean["p"]) == (mean_interval(moved, 4).low, sign_flip(moved, 4))
    for row in report.differences:  # alone in its family, nothing is adjusted
        assert (row["family"], row["p_adjusted"]) == (1, row["p"])
        assert (row["low_adjusted"], row["high_adjusted"]) == (row["low"], row["high"])


def test_the_steered_settings_of_a_task_and_metric_are_one_family_and_controls_are_none():
    report = summarise([*GRID, *CONTROLS, measured("prompt", rows(30))])
    for metric in ("hit", "score"):
        steered = [d for d in report.differences if d["arm"] == "steered" and d["metric"] == metric]
        assert [d["p_adjusted"] for d in steered] == holm([d["p"] for d in steered])
        for row in steered:
            assert row["family"] == 3
            assert row["low_adjusted"] < row["low"] <= row["value"] <= row["high"] < row["high_adjusted"]
    others = [d for d in report.differences if d["arm"] != "steered"]
    assert {d["family"] for d in others} == {1}
    rate = next(d for d in report.differences if d["metric"] == "hit")
    after, before = ([row["hit"] for row in rows(k)] for k in (1, 0))
    gained = sum(a > b for a, b in zip(after, before, strict=True))
    lost = sum(a < b for a, b in zip(after, before, strict=True))
    assert rate["low_adjusted"] == tango(gained, lost, 40, 1 - 0.05 / 3).low


def test_the_other_correction_is_offered_and_no_third():
    holms, rates = ([d["p_adjusted"] for d in summarise(GRID, correction=c).differences]
                    for c in ("holm", "benjamini_hochberg"))  # fmt: skip
    assert all(b <= h for b, h in zip(rates, holms, strict=True))
    assert holms != rates
    with pytest.raises(InputError, match="a correction among holm, benjamini_hochberg, got 'none'"):
        summarise(GRID, correction="none")


def test_several_seeds_of_a_control_have_their_mean_item_by_item():
    report = summarise([GRID[0], *CONTROLS])
    pooled = [row for row in report.rows if row["arm"] == "random" and row["seed"] is None]
    assert [row["metric"] for row in pooled] == ["hit", "score"]
    means = [(a["hit"] + b["hit"]) / 2 for a, b in zip(rows(11), rows(12), strict=True)]
    expected = mean_interval(means)
    assert (pooled[0]["value"], pooled[0]["low"], pooled[0]["n"]) == (expected.value, expected.low, 40)
    change = [d for d in report.differences if d["seed"] is None]
    assert change[0]["value"] == pytest.approx(np.mean(means) - np.mean([row["hit"] for row in rows(0)]))
    assert [row["seed"] for row in report.rows if row["arm"] == "random"] == [1, 1, 2, 2, None, None]
    assert len(report.measured) == 3
    assert [row["seed"] for row in summarise([GRID[0], CONTROLS[0]]).rows if row["arm"] == "random"] == [1, 1]


def test_a_seed_that_is_there_twice_counts_once():
    once, twice = (summarise([GRID[0], *controls]) for controls in (CONTROLS, [*CONTROLS, CONTROLS[0]]))
    means = [[row for row in report.rows if row["arm"] == "random" and row["seed"] is None] for report in (once, twice)]
    assert means[0] == means[1]
    assert not [r for r in summarise([GRID[0], *CONTROLS[:1] * 2]).rows if r["arm"] == "random" and r["seed"] is None]


def test_an_item_that_one_seed_lacks_is_in_no_mean_over_seeds():
    first, second = rows(1, 5), rows(2, 5)
    del second[3]["hit"]
    report = summarise([measured("random", first, 0.3, 1), measured("random", second, 0.3, 2)])
    assert [row["n"] for row in report.rows if row["seed"] is None] == [4, 5]


def test_the_macro_average_weighs_groups_alike():
    groups = ["a"] * 30 + ["b"] * 9 + ["c"]
    report = summarise([measured("unsteered", rows(3), groups=groups)])
    for metric in ("hit", "score"):
        found = [row for row in report.groups if row["metric"] == metric]
        assert [row["group"] for row in found] == ["a", "b", "c", MACRO]
        assert found[-1]["value"] == pytest.approx(np.mean([row["value"] for row in found[:-1]]))
        assert found[-1]["low"] <= found[-1]["value"] <= found[-1]["high"]
        assert found[-1]["n"] == 40
    assert summarise([measured("unsteered", rows(3), groups=["a"] * 40)]).groups == []


def test_the_macro_average_of_a_share_stays_one():
    share = Metric("top1_accuracy", "mean", "share of tokens")
    assert macro_average(share, [[1.0, 1.0, 0.8], [0.9, 1.0, 1.0, 1.0]]).high <= 1


def test_the_macro_averages_interval_holds_it():
    draw, held = np.random.default_rng(7), 0
    rates, sizes = (0.2, 0.5, 0.9), (10, 30, 60)
    for _ in range(300):
        parts = [draw.binomial(1, rate, size).astype(float).tolist() for rate, size in zip(rates, sizes, strict=True)]
        found = macro_average(RATE, parts)
        held += found.low <= np.mean(rates) <= found.high
    assert 0.91 <= held / 300 <= 0.99


def test_groups_of_one_size_have_the_plain_average():
    parts = [[1.0, 2.0, 4.0], [3.0, 5.0, 9.0]]
    found, plain = macro_average(MEAN, parts), mean_interval([value for part in parts for value in part])
    assert found.value == plain.value
    assert found.high - found.low < plain.high - plain.low  # between groups is no chance


def test_a_rate_of_fractions_is_taken_as_a_mean():
    values = [0.0, 0.5, 1.0, 0.5, 0.5, 0.0, 1.0, 0.5]
    assert estimate(RATE, values) == mean_interval(values)
    assert mean_interval(values[:4]).low < 0  # which no share is
    assert (estimate(RATE, values[:4]).low, estimate(RATE, values[:4]).high) == (0, 1)


def test_the_table_is_the_same_to_the_byte_and_does_not_depend_on_what_else_is_in_it():
    every = [*GRID, *CONTROLS]
    one, again = (json.dumps([r.rows, r.differences, r.groups]) for r in (summarise(every), summarise(every)))
    assert one == again
    whole = {json.dumps(row) for row in summarise(every).rows}
    assert all(json.dumps(row) in whole for row in summarise([GRID[0], GRID[2]]).rows)


@pytest.mark.slow
def test_a_large_table_takes_seconds():
    grid = [measured("unsteered", rows(0, 2_000))]
    grid += [measured("steered", rows(k, 2_000), k / 10) for k in range(1, 15)]
    started = time.process_time()
    report = summarise(grid)
    assert time.process_time() - started < 20
    assert len(report.rows) == 30
