"""What a judge is: exchanges in, one verdict each out, values where it could decide and a reason where it could not."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from steersman.errors import InputError


@dataclass(frozen=True)
class Metric:
    """One column of an outcome, measured by a task or given by a judge.

    Args:
        name: as in `results.json`; a judge's ends in its own name, as in `refusal_by_phrases`.
        kind: `rate` (0 or 1 an item; Wilson interval) or `mean` (bootstrap interval).
        unit: what the number is in; one that begins with `share` lies from 0 to 1.
    """

    name: str
    kind: Literal["rate", "mean"]
    unit: str

    @property
    def share(self) -> bool:
        """Whether it lies from 0 to 1."""
        return self.kind == "rate" or self.unit.startswith("share")


@dataclass(frozen=True)
class Exchange:
    """One text to judge, with what it answers.

    Args:
        prompt: what the user said. A system prompt is not part of it: a judge sees what every arm was asked alike.
        completion: what the model replied.
        concept: the concept or behaviour that the reply may show, in words, where a question needs one.
    """

    prompt: str
    completion: str
    concept: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What a judge says of one exchange: values, or none and the reason.

    Args:
        values: a finite number for each of the judge's metrics; empty where it left the exchange unscored.
        reason: why it is unscored; empty where it is not.
        words: the verdict for people.

    Raises:
        InputError: for values together with a reason, for neither, or for a number that is not finite.
    """

    values: Mapping[str, float] = field(default_factory=dict[str, float])
    reason: str = ""
    words: str = ""

    def __post_init__(self) -> None:
        """Refuse what is neither a verdict nor a reason for none."""
        if bool(self.values) == bool(self.reason):
            raise InputError(f"expected values, or a reason for none, got {dict(self.values)} and {self.reason!r}")
        if not all(math.isfinite(value) for value in self.values.values()):
            raise InputError(f"expected finite values, got {dict(self.values)}")

    @property
    def scored(self) -> bool:
        """Whether the judge decided."""
        return not self.reason


def unscored(reason: str) -> Verdict:
    """Return the verdict of a judge that could not decide, and why."""
    return Verdict(reason=reason, words=f"unscored: {reason}")


class Judge(Protocol):
    """Decides what texts are."""

    @property
    def name(self) -> str:
        """What its metrics end in."""
        ...

    @property
    def metrics(self) -> Sequence[Metric]:
        """What it gives values for; binary decisions are rates called `<question>_by_<name>`."""
        ...

    def key(self) -> str:
        """Return everything besides the exchange that a verdict depends on, as text."""
        ...

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """Return one verdict per exchange, in order."""
        ...


def judge_key(**parts: Any) -> str:
    """Return a stable text of the parts that a judge's verdicts depend on."""
    return json.dumps(parts, sort_keys=True, ensure_ascii=True)


def yes_no(question: str, value: bool) -> str:
    """Return a binary verdict for people, such as `refusal: yes`."""
    return f"{question}: {'yes' if value else 'no'}"
