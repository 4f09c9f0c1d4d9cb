"""The trade-off: what is gained against what it costs, one point per coefficient, and the frontier of the best."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes

from steersman.report.figures import ARM_COLOURS, ARM_MARKERS, FRONTIER, INK, Chart, Key, Panel, limits
from steersman.report.frontier import Frontier, Pair, frontier_of
from steersman.report.labels import Point, label_points
from steersman.report.metrics import Metric
from steersman.report.plainly import gain_of, wanted
from steersman.report.series import alone, is_chosen, legend_for, over_coefficients, units_in
from steersman.report.tables import metrics_in
from steersman.report.values import Run
from steersman.report.words import UNITS, coefficient, slug

_COSTS = (
    ("helpfulness", "helpful_rate"),
    ("knowledge", "accuracy_text"),
    ("knowledge", "accuracy_letter"),
    ("skill", "top1_accuracy"),
    ("fluency", "cross_entropy"),
    ("drift", "drift"),
    ("coherence", "completion_logprob"),
)
_LEGEND = (
    Key("circle", "steered", "steered, by coefficient"),
    Key("square", "random", "random direction"),
    Key("diamond", "prompt", "system prompt"),
    Key("diamond", "both", "system prompt and steering"),
    Key("dotted", "frontier", "frontier"),
    Key("star", "ink", "unsteered"),
    Key("ring", "ink", "chosen"),
)


def tradeoff_charts(run: Run) -> list[Chart]:
    """One chart per unit in which the gain and a cost were measured; the chosen unit's first."""
    charts: list[Chart] = []
    gain = gain_of(run)
    for unit in units_in(run):
        if gain is None:
            break
        costs = _costs(run, gain, unit)
        if not costs:
            continue
        views = [_View(run, unit, gain, cost) for cost in costs]
        areas = [f"{view.cost.label}: {view.frontier.words}" for view in views if view.frontier.words]
        charts.append(
            Chart(
                name=slug("tradeoff", unit),
                title=f"Trade-off, coefficients in {unit} units",
                caption=" ".join([_caption(run, unit, gain, costs), *areas]),
                panels=tuple(_panel(view, costs) for view in views),
                columns=1,  # panels share the x axis, so in the files they stand one above the other
                legend=legend_for(run, unit, _LEGEND),
            )
        )
    return charts


def _caption(run: Run, unit: str, gain: Metric, costs: Sequence[Metric]) -> str:
    return (
        "Every point is one coefficient, joined in the order of the coefficient, which is in "
        f"{unit} units: {UNITS.get(unit, unit)}. Bars are 95 % intervals. {_better(run, gain, costs)}"
    )


def _better(run: Run, gain: Metric, costs: Sequence[Metric]) -> str:
    across = "Right" if wanted(run, gain) > 0 else "Left"
    ways = {"down" if cost.better == "lower" else "up" for cost in costs}
    return f"{across} and {ways.pop()} is better." if len(ways) == 1 else f"{across} is better."


def _costs(run: Run, gain: Metric, unit: str) -> list[Metric]:
    """At most two: what was measured at the gain's coefficients, helpfulness and knowledge first."""
    present = [metric for metric in metrics_in(run.results) if metric.key != gain.key and metric.better]
    known = [metric for key in _COSTS for metric in present if metric.key == key]
    # the letter score stands in only where the text score is absent
    if any(metric.name == "accuracy_text" for metric in known):
        known = [metric for metric in known if metric.name != "accuracy_letter"]
    others = [metric for metric in present if metric not in known and metric.task != gain.task]
    found = [metric for metric in [*known, *others] if _pairs(run, gain, metric, "steered", unit)]
    return found[:2]


def _pairs(run: Run, gain: Metric, cost: Metric, arm: str, unit: str) -> list[Pair]:
    """Both metrics of an arm at the coefficients where both were measured, unsteered at 0 included for steered."""
    gains = over_coefficients(run, gain, arm, unit)
    costs = {dot.coefficient: dot for dot in over_coefficients(run, cost, arm, unit)}
    return [(dot, costs[dot.coefficient]) for dot in gains if dot.coefficient in costs]


@dataclass(frozen=True)
class _View:
    """One panel's numbers."""

    run: Run
    unit: str
    gain: Metric
    cost: Metric

    def pairs(self, arm: str) -> list[Pair]:
        """Gain and cost of an arm, by rising coefficient."""
        return _pairs(self.run, self.gain, self.cost, arm, self.unit)

    def single(self, arm: str) -> Pair | None:
        """Gain and cost of an arm without a coefficient."""
        found, other = alone(self.run, self.gain, arm), alone(self.run, self.cost, arm)
        return (found, other) if found and other else None

    @property
    def frontier(self) -> Frontier:
        """What nothing beats."""
        return frontier_of(
            self.gain,
            self.cost,
            wanted(self.run, self.gain),
            self.pairs("steered"),
            self.single("unsteered"),
            self.single("prompt"),
        )


def _panel(view: _View, costs: Sequence[Metric]) -> Panel:
    pairs = view.pairs("steered")
    first, last = pairs[0], pairs[-1]
    return Panel(
        name=slug("tradeoff", view.unit, view.cost.task, view.cost.name),
        title=view.cost.label,
        description=(
            f"{view.gain.label}, {view.gain.axis}, against {view.cost.label}, {view.cost.axis}: {len(pairs)} steered "
            f"coefficients from {coefficient(first[0].coefficient)} ({first[0].value:.3g} across, "
            f"{first[1].value:.3g} up) to {coefficient(last[0].coefficient)} ({last[0].value:.3g} across, "
            f"{last[1].value:.3g} up)."
        ),
        draw=partial(_draw, view=view, costs=costs),
        width=4.9,
        height=3.8,
    )


def _draw(axes: Axes, *, view: _View, costs: Sequence[Metric]) -> None:
    steered = view.pairs("steered")
    base, prompt = view.single("unsteered"), view.single("prompt")
    others = [(arm, view.pairs(arm)) for arm in ("random", "prompt+steered")]
    singles = [pair for pair in (base, prompt) if pair]
    beside = [*(pair for _, pairs in others for pair in pairs), *singles]
    _limit(axes, view, costs, [*steered, *beside])
    for arm, pairs in others:
        _path(axes, pairs, None, arm)
    _stairs(axes, view)
    _path(axes, steered, base, "steered")
    if prompt:
        _bars(axes, prompt, "prompt")
        _mark(axes, prompt, "prompt", 7.5)
    if base:
        _bars(axes, base, "unsteered")
        _mark(axes, base, "unsteered", 13)
    ringed = [pair for pair in steered if is_chosen(view.run, view.gain, view.unit, pair[0])]
    for gain, other in ringed:
        axes.plot(gain.value, other.value, "o", markersize=13, markerfacecolor="none", markeredgecolor=INK, zorder=5)
    points = [
        Point(gain.value, other.value, coefficient(gain.coefficient), strong=(gain, other) in ringed)
        for gain, other in steered
        if gain.coefficient != 0 or base is None
    ]
    label_points(axes, points, [(gain.value, other.value) for gain, other in beside])
    axes.set_xlabel(view.gain.axis)
    axes.set_ylabel(view.cost.axis)


def _stairs(axes: Axes, view: _View) -> None:
    """The frontier as stairs: between two of its points nothing better than the dearer one's cost is known."""
    pairs = view.frontier.pairs
    if len(pairs) < 2:
        return
    axes.step(
        [gain.value for gain, _ in pairs], [cost.value for _, cost in pairs], ":", where="pre",
        color=FRONTIER, linewidth=1.6, zorder=2.5,
    )  # fmt: skip


def _limit(axes: Axes, view: _View, costs: Sequence[Metric], shown: list[Pair]) -> None:
    # all panels of a unit share the x axis, whatever their cost metric has measured
    everywhere = [pair for cost in costs for pair in _pairs(view.run, view.gain, cost, "steered", view.unit)]
    across = [end for gain, _ in [*everywhere, *shown] for end in gain.ends]
    up = [end for _, other in shown for end in other.ends]
    axes.set_xlim(*_span(view.gain, across))
    axes.set_ylim(*_span(view.cost, up))


def _span(metric: Metric, ends: Sequence[float]) -> tuple[float, float]:
    if metric.percent:
        return limits(ends, least=20, floor=-3, ceiling=103)
    return limits(ends, least=0.2, floor=-math.inf, ceiling=math.inf)


def _path(axes: Axes, pairs: list[Pair], base: Pair | None, arm: str) -> None:
    """Points joined in the order of the coefficient, through the unsteered point where there is one."""
    joined = pairs
    if base and all(gain.coefficient != 0 for gain, _ in pairs):
        joined = sorted([*pairs, base], key=lambda pair: pair[0].coefficient)
    colour = ARM_COLOURS[arm]
    dashes = "-" if arm == "steered" else "--"
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
