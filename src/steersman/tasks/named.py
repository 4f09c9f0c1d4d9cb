"""Tasks by the words of a command line or a study: a name, and where its items come from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar, get_args

from steersman.builders.sampling import balanced
from steersman.errors import InputError
from steersman.model.generate import Sampling
from steersman.prompts import built_in_sets, split_pairs
from steersman.samples import behaviour_items, example_items, prompt_items, question_items, text_items
from steersman.tasks.behaviour import BehaviourTask, answer_kinds
from steersman.tasks.coherence import CoherenceTask
from steersman.tasks.completions import CompletionTask
from steersman.tasks.drift import DriftTask
from steersman.tasks.fluency import FluencyTask
from steersman.tasks.honesty import HonestyTask
from steersman.tasks.knowledge import KnowledgeTask
from steersman.tasks.opinion import OpinionTask, opinions
from steersman.tasks.skill import SkillTask
from steersman.tasks.task import Task

T = TypeVar("T")

Form = Literal["chat", "plain"]
Scoring = Literal["letter", "text"]

TASKS: Mapping[str, str] = {
    "refusal": "harmful",
    "helpfulness": "ordinary",
    "over-refusal": "over-refusal",
    "knowledge": "knowledge",
    "behaviour": "",
    "skill": "code",
    "opinion": "opinions",
    "honesty": "honesty",
    "coherence": "ordinary",
    "drift": "prose",
    "fluency": "prose",
}
"""The tasks, and the built-in set that each is measured on; a behaviour has to be named."""

USUAL = ("refusal", "helpfulness", "over-refusal", "knowledge", "fluency")
"""What is measured where nobody says what."""


@dataclass(frozen=True)
class TaskOptions:
    """How tasks are asked; each takes what concerns it.

    Args:
        limit: at most so many items of every task, spread evenly, of a behaviour drawn with as many of each answer in
            words, Yes and No, as there can be; all where `None`.
        sampling: how completions are made.
        shots: of knowledge, answered examples before a question, 0 to 5.
        form: of knowledge and behaviour, `chat` (in the model's chat template) or `plain` (as the papers ask); each
            task's own where `None`.
        scoring: of knowledge, by `letter`, by `text` of the answer, or both.
        tokens: of skill and drift, scored tokens of every text at most.
        leave_out: of skill, so many of the corpus's most frequent tokens do not count.
        order: of behaviour, how lettered options are ordered.

    Raises:
        InputError: for a limit below 1.
    """

    limit: int | None = None
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=32))
    shots: int = 0
    form: Form | None = None
    scoring: tuple[Scoring, ...] = get_args(Scoring)
    tokens: int = 128
    leave_out: int = 0
    order: Literal["alternate", "both", "given"] = "alternate"

    def __post_init__(self) -> None:
        """Refuse an empty evaluation."""
        if self.limit is not None and self.limit < 1:
            raise InputError(f"expected a --limit of at least 1, got {self.limit}")


def tasks_named(
    words: Sequence[str] | None = None,
    *,
    sets: Mapping[str, str] | None = None,
    options: TaskOptions | None = None,
) -> list[Task]:
    """Return the tasks that a few words name.

    Args:
        words: each a name of `TASKS`, or `NAME=SOURCE` with the items' source: a built-in set, a path or
            `hub:owner/name`. A behaviour or a skill with a source is called `NAME:<end of the source>` in tables, so
            that several stand beside each other. The usual ones where not given.
        sets: sources by the name of the built-in set that they replace.
        options: how they are asked.

    Raises:
        InputError: for an unknown task or set, the same task twice, or a behaviour without a source.
        DataError: for a source that cannot be used.
    """
    how, replaced = options or TaskOptions(), dict(sets or {})
    known = {name for name in TASKS.values() if name}
    if unknown := set(replaced) - known:
        raise InputError(f"expected a set among {', '.join(sorted(known))}, got {', '.join(sorted(unknown))}")
    made: list[Task] = []
    for text in words or USUAL:
        name, equals, source = text.partition("=")
        if name not in TASKS:
            raise InputError(f"expected a task among {', '.join(TASKS)}, got {name!r}")
        source = source if equals else replaced.get(TASKS[name], TASKS[name])
        if not source:
            raise InputError(
                f"expected the items of {name} after an equals sign, {name}=PATH or a built-in set "
                f"({', '.join(built_in_sets('behaviours'))}), got {text!r}"
            )
        label = f"{name}:{Path(source).stem}" if equals and name in ("behaviour", "skill") else name
        if label in {task.name for task in made}:
            raise InputError(f"expected every task once, got {label} twice")
        made.append(_MAKERS[name](label, source, how))
    return made


def spread(items: Sequence[T], limit: int | None) -> list[T]:
    """Return at most `limit` items at even distances, so that every category of an ordered set keeps its share."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[i * len(items) // limit] for i in range(limit)]


def _completions(name: str, source: str, how: TaskOptions) -> Task:
    items = spread(prompt_items(source), how.limit)
    return CompletionTask(name, items, how.sampling, helpfulness=name == "helpfulness")


def _knowledge(name: str, source: str, how: TaskOptions) -> Task:
    examples = example_items(source) if how.shots else ()
    return KnowledgeTask(
        spread(question_items(source), how.limit), name, how.form or "chat", how.scoring, how.shots, examples
    )


def _behaviour(name: str, source: str, how: TaskOptions) -> Task:
    items = behaviour_items(source)
    # Files that alternate between Yes and No would give one of the two at even distances.
    items = balanced(items, how.limit, 0, answer_kinds(items))
    return BehaviourTask(items, name, how.form or "plain", how.order)


_MAKERS: Mapping[str, Callable[[str, str, TaskOptions], Task]] = {
    "refusal": _completions,
    "helpfulness": _completions,
    "over-refusal": _completions,
    "knowledge": _knowledge,
    "behaviour": _behaviour,
    "skill": lambda name, source, how: SkillTask(
        spread(text_items(source), how.limit), name, how.tokens, how.leave_out
    ),
    "opinion": lambda name, source, how: OpinionTask(spread(opinions(source), how.limit), name),
    "honesty": lambda name, source, how: HonestyTask(spread(split_pairs(source, "test"), how.limit), name),
    "coherence": lambda name, source, how: CoherenceTask(spread(prompt_items(source), how.limit), name, how.sampling),
    "drift": lambda name, source, how: DriftTask(spread(text_items(source), how.limit), name, how.tokens),
    "fluency": lambda name, source, how: FluencyTask(spread(text_items(source), how.limit), name),
}
