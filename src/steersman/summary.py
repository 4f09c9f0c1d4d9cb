"""What measured settings come to: rows with intervals, paired differences with tests, and what several trials cost.

Every number of a table is computed here, from outcomes by item and a seed, and from nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from steersman.errors import InputError
from steersman.maths.significance import CORRECTIONS, mcnemar, sign_flips
from steersman.maths.statistics import (
    LEVEL,
    Estimate,
    changes,
    discordant,
    mean_interval,
    mean_intervals,
    tango,
    wilson,
)
from steersman.tasks import Metric, Outcome, Setting, Task

SEARCHED = ("steered", "prompt+steered")
"""Arms whose settings were tried in search of a good one, and so answer for each other. A control is its own question:
whether this one vector does anything."""

MACRO = "macro average"
"""The group of a row that weighs every group alike."""


@dataclass(frozen=True)
class Measured:
    """All outcomes of one task under one setting, in the order of its items.

    Args:
        task: what was measured.
        setting: under what.
        outcomes: one per item.
        judged: metrics that judges added to the outcomes, beside the task's own.
    """

    task: Task
    setting: Setting
    outcomes: Sequence[Outcome]
    judged: Sequence[Metric] = ()

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The task's metrics and what judges added."""
        return (*self.task.metrics, *self.judged)

    def values(self, name: str) -> dict[str, float]:
        """Return a metric's value by item, of the items that have it."""
        return {o.item: o.metrics[name] for o in self.outcomes if name in o.metrics}


@dataclass(frozen=True)
class Report:
    """What an evaluation came to.

    Args:
        rows: one per task, metric and setting: `task, metric, arm, seed, site, coefficient, unit, value, low, high, n`;
            a control drawn with several seeds has one more, `seed` `None`, of the mean over them item by item.
        differences: the same keys; `value`, `low`, `high` of the paired difference to the unsteered arm; its `p`; and,
            for the `family` of so many settings of the same task, metric and arm, `p_adjusted` and the simultaneous
            interval `low_adjusted`, `high_adjusted`.
        measured: the outcomes themselves.
        groups: as `rows`, with `group`: one per subject or category, of tasks whose items have several, and the
            `macro average` over them.
        remarks: what a reader has to be warned of: `task, arm, seed, site, coefficient, unit, remark`.
    """

    rows: Sequence[Mapping[str, Any]]
    differences: Sequence[Mapping[str, Any]]
    measured: Sequence[Measured]
    groups: Sequence[Mapping[str, Any]] = ()
    remarks: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Change:
    """A paired difference by item, before anything is computed from it.

    Args:
        metric: of what.
        after: a value for every item that both settings have.
        before: the same items' values without.
        family: number of settings that answer for each other.
    """

    metric: Metric
    after: Sequence[float]
    before: Sequence[float]
    family: int = 1

    @property
    def rate(self) -> bool:
        """Whether every value is 0 or 1, so that the tests for rates apply."""
        return is_rate(self.metric, self.after) and is_rate(self.metric, self.before)

    @property
    def levels(self) -> tuple[float, float]:
        """The coverage of one interval alone, and of one among its family (Bonferroni)."""
        return LEVEL, 1 - (1 - LEVEL) / self.family


def summarise(measured: Sequence[Measured], *, seed: int = 0, correction: str = "holm") -> Report:
    """Return the rows and the paired differences of measured settings.

    Args:
        measured: at least one.
        seed: of the bootstrap and of the sign-flip test.
        correction: of p-values within a family: `holm`, or `benjamini_hochberg`, which lets some false ones pass.

    Raises:
        InputError: for an unknown correction.
    """
    if correction not in CORRECTIONS:
        raise InputError(f"expected a correction among {', '.join(CORRECTIONS)}, got {correction!r}")
    every = [(each, metric) for each in with_pooled(measured) for metric in each.metrics]
    every = [(each, metric) for each, metric in every if each.values(metric.name)]
    labels = [label_of(each, metric) for each, metric in every]
    whole = estimates([(metric, list(each.values(metric.name).values())) for each, metric in every], seed)
    rows = [label | asdict(found) for label, found in zip(labels, whole, strict=True)]
    remarks = [label_of(each) | {"remark": words} for each in measured for words in each.task.remarks(each.outcomes)]
    return Report(rows, _differences(every, measured, seed, correction), measured, _groups(every, seed), remarks)


def estimate(metric: Metric, values: Sequence[float], seed: int = 0) -> Estimate:
    """Return a metric's value with its interval: Wilson for rates, bootstrap for means.

    Args:
        metric: what the values are of; a rate whose values are not all 0 or 1 is taken as a mean.
        values: one per item.
        seed: of the bootstrap.
    """
    return estimates([(metric, values)], seed)[0]


def estimates(columns: Sequence[tuple[Metric, Sequence[float]]], seed: int = 0) -> list[Estimate]:
    """Return what `estimate` returns for every column, in one pass over the bootstrap's draws."""
    means = [values for metric, values in columns if not is_rate(metric, values)]
    found = iter(mean_intervals(means, [(LEVEL,)] * len(means), seed))
    return [
        wilson(round(sum(values)), len(values)) if is_rate(metric, values) else _within(metric, next(found)[0], 0.0)
        for metric, values in columns
    ]


def compared(pairs: Sequence[Change], seed: int = 0) -> list[tuple[Estimate, Estimate, float]]:
    """Return every change's estimate, the same at its family's level, and its p-value.

    Rates: Tango's interval and McNemar's exact test. Means: the bootstrap and the sign-flip test.

    Args:
        pairs: the changes.
        seed: of the bootstrap and the sign flips.
    """
    means = [pair for pair in pairs if not pair.rate]
    moved = [changes(pair.after, pair.before) for pair in means]
    intervals = iter(mean_intervals(moved, [pair.levels for pair in means], seed))
    chances = iter(sign_flips(moved, seed))
    found: list[tuple[Estimate, Estimate, float]] = []
    for pair in pairs:
        if pair.rate:
            gained, lost = discordant(pair.after, pair.before)
            one, all_of_them = (tango(gained, lost, len(pair.after), level) for level in pair.levels)
            found.append((one, all_of_them, mcnemar(gained, lost)))
        else:
            one, all_of_them = (_within(pair.metric, each, -1.0) for each in next(intervals))
            found.append((one, all_of_them, next(chances)))
    return found


def _within(metric: Metric, found: Estimate, least: float) -> Estimate:
    """Return the estimate of a share, or of a change of one, with ends no further out than it can be."""
    return replace(found, low=max(least, found.low), high=min(1.0, found.high)) if metric.share else found


def is_rate(metric: Metric, values: Sequence[float]) -> bool:
    """Return whether the values are 0 or 1 each, of a metric that is a rate; a mean over seeds need not be."""
    return metric.kind == "rate" and set(values) <= {0, 1}


def with_pooled(measured: Sequence[Measured]) -> list[Measured]:
    """Return measured settings with, behind the last of several seeds of a control, their mean item by item.

    Args:
        measured: in any order.
    """
    alike: dict[Any, dict[int | None, int]] = {}
    for index, each in enumerate(measured):
        if each.setting.seed is not None:
            setting = each.setting
            key = (each.task.name, setting.arm, setting.site, setting.coefficient, setting.unit)
            # A seed that a study's grids name twice is one draw all the same.
            alike.setdefault(key, {}).setdefault(setting.seed, index)
    seeds = [list(by_seed.values()) for by_seed in alike.values() if len(by_seed) > 1]
    pooled = {indices[-1]: _pooled([measured[i] for i in indices]) for indices in seeds}
    return [each for index, one in enumerate(measured) for each in (one, pooled.get(index)) if each is not None]


def _pooled(seeds: Sequence[Measured]) -> Measured:
    first = seeds[0]
    outcomes: list[Outcome] = []
    by_seed = [{outcome.item: outcome for outcome in each.outcomes} for each in seeds]
    for outcome in first.outcomes:
        rows = [each[outcome.item].metrics for each in by_seed if outcome.item in each]
        # A metric that one seed's outcome lacks would make the item's mean one over other seeds than its neighbour's.
        shared = [name for name in outcome.metrics if sum(name in row for row in rows) == len(seeds)]
        means = {name: sum(row[name] for row in rows) / len(seeds) for name in shared}
        outcomes.append(replace(outcome, metrics=means, details={}))
    return replace(first, setting=replace(first.setting, seed=None), outcomes=outcomes)


def _differences(
    every: Sequence[tuple[Measured, Metric]], measured: Sequence[Measured], seed: int, correction: str
) -> list[dict[str, Any]]:
    baseline = {each.task.name: each for each in reversed(measured) if each.setting.arm == "unsteered"}
    labels: list[dict[str, Any]] = []
    pairs: list[Change] = []
    for each, metric in every:
        if each.setting.arm == "unsteered" or each.task.name not in baseline:
            continue
        after, before = each.values(metric.name), baseline[each.task.name].values(metric.name)
        shared = [item for item in after if item in before]
        if shared:
            labels.append(label_of(each, metric))
            pairs.append(Change(metric, [after[i] for i in shared], [before[i] for i in shared]))
    families: dict[Any, list[int]] = {}
    for index, label in enumerate(labels):
        searched = label["arm"] in SEARCHED
        key = (label["task"], label["metric"], label["arm"]) if searched else index
        families.setdefault(key, []).append(index)
    size = {index: len(family) for family in families.values() for index in family}
    found = compared([replace(pair, family=size[index]) for index, pair in enumerate(pairs)], seed)
    adjusted: dict[int, float] = {}
    for family in families.values():
        values = CORRECTIONS[correction]([found[index][2] for index in family])
        adjusted |= dict(zip(family, values, strict=True))
    return [
        label
        | asdict(one)
        | {"p": p, "p_adjusted": adjusted[index], "family": size[index]}
        | {"low_adjusted": all_of_them.low, "high_adjusted": all_of_them.high}
        for index, (label, (one, all_of_them, p)) in enumerate(zip(labels, found, strict=True))
    ]


def _groups(every: Sequence[tuple[Measured, Metric]], seed: int) -> list[dict[str, Any]]:
    labels: list[dict[str, Any]] = []
    columns: list[tuple[Metric, Sequence[float]]] = []
    macro: dict[int, list[list[float]]] = {}
    for each, metric in every:
        named = sorted({outcome.group for outcome in each.outcomes} - {""})
        if len(named) < 2:
            continue
        parts: dict[str, list[float]] = {name: [] for name in named}
        for outcome in each.outcomes:
            if outcome.group and metric.name in outcome.metrics:
                parts[outcome.group].append(outcome.metrics[metric.name])
        held = {name: values for name, values in parts.items() if values}
        for name, values in held.items():
            labels.append(label_of(each, metric) | {"group": name})
            columns.append((metric, values))
        if len(held) > 1:
            macro[len(labels)] = list(held.values())
            labels.append(label_of(each, metric) | {"group": MACRO})
            columns.append((metric, [0.0]))  # holds the place
    found = estimates(columns, seed)
    for index, parts_of in macro.items():
        found[index] = macro_average(columns[index][0], parts_of, seed)
    return [label | asdict(value) for label, value in zip(labels, found, strict=True)]


def macro_average(metric: Metric, parts: Sequence[Sequence[float]], seed: int = 0) -> Estimate:
    """Return the mean of the groups' means, every group weighing alike, with its interval over items within groups.

    Each item stands for the average plus its own weighted distance from its group's mean, enlarged by
    `sqrt(m / (m - 1))` in a group of m, whose mean lies too near to its items; the bootstrap is of those values. In a
    group of one item the distance is taken from the average.

    Args:
        metric: what the values are of; the interval of a share is kept within 0 to 1.
        parts: the values of every group, at least one each.
        seed: of the bootstrap.
    """
    means = [sum(values) / len(values) for values in parts]
    average = sum(means) / len(means)
    n = sum(map(len, parts))
    placed: list[float] = []
    for values, mean in zip(parts, means, strict=True):
        m = len(values)
        centre, enlarged = (mean, (m / (m - 1)) ** 0.5) if m > 1 else (average, 1.0)
        placed += [average + n / (len(parts) * m) * enlarged * (value - centre) for value in values]
    found = mean_interval(placed, seed)
    low, high = (max(0.0, found.low), min(1.0, found.high)) if metric.share else (found.low, found.high)
    return Estimate(average, min(low, average), max(high, average), n)


def label_of(measured: Measured, metric: Metric | None = None) -> dict[str, Any]:
    """Return what tells a row from every other: task, metric, and the setting's labels."""
    setting = measured.setting
    return {
        "task": measured.task.name,
        **({} if metric is None else {"metric": metric.name}),
        "arm": setting.arm,
        "seed": setting.seed,
        "site": setting.site,
        "coefficient": setting.coefficient,
        "unit": setting.unit,
    }
