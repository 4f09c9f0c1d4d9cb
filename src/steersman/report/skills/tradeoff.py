"""The trade-off: how much of one skill is left, and what another one costs, along a rising coefficient.

Every line starts at (100, 100), the unsteered model. On the diagonal both skills fall alike, as general damage would
have it; on the horizontal only the removed one falls. Every chart shows the whole and the region around the level at
which the kept skill counts as kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Final

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from steersman.maths.statistics import Estimate
from steersman.report.figures import FAINT, FRONTIER, INK, Chart, Key, Panel, limits
from steersman.report.labels import Point as Label
from steersman.report.labels import label_points
from steersman.report.skills.faces import (
    ARM_WORDS,
    CONTROL_FACES,
    METRICS,
    Face,
    chosen_of,
    counts,
    face,
    layer_sets,
    layers_words,
    level,
    star,
    vectors_of,
)
from steersman.report.skills.record import Choice, Curve, Skills
from steersman.report.words import coefficient, slug

_BELOW: Final = 0.10
"""How far the cropped view reaches below the kept level, as a share."""


@dataclass(frozen=True)
class _Line:
    """One curve and how it is drawn."""

    curve: Curve
    face: Face
    control: bool


@dataclass(frozen=True)
class _View:
    """What one panel draws; `bars` for intervals, the crossing of the level and coefficients at the points."""

    record: Skills
    remove: str
    lines: tuple[_Line, ...]
    choice: Choice | None
    cropped: bool
    bars: bool

    def pair(self, curve: Curve, place: int) -> tuple[Estimate, Estimate]:
        """What is left of the removed and of the kept skill at a point of a curve, as fractions."""
        relative = curve.points[place].relative
        return relative[self.remove][self.record.metric], relative[self.record.keep][self.record.metric]

    def path(self, curve: Curve) -> list[tuple[float, float]]:
        """The curve in percent."""
        pairs = [self.pair(curve, place) for place in range(len(curve.points))]
        return [(100 * across.value, 100 * up.value) for across, up in pairs]

    def is_chosen(self, curve: Curve) -> bool:
        """Whether validation chose this vector at these layers."""
        choice = self.choice
        return choice is not None and curve.arm == "steered" and curve.is_of(choice.vector, choice.layers)


def test_tradeoffs(record: Skills) -> list[Chart]:
    """One chart per removed skill and tested setting: steered and its controls, with intervals both ways."""
    charts: list[Chart] = []
    for remove in record.removed:
        curves = record.curves("test", remove)
        for vector, layers in dict.fromkeys((c.vector, c.layers) for c in curves if c.arm == "steered"):
            mine = [curve for curve in curves if curve.is_of(vector, layers)]
            lines = _lines(mine, {layers: 0})
            choice = next((c for c in record.choices(remove) if (c.vector, c.layers) == (vector, layers)), None)
            name = slug("tradeoff", "test", vector, "layers", *map(str, layers))
            title = f"{remove} removed, on test: {vector}, {layers_words(layers)}"
            keys = [face(0).key("steered, by coefficient"), *_control_keys(mine)]
            keys.append(Key("diamond", "frontier", "passes the kept level"))
            charts.append(_chart(record, name, title, remove, lines, choice, keys, bars=True))
    return charts


def validation_tradeoffs(record: Skills) -> list[Chart]:
    """One chart per removed skill and vector, the chosen one first: a line for every set of layers."""
    charts: list[Chart] = []
    for remove in record.removed:
        curves = record.curves("validation", remove)
        sets = {layers: place for place, layers in enumerate(layer_sets(curves))}
        for vector in vectors_of(record, remove):
            mine = [curve for curve in curves if curve.vector == vector.name]
            if not mine:
                continue
            shown = [layers for layers in sets if any(c.layers == layers and c.arm == "steered" for c in mine)]
            keys = [face(sets[layers]).key(layers_words(layers)) for layers in shown]
            choice = next((c for c in record.choices(remove) if c.vector == vector.name), None)
            title = f"{remove} removed, on validation: {vector.name}"
            keys += _control_keys(mine)
            name = slug("tradeoff", "validation", vector.name)
            charts.append(_chart(record, name, title, remove, _lines(mine, sets), choice, keys, bars=False))
    return charts


def _lines(curves: Sequence[Curve], sets: dict[tuple[int, ...], int]) -> tuple[_Line, ...]:
    controls = [_Line(curve, CONTROL_FACES[curve.arm], True) for curve in curves if curve.arm in CONTROL_FACES]
    return (*controls, *(_Line(c, face(sets[c.layers]), False) for c in curves if c.arm not in CONTROL_FACES))


def _control_keys(curves: Sequence[Curve]) -> list[Key]:
    keys: list[Key] = []
    for arm, looks in CONTROL_FACES.items():
        seeds = {curve.seed for curve in curves if curve.arm == arm}
        if seeds:
            keys.append(looks.key(ARM_WORDS[arm] + (f", {len(seeds)} draws" if len(seeds) > 1 else "")))
    return keys


def _chart(
    record: Skills,
    name: str,
    title: str,
    remove: str,
    lines: tuple[_Line, ...],
    choice: Choice | None,
    keys: Sequence[Key],
    *,
    bars: bool,
) -> Chart:
    views = [_View(record, remove, lines, choice, cropped, bars) for cropped in (False, True)]
    titles = ("Whole", f"Around {record.keep} kept at {level(record)}")
    panels = tuple(
        Panel(
            slug(name, "cropped" if view.cropped else "whole"), words, _description(view), partial(_draw, view=view),
            width=5.1, height=4.2,
        )
        for view, words in zip(views, titles, strict=True)
    )  # fmt: skip
    legend = [
        *keys,
        Key("dotted", "frontier", f"{record.keep} kept at {level(record)}"),
        Key("dashed", "faint", "both fall alike (y = x)"),
        Key("line", "faint", f"only {remove} falls (y = 100)"),
        Key("star", "ink", "unsteered"),
    ]
    if choice:
        legend.append(Key("ring", "ink", f"chosen: {coefficient(choice.coefficient)}"))
    return Chart(name, title, _caption(views[0]), panels, 2, tuple(legend))


def _caption(view: _View) -> str:
    record = view.record
    ends = [view.pair(line.curve, -1)[0] for line in view.lines]
    said = (
        f"Lines start at the star, the unsteered model; the coefficient rises along them, in {record.unit} units. "
        f"Across: {METRICS[record.metric]} of {view.remove} relative to unsteered; up: that of {record.keep}. "
        "On the dashed diagonal both fall alike, as general damage does; the further above it, the more selective. "
    )
    if view.bars:
        return said + (
            f"Test texts ({counts(ends)} a corpus), seen by no choice; crosses: 95 % intervals, paired over texts. "
            f"Diamonds: where a line passes {level(record)} of {record.keep}, between the coefficients measured."
        )
    chosen = "Vector, layers and coefficient are chosen on these texts" if chosen_of(record, view.remove) else ""
    return said + f"Validation texts ({counts(ends)} a corpus). {chosen + '.' if chosen else ''}".strip()


def _description(view: _View) -> str:
    parts: list[str] = []
    for line in view.lines:
        across, up = view.path(line.curve)[-1]
        who = line.curve.arm if line.control else f"{layers_words(line.curve.layers)}"
        last = coefficient(line.curve.points[-1].coefficient)
        parts.append(f"{who}: {across:.0f} % of {view.remove} and {up:.0f} % of {view.record.keep} left at {last}")
    return f"Relative {METRICS[view.record.metric]}. {'; '.join(parts)}."


def _draw(axes: Axes, *, view: _View) -> None:
    (left, right), (bottom, top) = _limits(view)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    _references(axes, view)
    for line in view.lines:
        _path(axes, view, line)
    if view.bars:
        for line in view.lines:
            _crossing(axes, view, line)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10], integer=True))
    star(axes)
    _coefficients(axes, view)
    axes.set_xlabel(f"{view.remove}: {METRICS[view.record.metric]} (% of unsteered)")
    axes.set_ylabel(f"{view.record.keep}: {METRICS[view.record.metric]} (% of unsteered)")


def _limits(view: _View) -> tuple[tuple[float, float], tuple[float, float]]:
    """The limits across and up, in percent."""
    paths = [view.path(line.curve) for line in view.lines]
    if not view.cropped:
        seen = [100 * (view.record.retain - _BELOW), *(value for path in paths for point in path for value in point)]
        low, high = limits(seen, least=20, floor=-3, ceiling=float("inf"))
        return (low, max(104.0, high)), (low, max(104.0, high))  # one scale, so that the diagonal is one
    bottom = 100 * (view.record.retain - _BELOW)
    shown = [point for path in paths for point in _above(path, bottom)]
    left, right = limits([across for across, _ in shown], least=12, floor=-3, ceiling=float("inf"))
    top = max(102.0, max(up for _, up in shown) + 0.8)
    return (left, max(right, 102.0)), (bottom, top)


def _above(path: Sequence[tuple[float, float]], bottom: float) -> list[tuple[float, float]]:
    """The points at or above a height, with the places where the path crosses it."""
    found = [point for point in path if point[1] >= bottom]
    for (x0, y0), (x1, y1) in pairwise(path):
        if (y0 - bottom) * (y1 - bottom) < 0:
            found.append((x0 + (x1 - x0) * (y0 - bottom) / (y0 - y1), bottom))
    return found


def _references(axes: Axes, view: _View) -> None:
    """Draw the diagonal, the horizontal at 100 and the kept level; the legend has their words."""
    axes.plot([0, 130], [0, 130], "--", color=FAINT, linewidth=1.1, zorder=1.5)
    axes.axhline(100, color=FAINT, linewidth=1.1, zorder=1.5)
    axes.axhline(100 * view.record.retain, color=FRONTIER, linewidth=1.4, linestyle=":", zorder=1.6)


def _path(axes: Axes, view: _View, line: _Line) -> None:
    path = view.path(line.curve)
    faded = 0.5 if line.control else 0.95
    axes.plot(
        *zip(*path, strict=True), "--" if line.control else "-", color=line.face.colour, linewidth=1.1 if line.control
        else 1.5, alpha=faded, zorder=2.5 if line.control else 3.5,
    )  # fmt: skip
    axes.plot(
        *zip(*path[1:], strict=True), line.face.marker, color=line.face.colour, linestyle="", markeredgewidth=0,
        markersize=3.6 if line.control else 5, alpha=faded, zorder=2.6 if line.control else 4,
    )  # fmt: skip
    if not view.bars:
        return
    for place in range(1, len(line.curve.points)):
        _cross(axes, *view.pair(line.curve, place), line)


def _cross(axes: Axes, across: Estimate, up: Estimate, line: _Line) -> None:
    axes.errorbar(
        100 * across.value, 100 * up.value, xerr=_arms(across), yerr=_arms(up), fmt="none", ecolor=line.face.colour,
        elinewidth=0.8 if line.control else 1.1, alpha=0.25 if line.control else 0.5, zorder=2.4,
    )  # fmt: skip


def _arms(found: Estimate) -> list[list[float]]:
    """How far the interval reaches to either side, in percent."""
    return [[100 * max(0.0, found.value - found.low)], [100 * max(0.0, found.high - found.value)]]


def _crossing(axes: Axes, view: _View, line: _Line) -> None:
    kept = line.curve.kept
    if kept is None or view.remove not in kept.skills:
        return
    axes.plot(
        100 * kept.skills[view.remove].value, 100 * view.record.retain, "D", color=FRONTIER, markeredgewidth=0,
        markersize=4 if line.control else 7, alpha=0.55 if line.control else 1, zorder=3 if line.control else 5,
    )  # fmt: skip


def _coefficients(axes: Axes, view: _View) -> None:
    """Ring the chosen coefficient; on test, write every coefficient at its point."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()

    def inside(point: tuple[float, float]) -> bool:
        return left <= point[0] <= right and bottom <= point[1] <= top

    others = [point for line in view.lines if line.control for point in view.path(line.curve)]
    for line in view.lines:
        if line.control or not (view.is_chosen(line.curve) or view.bars):
            continue
        path, points = view.path(line.curve), line.curve.points
        at = view.choice and line.curve.at(view.choice.coefficient)
        labels: list[Label] = []
        for place, point in enumerate(points):
            strong = point is at
            if strong and inside(path[place]):
                axes.plot(
                    *path[place], "o", markersize=13, markerfacecolor="none", markeredgecolor=INK, zorder=5
                )  # fmt: skip
            if place and inside(path[place]) and (view.bars or strong):
                labels.append(Label(*path[place], coefficient(point.coefficient), strong=strong))
        label_points(axes, labels, [point for point in others if inside(point)])
