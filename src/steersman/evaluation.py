"""Evaluation: the same items under every setting, intervals on every number, differences paired.

Work is cut into fixed batches of a task's items, so that a batch computed after an interruption is the batch that would
have been computed without one, and the table comes out the same to the byte.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from steersman.engines import Engine
from steersman.errors import InputError, InterventionError
from steersman.maths.statistics import Estimate, mean_interval, paired_difference, wilson
from steersman.model.encode import completion_tokens
from steersman.model.handle import Handle
from steersman.tasks import KnowledgeTask, Metric, Outcome, Setting, Task
from steersman.tasks.knowledge import LETTERS

AFTER_PROMPT = ("generated", "completion")
"""Spans without a token where only what follows the prompt at once is scored."""

BATCH = 60
"""Items of a batch; part of what makes a result reproducible to the bit, since rounding can depend on it."""


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


@dataclass(frozen=True)
class Report:
    """What an evaluation came to.

    Args:
        rows: one per task, metric and setting: `task, metric, arm, seed, site, coefficient, unit, value, low, high, n`.
        differences: the same keys; `value`, `low`, `high` of the paired difference to the unsteered arm.
        measured: the outcomes themselves.
        groups: as `rows`, with `group`: one per subject or category, of tasks whose items have several.
        remarks: what a reader has to be warned of: `task, arm, seed, site, coefficient, unit, remark`.
    """

    rows: Sequence[Mapping[str, Any]]
    differences: Sequence[Mapping[str, Any]]
    measured: Sequence[Measured]
    groups: Sequence[Mapping[str, Any]] = ()
    remarks: Sequence[Mapping[str, Any]] = ()


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
        InputError: for no task, no setting, a task without items, or a step that no pass of a task could apply.
        InterventionError: when a plan was never applied, naming the task.
    """
    if not tasks or not settings:
        raise InputError("expected at least one task and one setting to evaluate")
    for task in tasks:
        if not len(task.items):
            raise InputError(f"expected at least one item in the task {task.name}, got none")
    check_spans(engine, tasks, settings)
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
            for key, outcome in zip(keys, _measured(engine, task, start, stop, setting), strict=True):
                # A kill can have come between a batch's lines: what is there already is kept as it is.
                if key not in store:
                    store[key] = outcome
        yield [store[key] for key in keys]


def check_spans(engine: Engine, tasks: Sequence[Task], settings: Sequence[Setting]) -> None:
    """Return when no step acts on generated tokens alone in a task that scores options of one token.

    Such options are read off at the prompt's end: no forward pass holds a token behind it, and the step would be idle.

    Args:
        engine: a loaded model, whose tokenizer says how long the options are; of another engine nothing is known.
        tasks: what is to be measured.
        settings: what the model is to be put under.

    Raises:
        InputError: when one does, naming the task and the span.
    """
    late = [
        step for setting in settings for step in setting.plan if step.coefficient and step.span.name in AFTER_PROMPT
    ]
    if not late or not isinstance(engine, Handle):
        return
    for task in tasks:
        if not isinstance(task, KnowledgeTask):
            continue
        letters = LETTERS[: min(len(item.choices) for item in task.items)]
        if all(len(completion_tokens(engine, letter)) == 1 for letter in letters):
            raise InputError(
                f"expected a span that holds tokens of the prompt for the task {task.name}, whose options are one "
                f"token long, got {str(late[0].span)!r}: nothing is generated there; choose other tasks with --task, "
                "or another span"
            )


def _measured(engine: Engine, task: Task, start: int, stop: int, setting: Setting) -> list[Outcome]:
    try:
        return task.measure(engine, start, stop, setting)
    except InterventionError as error:
        # Rows of a batch say nothing to who gave tasks; the items are those of this batch.
        reason = re.sub(r" \(rows [\d, ]+\)", "", str(error))
        raise InterventionError(
            f"task {task.name}, {setting.arm} arm, items {start} to {stop - 1}: {reason}; choose other tasks with "
            "--task, or another span"
        ) from error


def summarise(measured: Sequence[Measured], *, seed: int = 0) -> Report:
    """Return the rows and the paired differences of measured settings.

    Args:
        measured: at least one.
        seed: of the bootstrap.
    """
    rows: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    groups: list[dict[str, Any]] = []
    remarks: list[dict[str, Any]] = []
    baseline = {m.task.name: m.outcomes for m in reversed(measured) if m.setting.arm == "unsteered"}
    for each in measured:
        remarks += [_label(each) | {"remark": words} for words in each.task.remarks(each.outcomes)]
        named = sorted({o.group for o in each.outcomes} - {""})
        for metric in each.metrics:
            values = {o.item: o.metrics[metric.name] for o in each.outcomes if metric.name in o.metrics}
            if not values:
                continue
            label = _label(each, metric)
            rows.append(label | asdict(estimate(metric, list(values.values()), seed)))
            before = {
                o.item: o.metrics[metric.name] for o in baseline.get(each.task.name, ()) if metric.name in o.metrics
            }
            shared = [item for item in values if item in before]
            if each.setting.arm != "unsteered" and shared:
                change = paired_difference([values[i] for i in shared], [before[i] for i in shared], seed)
                differences.append(label | asdict(change))
            for group in named if len(named) > 1 else ():
                here = [o.metrics[metric.name] for o in each.outcomes if o.group == group and metric.name in o.metrics]
                if here:
                    groups.append(label | {"group": group} | asdict(estimate(metric, here, seed)))
    return Report(rows, differences, measured, groups, remarks)


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


def _label(measured: Measured, metric: Metric | None = None) -> dict[str, Any]:
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
