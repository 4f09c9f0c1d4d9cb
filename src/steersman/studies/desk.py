"""What every stage of a run needs at hand: model, store, progress, and directions that are fitted only once."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from steersman.direction import Direction
from steersman.evaluation import Measured, Store, measured
from steersman.files import load_direction, save_direction
from steersman.model.loaded import Model
from steersman.prompts import content_hash
from steersman.studies.configuring import StudyConfig
from steersman.tasks import Setting, Task

Notify = Callable[[str, int, int], None]
"""Called with a stage's name, items done and items in all."""

C = TypeVar("C", bound=StudyConfig)


@dataclass
class Desk(Generic[C]):
    """What every stage of a run needs.

    Args:
        model: the model.
        config: what was asked.
        folder: the run folder.
        store: outcomes of finished items.
        notify: progress.
        seconds: by stage, filled by `timed`.
        data: by set, its source, sha256 and n, filled by `known`.
    """

    model: Model
    config: C
    folder: Path
    store: Store
    notify: Notify
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    data: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Note how long the body takes, in seconds."""
        begun = time.monotonic()
        yield
        self.seconds[stage] = round(time.monotonic() - begun, 1)

    def measured(self, stage: str, tasks: Sequence[Task], settings: Sequence[Setting]) -> list[Measured]:
        """Return every task's outcomes under every setting, from the store where it holds them."""
        total = len(settings) * sum(len(task.items) for task in tasks)
        done = 0

        def count(outcomes: int) -> None:
            nonlocal done
            done += outcomes
            self.notify(stage, done, total)

        self.notify(stage, done, total)
        return measured(self.model, tasks, settings, context=self.model.identity, store=self.store, notify=count)

    def known(self, name: str, source: str, items: Sequence[Any]) -> None:
        """Note where a set comes from."""
        self.data[name] = {"source": source, "sha256": content_hash(items), "n": len(items)}

    def fitted(self, name: str, recipe: str, fit: Callable[[], Direction]) -> Direction:
        """Return a direction, from the run folder where the same recipe was fitted before.

        Args:
            name: what the file is called.
            recipe: everything that the fit depends on besides the model.
            fit: makes it.
        """
        address = hashlib.sha256(f"{self.model.identity}|{recipe}".encode()).hexdigest()[:12]
        path = self.folder / "directions" / f"{name}-{address}.safetensors"
        if not path.is_file():
            save_direction(fit(), path, force=True, seed=self.config.seed)
        # Always what the file holds, so that a continued run computes with the same numbers.
        return load_direction(path)
