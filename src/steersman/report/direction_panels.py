"""How the panels of a direction's picture are drawn: lines by layer, squares of cosines, maps of heads, a few sites."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.image import AxesImage
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, NullFormatter

from steersman.inspection import Cosines
from steersman.report.figures import CARD, FAINT, GRID, INK, PALETTE
from steersman.report.words import number

COLOURS = tuple(PALETTE[name][0] for name in ("steered", "prompt", "harmless", "harmful", "ink", "random"))
MARKERS = ("o", "s", "D", "^", "v", "P")
BOTH_WAYS = LinearSegmentedColormap.from_list("both", [PALETTE["prompt"][0], CARD, PALETTE["steered"][0]])
ONE_WAY = LinearSegmentedColormap.from_list("one", [CARD, PALETTE["steered"][0]])


@dataclass(frozen=True)
class Series:
    """One line: its name, its place among the colours, and `(layer, value)` where it is known."""

    name: str
    place: int
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class View:
    """One panel of lines: what it is called, its unit, how to read it, and where it lies.

    A line across comes with words, which stand at the top: the limits leave that strip free.
    """

    name: str
    title: str
    axis: str
    series: tuple[Series, ...]
    limits: tuple[float, float] | None = None
    log: bool = False
    line: tuple[float, str] | None = None


@dataclass(frozen=True)
class Map:
    """A figure of attention heads by layer and head; `None` where there is none."""

    title: str
    unit: str
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    values: tuple[tuple[float | None, ...], ...]
    limits: tuple[float, float]
    colours: Colormap


@dataclass(frozen=True)
class Row:
    """One row of marks on a common axis: its words, and a value for each entry; `None` where it is not known."""

    words: str
    values: tuple[float | None, ...]


def draw_lines(axes: Axes, *, view: View) -> None:
    """Draw values by layer, with ticks at layers that are there."""
    several = sum(len(series.points) for series in view.series) > 24
    for series in view.series:
        colour, marker = COLOURS[series.place % len(COLOURS)], MARKERS[series.place % len(MARKERS)]
        below = max(0, min(3, len(view.series) - 1 - series.place))  # wider where others may lie on top of it
        axes.plot(
            *zip(*series.points, strict=True), color=colour, label=cut(series.name, 32), zorder=3, marker=marker,
            markersize=(3.2 if several else 4.5) + 1.2 * below, markeredgewidth=0, linewidth=1.3 + 0.9 * below,
        )  # fmt: skip
    axes.set_xlabel("layer (0-based decoder block)")
    axes.set_ylabel(view.axis)
    layers = sorted({layer for series in view.series for layer, _ in series.points})
    axes.set_xlim(layers[0] - 0.8, layers[-1] + 0.8)
    axes.set_xticks(_thinned(layers, 8))
    if view.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    if view.limits:
        axes.set_ylim(*view.limits)
    if view.line:
        height, words = view.line
        axes.axhline(height, color=FAINT, linewidth=1, linestyle="--", zorder=2)
        axes.text(0.99, 0.985, words, transform=axes.transAxes, ha="right", va="top", fontsize=8, color=FAINT)
    if len(view.series) > 1 and not view.line:  # that panel's strip is taken; its colours are those of the first panel
        axes.legend(loc="best", fontsize=8, handlelength=1.4, labelspacing=0.25, borderpad=0.2, framealpha=0.85)


def draw_square(axes: Axes, *, square: Cosines, labels: Sequence[str]) -> None:
    """Draw cosines as a square of colours, -1 to 1 on one scale in every picture; small squares carry their numbers."""
    count = len(labels)
    image = axes.imshow(square.values, cmap=BOTH_WAYS, vmin=-1, vmax=1, interpolation="nearest")
    axes.set_anchor("W")
    axes.grid(visible=False)
    figure = axes.get_figure()
    assert figure is not None
    place = axes.get_position(original=True)
    _widen_title(axes, max(1.0, place.width * figure.bbox.width / (place.height * figure.bbox.height)))
    shown = _thinned(range(count), 8)
    across = all(len(label) <= 3 for label in labels)
    axes.set_yticks(shown, [cut(labels[place], 13) for place in shown], fontsize=9 if across else 7.5)
    if across:
        axes.set_xticks(shown, [labels[place] for place in shown])
        axes.set_xlabel("layer")
        axes.set_ylabel("layer")
    else:  # the same names, in the same order
        axes.set_xticks([])
    if count <= 6:
        for row, values in enumerate(square.values):
            for column, value in enumerate(values):
                colour = CARD if abs(value) > 0.6 else INK
                axes.text(column, row, number(value, 2), ha="center", va="center", fontsize=8, color=colour)
    _bar(axes, image, (-1, -0.5, 0, 0.5, 1), "cosine (−1 to 1)")


def draw_map(axes: Axes, *, shown: Map) -> None:
    """Draw a figure of heads as colours, a row for each layer and a column for each head; small maps carry numbers."""
    empty = float("nan")
    values = [[empty if value is None else value for value in row] for row in shown.values]
    low, high = shown.limits
    image = axes.imshow(values, cmap=shown.colours, vmin=low, vmax=high, interpolation="nearest", aspect="auto")
    axes.grid(visible=False)
    place = axes.get_position(original=True)
    axes.set_position((place.x0, place.y0, 0.8 * place.width, place.height))  # room for the bar of colours
    _widen_title(axes, 1 / 0.8)
    for ticks, names in ((axes.set_xticks, shown.heads), (axes.set_yticks, shown.layers)):
        places = _thinned(range(len(names)), 12)
        ticks(places, [str(names[place]) for place in places])
    axes.set_xlabel("head (0-based)")
    axes.set_ylabel("layer")
    if len(shown.heads) <= 12 and len(shown.layers) <= 12:
        for row, line in enumerate(shown.values):
            for column, value in enumerate(line):
                if value is not None:
                    share = abs(value - (low + high) / 2) / (high - low) * 2 if shown.colours is BOTH_WAYS else (
                        (value - low) / (high - low)
                    )  # fmt: skip
                    words = number(value, 2 if high <= 1 else 0)
                    colour = CARD if share > 0.6 else INK
                    axes.text(column, row, words, ha="center", va="center", fontsize=7, color=colour)
    _bar(axes, image, [low + part * (high - low) / 4 for part in range(5)], shown.unit)


def draw_bars(axes: Axes, *, rows: Sequence[Row], unit: str, floor: float) -> None:
    """Draw one bar a row from 0, its words above it."""
    values = [row.values[0] or 0.0 for row in rows]
    colours = [COLOURS[place % len(COLOURS)] for place in range(len(rows))]
    axes.barh(range(len(rows)), values, height=0.3, color=colours, zorder=3)
    axes.set_xlim(0, max(floor, 1.15 * max(values)))
    _words_above(axes, rows, 0.0)
    axes.set_xlabel(unit)


def draw_marks(axes: Axes, *, rows: Sequence[Row], names: Sequence[str], unit: str) -> None:
    """Draw one mark an entry on every row, the row's words with its values above it, from 0 (or -1) to 1."""
    low = -1.0 if any(value is not None and value < 0 for row in rows for value in row.values) else 0.0
    for entry, name in enumerate(names):
        known = [(row.values[entry], place) for place, row in enumerate(rows) if row.values[entry] is not None]
        axes.plot(
            *zip(*known, strict=True), linestyle="", color=COLOURS[entry % len(COLOURS)], label=cut(name, 26),
            marker=MARKERS[entry % len(MARKERS)], markersize=6 + 1.2 * max(0, min(3, len(names) - 1 - entry)),
            markeredgewidth=0, zorder=3, clip_on=False,
        )  # fmt: skip
    for place in range(len(rows)):
        axes.plot([low, 1], [place, place], color=GRID, linewidth=1, zorder=1)
    axes.set_xlim(low - 0.02, 1.02)
    _words_above(axes, rows, low)
    axes.set_xlabel(unit)
    if 1 < len(names) <= 3 and sum(map(len, names)) <= 36:  # longer ones stand at the bars, in the same colours
        axes.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=min(3, len(names)), fontsize=8, handlelength=1,
            columnspacing=0.9, handletextpad=0.2, borderpad=0,
        )  # fmt: skip


def _words_above(axes: Axes, rows: Sequence[Row], left: float) -> None:
    for place, row in enumerate(rows):
        axes.text(left, place - 0.24, row.words, ha="left", va="bottom", fontsize=8, color=INK)
    axes.set_ylim(max(len(rows), 3) - 0.5, -0.75)  # the first row on top; a single bar no thicker than three
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")


def _bar(axes: Axes, image: AxesImage, ticks: Sequence[float], unit: str) -> None:
    figure = axes.get_figure()
    assert figure is not None
    bar = figure.colorbar(image, cax=axes.inset_axes((1.06, 0, 0.05, 1)), ticks=list(ticks))
    digits = 1 if all(abs(round(tick, 1) - tick) < 1e-9 for tick in ticks) else 2
    bar.ax.set_yticklabels([number(tick, digits if abs(ticks[-1]) <= 1 else 0) for tick in ticks], fontsize=8)
    bar.set_label(unit, fontsize=8.5, color=FAINT)
    bar.outline.set_visible(False)  # type: ignore[operator]


def _widen_title(axes: Axes, factor: float) -> None:
    """Leave the title where it stood in an axes that has become narrower: its place is counted in widths of it."""
    title = axes.get_title(loc="left")
    for child in axes.get_children():
        if isinstance(child, Text) and child.get_text() == title:
            child.set_x(child.get_position()[0] * factor)


def _thinned(places: Sequence[int], most: int) -> list[int]:
    """Return at most so many of some places, evenly apart."""
    return list(places[:: max(1, -(-len(places) // most))])


def cut(text: str, most: int) -> str:
    """Return a text of at most so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
