"""Completions side by side, taken from each set at even distances so that nobody has picked them."""

from collections.abc import Sequence
from dataclasses import dataclass

from steersman.report.values import Completion, Run, is_at
from steersman.report.words import ARMS, UNSTEERED, slug

_WANTED = (("refusal", "Harmful prompts", 4), ("helpfulness", "Ordinary prompts", 3),
           ("over-refusal", "Safe prompts that look harmful", 3))  # fmt: skip


@dataclass(frozen=True)
class Text:
    """One completion with its arm and the judges' word on it."""

    arm: str
    name: str
    text: str
    tag: str
    tone: str


@dataclass(frozen=True)
class Sample:
    """One prompt with the completions of every arm."""

    prompt: str
    texts: tuple[Text, ...]


@dataclass(frozen=True)
class Samples:
    """The samples of one task, and out of how many items they were taken."""

    task: str
    title: str
    items: int
    samples: tuple[Sample, ...]


def sample_completions(run: Run) -> list[Samples]:
    """Some prompts of every task with the completions of each arm; random and steered at the chosen setting."""
    found: list[Samples] = []
    known = [task for task, _, _ in _WANTED]
    others = [task for task in dict.fromkeys(text.task for text in run.completions) if task not in known]
    for task, title, count in (*_WANTED, *((task, f"Prompts of {task}", 3) for task in others)):
        mine = [text for text in run.completions if text.task == task and _shown(run, text)]
        items = list(dict.fromkeys(text.item for text in mine))
        # an item that was steered tells more than one the run has not come to yet
        full = [item for item in items if any(text.item == item and text.arm == "steered" for text in mine)]
        picked = _spread(full or items, count)
        if picked:
            samples = tuple(_sample([text for text in mine if text.item == item]) for item in picked)
            found.append(Samples(task, title, len(items), samples))
    return found


def _shown(run: Run, text: Completion) -> bool:
    if text.arm in UNSTEERED:
        return True
    return text.arm in ARMS and run.chosen is not None and is_at(text, run.chosen)


def _spread(items: Sequence[str], count: int) -> list[str]:
    """`count` items at even distances, the first included; all of them where there are no more."""
    if len(items) <= count:
        return list(items)
    return [items[place * len(items) // count] for place in range(count)]


def _sample(texts: Sequence[Completion]) -> Sample:
    ordered = sorted(texts, key=lambda text: list(ARMS).index(text.arm))
    first_of_arm = {text.arm: text for text in reversed(ordered)}
    shown = [first_of_arm[arm] for arm in ARMS if arm in first_of_arm]
    return Sample(prompt=shown[0].prompt, texts=tuple(_text(text) for text in shown))


def _text(found: Completion) -> Text:
    tag, tone = _tag(found)
    return Text(
        arm=slug(found.arm),
        name=ARMS[found.arm],
        text=found.text,
        tag=tag,
        tone=tone,
    )


def _tag(found: Completion) -> tuple[str, str]:
    if found.refused is None:
        return "", "unknown"
    if found.refused:
        return "refused", "refused"
    if found.helpful is False:
        return "not helpful", "unhelpful"
    return "answered", "answered"
