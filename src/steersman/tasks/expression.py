"""Expression: how much of a behaviour shows in what a steered model writes, in the eyes of the unsteered one.

Two measures without a judge. The projection of the completion on the direction, read without steering, works for every
direction; told in words what the behaviour is, the unsteered model also says how much likelier that makes the text.
Neither sees whether the text is still one: read them beside coherence.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import final

from steersman.direction import Direction
from steersman.engines import Engine
from steersman.errors import InputError
from steersman.model.generate import Sampling
from steersman.model.handle import Handle
from steersman.plan import Plan
from steersman.prompts import PromptItem
from steersman.selection.projection import read_projections
from steersman.selection.signals import read_signals
from steersman.tasks.coherence import COHERENCE_METRICS, coherence_of, empty_remark, unsteered_scores
from steersman.tasks.rows import Rows
from steersman.tasks.task import Metric, Outcome, Setting, key_of

PROJECTION = Metric("projection", "mean", "class separations along the direction, of the completion read unsteered")
CONTRAST = Metric("contrast", "mean", "nats per token gained by telling the concept to the unsteered model")


@final
@dataclass(frozen=True)
class ExpressionTask:
    """Completes every prompt and reports where the completion lies along a direction, and how coherent it is.

    An empty completion has none of the measures.

    Args:
        items: the prompts.
        direction: what the completions are projected on, at one site or several.
        name: as in tables.
        concept: the behaviour in words, such as `wedding ceremonies`; adds the contrast.
        sampling: how completions are made; greedy by default.
    """

    items: Sequence[PromptItem]
    direction: Direction
    name: str = "expression"
    concept: str | None = None
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=32))

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The projection, the contrast where there is a concept, and coherence."""
        return (PROJECTION, *((CONTRAST,) if self.concept else ()), *COHERENCE_METRICS)

    def settings_key(self) -> str:
        """Return what an outcome depends on besides item and setting."""
        return key_of(
            task="expression",
            version=2,
            sampling=asdict(self.sampling),
            concept=self.concept,
            direction=Plan(self.direction, unit="raw").digest(),
        )

    def remarks(self, outcomes: Sequence[Outcome]) -> list[str]:
        """Return how many completions are empty, where any is."""
        return empty_remark(outcomes)

    def measure(self, engine: Engine, start: int, stop: int, settings: Sequence[Setting]) -> list[list[Outcome]]:
        """Return one outcome per prompt of `items[start:stop]` by setting.

        Raises:
            InputError: for an engine whose activations cannot be read.
        """
        if not isinstance(engine, Handle):
            raise InputError(f"expected a loaded model to read projections with, got {type(engine).__name__}")
        items = list(self.items[start:stop])
        rows = Rows(settings, len(items))
        prompts = rows.flat([item.prompt for item in items])
        made = engine.complete(prompts, rows.plans, self.sampling, rows.systems)
        texts = [generation.text for generation in made]
        places = read_projections(engine, self.direction, prompts, texts)
        scores = unsteered_scores(engine, prompts, texts)
        contrasts: list[dict[str, float]] = [{} for _ in texts]
        if self.concept:
            contrasts = read_signals(engine, prompts, texts, ["contrast"], concept=self.concept)
        outcomes: list[Outcome] = []
        for item, generation, place, score, contrast in zip(
            rows.flat(items), made, places, scores, contrasts, strict=True
        ):
            metrics: dict[str, float] = {}
            if place is not None:
                metrics = {"projection": place} | contrast | coherence_of(generation, score)
            details = {"prompt": item.prompt, "category": item.category, "completion": generation.text}
            outcomes.append(Outcome(item.id, metrics, details))
        return rows.cut(outcomes)
