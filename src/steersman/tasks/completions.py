"""Refusal, helpfulness and over-refusal: complete a prompt, then judge the completion.

The three tasks differ in their prompts (harmful, ordinary, safe but harmful-looking) and in what is read off.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import final

from steersman.engines import Engine
from steersman.errors import InputError
from steersman.judges import (
    DISCLAIMER_PATTERNS,
    OFFER_PATTERNS,
    OPENING,
    REFUSAL_PATTERNS,
    VOICE_ENDS,
    Coherence,
    is_disclaimer,
    is_firm_refusal,
    is_refusal,
)
from steersman.model.generate import Generation, Sampling
from steersman.model.score import Score
from steersman.prompts import PromptItem
from steersman.tasks.coherence import COHERENCE_METRICS, coherence_of, empty_remark, unsteered_scores
from steersman.tasks.rows import Rows
from steersman.tasks.task import Metric, Outcome, Setting, key_of

REFUSAL_RATE = Metric("refusal_rate", "rate", "share of prompts refused")
FIRM_RATE = Metric("firm_refusal_rate", "rate", "share of prompts refused without an offer to do some of it")
DISCLAIMER_RATE = Metric("disclaimer_rate", "rate", "share of prompts answered by claiming a lack of capability")
HELPFUL_RATE = Metric("helpful_rate", "rate", "share of prompts answered, on topic and coherently")


@final
@dataclass(frozen=True)
class CompletionTask:
    """Completes every prompt and reports refusals, helpful answers and how coherent the texts are (`tasks.coherence`).

    Args:
        name: `refusal`, `helpfulness` or `over-refusal`.
        items: the prompts.
        sampling: how completions are made; greedy by default.
        helpfulness: also judge whether the prompt was answered: neither refused nor disclaimed, coherent, and more
            likely after its own prompt than after its neighbour's in the list.
        coherence: the limits that `helpful` means.

    Raises:
        InputError: for helpfulness on a single prompt, which has no neighbour.
    """

    name: str
    items: Sequence[PromptItem]
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=40))
    helpfulness: bool = False
    coherence: Coherence = field(default_factory=Coherence)

    def __post_init__(self) -> None:
        """Refuse what could only ever come out unhelpful."""
        if self.helpfulness and len(self.items) == 1:
            raise InputError("expected at least two prompts to judge helpfulness (each is the other's foil), got one")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Refusals, firm ones, disclaimers and coherence; for the helpfulness task also the helpful rate."""
        helpful = (HELPFUL_RATE,) if self.helpfulness else ()
        return (REFUSAL_RATE, FIRM_RATE, DISCLAIMER_RATE, *helpful, *COHERENCE_METRICS)

    def settings_key(self) -> str:
        """Return what an outcome depends on besides item and setting."""
        return key_of(
            task="completions",
            version=2,
            sampling=asdict(self.sampling),
            helpfulness=self.helpfulness,
            coherence=asdict(self.coherence),
            measures=[metric.name for metric in COHERENCE_METRICS],
            judge=(OPENING, VOICE_ENDS, REFUSAL_PATTERNS, OFFER_PATTERNS, DISCLAIMER_PATTERNS),
        )

    def remarks(self, outcomes: Sequence[Outcome]) -> list[str]:
        """Return how many completions are empty, where any is."""
        return empty_remark(outcomes)

    def measure(self, engine: Engine, start: int, stop: int, settings: Sequence[Setting]) -> list[list[Outcome]]:
        """Return one outcome per prompt of `items[start:stop]` by setting."""
        items = list(self.items[start:stop])
        rows = Rows(settings, len(items))
        prompts = rows.flat([item.prompt for item in items])
        made = engine.complete(prompts, rows.plans, self.sampling, rows.systems)
        texts = [generation.text for generation in made]
        own = unsteered_scores(engine, prompts, texts)
        # The neighbour in the whole list, so that a batch's edges change nothing.
        others = [self.items[(start + i + 1) % len(self.items)].prompt for i in range(len(items))]
        elsewhere = unsteered_scores(engine, rows.flat(others), texts) if self.helpfulness else own
        return rows.cut([self._outcome(*row) for row in zip(rows.flat(items), made, own, elsewhere, strict=True)])

    def _outcome(self, item: PromptItem, made: Generation, score: Score | None, other: Score | None) -> Outcome:
        """Return an item's outcome from its completion, as the unsteered model reads it behind this prompt and a foil.

        Args:
            item: the prompt.
            made: the completion.
            score: behind its own prompt; `None` for an empty one.
            other: behind its neighbour's.
        """
        refused = is_refusal(made.text)
        disclaimed = is_disclaimer(made.text)
        firm = is_firm_refusal(made.text)
        metrics = {
            "refusal_rate": float(refused),
            "firm_refusal_rate": float(firm),
            "disclaimer_rate": float(disclaimed),
        }
        metrics |= coherence_of(made, score)
        details: dict[str, object] = {
            "prompt": item.prompt,
            "category": item.category,
            "completion": made.text,
            "finish": made.finish,
            "refused": refused,
            "firm": firm,
            "disclaimed": disclaimed,
            "helpful": None,
        }
        if self.helpfulness:
            coherent = score is not None and self.coherence.coherent(made.text, score.mean)
            on_topic = score is not None and other is not None and self.coherence.on_topic(score.mean, other.mean)
            helpful = coherent and on_topic and not refused and not disclaimed
            metrics["helpful_rate"] = float(helpful)
            details |= {"helpful": helpful, "coherent": coherent, "on_topic": on_topic}
        return Outcome(item.id, metrics, details)
