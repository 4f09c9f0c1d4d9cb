"""What a run found, in sentences computed from its numbers: the finding, the comparison, and what n can resolve.

The verdict against the prompt arm treats the two arms as independent samples and uses Newcombe's hybrid interval, built
from the two rates' own 95 % intervals (Newcombe, Statistics in Medicine 17, 1998, method 10): an arm is called better
only where that interval leaves out zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from steersman.maths.power import half_width, resolution
from steersman.report.metrics import metric_for
from steersman.report.newcombe import Difference, rate_difference
from steersman.report.plainly import CONTROLS, against_prompt, at_one, several
from steersman.report.tables import metrics_in
from steersman.report.values import Result, Run, Setting
from steersman.report.words import UNSTEERED, amount, change, change_interval, coefficient, interval, number


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


def headline(run: Run) -> Headline:
    """The opening sentences of a run; parts that were not measured are left out."""
    return Headline(finding=_finding(run), verdict=_verdict(run), power=_power(run.results))


def place(setting: Setting) -> str:
    """A setting in words: "0.35 of the residual norm at layer 14"."""
    strength = coefficient(setting.coefficient)
    words = {"norm": f"{strength} of the residual norm", "raw": f"{strength} times the raw vector"}
    if setting.unit == "plan":
        return "the plan as it is" if setting.coefficient == 1 else f"{strength} times the plan"
    site = setting.site or "an unnamed site"
    where = f"layer {setting.layer}" if site.startswith("resid_post.") else site
    return f"{words.get(setting.unit or '', strength)} at {where}"


def _finding(run: Run) -> str:
    chosen = run.chosen
    name = str(run.summary.get("direction") or "steering")
    measures_refusal = any(row.key == ("refusal", "refusal_rate") for row in metrics_in(run.results))
    if chosen is None:
        if run.summary and "chosen" not in run.summary:
            return several(run, name)
        return f"No coefficient of the {name} direction has been chosen yet; the tables show what is measured so far."
    if not measures_refusal and run.summary.get("study") != "refusal":
        return at_one(run, name, chosen, place(chosen))
    steered = run.row("refusal", "refusal_rate", "steered", chosen)
    if steered is None:
        return f"The {name} direction was set to {place(chosen)}, where harmful prompts have not been measured yet."
    sentence = f"At {place(chosen)} the {name} direction {_movement(run, steered, chosen)}"
    firm = run.row("refusal", "firm_refusal_rate", "steered", chosen)
    if firm is not None:
        sentence += f", {_rate(firm)} without an offer to help after all"
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
        parts.append(f"{words} ({span})" if span and metric.percent else words)
    if len(parts) == 2:
        parts[1] = parts[1].replace(" changed", "", 1)
    return " and ".join(parts)


def _controls(run: Run, chosen: Setting) -> list[str]:
    found: list[str] = []
    for arm, words in CONTROLS.items():
        row = run.row("refusal", "refusal_rate", arm, None if arm in UNSTEERED else chosen)
        if row is not None:
            drawn = f" (mean of {row.seeds} seeds)" if row.seeds > 1 else ""
            found.append(f"{words}: {_amount(row)}{drawn}")
    return found


def _verdict(run: Run) -> str:
    given = run.summary.get("verdict")
    if given:
        return " ".join(given) if isinstance(given, list) else str(given)
    chosen = run.chosen
    if chosen is None:
        return ""
    gain = _against_prompt(run, "refusal", "refusal_rate", chosen)
    if gain is None:
        return against_prompt(run, chosen)
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
            what = {"refusal": "prompts", "helpfulness": "prompts", "over-refusal": ""}.get(row.task, row.task)
            if what:  # the smallest n of a kind is what limits its comparisons
                counts[what] = min(row.n, counts.get(what, row.n))
    parts: list[str] = []
    for what, n in counts.items():
        things = {"prompts": "prompts", "knowledge": "knowledge questions"}.get(what, f"items of {what}")
        half, found = _points(half_width(n)), _points(resolution(n))
        if parts:
            parts.append(f"n = {n} {things}: ±{half} and {found} points")
        else:
            parts.append(
                f"n = {n} {things}: a difference between two settings has an interval of ±{half} points, and a true "
                f"one of {found} points is found in 80 % of studies"
            )
    if not parts:
        return ""
    return "; ".join(parts) + " (95 %, both rates near one half, items not paired: the worst case)."


def _points(value: float) -> str:
    return number(100 * value, 0)


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
