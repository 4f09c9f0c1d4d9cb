"""Fluency: the cross-entropy of plain text under steering, what a direction costs where nobody asked anything of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from steersman.engines import Engine
from steersman.prompts import Passage
from steersman.tasks.rows import Rows
from steersman.tasks.task import Metric, Outcome, Setting, key_of


@final
@dataclass(frozen=True)
class FluencyTask:
    """Reports the cross-entropy per token of plain texts.

    Args:
        items: the texts.
        name: as in `results.json`.
    """

    items: Sequence[Passage]
    name: str = "fluency"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Cross-entropy, lower is better."""
        return (Metric("cross_entropy", "mean", "nats per token of plain text"),)

    def settings_key(self) -> str:
        """Return what an outcome depends on besides item and setting."""
        return key_of(task="fluency", version=2)

    def remarks(self, outcomes: Sequence[Outcome]) -> list[str]:  # noqa: ARG002 (one signature for all tasks)
        """Return no remark."""
        return []

    def measure(self, engine: Engine, start: int, stop: int, settings: Sequence[Setting]) -> list[list[Outcome]]:
        """Return one outcome per text of `items[start:stop]` by setting.

        A system prompt stands before the text as plain text.
        """
        items = list(self.items[start:stop])
        rows = Rows(settings, len(items))
        scores = engine.score("", rows.flat([item.text for item in items]), rows.plans, system=rows.systems)
        return [
            [Outcome(item.id, {"cross_entropy": -score.mean}) for item, score in zip(items, part, strict=True)]
            for part in rows.cut(scores)
        ]
