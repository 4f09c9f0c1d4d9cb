"""Fluency: the cross-entropy of plain text under steering, what a direction costs where nobody asked anything of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from steersman.engines import Engine
from steersman.prompts import Passage
from steersman.tasks.task import Metric, Outcome, Setting, key_of

ROWS = 8
"""Texts of one scoring pass; fixed, since rounding can depend on it, and few, since each holds a vocabulary a token."""


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
        return key_of(task="fluency", rows=ROWS)

    def remarks(self, outcomes: Sequence[Outcome]) -> list[str]:  # noqa: ARG002 (one signature for all tasks)
        """Return no remark."""
        return []

    def measure(self, engine: Engine, start: int, stop: int, setting: Setting) -> list[Outcome]:
        """Return one outcome per text of `items[start:stop]`; a system prompt stands before the text as plain text."""
        items = list(self.items[start:stop])
        scores = engine.score("", [item.text for item in items], setting.plan, system=setting.system, batch_size=ROWS)
        return [Outcome(item.id, {"cross_entropy": -score.mean}) for item, score in zip(items, scores, strict=True)]
