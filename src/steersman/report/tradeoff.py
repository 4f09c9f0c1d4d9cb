"""The trade-off: what refusals of harmful prompts cost in helpfulness and knowledge, one point per coefficient."""

from functools import partial

from matplotlib.axes import Axes

from steersman.report.figures import ARM_COLOURS, ARM_MARKERS, INK, Chart, Key, Panel, limits
from steersman.report.labels import Point, label_points
from steersman.report.reading import Run
from steersman.report.series import Dot, alone, is_chosen, legend_for, over_coefficients, units_in
from steersman.report.words import METRICS, UNITS, Metric, coefficient, slug

_GAIN = METRICS["refusal", "refusal_rate"]
_LEGEND = (
    Key("circle", "steered", "steered, by coefficient"),
    Key("square", "random", "random direction"),
    Key("diamond", "prompt", "system prompt"),
    Key("star", "ink", "unsteered"),
    Key("ring", "ink", "chosen"),
)
Pair = tuple[Dot, Dot]


def tradeoff_charts(run: Run) -> list[Chart]:
    """One chart per unit that has steered results on harmful prompts; the chosen unit's first."""
    charts: list[Chart] = []
    for unit in units_in(run):
        panels = tuple(_panel(run, unit, cost) for cost in _costs(run, unit))
        if panels:
            caption = (
                "Every point is one coefficient, joined in the order of the coefficient, which is in "
                f"{unit} units: {UNITS.get(unit, unit)}."
            )
            charts.append(
                Chart(
                    name=slug("tradeoff", unit),
                    title=f"Trade-off, coefficients in {unit} units",
                    caption=f"{caption} Bars are 95 % intervals. Right and up is better.",
                    panels=panels,
                    columns=1,  # panels share the x axis, so in the files they stand one above the other
                    legend=legend_for(run, unit, _LEGEND),
                )
            )
    return charts


def _costs(run: Run, unit: str) -> list[Metric]:
    """Helpfulness, and knowledge by answer text or, where that is absent, by letter."""
    keys = [("helpfulness", "helpful_rate"), ("knowledge", "accuracy_text"), ("knowledge", "accuracy_letter")]
    found = [METRICS[key] for key in keys if _pairs(run, METRICS[key], "steered", unit)]
    return [metric for metric in found if metric.name != "accuracy_letter" or found.index(metric) == len(found) - 1][:2]


def _pairs(run: Run, cost: Metric, arm: str, unit: str) -> list[Pair]:
    """Both metrics of an arm at the coefficients where both were measured, unsteered at 0 included for steered."""
    gains = over_coefficients(run, _GAIN, arm, unit)
    costs = {dot.coefficient: dot for dot in over_coefficients(run, cost, arm, unit)}
    return [(gain, costs[gain.coefficient]) for gain in gains if gain.coefficient in costs]


def _single(run: Run, cost: Metric, arm: str) -> Pair | None:
    gain, other = alone(run, _GAIN, arm), alone(run, cost, arm)
    return (gain, other) if gain and other else None


def _panel(run: Run, unit: str, cost: Metric) -> Panel:
    pairs = _pairs(run, cost, "steered", unit)
    first, last = pairs[0], pairs[-1]
    return Panel(
        name=slug("tradeoff", unit, cost.name),
        title=cost.label,
        description=(
            f"Harmful prompts refused against {cost.label}, {cost.axis}: {len(pairs)} steered coefficients from "
            f"{coefficient(first[0].coefficient)} ({first[0].value:.0f} % refused, {first[1].value:.0f} % on the "
            f"vertical axis) to {coefficient(last[0].coefficient)} ({last[0].value:.0f} %, {last[1].value:.0f} %)."
        ),
        draw=partial(_draw, run=run, unit=unit, cost=cost),
        width=4.9,
        height=3.8,
    )


def _draw(axes: Axes, *, run: Run, unit: str, cost: Metric) -> None:
    steered = _pairs(run, cost, "steered", unit)
    random = _pairs(run, cost, "random", unit)
    base, prompt = _single(run, cost, "unsteered"), _single(run, cost, "prompt")
    singles = [pair for pair in (base, prompt) if pair]
    _limit(axes, run, unit, [*steered, *random, *singles])
    _path(axes, random, None, "random")
    _path(axes, steered, base, "steered")
    if prompt:
        _bars(axes, prompt, "prompt")
        _mark(axes, prompt, "prompt", 7.5)
    if base:
        _bars(axes, base, "unsteered")
        _mark(axes, base, "unsteered", 13)
    ringed = [pair for pair in steered if is_chosen(run, _GAIN, unit, pair[0])]
    for gain, other in ringed:
        axes.plot(gain.value, other.value, "o", markersize=13, markerfacecolor="none", markeredgecolor=INK, zorder=5)
    points = [
        Point(gain.value, other.value, coefficient(gain.coefficient), strong=(gain, other) in ringed)
        for gain, other in steered
        if gain.coefficient != 0 or base is None
    ]
    label_points(axes, points, [(gain.value, other.value) for gain, other in [*random, *singles]])
    axes.set_xlabel(_GAIN.axis)
    axes.set_ylabel(cost.axis)


def _limit(axes: Axes, run: Run, unit: str, shown: list[Pair]) -> None:
    # all panels of a unit share the x axis, whatever their cost metric has measured
    everything = [pair for cost in _costs(run, unit) for pair in _pairs(run, cost, "steered", unit)] + shown
    across = [end for gain, _ in everything for end in gain.ends]
    up = [end for _, other in shown for end in other.ends]
    axes.set_xlim(*limits(across, least=20, floor=-3, ceiling=103))
    axes.set_ylim(*limits(up, least=20, floor=-3, ceiling=103))


def _path(axes: Axes, pairs: list[Pair], base: Pair | None, arm: str) -> None:
    """Points joined in the order of the coefficient, through the unsteered point where there is one."""
    joined = pairs
    if base and all(gain.coefficient != 0 for gain, _ in pairs):
        joined = sorted([*pairs, base], key=lambda pair: pair[0].coefficient)
    colour = ARM_COLOURS[arm]
    dashes = "--" if arm == "random" else "-"
    axes.plot(
        [gain.value for gain, _ in joined], [other.value for _, other in joined],
        dashes, color=colour, linewidth=1.1, alpha=0.8, zorder=3,
    )  # fmt: skip
    for pair in pairs:
        _bars(axes, pair, arm)
        _mark(axes, pair, arm, 5)


def _bars(axes: Axes, pair: Pair, arm: str) -> None:
    gain, other = pair
    axes.errorbar(
        gain.value, other.value, xerr=gain.arms, yerr=other.arms, fmt="none",
        ecolor=ARM_COLOURS[arm], elinewidth=0.9, alpha=0.38, zorder=2,
    )  # fmt: skip


def _mark(axes: Axes, pair: Pair, arm: str, size: float) -> None:
    axes.plot(
        pair[0].value, pair[1].value, ARM_MARKERS[arm], color=ARM_COLOURS[arm],
        markersize=size, markeredgewidth=0, zorder=4,
    )  # fmt: skip
