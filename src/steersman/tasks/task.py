"""What every task is, and what it is measured under."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol

from steersman.engines import Engine
from steersman.judges.judge import Metric
from steersman.plan import Plan

Arm = Literal["unsteered", "steered", "random", "permuted", "negated", "shuffled", "prompt", "prompt+steered"]
"""What an arm of a comparison is; `ARM_WORDS` says it for people."""

ARM_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "unsteered": "unsteered",
        "steered": "steered",
        "random": "random direction",
        "permuted": "permuted coordinates",
        "negated": "negated direction",
        "shuffled": "shuffled labels",
        "prompt": "system prompt",
        "prompt+steered": "system prompt and steering",
    }
)


@dataclass(frozen=True)
class Setting:
    """What the model is put under: one arm of a comparison.

    Args:
        arm: `unsteered`; `steered`; the controls of equal norm `random` (drawn), `permuted` (its coordinates in another
            order), `negated`, `shuffled` (fitted after its labels were shuffled); `prompt` (a system prompt asks for
            the same); `prompt+steered`.
        plan: what is done to the activations.
        system: system prompt, `None` for the template's own.
        site: where, as a table says it; `None` for the arms that steer nothing.
        coefficient: how strongly, in `unit`; 0 for the arms that steer nothing.
        unit: `norm` (fractions of the residual norm), `raw` (multiples of the fitted vector) or `plan` (multiples of a
            plan's own coefficients).
        seed: of a control that is drawn; tells several of one arm apart.
    """

    arm: Arm
    plan: Plan = field(default_factory=Plan)
    system: str | None = None
    site: str | None = None
    coefficient: float = 0.0
    unit: str = "norm"
    seed: int | None = None

    def digest(self) -> str:
        """Return a sha256 over what acts on the model; the labels do not count."""
        return hashlib.sha256(f"{self.plan.digest()}|{self.system!r}".encode()).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """What one item came to under one setting.

    Args:
        item: its id.
        metrics: a number for each of the task's metrics; a metric that does not apply to the item is absent.
        details: what people want to see, such as prompt and completion.
        group: subject or category, for tables by group; empty where the task has none.
    """

    item: str
    metrics: Mapping[str, float]
    details: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""


class Task(Protocol):
    """Samples and a scorer."""

    @property
    def name(self) -> str:
        """As in `results.json`."""
        ...

    @property
    def metrics(self) -> Sequence[Metric]:
        """What it measures."""
        ...

    @property
    def items(self) -> Sequence[Any]:
        """The samples; each has an `id`."""
        ...

    def settings_key(self) -> str:
        """Return everything besides item and setting that an outcome depends on, as text."""
        ...

    def measure(self, engine: Engine, start: int, stop: int, settings: Sequence[Setting]) -> list[list[Outcome]]:
        """Return the outcomes of `items[start:stop]` under each setting, all computed together.

        The outer list is by setting, in their order, the inner one by item. What the settings have in common the engine
        can compute once, so everything is asked of it in as few calls as there are kinds of questions.
        """
        ...

    def remarks(self, outcomes: Sequence[Outcome]) -> list[str]:
        """Return what a reader has to be warned of in all outcomes under one setting, in sentences; often nothing."""
        ...


def key_of(**parts: Any) -> str:
    """Return a stable text of the parts, for content addresses."""
    return json.dumps(parts, sort_keys=True, ensure_ascii=False)
