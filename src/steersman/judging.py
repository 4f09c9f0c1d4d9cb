"""Judging: what further judges say of completions that were measured before, and how far they agree."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from steersman.errors import InputError
from steersman.evaluation import Measured
from steersman.judges.judge import Exchange, Judge, Metric, Verdict
from steersman.maths.agreement import cohen_kappa
from steersman.tasks import CoherenceTask, CompletionTask, Outcome, Task

BUILT_IN = {
    "refusal_rate": "refusal_by_phrases",
    "firm_refusal_rate": "firm_refusal_by_phrases",
    "disclaimer_rate": "disclaimer_by_phrases",
}
"""What completion tasks measure themselves, as the judge it is."""

COMPLETING = (CompletionTask, CoherenceTask)
"""The tasks whose outcomes hold a completion."""


def judged(
    measured: Sequence[Measured],
    judges: Sequence[Judge],
    *,
    concept: str | None = None,
) -> list[Measured]:
    """Return the measured settings with the judges' metrics added to every outcome that holds a completion.

    Identical texts are judged once, whatever arms and items they come from. An outcome's details get `verdicts`, each
    judge's words; a text that a judge left unscored has none of its values, and where any judge left any text
    unscored, all outcomes get that judge's `unscored_by_<name>`, a rate, so that tables count them.

    Args:
        measured: of any tasks; those without completions come back as they are.
        judges: with different names.
        concept: what the replies may show, for judges that rate that.

    Raises:
        InputError: for no judge, two of one name, or nothing to judge.
    """
    names = [judge.name for judge in judges]
    if not names:
        raise InputError("expected at least one judge, got none")
    if len(set(names)) < len(names):
        raise InputError(f"expected judges with different names, got {', '.join(names)}; name one, as in other=phrases")
    exchanges = list(
        dict.fromkeys(e for each in measured for o in each.outcomes if (e := exchange_of(o, concept)) is not None)
    )
    if not exchanges:
        raise InputError(
            "expected outcomes with a prompt and a completion to judge, got none; choose a task that completes"
        )
    for judge in judges:
        verdicts = dict(zip(exchanges, judge.judge(exchanges), strict=True))
        metrics = tuple(judge.metrics)
        if not all(verdict.scored for verdict in verdicts.values()):
            metrics += (Metric(f"unscored_by_{judge.name}", "rate", "share of texts that the judge left unscored"),)
        measured = [_with(each, judge, metrics, verdicts, concept) for each in measured]
    return list(measured)


def check_judgeable(tasks: Sequence[Task]) -> None:
    """Return when at least one task lets the model write something, which alone a judge can read.

    Raises:
        InputError: when none does.
    """
    if not any(isinstance(task, COMPLETING) for task in tasks):
        raise InputError(
            "expected a task that completes prompts for a judge to read, got "
            f"{', '.join(task.name for task in tasks)}; choose refusal, over-refusal, helpfulness or coherence"
        )


def exchange_of(outcome: Outcome, concept: str | None = None) -> Exchange | None:
    """Return what an outcome holds to judge, `None` where it holds no completion."""
    prompt, completion = outcome.details.get("prompt"), outcome.details.get("completion")
    if not isinstance(prompt, str) or not isinstance(completion, str):
        return None
    return Exchange(prompt, completion, concept)


def _with(
    measured: Measured,
    judge: Judge,
    metrics: tuple[Metric, ...],
    verdicts: Mapping[Exchange, Verdict],
    concept: str | None,
) -> Measured:
    outcomes: list[Outcome] = []
    for outcome in measured.outcomes:
        exchange = exchange_of(outcome, concept)
        if exchange is None:
            outcomes.append(outcome)
            continue
        verdict = verdicts[exchange]
        values = dict(verdict.values)
        if f"unscored_by_{judge.name}" in {metric.name for metric in metrics}:
            values[f"unscored_by_{judge.name}"] = float(not verdict.scored)
        words = {**outcome.details.get("verdicts", {}), judge.name: verdict.words}
        details = {**outcome.details, "verdicts": words}
        outcomes.append(replace(outcome, metrics={**outcome.metrics, **values}, details=details))
    if not any(exchange_of(outcome) for outcome in measured.outcomes):
        return measured
    # Judged again by the same judge, it keeps one column.
    before = [metric for metric in measured.judged if metric not in metrics]
    return replace(measured, outcomes=outcomes, judged=(*before, *metrics))


def agreement(measured: Sequence[Measured], *, seed: int = 0) -> list[dict[str, Any]]:
    """Return how far every two judges of one yes-or-no question agree, over the different texts of each task.

    A completion task's own refusals and disclaimers count as the judge `phrases`, which they are. A text that several
    arms or items share counts once; one that either judge left unscored is left out and counted.

    Args:
        measured: after `judged`.
        seed: of the bootstrap.

    Returns:
        Rows `task, question, first, second, n, unscored, agreement, kappa, low, high`: n texts that both decided;
        `agreement` the share decided alike, 0 to 1; `kappa` Cohen's with its 95 % bootstrap interval, `None` where it
        is undefined (both judges constant, or no text decided by both).
    """
    rows: list[dict[str, Any]] = []
    for task in dict.fromkeys(each.task.name for each in measured):
        decisions = _decisions([each for each in measured if each.task.name == task])
        for question, by_judge in decisions.items():
            for first, second in combinations(by_judge, 2):
                one, other = by_judge[first], by_judge[second]
                texts = list(dict.fromkeys([*one, *other]))
                pairs = [(one.get(text), other.get(text)) for text in texts]
                both = [(a, b) for a, b in pairs if a is not None and b is not None]
                label = {"task": task, "question": question, "first": first, "second": second}
                label |= {"n": len(both), "unscored": len(pairs) - len(both)}
                found = cohen_kappa([a for a, _ in both], [b for _, b in both], seed) if both else None
                kept = ("agreement", "kappa", "low", "high")
                rows.append(label | {word: getattr(found, word) if found else None for word in kept})
    return rows


def _decisions(measured: Sequence[Measured]) -> dict[str, dict[str, dict[Exchange, bool | None]]]:
    """Return each question's judges, and what each decided of each text; `None` where it left it unscored."""
    found: dict[str, dict[str, dict[Exchange, bool | None]]] = {}
    for each in measured:
        names = [metric.name for metric in each.judged if metric.kind == "rate"]
        own = {metric.name for metric in each.task.metrics}
        names += [name for name, same in BUILT_IN.items() if name in own and same not in names]
        for name in names:
            question, by, judge = BUILT_IN.get(name, name).rpartition("_by_")
            if not by or question == "unscored":
                continue
            of_judge = found.setdefault(question, {}).setdefault(judge, {})
            for outcome in each.outcomes:
                exchange = exchange_of(outcome)
                if exchange is not None:
                    value = outcome.metrics.get(name)
                    of_judge[exchange] = None if value is None else bool(value)
    return {question: by_judge for question, by_judge in found.items() if len(by_judge) > 1}
