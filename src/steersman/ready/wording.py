"""Wording: how many words of one kind, and of the opposite kind, stand in completions.

A direction's effect is best shown by something that does not look at the direction: here by counting. The lists are
ours, short and open to reading. They say that a style shows, not how good a text is; read them beside coherence.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import final

from steersman.engines import Engine
from steersman.judges.judge import Metric
from steersman.model.generate import Sampling
from steersman.prompts import PromptItem
from steersman.tasks.coherence import COHERENCE_METRICS, coherence_of, empty_remark, unsteered_scores
from steersman.tasks.rows import Rows
from steersman.tasks.task import Outcome, Setting, key_of

WORDING = Metric("wording", "mean", "different marks of the one kind less those of the other, per 100 words")


@dataclass(frozen=True)
class Wording:
    """Two opposite kinds of marks in a text.

    Args:
        unit: what the balance counts, in words.
        toward: regular expressions of whole words, or of other marks such as `!`, that count for it.
        away: those that count against it.
    """

    unit: str
    toward: tuple[str, ...]
    away: tuple[str, ...] = ()

    def balance(self, text: str) -> float:
        """Return the different marks for it less those against it, per 100 words; 0 for a text without words.

        What is said again and again counts once: a text that goes round in circles gains nothing by it.

        Args:
            text: a completion.
        """
        words = len(text.split())
        if not words:
            return 0.0
        plain = text.replace("’", "'")
        toward, away = (len({mark.lower() for mark in found.findall(plain)}) if found else 0 for found in self._found)
        return 100 * (toward - away) / words

    @cached_property
    def _found(self) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
        return _pattern(self.toward), _pattern(self.away)


def _pattern(marks: Sequence[str]) -> re.Pattern[str] | None:
    if not marks:
        return None
    either = "|".join(rf"\b(?:{mark})\b" if mark[:1].isalpha() or mark[:2] in ("(?", r"\w") else mark for mark in marks)
    return re.compile(either, re.IGNORECASE)


@final
@dataclass(frozen=True)
class WordingTask:
    """Completes every prompt and reports the balance of a wording, and how coherent the completion is.

    An empty completion has none of the measures.

    Args:
        items: the prompts.
        wording: what is counted.
        name: as in tables.
        sampling: how completions are made; greedy by default.
    """

    items: Sequence[PromptItem]
    wording: Wording
    name: str = "wording"
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=40))

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The balance of the wording, and coherence."""
        return (WORDING, *COHERENCE_METRICS)

    def settings_key(self) -> str:
        """Return what an outcome depends on besides item and setting."""
        return key_of(task="wording", version=1, sampling=asdict(self.sampling), wording=asdict(self.wording))

    def remarks(self, outcomes: Sequence[Outcome]) -> list[str]:
        """Return how many completions are empty, where any is."""
        return empty_remark(outcomes)

    def measure(self, engine: Engine, start: int, stop: int, settings: Sequence[Setting]) -> list[list[Outcome]]:
        """Return one outcome per prompt of `items[start:stop]` by setting."""
        items = list(self.items[start:stop])
        rows = Rows(settings, len(items))
        prompts = rows.flat([item.prompt for item in items])
        made = engine.complete(prompts, rows.plans, self.sampling, rows.systems)
        scores = unsteered_scores(engine, prompts, [generation.text for generation in made])
        outcomes: list[Outcome] = []
        for item, generation, score in zip(rows.flat(items), made, scores, strict=True):
            metrics: Mapping[str, float] = {}
            if score is not None:
                metrics = {"wording": self.wording.balance(generation.text)} | coherence_of(generation, score)
            details = {"prompt": item.prompt, "category": item.category, "completion": generation.text}
            outcomes.append(Outcome(item.id, metrics, details))
        return rows.cut(outcomes)
