"""Drift: how far steering moves the model's predictions on plain text that has nothing to do with the behaviour.

The divergence of whole next-token distributions, not of what is said: it sees damage before a text does.

Reference: Arditi et al. (2024), section 4 and appendix B, who keep a direction only below a limit of this divergence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from steersman.engines import Engine
from steersman.errors import InputError
from steersman.model.score import Score
from steersman.prompts import Passage
from steersman.tasks.rows import Rows
from steersman.tasks.skill import excerpt
from steersman.tasks.task import Metric, Outcome, Setting, key_of


@final
@dataclass(frozen=True)
class DriftTask:
    """Reports the mean and the largest divergence per token, `KL(unsteered || steered)`, on plain texts.

    Both distributions are read in the same context: exactly 0 where nothing steers. That makes it a measure of what
    *steering* does. A system prompt stands before the text in both, so what a prompt does to the predictions cannot be
    seen here; where a prompt acts alone the metrics are left out rather than given as a 0 that would read as `costs
    nothing` (fluency and skill do compare prompts), and where it stands beside steering a remark says so.

    Args:
        items: the texts.
        name: as in tables.
        tokens: of each text, at most so many first tokens, and at most 8 times as many characters.

    Raises:
        InputError: for fewer than 2 tokens.
    """

    items: Sequence[Passage]
    name: str = "drift"
    tokens: int = 128

    def __post_init__(self) -> None:
        """Refuse what would count nothing."""
        if self.tokens < 2:
            raise InputError(f"expected at least 2 tokens of each text, got {self.tokens}")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The divergence, lower is better."""
        return (
            Metric("drift", "mean", "nats per token, KL(unsteered || steered), on plain text"),
            Metric("drift_max", "mean", "nats at the token of a text where it is largest"),
        )

    def settings_key(self) -> str:
        """Return what an outcome depends on besides item and setting."""
        return key_of(task="drift", version=2, tokens=self.tokens)

    def measure(self, engine: Engine, start: int, stop: int, settings: Sequence[Setting]) -> list[list[Outcome]]:
        """Return one outcome per text of `items[start:stop]` by setting.

        A system prompt stands before the text as plain text.
        """
        items = list(self.items[start:stop])
        # A prompt alone has no drift, and nothing is read for it.
        rows = Rows([each for each in settings if not _prompt_alone(each)], len(items))
        parts: Iterator[list[Score]] = iter(())
        if rows.settings:
            texts = rows.flat([excerpt(item.text, self.tokens) for item in items])
            scores = engine.score("", texts, rows.plans, system=rows.systems, divergence=True)
            parts = iter(rows.cut(scores))
        unread = {"tokens": 0, "system": True, "measured": False}
        return [
            [Outcome(item.id, {}, unread) for item in items]
            if _prompt_alone(each)
            else [self._outcome(item, score, bool(each.system)) for item, score in zip(items, next(parts), strict=True)]
            for each in settings
        ]

    def _outcome(self, item: Passage, score: Score, prompted: bool) -> Outcome:
        values = score.divergence[: self.tokens]
        if not values:
            raise InputError("expected an engine that tells divergences, got one that tells none")
        metrics = {"drift": sum(values) / len(values), "drift_max": max(values)}
        details = {"tokens": len(values), "system": prompted, "measured": True, "at": values.index(max(values))}
        return Outcome(item.id, metrics, details)

    def remarks(self, outcomes: Sequence[Outcome]) -> list[str]:
        """Return what the divergence is taken to where there is a system prompt."""
        if not any(outcome.details["system"] for outcome in outcomes):
            return []
        if not any(outcome.details["measured"] for outcome in outcomes):
            return [
                "a system prompt without steering has no drift: it is taken to the unsteered model in the same context"
            ]
        return [
            "drift is taken to the unsteered model behind the same system prompt, and leaves out what the prompt does"
        ]


def _prompt_alone(setting: Setting) -> bool:
    """Return whether a setting is a system prompt and no steering."""
    return bool(setting.system) and not any(step.coefficient for step in setting.plan)
