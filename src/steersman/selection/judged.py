"""Judged sweeps: stored completions at rising coefficients with a judge's marks, and how rules do on them.

A rule sees the completions and the concept's name alone; the marks say afterwards what its coefficient was worth.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from steersman.errors import DataError, InputError
from steersman.files import said_plainly
from steersman.maths.statistics import Estimate, mean_interval
from steersman.selection.curve import Curve, Pick, Rule, Trial

STORED = "published"
"""Signal of the sweep's own stored metric, where the file has one."""


@dataclass(frozen=True)
class Sweep:
    """One direction at rising coefficients.

    Args:
        method: how the direction was made.
        concept: what it steers towards, in words.
        prompt: what every completion continues.
        coefficients: rising from 0, in the file's unit.
        completions: one per coefficient, without the prompt.
        behaviour: the judge's mark of the behaviour, 1 to 10.
        coherence: the judge's mark of coherence, 1 to 10.
        metric: a stored metric, one number per coefficient; empty where the file has none.
    """

    method: str
    concept: str
    prompt: str
    coefficients: tuple[float, ...]
    completions: tuple[str, ...]
    behaviour: tuple[float, ...]
    coherence: tuple[float, ...]
    metric: tuple[float, ...] = ()

    @property
    def scores(self) -> tuple[float, ...]:
        """Behaviour times coherence, 1 to 100."""
        return tuple(b * c for b, c in zip(self.behaviour, self.coherence, strict=True))

    def curve(self, signals: Sequence[Mapping[str, float]]) -> Curve:
        """Return the sweep as a rule sees it, its stored metric among the signals.

        Args:
            signals: one mapping per coefficient.
        """
        stored: list[dict[str, float]] = [{STORED: value} for value in self.metric] or [{}] * len(signals)
        rows = zip(self.coefficients, self.completions, signals, stored, strict=True)
        return Curve(tuple(Trial(at, (text,), {**read, **own}) for at, text, read, own in rows))


@dataclass(frozen=True)
class Outcome:
    """What a rule's coefficient was worth in one sweep.

    Args:
        pick: what the rule made of the curve.
        coefficient: the sweep's coefficient nearest to the recommended one; 0 where nothing was recommended.
        behaviour: the judge's mark there.
        coherence: the judge's mark there.
        share: behaviour times coherence there, over the largest of the sweep, 0 to 1.
    """

    pick: Pick
    coefficient: float
    behaviour: float
    coherence: float
    share: float


@dataclass(frozen=True)
class Standing:
    """How a rule does over sweeps.

    Args:
        rule: its name.
        fired: share of sweeps in which its alarm rang.
        behaviour: mean mark with its 95 % interval over sweeps.
        coherence: mean mark with its 95 % interval over sweeps.
        share: mean score over the sweep's best, with its 95 % interval over sweeps.
        quartiles: of that share: 25 %, median, 75 %.
        fell_short: sweeps in which it recommended nothing.
    """

    rule: str
    fired: float
    behaviour: Estimate
    coherence: Estimate
    share: Estimate
    quartiles: tuple[float, float, float]
    fell_short: int

    def plain(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def read_sweeps(path: Path) -> list[Sweep]:
    """Return the sweeps of a JSON-lines file.

    One object a line: `method, concept, prompt, coefficients[], completions[], behaviour[], coherence[]`, and, where
    there is one, `published_metric[]`. A completion that begins with the prompt loses it.

    Raises:
        FileError: when the file cannot be read.
        DataError: for a line that is no sweep, naming it.
    """
    with said_plainly(path):
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    sweeps = [_sweep(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1) if line.strip()]
    if not sweeps:
        raise DataError(f"expected at least one sweep in {path}, got none")
    return sweeps


def judge(rule: Rule, sweep: Sweep, curve: Curve) -> Outcome:
    """Return what a rule's coefficient was worth in a sweep."""
    pick = rule.pick(curve)
    chosen = curve.trials[0] if pick.recommended is None else curve.nearest(pick.recommended)
    at = curve.trials.index(chosen)
    return Outcome(
        pick,
        chosen.coefficient,
        sweep.behaviour[at],
        sweep.coherence[at],
        sweep.scores[at] / max(sweep.scores),
    )


def standing(name: str, outcomes: Sequence[Outcome], seed: int = 0) -> Standing:
    """Return how a rule does over sweeps.

    Args:
        name: the rule's.
        outcomes: one per sweep.
        seed: of the bootstrap.
    """
    shares = [outcome.share for outcome in outcomes]
    low, middle, high = (float(value) for value in np.quantile(shares, (0.25, 0.5, 0.75)))
    return Standing(
        name,
        sum(outcome.pick.alarm is not None for outcome in outcomes) / len(outcomes),
        mean_interval([outcome.behaviour for outcome in outcomes], seed),
        mean_interval([outcome.coherence for outcome in outcomes], seed),
        mean_interval(shares, seed),
        (low, middle, high),
        sum(outcome.pick.recommended is None for outcome in outcomes),
    )


def correlations(sweeps: Sequence[Sweep], curves: Sequence[Curve]) -> dict[str, tuple[float, float]]:
    """Return each signal's rank correlation with the judged coherence and with the judged behaviour, all trials pooled.

    Args:
        sweeps: with the marks.
        curves: one per sweep; signals that all of them have are told.
    """
    names = list(dict.fromkeys(name for curve in curves for name in curve.trials[0].signals))
    shared = [name for name in names if all(name in trial.signals for curve in curves for trial in curve.trials)]
    coherence = [mark for sweep in sweeps for mark in sweep.coherence]
    behaviour = [mark for sweep in sweeps for mark in sweep.behaviour]
    found: dict[str, tuple[float, float]] = {}
    for name in shared:
        values = [value for curve in curves for value in curve.values(name)]
        found[name] = (rank_correlation(values, coherence), rank_correlation(values, behaviour))
    return found


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Spearman's rank correlation, NaN where one side is constant.

    Raises:
        InputError: for fewer than two values.
    """
    if len(one) < 2:
        raise InputError(f"expected at least two values for a rank correlation, got {len(one)}")
    if len(set(one)) < 2 or len(set(other)) < 2:
        return float("nan")
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def _sweep(line: str, where: str) -> Sweep:
    try:
        record: Any = json.loads(line)
        words = [record[name] for name in ("method", "concept", "prompt")]
        texts = list(record["completions"])
        columns = [list(record[name]) for name in ("coefficients", "behaviour", "coherence")]
        metric = list(record.get("published_metric") or ())
        numbers = [tuple(float(value) for value in column) for column in (*columns, metric)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"expected a sweep with method, concept, prompt, coefficients, completions, behaviour and coherence in "
            f"{where}, got {error!r}"
        ) from error
    if not all(isinstance(word, str) for word in (*words, *texts)):
        raise DataError(f"expected texts as method, concept, prompt and completions in {where}, got something else")
    coefficients, behaviour, coherence, stored = numbers
    lengths = {len(texts), len(coefficients), len(behaviour), len(coherence), len(stored) or len(texts)}
    if len(lengths) > 1 or len(texts) < 2:
        raise DataError(f"expected at least two coefficients and as many of everything in {where}, got {lengths}")
    if not all(1 <= mark <= 10 for mark in (*behaviour, *coherence)):
        raise DataError(f"expected marks from 1 to 10 in {where}, got others")
    if not np.isfinite([*coefficients, *stored]).all():
        raise DataError(f"expected finite numbers in {where}, got others")
    method, concept, prompt = words
    continued = tuple(text.removeprefix(prompt) for text in texts)
    sweep = Sweep(method, concept, prompt, coefficients, continued, behaviour, coherence, stored)
    try:
        sweep.curve([{}] * len(texts))
    except InputError as error:
        raise DataError(f"{error}, in {where}") from error
    return sweep
