"""Every metric over the coefficient, a line per corpus with its band: where each skill begins to fall."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from matplotlib.axes import Axes

from steersman.maths.statistics import Estimate
from steersman.report.figures import FRONTIER, INK, PALETTE, Chart, Key, Panel, limits
from steersman.report.skills.faces import METRICS, counts, face, layers_words, level
from steersman.report.skills.record import ACCURACIES, LOSS, Choice, Curve, Point, Skills
from steersman.report.words import UNITS, coefficient, number, slug

Read = Callable[[Point, str], Estimate]


@dataclass(frozen=True)
class _View:
    """One metric of one steered curve and of its permuted controls."""

    record: Skills
    curve: Curve
    controls: tuple[Curve, ...]
    choice: Choice | None
    metric: str

    def read(self, point: Point, corpus: str) -> Estimate:
        """A corpus's value at a point, in percent or nats."""
        if self.metric == LOSS:
            return point.change[corpus]
        found = point.relative[corpus][self.metric]
        return Estimate(100 * found.value, 100 * found.low, 100 * found.high, found.n)

    @property
    def axis(self) -> str:
        """The words beside the axis, with the unit."""
        return "rise above unsteered (nats per token)" if self.metric == LOSS else "relative (% of unsteered)"


def metric_charts(record: Skills) -> list[Chart]:
    """One chart per tested setting: top-1, top-10 and cross-entropy of every corpus over the coefficient."""
    charts: list[Chart] = []
    for remove in record.removed:
        curves = record.curves("test", remove)
        for curve in curves:
            if curve.arm == "steered":
                mine = tuple(c for c in curves if c.arm == "permuted" and c.is_of(curve.vector, curve.layers))
                charts.append(_chart(record, curve, mine))
    return charts


def _chart(record: Skills, curve: Curve, controls: tuple[Curve, ...]) -> Chart:
    choices = (c for c in record.choices(curve.remove) if curve.is_of(c.vector, c.layers))
    choice = next(choices, None)
    views = [_View(record, curve, controls, choice, metric) for metric in (*ACCURACIES, LOSS)]
    where = (curve.vector, "layers", *map(str, curve.layers))
    panels = tuple(
        Panel(slug("metric", *where, view.metric), _title(view.metric), _description(view), partial(_draw, view=view),
              width=4.2, height=3.5)
        for view in views
    )  # fmt: skip
    keys = [face(place).key(_corpus_words(record, curve, name)) for place, name in enumerate(_corpora(record))]
    if controls:
        draws = f", mean of {len(controls)} draws" if len(controls) > 1 else ""
        keys.append(Key("dashed", "permuted", f"{curve.remove} under permuted coordinates{draws}"))
    keys.append(Key("dotted", "frontier", f"level of keeping, {level(record)}"))
    if choice:
        keys.append(Key("line", "faint", f"chosen: {coefficient(choice.coefficient)}"))
    last = [view.read(curve.points[-1], name) for view in views for name in _corpora(record)]
    unit = f", {UNITS[record.unit]}" if record.unit in UNITS else ""
    caption = (
        f"Test texts ({counts(last)} a corpus), the same tokens at every coefficient ({record.unit} "
        f"units{unit}). Bands: "
        "95 % intervals of the comparison with the unsteered model, paired over texts. Top-k accuracy: how often the "
        "text's next token is among the k most likely; cross-entropy: minus the mean log-probability of that token."
    )
    title = f"{curve.remove} removed, on test: {curve.vector}, {layers_words(curve.layers)}"
    return Chart(slug("metrics", *where), title, caption, panels, 3, tuple(keys))


def _title(metric: str) -> str:
    words = METRICS[metric]
    return f"{words[0].upper()}{words[1:]}, {'change' if metric == LOSS else 'relative'}"


def _corpora(record: Skills) -> list[str]:
    return [corpus.name for corpus in record.corpora]


def _corpus_words(record: Skills, curve: Curve, name: str) -> str:
    role = {record.keep: " (to be kept)", curve.remove: " (to be removed)"}
    return name + role.get(name, "")


def _description(view: _View) -> str:
    last = view.curve.points[-1]
    ends = "; ".join(f"{name} {number(view.read(last, name).value, 1)}" for name in _corpora(view.record))
    return f"{_title(view.metric)}, {view.axis}, against the coefficient; at {coefficient(last.coefficient)}: {ends}."


def _draw(axes: Axes, *, view: _View) -> None:
    points = view.curve.points
    across = [point.coefficient for point in points]
    seen: list[float] = []
    for place, name in enumerate(_corpora(view.record)):
        found = [view.read(point, name) for point in points]
        looks, thick = face(place), name == view.curve.remove
        values = [each.value for each in found]
        lows, highs = [each.low for each in found], [each.high for each in found]
        axes.fill_between(across, lows, highs, color=looks.colour, alpha=0.16, linewidth=0, zorder=2)
        axes.plot(
            across, values, "-", marker=looks.marker, color=looks.colour, linewidth=2.2 if thick else 1.3,
            markersize=5 if thick else 4, markeredgewidth=0, zorder=4 if thick else 3,
        )  # fmt: skip
        seen += [*values, *lows, *highs]
    seen += _control(axes, view)
    if view.choice:
        axes.axvline(view.choice.coefficient, color=PALETTE["faint"][0], linewidth=1.5, zorder=1.5)
    if view.metric == view.record.metric:
        axes.axhline(100 * view.record.retain, color=FRONTIER, linewidth=1.4, linestyle=":", zorder=1.6)
        seen.append(100 * view.record.retain)
    axes.axhline(0 if view.metric == LOSS else 100, color=INK, linewidth=0.8, zorder=1.4)
    least = 0.2 if view.metric == LOSS else 15.0
    axes.set_ylim(*limits(seen, least=least, floor=-float("inf"), ceiling=float("inf")))
    axes.set_xlim(-0.02 * across[-1], 1.03 * across[-1])
    axes.set_xlabel(f"coefficient ({view.record.unit} units)")
    axes.set_ylabel(view.axis)


def _control(axes: Axes, view: _View) -> Sequence[float]:
    """Draw the removed skill under permuted coordinates, the mean over draws where all have the coefficient."""
    shared = [
        point.coefficient
        for point in (view.controls[0].points if view.controls else ())
        if all(other.at(point.coefficient) for other in view.controls)
    ]
    if not shared:
        return []
    values = [
        fmean(view.read(point, view.curve.remove).value for c in view.controls if (point := c.at(at))) for at in shared
    ]
    axes.plot(shared, values, "--", color=PALETTE["permuted"][0], linewidth=1.5, zorder=3.5)
    return values
