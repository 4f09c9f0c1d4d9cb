"""The harness's task files and data, found and read with its own seeds, errors in sentences."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import torch

from steersman.errors import DataError, InputError, SteersmanError

try:
    from lm_eval.api.metrics import mean, nanmean
    from lm_eval.tasks import TaskManager
except ImportError as error:
    raise InputError(
        f"expected lm-evaluation-harness, which is not installed ({error}); pip install 'steersman[lm-eval]'"
    ) from error

SEEDS = (0, 1234)
"""The harness's own: of Python's generator, which some tasks shuffle with; of numpy, torch and few-shot examples."""


@contextmanager
def harness_seeds() -> Iterator[None]:
    """Run the body with the global generators seeded as the harness seeds them, and give them back as they were."""
    python, array = random.getstate(), numpy.random.get_state()  # noqa: NPY002 (the harness's tasks use the global one)
    with torch.random.fork_rng():
        try:
            random.seed(SEEDS[0])
            numpy.random.seed(SEEDS[1])  # noqa: NPY002
            torch.manual_seed(SEEDS[1])
            yield
        finally:
            random.setstate(python)
            numpy.random.set_state(array)  # noqa: NPY002


def load_tasks(names: Sequence[str], include_path: str | Path | None, shots: int | None) -> Any:
    """Return the named tasks as the harness holds them, `tasks` and `groups`, with their number of few-shot examples.

    Args:
        names: of tasks, groups or tags, or paths of task files.
        include_path: a folder with task files of your own.
        shots: few-shot examples; each task's own number where not given.

    Raises:
        DataError: for a task that is unknown or whose data cannot be had.
    """
    if not names:
        raise InputError("expected at least one task of lm-evaluation-harness, got none")
    manager = _manager(names, include_path)
    known = set(manager.all_tasks)
    for name in names:
        if name not in known and not _is_file(name):
            near = sorted(each for each in known if name.split("_")[0] in each)[:3]
            hint = f", such as {', '.join(near)}" if near else ""
            raise DataError(
                f"expected a task of lm-evaluation-harness{hint}, or a task file, got {name!r}; `lm_eval ls tasks` "
                "lists them"
            )
    try:
        with harness_seeds():
            loaded = manager.load(list(names))
    except SteersmanError:
        raise
    # Data sets fail to load in a hundred ways: no network, a moved repository, a malformed file.
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise DataError(
            f"the data of {', '.join(names)} could not be loaded ({type(error).__name__}: "
            f"{reason[0] if reason else 'no reason given'}); check the task file, or the network for a set on the hub"
        ) from error
    for task in loaded["tasks"].values():
        _set_shots(task, shots)
    return loaded


def _manager(names: Sequence[str], include_path: str | Path | None) -> TaskManager:
    """Return what knows the tasks; the harness's own are thousands of files, read only where a name asks for one."""
    folder = None if include_path is None else Path(include_path).expanduser()
    if folder is not None and not folder.is_dir():
        raise DataError(f"expected a folder with task files, got {str(include_path)!r}")
    where = None if folder is None else str(folder)
    own = TaskManager(include_path=where, include_defaults=False)
    known = set(own.all_tasks)
    return own if all(name in known or _is_file(name) for name in names) else TaskManager(include_path=where)


def _is_file(name: str) -> bool:
    return name.endswith(".yaml") and Path(name).is_file()


def _set_shots(task: Any, shots: int | None) -> None:
    """Set a task's few-shot examples as the harness does: a task that fixes 0 keeps it."""
    fixed = task.get_config("num_fewshot")
    task.set_config(key="num_fewshot", value=(fixed or 0) if shots is None or fixed == 0 else shots)


def averaged(task: Any) -> list[str]:
    """Return the names of a task's metrics that are means over its documents."""
    return [name for name, how in task.aggregation().items() if how in (mean, nanmean)]
