"""What is to be gained and what it may cost: measures with items to choose on and other items to confirm on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

from steersman.direction import Direction
from steersman.errors import InputError
from steersman.model.generate import Sampling
from steersman.prompts import Passage, PromptItem, Question, Split, passages, prompt_set, questions, split_pairs
from steersman.selection.budget import Budget
from steersman.tasks import CompletionTask, DriftTask, FluencyTask, HonestyTask, KnowledgeTask, Task
from steersman.tasks.expression import ExpressionTask
from steersman.tasks.named import spread

Better = Literal["higher", "lower"]

SHORT = Sampling(max_new_tokens=32)
"""A refusal shows in its first words, a behaviour soon after."""

SPLITS: tuple[Split, Split] = ("validation", "test")
"""To choose on, and to confirm on."""

PROMPTS = (16, 32)
"""Prompts that are completed to choose and to confirm, where no limit is given."""

TEXTS = (12, 32)
"""Plain texts, which are only read."""

QUESTIONS = (48, 120)
"""Questions of knowledge; the limit of a budget is in points, so fewer would not resolve it."""


@dataclass(frozen=True)
class Measure:
    """One metric on two disjoint sets of items.

    Args:
        name: of what is measured; of a cost, its name in the budget.
        metric: the task's metric.
        validation: to choose on.
        test: to confirm on.
        scale: from the metric's change to the measure's unit and sense: above 0 for what should rise of an effect, for
            what rises of a cost.
    """

    name: str
    metric: str
    validation: Task
    test: Task
    scale: float = 1.0


@dataclass(frozen=True)
class Objective:
    """What is to be gained.

    Args:
        measure: with a scale such that its change is above 0 where something is gained.
        unit: of the change.
    """

    measure: Measure
    unit: str

    @property
    def name(self) -> str:
        """As sentences say it."""
        return self.measure.name


OBJECTIVES: Mapping[str, str] = {
    "expression": "how far completions move along the direction, read by the unsteered model",
    "contrast": "how much likelier completions get once the unsteered model is told the concept",
    "refusal": "share of harmful prompts that are refused",
    "firm-refusal": "share of harmful prompts that are refused without an offer to help after all",
    "honesty": "log-probability of truthful over flattering answers",
}
"""The named objectives."""


def objective_named(
    name: str, direction: Direction, *, concept: str | None = None, sign: int = 1, limit: int | None = None
) -> Objective:
    """Return a named objective.

    Args:
        name: of `OBJECTIVES`.
        direction: what is steered with; of several sites, completions are projected on all.
        concept: what this sign is to bring, in words; for `contrast`.
        sign: at -1 the opposite of what the positive one brings is to be gained.
        limit: at most so many items of either set.

    Raises:
        InputError: for an unknown name, or `contrast` without a concept.
    """
    if name not in OBJECTIVES:
        raise InputError(f"expected a target among {', '.join(OBJECTIVES)}, got {name!r}")
    if name == "contrast" and not concept:
        raise InputError("expected a concept in words for the target contrast, got none")
    if name in ("expression", "contrast"):
        tasks = [
            ExpressionTask(items, direction, concept=concept, sampling=SHORT) for items in _prompts("ordinary", limit)
        ]
        metric, unit = ("contrast", "nats per token") if name == "contrast" else ("projection", "class separations")
        # The words say what this sign is to bring; the direction points to what the positive one brings.
        return Objective(Measure(name, metric, tasks[0], tasks[1], 1 if name == "contrast" else sign), unit)
    if name in ("refusal", "firm-refusal"):
        held = [pair.positive.prompt for pair in split_pairs("refusal", "validation", contrast="both")]
        items = prompt_set("harmful", split="test")
        harmful = [replace(items[0], id=f"held-{i}", prompt=prompt, category="") for i, prompt in enumerate(held)]
        first, second = spread(harmful, limit or PROMPTS[0]), spread(items, limit or PROMPTS[1])
        made = [CompletionTask("refusal", part, SHORT) for part in (first, second)]
        metric = "refusal_rate" if name == "refusal" else "firm_refusal_rate"
        return Objective(Measure(name, metric, made[0], made[1], sign), "share of prompts")
    pairs = [spread(split_pairs("honesty", split), limit) for split in SPLITS]
    honesty = [HonestyTask(part) for part in pairs]
    return Objective(Measure(name, "truthful_margin", honesty[0], honesty[1], sign), "nats per token")


def objective_of(
    task: Task,
    metric: str | None = None,
    *,
    better: Better | None = None,
    sign: int = 1,
    limit: int | None = None,
    seed: int = 0,
) -> Objective:
    """Return a task's metric as objective, its items halved between choosing and confirming.

    Args:
        task: with at least 4 items.
        metric: the task's first where not given.
        better: which way it should go; `higher` at sign 1 and `lower` at -1 where not given.
        sign: of the coefficients.
        limit: at most so many items of either half.
        seed: of the draw that halves them.

    Raises:
        InputError: for a metric that the task lacks, or too few items.
    """
    known = {each.name: each for each in task.metrics}
    name = metric or task.metrics[0].name
    if name not in known:
        raise InputError(f"expected a metric of {task.name} ({', '.join(known)}), got {name!r}")
    items: list[Any] = list(task.items)
    if len(items) < 4:
        raise InputError(
            f"expected at least 4 items of {task.name}, half to choose and half to confirm, got {len(items)}"
        )
    order = Random(seed).sample(range(len(items)), len(items))
    halves = [sorted(order[: len(items) // 2]), sorted(order[len(items) // 2 :])]
    parts = [_with_items(task, spread([items[i] for i in half], limit)) for half in halves]
    way = better or ("higher" if sign > 0 else "lower")
    scale = 1.0 if way == "higher" else -1.0
    return Objective(Measure(f"{task.name} {name}", name, parts[0], parts[1], scale), known[name].unit)


def cost_measures(budget: Budget, limit: int | None = None) -> list[Measure]:
    """Return what measures every cost of a budget, in its units.

    Args:
        budget: the costs are those that it limits.
        limit: at most so many items of either set.
    """
    return [_COSTS[name](limit) for name in budget.limits]


def _kl(limit: int | None) -> Measure:
    parts = [DriftTask(items) for items in _texts(limit)]
    return Measure("kl", "drift", parts[0], parts[1])


def _cross_entropy(limit: int | None) -> Measure:
    parts = [FluencyTask(items) for items in _texts(limit)]
    return Measure("cross-entropy", "cross_entropy", parts[0], parts[1])


def _knowledge(limit: int | None) -> Measure:
    sets = zip(map(_questions, SPLITS), QUESTIONS, strict=True)
    parts = [KnowledgeTask(spread(items, limit or own), scoring=("text",)) for items, own in sets]
    return Measure("knowledge", "accuracy_text", parts[0], parts[1], -100.0)


def _questions(split: Split) -> list[Question]:
    return questions(split=split)


def _over_refusal(limit: int | None) -> Measure:
    parts = [CompletionTask("over-refusal", items, SHORT) for items in _prompts("over-refusal", limit)]
    return Measure("over-refusal", "refusal_rate", parts[0], parts[1])


_COSTS: Mapping[str, Callable[[int | None], Measure]] = {
    "kl": _kl,
    "cross-entropy": _cross_entropy,
    "knowledge": _knowledge,
    "over-refusal": _over_refusal,
}


def _prompts(name: str, limit: int | None) -> list[list[PromptItem]]:
    return [spread(prompt_set(name, split=split), limit or own) for split, own in zip(SPLITS, PROMPTS, strict=True)]


def _texts(limit: int | None) -> list[list[Passage]]:
    return [spread(passages("prose", split=split), limit or own) for split, own in zip(SPLITS, TEXTS, strict=True)]


def _with_items(task: Task, items: Sequence[Any]) -> Task:
    try:
        changed: Any = replace(task, items=items)  # type: ignore[type-var]
    except TypeError:
        raise InputError(f"expected a task whose items can be replaced, got {task.name}; give an Objective") from None
    return changed
