"""Every way of steering on the test items: the change of each behaviour as bars with intervals, and the tax beside."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes

from steersman.maths.statistics import Estimate
from steersman.report.behaviours.drawing import counts_of, cut, room
from steersman.report.behaviours.naming import Row, rows_of, sign_mark
from steersman.report.behaviours.values import Record
from steersman.report.figures import FAINT, INK, PALETTE, Chart, Key, Panel, limits
from steersman.report.words import signed, slug

_POSITIVE, _NEGATIVE, _NEUTRAL = (PALETTE[name][0] for name in ("steered", "prompt", "random"))
_LABEL = 38
"""Characters of a row's name."""


@dataclass(frozen=True)
class Bar:
    """One row of a panel: its name and, by sign, what came."""

    label: str
    found: tuple[tuple[int, Estimate], ...]


def bars_chart(record: Record) -> Chart | None:
    """Return a panel for each behaviour and one for the tax; None before anything was steered."""
    rows = rows_of(record)
    views = [(name, bars) for name in record.names if (bars := _of(rows, name))]
    if not views:
        return None
    taxes = _taxes(rows)
    ends = [end for _, bars in views for bar in bars for _, found in bar.found for end in (found.low, found.high)]
    across = limits([0.0, *ends], least=0.05, floor=-float("inf"), ceiling=float("inf"))
    most = max(len(bars) for _, bars in [*views, ("", taxes)])
    height = max(2.3, 1.05 + 0.31 * most)
    axis = f"change of the margin ({record.nats})"
    panels = [_panel(slug("bars", name), name, axis, bars, across, height) for name, bars in views]
    if taxes:
        ends = [100 * end for bar in taxes for _, found in bar.found for end in (found.low, found.high)]
        span = limits([0.0, *ends], least=4, floor=-105, ceiling=105)
        unit = "change of knowledge accuracy (points)"
        panels.append(_panel("bars-tax", "The tax: knowledge", unit, taxes, span, height, scale=100))
    signs = {sign for _, bars in views for bar in bars for sign, _ in bar.found}
    items = counts_of(found.n for _, bars in views for bar in bars for _, found in bar.found)
    return Chart(
        name="settings",
        title="Alone, together, and the controls",
        caption=(
            "Paired change from the unsteered model on the test items, which no choice has seen, with 95 % intervals; "
            f"{items} for each behaviour. The margin is the log-probability of the option that shows the "
            f"behaviour minus that of the other, in {record.nats}. {_alone(record)}"
            f"{_tax_words(taxes)} The panels of behaviours share one axis. "
            "Intervals are not widened for the number of bars."
        ),
        panels=tuple(panels),
        columns=min(2, len(panels)),
        legend=tuple(
            Key("square", colour, text)
            for sign, colour, text in (
                (1, "steered", "steered towards the behaviour (+)"),
                (-1, "prompt", "away from it (−)"),
                (0, "random", "some towards, some away (±)"),
            )
            if sign in signs
        ),
    )


def _alone(record: Record) -> str:
    if len(record.names) < 2:
        return ""
    return "“Alone” is that behaviour's own vector by itself; in every other row all behaviours are steered at once. "


def _tax_words(taxes: Sequence[Bar]) -> str:
    if not taxes:
        return "No tax was measured."
    counts = counts_of(found.n for bar in taxes for _, found in bar.found)
    return f"The tax is the change of accuracy on questions of knowledge, {counts}; to the left is dearer."


def _of(rows: Sequence[Row], name: str) -> list[Bar]:
    bars: list[Bar] = []
    for row in rows:
        scores = [(sign, row.score(name, sign)) for sign in row.signs]
        found = tuple((sign, score.margin_change) for sign, score in scores if score)
        if found:
            bars.append(Bar(row.label, found))
    return bars


def _taxes(rows: Sequence[Row]) -> list[Bar]:
    """Return the tax of every setting, those of one behaviour alone each in a row of its own."""
    found: dict[str, list[tuple[int, Estimate]]] = {}
    for row in rows:
        for sign in row.signs:
            for name, tax in row.taxes(sign):
                words = f"{name}, {row.label}" if name else row.label
                found.setdefault(words, []).append((sign, tax.change))
    return [Bar(words, tuple(several)) for words, several in found.items()]


def _panel(
    name: str, title: str, axis: str, bars: Sequence[Bar], across: tuple[float, float], height: float, scale: float = 1
) -> Panel:
    said = [
        f"{bar.label} {sign_mark(sign)} {signed(scale * found.value, 2)} ({signed(scale * found.low, 2)} to "
        f"{signed(scale * found.high, 2)})"
        for bar in bars
        for sign, found in bar.found
    ]
    return Panel(
        name=name,
        title=title,
        description=f"{title}, {axis}: {'; '.join(said)}.",
        draw=partial(_draw, bars=bars, axis=axis, across=across, scale=scale),
        width=6.2,
        height=height,
    )


def _draw(axes: Axes, *, bars: Sequence[Bar], axis: str, across: tuple[float, float], scale: float) -> None:
    longest = max(len(cut(bar.label, _LABEL)) for bar in bars)
    room(axes, left=max(0.0, 0.062 * longest - 0.34))
    colours = {1: _POSITIVE, -1: _NEGATIVE}
    for place, bar in enumerate(bars):
        thick = 0.74 / max(2, len(bar.found))
        for turn, (sign, found) in enumerate(bar.found):
            at = place + (turn - (len(bar.found) - 1) / 2) * thick
            axes.barh(at, scale * found.value, height=0.86 * thick, color=colours.get(sign, _NEUTRAL), zorder=3)
            axes.plot([scale * found.low, scale * found.high], [at, at], color=INK, linewidth=1.1, zorder=4)
    axes.axvline(0, color=FAINT, linewidth=0.9, zorder=2)
    for place in range(1, len(bars)):
        axes.axhline(place - 0.5, color=PALETTE["grid"][0], linewidth=0.7, zorder=1)
    axes.set_xlim(*across)
    axes.set_ylim(len(bars) - 0.45, -0.55)
    axes.set_yticks(range(len(bars)), [cut(bar.label, _LABEL) for bar in bars], fontsize=8.5, color=INK)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(axis)
