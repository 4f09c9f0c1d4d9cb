"""Ways of steering several behaviours over their one global scale: what each behaviour does, and what it costs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from steersman.maths.statistics import Estimate
from steersman.report.behaviours.drawing import Line, behaviour_keys, counts_of, cut, draw_line, room
from steersman.report.behaviours.naming import KIND_WORDS, label
from steersman.report.behaviours.values import Curve, Point, Record
from steersman.report.figures import FAINT, FRONTIER, INK, PALETTE, Chart, Key, Panel, limits
from steersman.report.words import coefficient, signed, slug

_NAMED = 4
"""Ways of one panel of the tax: so many names have room in it."""
_WAYS = tuple(PALETTE[name][0] for name in ("ink", "negated", "shuffled", "permuted"))
"""Other colours than the behaviours': these lines are ways."""


@dataclass(frozen=True)
class _Cost:
    """What is drawn beside the behaviours: its words, how it is read off a point, and in multiples of what."""

    name: str
    title: str
    axis: str
    meaning: str
    read: Callable[[Point], Estimate | None]
    times: float
    least: float


_TAX = _Cost(
    "tax", "The tax: knowledge", "change of accuracy (points)",
    "The tax is the change of accuracy on questions of knowledge", lambda point: point.tax, 100.0, 4.0,
)  # fmt: skip
_PROSE = _Cost(
    "prose", "The cost: plain prose", "drift of plain prose (nats per token)",
    "The tax was not measured along these curves; the cost shown is how far the predictions of the next token in plain "
    "prose move from the unsteered model's (KL divergence)", lambda point: point.drift, 1.0, 0.1,
)  # fmt: skip


def curves_chart(record: Record) -> Chart | None:
    """Return a panel for each way, and one for the tax where it was measured; None without curves."""
    ways = _ways(record)
    if not ways:
        return None
    changes = [found for points in ways.values() for _, point in points for found in point.margin_change.values()]
    if not changes:
        return None
    up = limits(
        [0.0, *(end for found in changes for end in (found.low, found.high))],
        least=0.05,
        floor=-float("inf"),
        ceiling=float("inf"),
    )
    marks = _marks(record)
    panels = [_panel(record, words, points, up, marks.get(words, ())) for words, points in ways.items()]
    cost = next((cost for cost in (_TAX, _PROSE) if _costs(ways, cost)), None)
    if cost:
        panels += _cost_panels(_costs(ways, cost), cost)
    return Chart(
        name="scales",
        title="One scale for all",
        caption=(
            "The scale multiplies every behaviour's own coefficient at once; to the left of 0 all are steered away "
            f"from the behaviours. Paired change of the margin ({record.nats}) from the unsteered model on the "
            f"validation items, {counts_of(found.n for found in changes)}; thin bars are 95 % intervals. "
            "Black: the mean over behaviours. Green line: the scale that is used on the test items."
            + _cost_words(ways, cost)
        ),
        panels=tuple(panels),
        columns=min(2, len(panels)),
        legend=(
            *behaviour_keys(record.names),
            Key("line", "ink", "mean"),
            Key("dashed", "frontier", "scale used"),
        ),
    )


def _ways(record: Record) -> dict[str, list[tuple[float, Point]]]:
    """Return the points of each way, both signs together, by rising signed scale."""
    found: dict[str, dict[float, Point]] = {}
    for curve in record.curves:
        mine = found.setdefault(_label(record, curve), {})
        for point in curve.points:
            mine.setdefault(_signed(point.scale, curve.sign), point)
    return {words: sorted(points.items()) for words, points in found.items() if points}


def _label(record: Record, curve: Curve) -> str:
    settings = {each.name: each for each in record.settings}
    if curve.setting in settings:
        words = label(settings[curve.setting], record)
    else:
        words = curve.setting.rstrip("+-()− ").strip(" ,:") or KIND_WORDS.get(curve.kind, curve.kind)
    return words if curve.sign else f"{words}, mixed signs"


def _signed(scale: float, sign: int) -> float:
    return scale if scale <= 0 or sign >= 0 else -scale


def _marks(record: Record) -> dict[str, tuple[float, ...]]:
    """Return by way the scales that were used on the test items."""
    scales = {each.name: each.scale for each in record.settings}
    found: dict[str, tuple[float, ...]] = {}
    for curve in record.curves:
        scale = scales.get(curve.setting)
        if scale:
            words = _label(record, curve)
            found[words] = (*found.get(words, ()), _signed(scale, curve.sign))
    return found


def _panel(
    record: Record,
    words: str,
    points: Sequence[tuple[float, Point]],
    up: tuple[float, float],
    marks: Sequence[float],
) -> Panel:
    lines: list[Line] = []
    for place, name in enumerate(record.names):
        found = [(at, point.margin_change[name]) for at, point in points if name in point.margin_change]
        if found:
            lines.append(Line(name, place, tuple((at, e.value, e.low, e.high) for at, e in found)))
    said = [
        f"{line.name} from {signed(line.points[0][1], 2)} at {coefficient(line.points[0][0])} to "
        f"{signed(line.points[-1][1], 2)} at {coefficient(line.points[-1][0])}"
        for line in lines
    ]
    used = f" Used: {', '.join(coefficient(at) for at in marks)}." if marks else ""
    return Panel(
        name=slug("scales", words),
        title=cut(words, 46),
        description=f"{words}, change of the margin in {record.nats} over the scale: {'; '.join(said)}.{used}",
        draw=partial(_draw, lines=lines, points=points, up=up, marks=marks, nats=record.nats),
        width=4.9,
        height=3.2,
    )


def _draw(
    axes: Axes,
    *,
    lines: Sequence[Line],
    points: Sequence[tuple[float, Point]],
    up: tuple[float, float],
    marks: Sequence[float],
    nats: str,
) -> None:
    for line in lines:
        draw_line(axes, line)
    if len(lines) > 1:
        means = [(at, [e.value for e in p.margin_change.values()]) for at, p in points if p.margin_change]
        axes.plot(
            [at for at, _ in means], [sum(values) / len(values) for _, values in means],
            color=INK, linewidth=2.4, zorder=4,
        )  # fmt: skip
    _frame(axes, [at for at, _ in points], marks)
    axes.set_ylim(*up)
    axes.set_ylabel(f"change of the margin ({nats})", fontsize=8.5)


def _frame(axes: Axes, across: Sequence[float], marks: Sequence[float]) -> None:
    axes.axhline(0, color=FAINT, linewidth=0.9, zorder=1)
    for at in marks:
        axes.axvline(at, color=FRONTIER, linewidth=1.5, linestyle="--", zorder=1.5)
    ends = limits([0.0, *across, *marks], least=0.1, floor=-float("inf"), ceiling=float("inf"))
    axes.set_xlim(*ends)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(lambda value, _: coefficient(round(value, 6)))
    room(axes, left=0.14)
    axes.set_xlabel("scale (multiples of the chosen coefficients)")


def _costs(ways: Mapping[str, Sequence[tuple[float, Point]]], cost: _Cost) -> list[Line]:
    """Return a cost over the scale for each way where it was measured."""
    lines: list[Line] = []
    for place, (words, points) in enumerate(ways.items()):
        found = [(at, estimate) for at, point in points if (estimate := cost.read(point))]
        if found:
            times = cost.times
            ends = tuple((at, times * e.value, times * e.low, times * e.high) for at, e in found)
            lines.append(Line(words, place, ends))
    return lines


def _cost_panels(lines: Sequence[Line], cost: _Cost) -> list[Panel]:
    values = [end for line in lines for point in line.points for end in point[1:]]
    up = limits([0.0, *values], least=cost.least, floor=-float("inf"), ceiling=float("inf"))
    return [
        Panel(
            name=slug("scales", cost.name, str(start)),
            title=cost.title + (", further ways" if start else ""),
            description=f"{cost.axis} over the scale: {'; '.join(map(_span, lines[start : start + _NAMED]))}.",
            draw=partial(_draw_cost, lines=lines[start : start + _NAMED], up=up, axis=cost.axis),
            width=4.9,
            height=3.2,
        )
        for start in range(0, len(lines), _NAMED)
    ]


def _span(line: Line) -> str:
    values = [value for _, value, _, _ in line.points]
    return f"{line.name} from {signed(min(values), 2)} to {signed(max(values), 2)}"


def _cost_words(ways: Mapping[str, Sequence[tuple[float, Point]]], cost: _Cost | None) -> str:
    if cost is None:
        return " What it costs was not measured along these curves."
    found = [estimate.n for points in ways.values() for _, point in points if (estimate := cost.read(point))]
    return f" {cost.meaning}, {counts_of(found)}."


def _draw_cost(axes: Axes, *, lines: Sequence[Line], up: tuple[float, float], axis: str) -> None:
    for line in lines:
        colour = _WAYS[line.place % _NAMED]
        draw_line(axes, line, color=colour, label=cut(line.name, 34))
    low, high = up
    shown = len(lines) > 1
    # a strip at the bottom for the names
    share = 0.075 * len(lines) + 0.03 if shown else 0.0
    axes.set_ylim(low - share / (1 - share) * (high - low), high)
    _frame(axes, [at for line in lines for at, *_ in line.points], ())
    axes.set_ylabel(axis, fontsize=8.5)
    if shown:
        axes.legend(loc="lower left", fontsize=8, handlelength=1.6, labelspacing=0.25, borderpad=0.2)
