"""An engine without a model: says what a table says, scores by a rule, keeps a log, and can be interrupted."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from steersman.model.generate import Generation, Sampling
from steersman.model.score import Score
from steersman.plan import Plan

Systems = str | Sequence[str | None] | None
Rate = Callable[[str, str, Plan, str | None], tuple[float, ...]]


def hashed(prompt: str, completion: str, plan: Plan, system: str | None) -> tuple[float, ...]:
    """Return log-probabilities of two tokens that depend on everything and on nothing else."""
    digest = hashlib.sha256(f"{prompt}|{completion}|{plan.digest()}|{system}".encode()).digest()
    return (-digest[0] / 64 - 0.01, -digest[1] / 64 - 0.01)


def by_table(table: Mapping[tuple[str, str], tuple[float, ...]]) -> Rate:
    """Return a rule that reads a table of prompt and completion; what is not in it is an error."""
    return lambda prompt, completion, plan, system: table[prompt, completion]


@dataclass
class FakeEngine:
    """Answers each prompt from `texts` (or with what depends on prompt and plan) and scores by `rate`.

    Args:
        texts: completions by prompt.
        rate: log-probabilities of a completion's tokens.
        interrupt: the call, counted from 0, in which Ctrl-C is pressed.
    """

    texts: Mapping[str, str] | None = None
    rate: Rate = hashed
    interrupt: int | None = None
    log: list[tuple[str, tuple[str, ...], tuple[str, ...], tuple[str | None, ...]]] = field(default_factory=list)

    def complete(
        self,
        prompts: Sequence[str],
        plans: Sequence[Plan],
        sampling: Sampling,
        system: Systems = None,
        *,
        chat: bool = True,
    ) -> list[Generation]:
        systems = _systems(system, len(prompts))
        self._called("complete", prompts, plans, systems)
        texts = [self._say(*row) for row in zip(prompts, plans, systems, strict=True)]
        return [Generation(text, tuple(range(len(text))), "stop" if text else "length") for text in texts]

    def score(
        self,
        prompts: str | Sequence[str],
        completions: Sequence[str],
        plans: Plan | Sequence[Plan] | None = None,
        *,
        system: Systems = None,
        batch_size: int | None = None,
        chat: bool = True,
        ranks: bool = False,
        divergence: bool = False,
        entropy: bool = False,
        echo: bool = False,
    ) -> list[Score]:
        heads = [prompts] * len(completions) if isinstance(prompts, str) else list(prompts)
        each = _each(plans, len(heads))
        systems = _systems(system, len(heads))
        self._called("score", heads, each, systems)
        rows = zip(heads, completions, each, systems, strict=True)
        return [Score(self.rate(*row)) for row in rows]

    def score_options(
        self,
        prompts: Sequence[str],
        options: Sequence[Sequence[str]],
        plans: Plan | Sequence[Plan] | None = None,
        *,
        system: Systems = None,
        batch_size: int | None = None,
        chat: bool = True,
    ) -> list[list[Score]]:
        each = _each(plans, len(prompts))
        systems = _systems(system, len(prompts))
        self._called("score_options", prompts, each, systems)
        rows = zip(prompts, options, each, systems, strict=True)
        return [[Score(self.rate(head, text, plan, said)) for text in texts] for head, texts, plan, said in rows]

    def _say(self, prompt: str, plan: Plan, system: str | None) -> str:
        if self.texts is not None:
            return self.texts[prompt]
        if hashed(prompt, "", plan, system)[0] < -2:
            return "I can't help with that."
        return f"An answer to {prompt}"

    def _called(self, verb: str, prompts: Sequence[str], plans: Sequence[Plan], systems: Sequence[str | None]) -> None:
        if self.interrupt == len(self.log):
            raise KeyboardInterrupt
        self.log.append((verb, tuple(prompts), tuple(plan.digest() for plan in plans), tuple(systems)))


def _each(plans: Plan | Sequence[Plan] | None, count: int) -> list[Plan]:
    return [plans or Plan()] * count if isinstance(plans, Plan) or plans is None else list(plans)


def _systems(system: Systems, count: int) -> list[str | None]:
    return [system] * count if system is None or isinstance(system, str) else list(system)
