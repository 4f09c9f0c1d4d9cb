"""Evaluation: the same items under every setting, intervals on every number, differences paired.

Work is cut into fixed batches of a task's items, each handed to the engine under all settings at once: what the arms of
a comparison have in common is computed once. A batch computed after an interruption is the batch that would have been
computed without one, of the same items under the same settings, and the table comes out the same to the byte.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import asdict
from itertools import takewhile

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
        notify: called with the number of outcomes after each batch, items times settings, also of those found in the
            store.

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
    return summarise(measured(engine, tasks, settings, context=context, store=kept, notify=notify), seed=seed)


def measured(
    engine: Engine,
    tasks: Sequence[Task],
    settings: Sequence[Setting],
    *,
    context: str,
    store: Store,
    notify: Callable[[int], None] | None = None,
) -> list[Measured]:
    """Return every task's outcomes under every setting, setting by setting, whatever order they were computed in.

    Args:
        engine: what runs the prompts.
        tasks: what is measured.
        settings: what the model is put under.
        context: identity of the engine.
        store: as in `evaluate`.
        notify: as in `evaluate`.

    Raises:
        InterventionError: as `measure`.
    """
    found: dict[tuple[int, int], list[Outcome]] = {}
    for column, task in enumerate(tasks):
        for parts in measure(engine, task, settings, context=context, store=store):
            for row, part in enumerate(parts):
                found.setdefault((row, column), []).extend(part)
            if notify:
                notify(sum(map(len, parts)))
    return [
        Measured(task, setting, found.get((row, column), []))
        for row, setting in enumerate(settings)
        for column, task in enumerate(tasks)
    ]


def measure(
    engine: Engine, task: Task, settings: Sequence[Setting], *, context: str, store: Store
) -> Iterator[list[list[Outcome]]]:
    """Yield a task's outcomes batch by batch of its items: of each, a list for every setting.

    What the store lacks of a batch is computed in one call, of all settings that are not complete there, and then kept
    item by item, each under all settings.

    Args:
        engine: what runs the prompts.
        task: what is measured.
        settings: at least one; those that act alike are computed once.
        context: identity of the engine.
        store: as in `evaluate`.

    Raises:
        InputError: for two items of one id.
        InterventionError: when a plan was never applied, naming the task, the arm and the items.
    """
    items = list(task.items)
    addresses = [address(task, setting, context) for setting in settings]
    distinct = dict(reversed(list(zip(addresses, settings, strict=True))))
    for start in range(0, len(items), BATCH):
        stop = min(start + BATCH, len(items))
        keys = {each: [f"{each}:{items[i].id}" for i in range(start, stop)] for each in dict.fromkeys(addresses)}
        wanted = _wanted(keys, store)
        if wanted:
            computed = _measured(engine, task, start, stop, [distinct[each] for each in wanted])
            for row in range(stop - start):
                for each, outcomes in zip(wanted, computed, strict=True):
                    # What a run that was killed has kept of this batch stays as it is.
                    if keys[each][row] not in store:
                        store[keys[each][row]] = outcomes[row]
        yield [[store[key] for key in keys[each]] for each in addresses]


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


def _wanted(keys: Mapping[str, Sequence[str]], store: Store) -> list[str]:
    """Return which settings of a batch are to be computed: those that were to be when it was first begun.

    That is all that are not complete in the store, and where a kill came while the batch was being kept, also those
    whose last line it let through: without them the engine would get other rows than in a run that nobody disturbed.
    They tell themselves by their place in the store, which is that of its writing: behind the first line of a setting
    that is partly there. A batch of one item leaves no such setting; what was kept of it last stands at the very end.

    Args:
        keys: by setting, of every item.
        store: outcomes, oldest first.
    """
    missing = {each: [key for key in own if key not in store] for each, own in keys.items()}
    absent = [each for each, own in missing.items() if own]
    if not absent or len(absent) == len(keys):
        return absent
    begun = [each for each in absent if len(missing[each]) < len(keys[each])]
    own = {key for each in keys.values() for key in each}
    if not begun and len(own) > len(keys):
        return absent
    kept = list(store)
    if begun:
        partly = {key for each in begun for key in keys[each]}
        behind = set(kept[next(place for place, key in enumerate(kept) if key in partly) :])
    else:
        behind = set(takewhile(own.__contains__, reversed(kept)))
    return [each for each in keys if missing[each] or keys[each][-1] in behind]


def _measured(engine: Engine, task: Task, start: int, stop: int, settings: Sequence[Setting]) -> list[list[Outcome]]:
    try:
        return task.measure(engine, start, stop, settings)
    except InterventionError as error:
        raise InterventionError(_words(engine, task, start, stop, settings, error)) from error


def _words(
    engine: Engine, task: Task, start: int, stop: int, settings: Sequence[Setting], error: InterventionError
) -> str:
    """Return what an error of some settings together means to who gave tasks, with the arm that it is of."""
    arms = f"one of {len(settings)} arms" if len(settings) > 1 else f"{settings[0].arm} arm"
    # Of the rows of all settings nobody can tell which arm's they are: each is tried by itself.
    for setting in settings if len(settings) > 1 else ():
        try:
            task.measure(engine, start, stop, [setting])
        except InterventionError as own:
            arms, error = f"{setting.arm} arm", own
            break
    # Rows of a batch say nothing to who gave tasks; the items are those of this batch.
    reason = re.sub(r" \(rows [\d, ]+\)", "", str(error))
    return (
        f"task {task.name}, {arms}, items {start} to {stop - 1}: {reason}; choose other tasks with --task, or another "
        "span"
    )
