"""Dose and response: every metric against the coefficient, small multiples, one chart per unit."""

from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes

from steersman.report.figures import ARM_COLOURS, ARM_MARKERS, CONTROLS, INK, Chart, Key, Panel, limits
from steersman.report.metrics import Metric
from steersman.report.series import Dot, alone, is_chosen, legend_for, over_coefficients, units_in, with_baseline
from steersman.report.tables import metrics_in
from steersman.report.values import Run
from steersman.report.words import UNITS, coefficient, slug

_LEGEND = (
    Key("line", "steered", "steered"),
    Key("dashed", "random", "random direction"),
    Key("up", "permuted", "permuted coordinates"),
    Key("down", "negated", "negated direction"),
    Key("plus", "shuffled", "shuffled labels"),
    Key("line", "prompt", "system prompt"),
    Key("diamond", "both", "system prompt and steering"),
    Key("star", "ink", "unsteered"),
    Key("ring", "ink", "chosen"),
)
_AXIS = {
    "norm": "coefficient (fraction of residual norm)",
    "raw": "coefficient (multiples of the raw vector)",
    "plan": "coefficient (multiples of the plan)",
}
_WHOLE_SCALE = {
    "refusal_rate",
    "firm_refusal_rate",
    "helpful_rate",
}  # shown from 0 to 100 %, so that the panels compare


def dose_charts(run: Run) -> list[Chart]:
    """One chart per unit of the steered arm, the chosen unit's first."""
    charts: list[Chart] = []
    for unit in units_in(run):
        panels = tuple(
            _panel(run, unit, metric)
            for metric in metrics_in(run.results)
            if not metric.detail and over_coefficients(run, metric, "steered", unit)
        )
        if panels:
            charts.append(
                Chart(
                    name=slug("dose", unit),
                    title=f"Dose and response, coefficients in {unit} units",
                    caption=(
                        f"The coefficient is in {unit} units: {UNITS.get(unit, unit)}. Bands and bars are 95 % "
                        "intervals; the system prompt has no coefficient and is a line across."
                    ),
                    panels=panels,
                    columns=3,
                    legend=legend_for(run, unit, _LEGEND),
                )
            )
    return charts


def _panel(run: Run, unit: str, metric: Metric) -> Panel:
    steered = over_coefficients(run, metric, "steered", unit)
    first, last = steered[0], steered[-1]
    return Panel(
        name=slug("dose", unit, metric.task, metric.name),
        title=metric.label,
        description=(
            f"{metric.label}, {metric.axis}, against the coefficient in {unit} units: {first.value:.3g} at "
            f"{coefficient(first.coefficient)}, {last.value:.3g} at {coefficient(last.coefficient)}."
        ),
        draw=partial(_draw, run=run, unit=unit, metric=metric),
        width=3.7,
        height=2.9,
    )


def _draw(axes: Axes, *, run: Run, unit: str, metric: Metric) -> None:
    base, prompt = alone(run, metric, "unsteered"), alone(run, metric, "prompt")
    steered = over_coefficients(run, metric, "steered", unit)
    others = [(arm, over_coefficients(run, metric, arm, unit)) for arm in (*CONTROLS, "prompt+steered")]
    singles = [dot for dot in (base, prompt) if dot]
    _limit(axes, metric, [*steered, *(dot for _, found in others for dot in found), *singles])
    if prompt:
        axes.axhspan(*prompt.ends, color=ARM_COLOURS["prompt"], alpha=0.10, linewidth=0, zorder=1)
        axes.axhline(prompt.value, color=ARM_COLOURS["prompt"], linewidth=1.3, zorder=2)
    for arm, found in others:
        _curve(axes, found, arm)
    _curve(axes, with_baseline(steered, base), "steered")
    if base:
        _bar(axes, base, "unsteered")
        axes.plot(0, base.value, "*", color=INK, markersize=11, markeredgewidth=0, zorder=5)
    for dot in steered:
        if is_chosen(run, metric, unit, dot):
            axes.plot(
                dot.coefficient, dot.value, "o", markersize=11, markerfacecolor="none", markeredgecolor=INK, zorder=6
            )
    axes.set_xlabel(_AXIS.get(unit, f"coefficient ({unit})"))
    axes.set_ylabel(metric.axis)


def _limit(axes: Axes, metric: Metric, shown: Sequence[Dot]) -> None:
    ends = [end for dot in shown for end in dot.ends]
    if metric.name in _WHOLE_SCALE:
        axes.set_ylim(-3, 103)
    elif metric.percent:
        axes.set_ylim(*limits(ends, least=20, floor=-3, ceiling=103))
    else:
        axes.set_ylim(*limits(ends, least=0.2, floor=-float("inf"), ceiling=float("inf")))
    across = [0.0, *(dot.coefficient for dot in shown)]
    least = 0.2 * max(1e-9, max(abs(at) for at in across))
    axes.set_xlim(*limits(across, least=least, floor=-float("inf"), ceiling=float("inf")))


def _curve(axes: Axes, dots: list[Dot], arm: str) -> None:
    """A line with its band; a single coefficient is a point with a bar."""
    colour = ARM_COLOURS[arm]
    dashes = "-" if arm == "steered" else "--"
    at = [dot.coefficient for dot in dots]
    if len(dots) > 1:
        lows, highs = zip(*(dot.ends for dot in dots), strict=True)
        axes.fill_between(
            at, lows, highs, color=colour, alpha=0.16 if arm == "steered" else 0.10, linewidth=0, zorder=2
        )
    elif dots:
        _bar(axes, dots[0], arm)
    axes.plot(
        at, [dot.value for dot in dots], dashes, marker=ARM_MARKERS[arm], color=colour,
        markersize=3.5, markeredgewidth=0, zorder=3,
    )  # fmt: skip


def _bar(axes: Axes, dot: Dot, arm: str) -> None:
    axes.errorbar(
        dot.coefficient, dot.value, yerr=dot.arms, fmt="none", ecolor=ARM_COLOURS[arm],
        elinewidth=1, alpha=0.5, zorder=3,
    )  # fmt: skip
