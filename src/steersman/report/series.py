"""Rows of results as what a plot draws: series over the coefficient, and points of two metrics at the same setting."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from steersman.report.figures import ARM_NAMES, Key
from steersman.report.metrics import Metric
from steersman.report.values import Result, Run, Setting, pooled
from steersman.report.words import UNSTEERED


@dataclass(frozen=True)
class Dot:
    """One number in the unit of the axis (percent or nats), with its interval where there is one."""

    coefficient: float
    value: float
    low: float | None
    high: float | None

    @property
    def ends(self) -> tuple[float, float]:
        """The interval, or the value twice."""
        return self.value if self.low is None else self.low, self.value if self.high is None else self.high

    @property
    def arms(self) -> tuple[list[float], list[float]]:
        """Lengths of the error bar below and above the value, never negative."""
        low, high = self.ends
        return [max(0.0, self.value - low)], [max(0.0, high - self.value)]


def units_in(run: Run) -> list[str]:
    """Units of the steered arm: the chosen one first, then "norm", "raw", then any other."""
    present = {row.unit for row in run.results if row.arm == "steered" and row.unit}
    chosen = run.chosen.unit if run.chosen else None
    order = {chosen: -1, "norm": 0, "raw": 1}
    return sorted(present, key=lambda unit: (order.get(unit, 2), unit))


def site_shown(run: Run, metric: Metric, unit: str) -> str | None:
    """The site to draw: the chosen one where it was measured, else the one with the most rows."""
    sites = Counter(
        row.site for row in run.results if (row.task, row.metric, row.arm, row.unit) == (*metric.key, "steered", unit)
    )
    if run.chosen and run.chosen.site in sites:
        return run.chosen.site
    return max(sites, key=lambda site: (sites[site], site or "")) if sites else None


def is_chosen(run: Run, metric: Metric, unit: str, dot: Dot) -> bool:
    """True for the dot at the setting the study chose: same unit, same coefficient, and drawn at the same site."""
    site = site_shown(run, metric, unit)
    return run.chosen is not None and run.chosen.same(Setting(site, dot.coefficient, unit))


def legend_for(run: Run, unit: str, keys: Sequence[Key]) -> tuple[Key, ...]:
    """The keys of what is drawn: no arm that was not measured, no ring where the choice is in another unit."""
    at = {row.arm for row in run.results if row.arm in UNSTEERED or row.unit == unit}
    colours = {ARM_NAMES.get(arm, arm) for arm in at} | {"frontier"}
    shown = {"ring": run.chosen is not None and run.chosen.unit == unit, "star": "unsteered" in at}
    return tuple(key for key in keys if shown.get(key.mark, key.colour in colours))


def over_coefficients(run: Run, metric: Metric, arm: str, unit: str) -> list[Dot]:
    """The rows of an arm that steers, in one unit at the site shown, by rising coefficient; seeds pooled."""
    site = site_shown(run, metric, unit)
    rows = [
        row
        for row in run.results
        if (row.task, row.metric, row.arm, row.unit) == (*metric.key, arm, unit) and row.site == site
    ]
    by_coefficient: dict[float | None, list[Result]] = {}
    for row in rows:
        if row.value is not None:
            by_coefficient.setdefault(row.coefficient, []).append(row)
    # a control that was drawn with several seeds is one point
    drawn = [pooled(same) if len(same) > 1 else same[0] for same in by_coefficient.values()]
    return sorted(dots(metric, drawn), key=lambda dot: dot.coefficient)


def alone(run: Run, metric: Metric, arm: str) -> Dot | None:
    """The one row of an arm without a coefficient (unsteered, prompt), set at coefficient 0."""
    row = run.row(*metric.key, arm)
    return next(iter(dots(metric, [row], zero=True)), None) if row else None


def dots(metric: Metric, rows: Sequence[Result], *, zero: bool = False) -> list[Dot]:
    """Rows with a value, in the unit of the metric's axis."""
    scale = 100.0 if metric.percent else 1.0
    found: list[Dot] = []
    for row in rows:
        at = 0.0 if zero else row.coefficient
        if row.value is not None and at is not None:
            low = None if row.low is None else scale * row.low
            high = None if row.high is None else scale * row.high
            found.append(Dot(at, scale * row.value, low, high))
    return found


def with_baseline(steered: list[Dot], base: Dot | None) -> list[Dot]:
    """The steered series through the unsteered point, which is its value at coefficient 0."""
    if base is None or any(dot.coefficient == 0 for dot in steered):
        return steered
    return sorted([*steered, base], key=lambda dot: dot.coefficient)
