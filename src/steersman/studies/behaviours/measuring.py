"""What every setting of the study is measured by, and what the outcomes come to beside the unsteered model."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from steersman.errors import DataError
from steersman.maths.statistics import Estimate
from steersman.prompts import Pair
from steersman.samples import example_items, question_items, text_items
from steersman.studies.behaviours.config import BehavioursConfig
from steersman.studies.behaviours.eligibility import Seen
from steersman.studies.behaviours.items import Behaviour
from steersman.summary import Change, Measured, compared, estimates
from steersman.tasks import BehaviourTask, DriftTask, KnowledgeTask, Outcome, Task
from steersman.tasks.named import spread

SCORED = {"text": ("matching_text", "matching_text_margin"), "letter": ("matching_logprob", "matching_log_odds")}
"""The matching score and its margin, by what is scored."""


@dataclass(frozen=True)
class Scores:
    """One behaviour at one setting, on the same items as the unsteered model.

    Args:
        text: share of items whose matching answer is likelier.
        margin: by how much, nats per token in words, nats by letter.
        text_change: paired, to the unsteered model.
        margin_change: the same.
    """

    text: Estimate
    margin: Estimate
    text_change: Estimate
    margin_change: Estimate


@dataclass(frozen=True)
class Panel:
    """The tasks of one split.

    Args:
        behaviours: by name.
        prose: the guard, the divergence of plain prose.
        knowledge: the alignment tax; `None` where it is not asked.
    """

    behaviours: Mapping[str, BehaviourTask]
    prose: DriftTask
    knowledge: KnowledgeTask | None = None

    @property
    def tasks(self) -> list[Task]:
        """All of them, the behaviours first."""
        return [*self.behaviours.values(), self.prose, *([self.knowledge] if self.knowledge else [])]


def validation_panel(config: BehavioursConfig, behaviours: Sequence[Behaviour]) -> Panel:
    """Return the tasks that choose: validation items, validation prose; questions that come with the set of knowledge.

    Raises:
        DataError: for a set that cannot be used.
    """
    knowledge = None
    if config.limits.curves:
        try:
            questions = example_items(config.sets["knowledge"])
        except DataError:
            # A set without questions to choose by has no tax beside the curves; the test has it all the same.
            questions = []
        if questions:
            asked = config.knowledge
            questions = spread(questions, config.limits.curves)
            knowledge = KnowledgeTask(questions, "knowledge, validation", asked.form, (asked.scoring[0],))
    return Panel(
        {each.name: _task(config, each.name, each.validation) for each in behaviours}, prose(config), knowledge
    )


def test_panel(config: BehavioursConfig, behaviours: Sequence[Behaviour]) -> Panel:
    """Return the tasks that report.

    Raises:
        DataError: for a set that cannot be used.
    """
    asked, source = config.knowledge, config.sets["knowledge"]
    knowledge = KnowledgeTask(
        spread(question_items(source), config.limits.knowledge),
        "knowledge",
        asked.form,
        tuple(asked.scoring),
        asked.shots,
        example_items(source) if asked.shots else (),
    )
    held_out = {each.name: _task(config, each.name, each.test) for each in behaviours}
    return Panel(held_out, prose(config, "test"), knowledge)


def letters_task(config: BehavioursConfig, name: str, items: Sequence[Pair]) -> BehaviourTask:
    """Return the task that reads a behaviour by letter."""
    return BehaviourTask(items, f"letters:{name}", config.form, config.grid.letters.order, ("letter",))


def prose(config: BehavioursConfig, split: str = "validation") -> DriftTask:
    """Return the task that reads the guard; a set that says no splits serves both."""
    source = config.sets["prose"]
    texts = text_items(source, split="test" if split == "test" else "validation")
    return DriftTask(spread(texts, config.limits.prose), "prose", config.guard.tokens)


def scores_of(pairs: Sequence[tuple[Measured, Measured]], scoring: str, seed: int) -> list[Scores]:
    """Return what settings come to, each beside the unsteered model on the same items.

    Args:
        pairs: one task's outcomes at a setting and unsteered.
        scoring: `text` or `letter`.
        seed: of the bootstrap.
    """
    share, margin = SCORED[scoring]
    levels: list[tuple[Any, Sequence[float]]] = []
    changes: list[Change] = []
    for after, before in pairs:
        metrics = {metric.name: metric for metric in after.metrics}
        for name in (share, margin):
            now, then = after.values(name), before.values(name)
            levels.append((metrics[name], list(now.values())))
            changes.append(Change(metrics[name], list(now.values()), [then[item] for item in now]))
    values = iter(estimates(levels, seed))
    moved = iter(found for found, _, _ in compared(changes, seed))
    return [Scores(next(values), next(values), next(moved), next(moved)) for _ in pairs]


def mean_of(measured: Measured, metric: str, seed: int) -> Estimate | None:
    """Return one metric's mean or rate at a setting; `None` where it was not measured."""
    values = list(measured.values(metric).values())
    if not values:
        return None
    wanted = next(each for each in measured.metrics if each.name == metric)
    return estimates([(wanted, values)], seed)[0]


def change_of(after: Measured, before: Measured, metric: str, seed: int) -> Estimate:
    """Return the paired change of one metric to the unsteered model."""
    now, then = after.values(metric), before.values(metric)
    wanted = next(each for each in after.metrics if each.name == metric)
    return compared([Change(wanted, list(now.values()), [then[item] for item in now])], seed)[0][0]


def collapsed(outcomes: Sequence[Outcome], limit: float) -> bool:
    """Return whether one answer is given to more than the limit's share, by log-probability, by token or by word.

    Args:
        outcomes: of a `BehaviourTask`.
        limit: share of one answer, of all that were given in one way.
    """
    return any((given(outcomes, key) or 0.0) > limit for key in ("likelier", "token", "word"))


def given(outcomes: Sequence[Outcome], key: str = "likelier") -> float | None:
    """Return the share of the answer that is given most often, faulty ones and draws left out but counted.

    Args:
        outcomes: of a `BehaviourTask`.
        key: how it is given: `likelier` by log-probability, `token` or `word`.
    """
    every: list[str] = [answer for outcome in outcomes for answer in outcome.details[key]]
    counted = Counter(answer for answer in every if answer)
    return max(counted.values(), default=0) / len(every) if every else None


def seen(config: BehavioursConfig, parts: Iterable[Measured], drift: Estimate | None = None) -> Seen:
    """Return what the guard looks at in some tasks' outcomes at one setting.

    Args:
        config: the limits.
        parts: of the behaviour, in words or letters or both.
        drift: of plain prose.
    """
    measured = list(parts)
    faulty = [value for each in measured for value in each.values("faulty_rate").values()]
    return Seen(
        None if drift is None else drift.value,
        any(collapsed(each.outcomes, config.guard.collapse) for each in measured) if measured else None,
        sum(faulty) / len(faulty) if faulty else None,
    )


def plain(value: Estimate | None) -> dict[str, Any] | None:
    """Return an estimate as the record says it."""
    return None if value is None else asdict(value)


def _task(config: BehavioursConfig, name: str, items: Sequence[Pair]) -> BehaviourTask:
    return BehaviourTask(items, f"behaviour:{name}", config.form, config.grid.letters.order, (config.scoring,))
