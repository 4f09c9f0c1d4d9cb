"""Judged sweeps: read as they are, rules counted as the marks say, constants found again where they were planted."""

import json

import numpy as np
import pytest

from steersman.errors import DataError, FileError, InputError
from steersman.selection.benchmark import bench_rules, read_curves
from steersman.selection.calibration import fit_mark
from steersman.selection.curve import Curve, Trial
from steersman.selection.judged import STORED, judge, rank_correlation, read_sweeps, standing
from steersman.selection.mark import Mark
from steersman.selection.rules import Product, Threshold
from steersman.selection.signals import SIGNALS

RECORD = {
    "method": "mean",
    "concept": "the sea",
    "prompt": "I am",
    "coefficients": [0.0, 0.5, 1.0, 1.5],
    "completions": ["I am here", "I am at sea", "I am the sea", "sea sea sea"],
    "behaviour": [1, 5, 9, 10],
    "coherence": [10, 9, 8, 2],
    "published_metric": [-11, -10.5, -10, -6],
}


def written(path, *records):
    path.write_text("\n".join(json.dumps({**RECORD, **record}) for record in records) + "\n")
    return path


def test_a_sweep_is_read_without_its_prompt(tmp_path):
    (sweep,) = read_sweeps(written(tmp_path / "s.jsonl", {}))
    assert sweep.completions == (" here", " at sea", " the sea", "sea sea sea")
    assert sweep.scores == (10, 45, 72, 20)
    curve = sweep.curve([{"a": 1.0}] * 4)
    assert curve.coefficients == (0.0, 0.5, 1.0, 1.5)
    assert curve.values(STORED) == (-11, -10.5, -10, -6)
    (without,) = read_sweeps(written(tmp_path / "t.jsonl", {"published_metric": None}))
    assert STORED not in without.curve([{}] * 4).trials[0].signals


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"behaviour": [1, 5, 9]}, "as many of everything in .*line 1"),
        ({"coherence": [0, 1, 1, 1]}, "marks from 1 to 10"),
        ({"coefficients": [0.0, 1.0, 0.5, 2.0]}, "rising in size from 0"),
        ({"coefficients": [0.0, "x", 1, 2]}, "expected a sweep with method"),
        ({"published_metric": [1, 2]}, "as many of everything"),
        ({"published_metric": [1, 2, 3, float("nan")]}, "finite numbers"),
        ({"completions": [1, 2, 3, 4]}, "expected texts"),
        ({"concept": None}, "expected texts"),
    ],
)
def test_what_is_no_sweep_is_named_by_its_line(tmp_path, change, match):
    with pytest.raises(DataError, match=match):
        read_sweeps(written(tmp_path / "s.jsonl", change))


def test_files_without_sweeps_are_refused(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="at least one sweep"):
        read_sweeps(tmp_path / "empty.jsonl")
    (tmp_path / "words.jsonl").write_text("sea\n")
    with pytest.raises(DataError, match=r"words\.jsonl, line 1"):
        read_sweeps(tmp_path / "words.jsonl")
    with pytest.raises(FileError, match=r"none\.jsonl"):
        read_sweeps(tmp_path / "none.jsonl")


def test_a_rule_is_worth_the_marks_at_its_coefficient(tmp_path):
    (sweep,) = read_sweeps(written(tmp_path / "s.jsonl", {}))
    curve = sweep.curve([{}] * 4)
    taken = judge(Threshold("r", STORED, "up", 0.2, relative=True, back_off=1.0), sweep, curve)
    assert (taken.coefficient, taken.behaviour, taken.coherence, taken.share) == (1.5, 10, 2, 20 / 72)
    # 0.6 of 1.5 is 0.9, whose nearest neighbour in the sweep is 1.0.
    assert judge(Threshold("r", STORED, "up", 0.2, relative=True, back_off=0.6), sweep, curve).share == 1
    nothing = judge(Threshold("r", STORED, "up", 0.1), sweep, sweep.curve([{}] * 4))
    assert nothing.pick.status == "never coherent" or nothing.coefficient > 0
    never = judge(Threshold("r", "m", "up", 0.1), sweep, sweep.curve([{"m": float(i)} for i in range(4)]))
    assert (never.pick.recommended, never.coefficient, never.share) == (None, 0.0, 10 / 72)
    both = standing("r", [taken, never])
    assert both.fired == 1
    assert both.fell_short == 1
    assert both.share.value == pytest.approx((20 + 10) / 2 / 72)
    assert both.coherence.n == 2
    assert both.quartiles[1] == pytest.approx(both.share.value)


def test_rank_correlation_is_of_ranks():
    assert rank_correlation([1, 2, 3, 4], [1, 10, 100, 1000]) == pytest.approx(1)
    assert np.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))
    with pytest.raises(InputError, match="at least two"):
        rank_correlation([1], [1])


def planted(reading, count, seed):
    """Curves whose judge is a reading, with its marks rounded as a judge's are."""
    random = np.random.default_rng(seed)
    curves, marks = [], []
    for _ in range(count):
        low, rep = np.linspace(-2, -14, 12) + random.normal(0, 0.5, 12), np.clip(random.normal(0.2, 0.2, 12), 0, 1)
        trials = [
            Trial(i / 10, signals={"low_logprob": float(a), "repetition": float(b), "concept": float(i)})
            for i, (a, b) in enumerate(zip(low, rep, strict=True))
        ]
        curves.append(Curve(tuple(trials)))
        marks.append([float(round(mark)) for mark in reading.along(curves[-1])])
    return curves, marks


def test_planted_constants_are_found_again():
    truth = Mark(3.8, {"low_logprob": 0.6, "repetition": -3.0}, relative=("low_logprob",))
    curves, marks = planted(truth, 60, 0)
    found = fit_mark(curves, marks, ["low_logprob", "repetition"], relative=["low_logprob"])
    # Shrunk a little, and the marks are rounded.
    assert found.weights["low_logprob"] == pytest.approx(0.6, rel=0.25)
    assert found.weights["repetition"] == pytest.approx(-3.0, rel=0.25)
    held, theirs = planted(truth, 20, 1)
    misses = [
        ours - mark
        for curve, row in zip(held, theirs, strict=True)
        for ours, mark in zip(found.along(curve), row, strict=True)
    ]
    assert np.abs(misses).mean() < 0.6
    with pytest.raises(InputError, match="at least one signal"):
        fit_mark(curves, marks, [])
    with pytest.raises(InputError, match="a mark for each of 720 trials, got 12"):
        fit_mark(curves, marks[:1], ["repetition"])


def test_held_out_constants_come_from_the_other_concepts_alone(tmp_path):
    other = {"concept": "the hills", "coherence": [2, 8, 9, 10]}
    sweeps = read_sweeps(written(tmp_path / "s.jsonl", {}, other))
    signals = [
        {
            **dict.fromkeys(SIGNALS, 0.0),
            "low_logprob": -float(i * i),
            "repetition": 0.1 * i,
            "concept": float(i),
            "enacted": float(i),
        }
        for i in range(4)
    ]
    found = bench_rules(sweeps, [sweep.curve(signals) for sweep in sweeps])
    # The hills' judge likes what the sea's does not: each is judged by the other's constants.
    assert found.constants["the sea"]["low_logprob"] < 0 < found.constants["the hills"]["low_logprob"]
    curve, names = sweeps[0].curve(signals), ["low_logprob", "repetition"]
    fitted = fit_mark([curve], [sweeps[0].coherence], names, relative=["low_logprob"])
    assert found.constants["the hills"] == {"intercept": fitted.intercept, **fitted.weights}
    expected = judge(Product("default", ("concept", "enacted"), fitted), sweeps[1], sweeps[1].curve(signals))
    assert found.outcomes["default, held out"][1] == expected
    assert {one.rule for one in found.standings} >= {"alert-published, stored metric", "alert", "default, held out"}
    assert set(found.by_concept) == {"the sea", "the hills"}
    alone = bench_rules(sweeps[:1], [sweeps[0].curve(signals)])
    assert not any("held out" in one.rule for one in alone.standings)
    # Signals that never change have no correlation, which JSON cannot say as a number.
    assert found.plain()["rank_correlations"]["entropy"] == {"coherence": None, "behaviour": None}
    json.dumps(found.plain(), allow_nan=False)


class Counting:
    """An evaluator that counts what it reads."""

    def __init__(self, engine):
        self.engine, self.read = engine, 0

    def score(self, prompts, completions, *rest, **options):
        self.read += len(completions)
        return self.engine.score(prompts, completions, *rest, **options)


def test_what_was_kept_is_not_read_again(tmp_path):
    from tiny import tiny_model

    sweeps = read_sweeps(written(tmp_path / "s.jsonl", {}, {"prompt": "You are"}))
    reader = Counting(tiny_model("llama"))
    counted = []
    first = read_curves(reader, sweeps, identity="tiny", keep=tmp_path / "keep.jsonl", notify=counted.append)
    assert counted == [4, 4]
    read = reader.read
    assert read
    assert read_curves(reader, sweeps, identity="tiny", keep=tmp_path / "keep.jsonl") == first
    assert reader.read == read
    read_curves(reader, sweeps, identity="another", keep=tmp_path / "keep.jsonl")
    assert reader.read == 2 * read
