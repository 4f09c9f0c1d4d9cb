"""What a run found, in sentences computed from its numbers: the finding, the comparison, and what n can resolve.

The verdict against the prompt arm treats the two arms as independent samples and uses Newcombe's hybrid interval, built
from the two rates' own 95 % intervals (Newcombe, Statistics in Medicine 17, 1998, method 10): an arm is called better
only where that interval leaves out zero.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from steersman.report.reading import Result, Run, Setting
from steersman.report.words import (
    amount,
    change,
    change_interval,
    coefficient,
    interval,
    metric_for,
    number,
    resolvable,
)


@dataclass(frozen=True)
class Headline:
    """The opening of the report.

    Attributes:
        finding: What steering did at the chosen setting, with its costs and controls.
        verdict: Whether steering beat or lost to the system prompt; empty without a prompt arm.
        power: The differences that the number of items resolves; empty without any rate.
    """

    finding: str
    verdict: str
    power: str


@dataclass(frozen=True)
class Difference:
    """A difference of two rates with its 95 % interval, as fractions of 1."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 where the interval leaves out zero, else 0."""
        return (self.low > 0) - (self.high < 0)


def headline(run: Run) -> Headline:
    """The opening sentences of a run; parts that were not measured are left out."""
    return Headline(finding=_finding(run), verdict=_verdict(run), power=_power(run.results))


def place(setting: Setting) -> str:
    """A setting in words: "0.35 of the residual norm at layer 14"."""
    strength = coefficient(setting.coefficient)
    words = {"norm": f"{strength} of the residual norm", "raw": f"{strength} times the raw vector"}
    site = setting.site or "an unnamed site"
    where = f"layer {setting.layer}" if site.startswith("resid_post.") else site
    return f"{words.get(setting.unit or '', strength)} at {where}"


def rate_difference(first: Result, second: Result) -> Difference | None:
    """First minus second rate with Newcombe's 95 % interval, or None where an interval is missing."""
    ends = (first.value, first.low, first.high, second.value, second.low, second.high)
    if any(end is None for end in ends):
        return None
    p, p_low, p_high, q, q_low, q_high = (float(end) for end in ends if end is not None)
    return Difference(
        value=p - q,
        low=p - q - math.hypot(p - p_low, q_high - q),
        high=p - q + math.hypot(p_high - p, q - q_low),
    )


def _finding(run: Run) -> str:
    chosen = run.chosen
    name = str(run.summary.get("direction") or "steering")
    if chosen is None:
        return f"No coefficient of the {name} direction has been chosen yet; the tables show what is measured so far."
    steered = run.row("refusal", "refusal_rate", "steered", chosen)
    if steered is None:
        return f"The {name} direction was set to {place(chosen)}, where harmful prompts have not been measured yet."
    sentence = f"At {place(chosen)} the {name} direction {_movement(run, steered, chosen)}"
    ordinary = run.row("helpfulness", "refusal_rate", "steered", chosen)
    if ordinary is not None:
        sentence += f", while {_rate(ordinary)} of ordinary prompts were refused"
    parts = [sentence, _costs(run, chosen), *_controls(run, chosen)]
    return "; ".join(part for part in parts if part) + "."


def _movement(run: Run, steered: Result, chosen: Setting) -> str:
    base = run.row("refusal", "refusal_rate", "unsteered")
    if base is None:
        return f"led to refusals of {_rate(steered, full=True)} of harmful prompts"
    change_row = run.difference("refusal", "refusal_rate", "steered", chosen)
    sign = _sign(change_row) if change_row else None
    if sign is None:  # no paired difference: fall back to the two intervals
        unpaired = rate_difference(steered, base)
        sign = unpaired.sign if unpaired else None
    if sign is None:  # not even intervals: the direction of the change is all that can be said
        sign = ((steered.value or 0) > (base.value or 0)) - ((steered.value or 0) < (base.value or 0))
    verb = {1: "raised", -1: "lowered", 0: "did not clearly change"}[sign]
    moved = "" if sign else ":"
    return f"{verb} refusals of harmful prompts{moved} from {_rate(base, full=True)} to {_rate(steered)}"


def _costs(run: Run, chosen: Setting) -> str:
    parts: list[str] = []
    for task, name, noun in (
        ("knowledge", "accuracy_text", "knowledge"),
        ("knowledge", "accuracy_letter", "knowledge (by letter)"),
        ("fluency", "cross_entropy", "cross-entropy"),
    ):
        if noun.startswith("knowledge (") and parts:
            continue  # the letter score stands in only where the text score is absent
        metric = metric_for(task, name)
        found = run.difference(task, name, "steered", chosen)
        if found is None:
            base, steered = run.row(task, name, "unsteered"), run.row(task, name, "steered", chosen)
            if base is None or steered is None or base.value is None or steered.value is None:
                continue
            parts.append(f"{noun} changed by {change(metric, steered.value - base.value)} (no paired interval)")
            continue
        span = change_interval(metric, found.low, found.high)
        words = f"{noun} changed by {change(metric, found.value)}"
        parts.append(f"{words} ({span})" if span and metric.kind == "rate" else words)
    if len(parts) == 2:
        parts[1] = parts[1].replace(" changed", "", 1)
    return " and ".join(parts)


def _controls(run: Run, chosen: Setting) -> list[str]:
    found: list[str] = []
    random = run.row("refusal", "refusal_rate", "random", chosen)
    if random is not None:
        found.append(f"a random direction of equal norm: {_amount(random)}")
    prompt = run.row("refusal", "refusal_rate", "prompt")
    if prompt is not None:
        found.append(f"the system prompt alone: {_amount(prompt)}")
    return found


def _verdict(run: Run) -> str:
    chosen = run.chosen
    if chosen is None:
        return ""
    gain = _against_prompt(run, "refusal", "refusal_rate", chosen)
    if gain is None:
        return ""
    refused = _compared(gain, "refused", "harmful prompts")
    kept = _against_prompt(run, "helpfulness", "helpful_rate", chosen)
    if kept is not None:
        cost, cost_words = kept.sign, _compared(kept, "answered", "ordinary prompts helpfully")
    else:
        lost = _against_prompt(run, "helpfulness", "refusal_rate", chosen)
        if lost is None:
            cost, cost_words = 0, "its cost on ordinary prompts was not measured"
        else:
            cost, cost_words = -lost.sign, _compared(lost, "refused", "ordinary prompts")
    return f"{_judgement(gain.sign, cost)}: steering {refused} and {cost_words}."


def _judgement(gain: int, cost: int) -> str:
    """The verdict in words; both signs are positive where steering is clearly better."""
    if gain == cost == 0:
        return "Steering and the system prompt cannot be told apart at this n"
    if gain >= 0 and cost >= 0:
        return "On refusals and helpfulness steering beat the system prompt"
    if gain <= 0 and cost <= 0:
        return "On refusals and helpfulness steering lost to the system prompt"
    return "Steering and the system prompt each win once"


def _against_prompt(run: Run, task: str, name: str, chosen: Setting) -> Difference | None:
    steered, prompt = run.row(task, name, "steered", chosen), run.row(task, name, "prompt")
    return None if steered is None or prompt is None else rate_difference(steered, prompt)


def _compared(found: Difference, verb: str, things: str) -> str:
    points = number(100 * abs(found.value), 0)
    if points == "0":
        low, high = (_signed_points(end) for end in (found.low, found.high))
        return f"{verb} as many {things} ({low} to {high} points)"
    direction = "more" if found.value >= 0 else "fewer"
    low, high = (_signed_points(end) for end in (found.low, found.high))
    clear = "" if found.sign else ", which includes zero"
    unit = "point" if points == "1" else "points"
    return f"{verb} {points} {unit} {direction} {things} ({low} to {high}{clear})"


def _signed_points(value: float) -> str:
    text = number(100 * value, 0)
    return f"+{text}" if value > 0 and text != "0" else text


def _power(results: Sequence[Result]) -> str:
    counts: dict[str, int] = {}
    for row in results:
        if row.n and metric_for(row.task, row.metric).kind == "rate":
            group = {"knowledge": "knowledge", "refusal": "prompts", "helpfulness": "prompts"}.get(row.task)
            if group is None:  # not in the headline
                continue
            # the smallest n of a group is what limits its comparisons
            counts[group] = min(row.n, counts.get(group, row.n))
    parts: list[str] = []
    if "prompts" in counts:
        n = counts["prompts"]
        parts.append(f"n = {n} prompts resolves differences of about {_points(n)} points between two settings")
    if "knowledge" in counts:
        n = counts["knowledge"]
        parts.append(f"n = {n} knowledge questions, of about {_points(n)} points")
    if not parts:
        return ""
    return "; ".join(parts) + " (95 %, both rates near one half, items not paired)."


def _points(n: int) -> str:
    return number(100 * resolvable(n), 0)


def _sign(row: Result) -> int | None:
    if row.low is None or row.high is None:
        return None
    return (row.low > 0) - (row.high < 0)


def _amount(row: Result) -> str:
    return amount(metric_for(row.task, row.metric), row.value, row.n)


def _rate(row: Result, *, full: bool = False) -> str:
    """A rate with its interval: "47 % (35–59 %)", or with `full` "3 % (95 % interval 1–11 %, n = 60)"."""
    span = interval(metric_for(row.task, row.metric), row.low, row.high, row.n)
    inner = [f"95 % interval {span} %" if full else f"{span} %"] if span else []
    if full and row.n is not None:
        inner.append(f"n = {row.n}")
    return _amount(row) + (f" ({', '.join(inner)})" if inner else "")
