"""Evaluation: the same items under every setting, intervals on every number, differences paired.

Work is cut into fixed batches of a task's items, so that a batch computed after an interruption is the batch that would
have been computed without one, and the table comes out the same to the byte.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from steersman.engines import Engine
from steersman.errors import InputError
from steersman.maths.statistics import Estimate, mean_interval, paired_difference, wilson
from steersman.tasks import Metric, Outcome, Setting, Task

BATCH = 60
"""Items of a batch; part of what makes a result reproducible to the bit, since rounding can depend on it."""


@dataclass(frozen=True)
class Measured:
    """All outcomes of one task under one setting, in the order of its items."""

    task: Task
    setting: Setting
    outcomes: Sequence[Outcome]


@dataclass(frozen=True)
class Report:
    """What an evaluation came to.

    Args:
        rows: one per task, metric and setting: `task, metric, arm, site, coefficient, unit, value, low, high, n`.
        differences: the same keys; `value`, `low`, `high` of the paired difference to the unsteered arm.
        measured: the outcomes themselves.
    """

    rows: Sequence[Mapping[str, Any]]
    differences: Sequence[Mapping[str, Any]]
    measured: Sequence[Measured]


Store = MutableMapping[str, Outcome]


def evaluate(
    engine: Engine,
    tasks: Sequence[Task],
    settings: Sequence[Setting],
    *,
    context: str = "",
    store: Store | None = None,
    seed: int = 0,
    notify: Callable[[int], None] | None = None,
) -> Report:
    """Return rates, means and paired differences of every task under every setting.

    Args:
        engine: what runs the prompts.
        tasks: what is measured.
        settings: what the model is put under; the first unsteered one is what differences are taken to.
        context: identity of the engine (model, revision, dtype), part of each item's content address.
        store: outcomes by content address; what it holds is not computed again, what is computed is put into it.
        seed: of the bootstrap.
        notify: called with the number of items after each batch, also of those found in the store.

    Raises:
        InputError: for no task, no setting, or a task without items.
    """
    if not tasks or not settings:
        raise InputError("expected at least one task and one setting to evaluate")
    for task in tasks:
        if not len(task.items):
            raise InputError(f"expected at least one item in the task {task.name}, got none")
    kept: Store = {} if store is None else store
    measured: list[Measured] = []
    for setting in settings:
        for task in tasks:
            outcomes: list[Outcome] = []
            for part in measure(engine, task, setting, context=context, store=kept):
                outcomes += part
                if notify:
                    notify(len(part))
            measured.append(Measured(task, setting, outcomes))
    return summarise(measured, seed=seed)


def measure(engine: Engine, task: Task, setting: Setting, *, context: str, store: Store) -> Iterator[list[Outcome]]:
    """Yield a task's outcomes under a setting, batch by batch, from the store where it holds the whole batch."""
    items = list(task.items)
    whole = hashlib.sha256(repr([asdict(item) for item in items]).encode()).hexdigest()
    # The whole list and the batch size count: an item's batch and neighbours can change its rounding.
    parts = (context, task.name, task.settings_key(), setting.digest(), whole, str(BATCH))
    address = hashlib.sha256("|".join(parts).encode()).hexdigest()
    for start in range(0, len(items), BATCH):
        stop = min(start + BATCH, len(items))
        keys = [f"{address[:32]}:{items[i].id}" for i in range(start, stop)]
        if not all(key in store for key in keys):
            for key, outcome in zip(keys, task.measure(engine, start, stop, setting), strict=True):
                # A kill can have come between a batch's lines: what is there already is kept as it is.
                if key not in store:
                    store[key] = outcome
        yield [store[key] for key in keys]


def summarise(measured: Sequence[Measured], *, seed: int = 0) -> Report:
    """Return the rows and the paired differences of measured settings.

    Args:
        measured: at least one.
        seed: of the bootstrap.
    """
    rows: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    baseline = {m.task.name: m.outcomes for m in reversed(measured) if m.setting.arm == "unsteered"}
    for each in measured:
        for metric in each.task.metrics:
            values = {o.item: o.metrics[metric.name] for o in each.outcomes if metric.name in o.metrics}
            if not values:
                continue
            label = _label(each.task, metric, each.setting)
            rows.append(label | asdict(estimate(metric, list(values.values()), seed)))
            before = {
                o.item: o.metrics[metric.name] for o in baseline.get(each.task.name, ()) if metric.name in o.metrics
            }
            shared = [item for item in values if item in before]
            if each.setting.arm != "unsteered" and shared:
                change = paired_difference([values[i] for i in shared], [before[i] for i in shared], seed)
                differences.append(label | asdict(change))
    return Report(rows, differences, measured)


def estimate(metric: Metric, values: Sequence[float], seed: int = 0) -> Estimate:
    """Return a metric's value with its interval: Wilson for rates, bootstrap for means.

    Args:
        metric: what the values are of.
        values: one per item.
        seed: of the bootstrap.
    """
    if metric.kind == "rate":
        return wilson(round(sum(values)), len(values))
    return mean_interval(values, seed)


def _label(task: Task, metric: Metric, setting: Setting) -> dict[str, Any]:
    return {
        "task": task.name,
        "metric": metric.name,
        "arm": setting.arm,
        "site": setting.site,
        "coefficient": setting.coefficient,
        "unit": setting.unit,
    }
