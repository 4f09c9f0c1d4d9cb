"""What is timed: each work is a few runs in turn, round by round, so that a drift of the machine meets all alike."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from material import Material
from team import Answer, RequestError, Team, note

SMALL = 9
"""Coefficients up to which plain transformers stand beside the curve."""
OTHERS = ("plain", "repeng", "steering-vectors", "pyvene", "nnsight")


@dataclass(frozen=True)
class Run:
    """One thing that is timed.

    Args:
        label: as tables name it; unique in its work.
        contender: who does it.
        request: what is asked.
        kind: of the checks, which one it rests on.
        more: what is asked next, whose seconds are added; it may be of another contender.
    """

    label: str
    contender: str
    request: dict[str, Any]
    kind: str
    more: tuple["Run", ...] = ()

    @property
    def parts(self) -> tuple["Run", ...]:
        """All that is asked, in order."""
        return (self, *self.more)


@dataclass
class Result:
    """What a work came to.

    Args:
        work: its name.
        what: what was run, in words.
        base: label of the run that ratios are taken to.
        answers: of each run, one for each counted round.
        unmeasured: reasons by label.
        failed: labels of runs that broke off.
        extra: further figures, such as the floor's.
    """

    work: str
    what: str
    base: str
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    unmeasured: dict[str, str] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    extra: dict[str, Any] = field(default_factory=dict)

    def seconds(self, label: str) -> list[float]:
        return [answer["seconds"] for answer in self.answers.get(label, [])]

    def median(self, label: str) -> float:
        return statistics.median(self.seconds(label))

    def ratio(self, label: str, base: str = "") -> dict[str, float] | None:
        """Return the ratio of a run's median to the base's, and the least and the largest of the rounds' ratios."""
        base = base or self.base
        if not self.answers.get(label) or not self.answers.get(base):
            return None
        each = [a / b for a, b in zip(self.seconds(label), self.seconds(base), strict=True)]
        return {"ratio": self.median(label) / self.median(base), "least": min(each), "most": max(each)}

    def row(self, label: str) -> dict[str, Any]:
        """Return what is told of a run: seconds, ratio, tokens, memory."""
        if label in self.unmeasured:
            return {"label": label, "unmeasured": self.unmeasured[label]}
        answers = self.answers[label]
        told = {"label": label, "seconds": self.seconds(label), "median": self.median(label)}
        told |= {"tokens": answers[-1].get("tokens"), "peak_mib": max(answer["peak_mib"] for answer in answers)}
        if "parts" in answers[-1]:
            told["parts"] = [
                statistics.median(each) for each in zip(*(answer["parts"] for answer in answers), strict=True)
            ]
        if "model_seconds" in answers[-1]:
            told["model_seconds"] = statistics.median(answer["model_seconds"] for answer in answers)
        return told | (self.ratio(label) or {})

    def record(self) -> dict[str, Any]:
        """Return everything as plain data."""
        labels = [*self.answers, *self.unmeasured]
        return {
            "work": self.work,
            "what": self.what,
            "base": self.base,
            "rows": [self.row(label) for label in labels],
            "extra": self.extra,
        }


def timed(
    team: Team,
    checks: Sequence[dict[str, Any]],
    runs: Sequence[Run],
    result: Result,
    rounds: int,
    warm: dict[str, Any],
) -> Result:
    """Fill in a work's result: one small round that is not counted, then the rounds, every second one backwards."""
    able = [run for run in runs if allowed(team, checks, run, result)]
    for number in range(rounds + 1):
        for run in list(able) if number % 2 else list(reversed(able)):
            answer = asked(team, run, warm if number == 0 else {}, result)
            if "unsupported" in answer:
                result.unmeasured[run.label] = answer["unsupported"]
                result.answers.pop(run.label, None)
                able = [
                    other
                    for other in able
                    if other.label != run.label and all(part.contender in team.workers for part in other.parts)
                ]
            elif number:
                result.answers.setdefault(run.label, []).append(answer)
                note(f"{result.work}, round {number} of {rounds}, {run.label}: {answer['seconds']:.2f} s")
    # In the order of the runs, not in which they happened to be asked.
    result.answers = {run.label: result.answers[run.label] for run in runs if run.label in result.answers}
    for run in runs:
        if run.label not in result.answers:
            result.unmeasured.setdefault(run.label, team.absent.get(run.contender, "it was not run"))
    return result


def asked(team: Team, run: Run, other: dict[str, Any], result: Result) -> Answer:
    """Return what a run came to, or why it came to nothing; of several parts, the sums of their figures.

    Args:
        team: who does it.
        run: what is asked.
        other: settings over those of the requests.
        result: is told of what broke off.
    """
    answers = []
    for part in run.parts:
        try:
            answers.append(team.workers[part.contender].ask(part.request | other))
        except RequestError as reason:
            result.failed.add(run.label)
            if team.workers[part.contender].process.poll() is not None:
                team.drop(part.contender, str(reason))
            return {"unsupported": f"it broke off: {reason}"}
        if "unsupported" in answers[-1]:
            return answers[-1]
    if len(answers) == 1:
        return answers[0]
    summed = {name: sum(answer[name] for answer in answers) for name in ("seconds", "tokens")}
    return summed | {
        "peak_mib": max(answer["peak_mib"] for answer in answers),
        "parts": [answer["seconds"] for answer in answers],
    }


def allowed(team: Team, checks: Sequence[dict[str, Any]], run: Run, result: Result) -> bool:
    """Return whether a run's contender is there and agrees with plain transformers; else say why not."""
    for part in run.parts:
        if part.contender in team.absent:
            result.unmeasured[run.label] = team.absent[part.contender]
            return False
        for check in checks:
            if (check["contender"], check["kind"]) == (part.contender, part.kind) and not check["agrees"]:
                result.unmeasured[run.label] = f"not timed, it fails the check: {check['words']}"
                return False
    return True


def spread(count: int) -> list[float]:
    """Return so many coefficients, evenly from -1 to 1; one alone is 1."""
    return [1.0] if count == 1 else [round(-1 + 2 * step / (count - 1), 6) for step in range(count)]


def record(material: Material) -> tuple[Result, list[Run]]:
    count = len(material.tokens["record"])
    request = {"work": "record", "file": str(material.files["record"])}
    runs = [Run(name, name, request, "record") for name in ("steersman", *OTHERS)]
    return Result("record", f"last token of {count} chat prompts, every layer", "steersman"), runs


def score0(material: Material, coefficients: int) -> tuple[Result, list[Run]]:
    count = len(material.tokens["score0"])
    request = {"work": "score", "file": str(material.files["score0"]), "coefficients": spread(coefficients)}
    runs = [Run(name, name, request, "score") for name in ("steersman", "plain")]
    what = f"{coefficients} coefficients, {count} MMLU questions without examples, four letters, layer {material.layer}"
    return Result("score0", what, "steersman"), runs


def score5(material: Material, coefficients: int) -> tuple[Result, list[Run]]:
    count = len(material.tokens["score5"])
    request = {"work": "score", "file": str(material.files["score5"]), "coefficients": spread(coefficients)}
    runs = [Run(name, name, request, "score") for name in ("steersman", "lm-eval")]
    what = f"{coefficients} coefficients, {count} MMLU questions with five examples, layer {material.layer}"
    return Result("score5", what, "steersman"), runs


def generate(material: Material, coefficients: int, new_tokens: int) -> tuple[Result, list[Run]]:
    count = len(material.tokens["generate"])
    request = {
        "work": "generate",
        "file": str(material.files["generate"]),
        "coefficients": spread(coefficients),
        "new_tokens": new_tokens,
    }
    runs = [Run(name, name, request, "generate") for name in ("steersman", *OTHERS)]
    what = f"{coefficients} coefficients, {count} chat prompts, {new_tokens} new tokens, greedy"
    return Result("generate", what, "steersman"), runs


STUDY = ("record", "write", "knowledge")
"""The steps of a study that all tools have."""


def study(material: Material, coefficients: int, new_tokens: int) -> tuple[Result, list[Run]]:
    """Return the steps of the refusal study, each tool with its defaults: repeng and lm-eval take a text at a time."""
    names = ("study-record", "study-write", "study-knowledge")
    counts = [len(material.tokens[name]) for name in names]
    sweep = {"coefficients": spread(coefficients), "new_tokens": new_tokens, "batch": 1}
    requests = [
        {"work": work, "file": str(material.files[name])} | ({} if work == "record" else sweep)
        for name, work in zip(names, ("record", "generate", "score"), strict=True)
    ]

    def run(label: str, *contenders: str) -> Run:
        kinds = ("record", "generate", "score")
        parts = [Run(label, *each) for each in zip(contenders, requests, kinds, strict=True)]
        return Run(label, contenders[0], requests[0], kinds[0], tuple(parts[1:]))

    what = (
        f"the last token of {counts[0]} prompts, every layer; {coefficients} coefficients at layer {material.layer}: "
        f"{counts[1]} harmful, ordinary and borderline prompts, {new_tokens} new tokens, and {counts[2]} questions"
    )
    runs = [run("steersman", *["steersman"] * 3), run("repeng + lm-eval", "repeng", "repeng", "lm-eval")]
    return Result("study", what, "steersman"), runs


def overhead(material: Material, verb: str, new_tokens: int) -> tuple[Result, list[Run]]:
    count = len(material.tokens["overhead"])
    request = {"work": f"overhead_{verb}", "file": str(material.files["overhead"]), "new_tokens": new_tokens}
    words = {"none": "no plan", "one": "one plan", "many": "a plan per row"}
    runs = [Run(label, "steersman", request | {"plan": plan}, verb) for plan, label in words.items()]
    what = f"steersman alone, {verb}, one batch of {count} distinct prompts; ratios to no plan"
    return Result(f"overhead, {verb}", what, "no plan"), runs


def curve(material: Material, usual: int, counts: list[int], prompts: list[int], rows: int) -> tuple[Result, list[Run]]:
    """Return steersman's own growth, and plain's beside it where it is small."""
    file, depth = str(material.files["curve"]), material.config.num_hidden_layers

    def run(contender: str, label: str, coefficients: int, limit: int, **more: Any) -> Run:
        request = {"work": "score", "file": file, "coefficients": spread(coefficients), "limit": limit}
        return Run(f"{contender}, {label}", contender, request | more, "score")

    runs = [run("steersman", f"{count} coefficients", count, rows) for count in counts]
    runs += [run("plain", f"{count} coefficients", count, rows) for count in counts if count <= SMALL]
    runs += [run("steersman", f"{count} prompts", usual, count) for count in prompts]
    for count in sorted({1, 3, depth // 3, depth}):
        layers = [int((place + 0.5) * depth / count) for place in range(count)]
        runs.append(run("steersman", f"{count} layers", usual, rows, layers=layers))
    what = (
        f"growth of a scoring sweep: coefficients and layers at {rows} prompts, prompts and layers at "
        f"{usual} coefficients"
    )
    return Result("curve", what, f"steersman, {usual} coefficients"), runs
