"""Evaluation: the same items under every setting, intervals on every number, differences paired.

Work is cut into fixed batches of a task's items, so that a batch computed after an interruption is the batch that would
have been computed without one, and the table comes out the same to the byte.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import asdict

from steersman.engines import Engine
from steersman.errors import InputError, InterventionError
from steersman.model.encode import completion_tokens
from steersman.model.handle import Handle
from steersman.summary import Measured, Report, summarise
from steersman.tasks import BehaviourTask, KnowledgeTask, Outcome, Setting, Task
from steersman.tasks.knowledge import letter_options

AFTER_PROMPT = ("generated", "completion")
"""Spans without a token where only what follows the prompt at once is scored."""

BATCH = 60
"""Items of a batch; part of what makes a result reproducible to the bit, since rounding can depend on it."""


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
        InputError: for no task, no setting, a task without items, two tasks of one name or two settings of one label,
            whose rows could not be told apart, or a step that no pass of a task could apply.
        InterventionError: when a plan was never applied, naming the task.
    """
    if not tasks or not settings:
        raise InputError("expected at least one task and one setting to evaluate")
    for task in tasks:
        if not len(task.items):
            raise InputError(f"expected at least one item in the task {task.name}, got none")
    _check_labels(tasks, settings)
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
    shared = address(task, setting, context)
    for start in range(0, len(items), BATCH):
        stop = min(start + BATCH, len(items))
        keys = [f"{shared}:{items[i].id}" for i in range(start, stop)]
        if not all(key in store for key in keys):
            for key, outcome in zip(keys, _measured(engine, task, start, stop, setting), strict=True):
                # A kill can have come between a batch's lines: what is there already is kept as it is.
                if key not in store:
                    store[key] = outcome
        yield [store[key] for key in keys]


def address(task: Task, setting: Setting, context: str) -> str:
    """Return what the store's keys of a task's items under a setting begin with: a hash of all that decides outcomes.

    It covers the engine's identity, the task's name and `settings_key` (sampling, judge, form), the setting's digest
    (plan and system prompt), the whole list of items in their order, and the batch size: an item's batch and neighbours
    can change its rounding. Labels of a setting, the bootstrap's seed and other tasks and settings do not count.

    Args:
        task: what is measured.
        setting: under what.
        context: identity of the engine.

    Raises:
        InputError: for two items of one id, whose outcomes could not be told apart.
    """
    items = [asdict(item) for item in task.items]
    ids = Counter(item["id"] for item in items)
    if len(ids) < len(items):
        twice = next(name for name, count in ids.items() if count > 1)
        raise InputError(f"expected items with different ids in the task {task.name}, got {twice!r} more than once")
    # As JSON, so that no two lists of parts run together into the same text.
    parts = [context, task.name, task.settings_key(), setting.digest(), repr(items), BATCH]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


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
        if isinstance(task, BehaviourTask):
            raise InputError(
                f"expected a span that holds tokens of the prompt for the task {task.name}, which reads the first "
                f"token of an answer, got {str(late[0].span)!r}; choose other tasks with --task, or another span"
            )
        if not isinstance(task, KnowledgeTask) or "letter" not in task.scoring:
            continue
        letters = letter_options(min(task.items, key=lambda item: len(item.choices)), task.form)
        if all(len(completion_tokens(engine, letter)) == 1 for letter in letters):
            raise InputError(
                f"expected a span that holds tokens of the prompt for the task {task.name}, whose options are one "
                f"token long, got {str(late[0].span)!r}: nothing is generated there; choose other tasks with --task, "
                "or another span"
            )


def _check_labels(tasks: Sequence[Task], settings: Sequence[Setting]) -> None:
    """Raise an InputError unless every row of the table would say which task and setting it is of."""
    name, times = Counter(task.name for task in tasks).most_common(1)[0]
    if times > 1:
        raise InputError(f"expected tasks with different names, got {name!r} {times} times; give each its own name")
    (arm, seed, site, coefficient, unit), times = Counter(
        (s.arm, s.seed, s.site, s.coefficient, s.unit) for s in settings
    ).most_common(1)[0]
    if times > 1:
        where = f"site {site}, coefficient {coefficient:g}, unit {unit}, seed {seed}"
        raise InputError(
            f"expected settings that differ in arm, site, coefficient, unit or seed, got {times} of the arm {arm} at "
            f"{where}; label them apart"
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
