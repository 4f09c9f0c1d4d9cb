"""The headline of a run of any tasks: what changed most, what else changed, and what controls and prompt did.

What a run is about is its first metric, unless `summary.json` names another in `gain` (`{"task", "metric"}`). Clear
means that the 95 % interval of the paired change leaves out zero: the adjusted one, where several settings were tried.
"""

from steersman.report.metrics import Metric, metric_for
from steersman.report.newcombe import rate_difference
from steersman.report.tables import metrics_in, strength
from steersman.report.values import Result, Run, Setting
from steersman.report.words import UNSTEERED, amount, change, change_interval

_GAINS = (
    ("refusal", "refusal_rate"),
    ("behaviour", "matching_logprob"),
    ("opinion", "flip_rate"),
    ("honesty", "truthful_rate"),
)
CONTROLS = {
    "random": "a random direction of equal norm",
    "permuted": "its coordinates permuted",
    "negated": "its opposite",
    "shuffled": "fitted on shuffled labels",
    "prompt": "the system prompt alone",
    "prompt+steered": "both together",
}
_SHOWN = 2


def gain_of(run: Run) -> Metric | None:
    """The metric that steering is for: what the summary names, else a known one, else the first that was steered."""
    named = run.summary.get("gain")
    if isinstance(named, dict) and run.row(str(named.get("task")), str(named.get("metric")), "steered"):
        return metric_for(str(named["task"]), str(named["metric"]))
    measured = [metric for metric in metrics_in(run.results) if run.row(*metric.key, "steered")]
    known = [metric for key in _GAINS for metric in measured if metric.key == key]
    named_so = [metric for metric in measured if metric.name in {name for _, name in _GAINS}]
    return next(iter([*known, *named_so, *measured]), None)


def at_one(run: Run, name: str, chosen: Setting, where: str) -> str:
    """What steering by `name` did at the chosen setting, `where` in words."""
    gain = gain_of(run)
    row = None if gain is None else run.row(*gain.key, "steered", chosen)
    if gain is None or row is None:
        return f"The {name} direction was set to {where}, where nothing has been measured yet."
    parts = [f"At {where}, {name}: {_moved(run, gain, row)}"]
    others = [metric for metric in metrics_in(run.results) if metric.task != gain.task]
    changes = [(metric, run.difference(*metric.key, "steered", chosen)) for metric in others]
    clear = [_changed(metric, found) for metric, found in changes if found is not None and _clear(found)]
    if clear:
        more = f" and {len(clear) - _SHOWN} more" if len(clear) > _SHOWN else ""
        parts.append(f"also changed: {', '.join(clear[:_SHOWN])}{more}")
    elif any(found is not None for _, found in changes):
        parts.append("no other task changed clearly")
    for arm in ("random", "prompt", "prompt+steered"):
        control = run.row(*gain.key, arm, None if arm in UNSTEERED else chosen)
        if control is not None:
            drawn = f" (mean of {control.seeds} seeds)" if control.seeds > 1 else ""
            parts.append(f"{CONTROLS[arm]}: {amount(gain, control.value, control.n)}{drawn}")
    return "; ".join(parts) + "."


def several(run: Run, name: str) -> str:
    """What steering by `name` did where several settings were measured and none was chosen."""
    gain = gain_of(run)
    if gain is None:
        return f"Nothing has been measured under steering by {name} yet; the tables show what is."
    tried = {row.setting for row in run.results if row.arm == "steered"}
    rows = [
        row
        for row in run.differences
        if (row.task, row.metric, row.arm) == (*gain.key, "steered") and row.value is not None
    ]
    clear = [row for row in rows if _clear(row)]
    said = f"{len(tried)} settings of {name} were measured and none chosen"
    if not rows:
        return f"{said}; there is no unsteered arm to compare them with."
    if not clear:
        return f"{said}; none of them changed {_lower(gain)} clearly."
    largest = max(clear, key=lambda row: abs(row.value or 0.0))
    words = (
        f"{len(clear)} of them changed {_lower(gain)} clearly"
        if len(clear) > 1
        else f"one changed {_lower(gain)} clearly"
    )
    span = change_interval(gain, largest.low, largest.high)
    return f"{said}; {words}, most at {strength(largest.setting)}: {change(gain, largest.value)} ({span})."


def against_prompt(run: Run, chosen: Setting) -> str:
    """Whether steering beat the system prompt on the metric it is for; empty where either was not measured."""
    gain = gain_of(run)
    steered = run.row(*gain.key, "steered", chosen) if gain else None
    prompt = run.row(*gain.key, "prompt") if gain else None
    if gain is None or steered is None or prompt is None or steered.value is None or prompt.value is None:
        return ""
    values = f"{amount(gain, steered.value, steered.n)} against {amount(gain, prompt.value, prompt.n)}"
    what = f"on {_lower(gain)} ({values}; {'higher' if wanted(run, gain) > 0 else 'lower'} is what was wanted)"
    if gain.kind == "rate":
        found = rate_difference(steered, prompt)
        clear = 0 if found is None else found.sign
    else:
        apart = None not in (steered.low, prompt.high, steered.high, prompt.low)
        higher = apart and (steered.low or 0) > (prompt.high or 0)
        lower = apart and (steered.high or 0) < (prompt.low or 0)
        clear = int(higher) - int(lower)
    if clear == 0:
        return f"Steering and the system prompt cannot be told apart {what}."
    won = clear * wanted(run, gain) > 0
    return f"Steering {'beat' if won else 'lost to'} the system prompt {what}."


def wanted(run: Run, gain: Metric) -> int:
    """1 where more of the metric is what steering is for, -1 where less is."""
    named = run.summary.get("gain")
    wanted = named.get("better") if isinstance(named, dict) else None
    return -1 if (wanted or gain.better) == "lower" else 1


def _moved(run: Run, metric: Metric, row: Result) -> str:
    base = run.row(*metric.key, "unsteered")
    found = run.difference(*metric.key, "steered", row.setting)
    here = amount(metric, row.value, row.n)
    if base is None or found is None:
        return f"{_lower(metric)} is {here}"
    span = change_interval(metric, found.low, found.high)
    moved = (
        f"from {amount(metric, base.value, base.n)} to {here}, {change(metric, found.value)} ({span}, n = {found.n})"
    )
    verb = "went" if _clear(found) else "did not clearly change:"
    return f"{_lower(metric)} {verb} {moved}"


def _changed(metric: Metric, found: Result) -> str:
    return f"{_lower(metric)} {change(metric, found.value)}"


def _clear(row: Result) -> bool:
    low = row.low if row.low_adjusted is None else row.low_adjusted
    high = row.high if row.high_adjusted is None else row.high_adjusted
    return low is not None and high is not None and (low > 0 or high < 0)


def _lower(metric: Metric) -> str:
    label = metric.label
    return label if label[:2].isupper() else label[:1].lower() + label[1:]
