"""The one small protocol that tasks and studies ask of an engine."""

from collections.abc import Sequence
from typing import Protocol

from steersman.model.generate import Generation, Sampling
from steersman.model.score import Score
from steersman.plan import Plan


class Engine(Protocol):
    """Completes and scores prompts, every row under a plan of its own, rows independent.

    A call takes any number of rows: where no batch size is given, an engine forms its own batches, and it may compute
    once what rows have in common. A system prompt is one for all rows, or one per row.
    """

    def complete(
        self,
        prompts: Sequence[str],
        plans: Sequence[Plan],
        sampling: Sampling,
        system: str | Sequence[str | None] | None = None,
        *,
        chat: bool = True,
    ) -> list[Generation]:
        """Return one generation per prompt, in their order."""
        ...

    def score(
        self,
        prompts: str | Sequence[str],
        completions: Sequence[str],
        plans: Plan | Sequence[Plan] | None = None,
        *,
        system: str | Sequence[str | None] | None = None,
        batch_size: int | None = None,
        chat: bool = True,
        ranks: bool = False,
        divergence: bool = False,
        entropy: bool = False,
        echo: bool = False,
    ) -> list[Score]:
        """Return the completions' log-probabilities, and what else is asked; the prompt `""` scores a plain text."""
        ...

    def score_options(
        self,
        prompts: Sequence[str],
        options: Sequence[Sequence[str]],
        plans: Plan | Sequence[Plan] | None = None,
        *,
        system: str | Sequence[str | None] | None = None,
        batch_size: int | None = None,
        chat: bool = True,
    ) -> list[list[Score]]:
        """Return the scores of several completions of every prompt, as many for each as it likes."""
        ...
