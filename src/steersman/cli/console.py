"""What the command line shows: sentences, tables, progress on stderr, JSON on stdout."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)

WIDE = 200
"""Columns of a table where stdout is no terminal, so that nothing is cut in a file or a pipe."""


def say(text: str) -> None:
    """Print a line for people, on stderr, so that stdout stays clean for results."""
    err.print(text, markup=False, highlight=False)


def show(text: str) -> None:
    """Print a result on stdout."""
    out.print(text, markup=False, highlight=False)


def show_table(table: RenderableType) -> None:
    """Print a table on stdout: as wide as the terminal, or wide enough for all of it where that is none."""
    console = out if on_terminal() else Console(soft_wrap=True, width=WIDE)
    console.print(table)


def on_terminal() -> bool:
    """Return whether stdout is a terminal; rich would also say so of a file where FORCE_COLOR is set."""
    return sys.stdout.isatty()


def show_json(content: Any) -> None:
    """Print a result as JSON on stdout."""
    sys.stdout.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    sys.stdout.flush()


class Bars:
    """Progress bars by stage, on stderr; silent when that is no terminal."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=err,
            disable=not err.is_terminal,
        )
        self._stages: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` items of a stage are finished."""
        if stage not in self._stages:
            self._stages[stage] = self._progress.add_task(stage, total=total)
            if self._progress.disable:
                say(f"{stage}: {total} item{'' if total == 1 else 's'}")
        self._progress.update(self._stages[stage], completed=done, total=total)


@contextmanager
def counting(bars: Bars, stage: str, total: int) -> Iterator[Any]:
    """Yield a callback that takes the number of items just finished and moves the stage's bar."""
    done = 0

    def notify(count: int) -> None:
        nonlocal done
        done += count
        bars(stage, done, total)

    bars(stage, 0, total)
    yield notify
