"""The picture of a direction, or of several: how long, how stable, how much of it in two coordinates, how alike."""

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from steersman.direction import Direction
from steersman.errors import FileError, InputError
from steersman.inspection import Cosines, SiteFigures, compare, inspect_direction, layer_cosines
from steersman.methods.fitting import MASSIVE_SHARE
from steersman.report.figures import CARD, FAINT, INK, PALETTE, Chart, Panel, limits, save_chart
from steersman.report.words import number
from steersman.report.writing import write_atomically
from steersman.where import Point, Site

FORMS = (".png", ".svg")
COLOURS = tuple(PALETTE[name][0] for name in ("steered", "prompt", "harmless", "harmful", "ink", "random"))
MARKERS = ("o", "s", "D", "^", "v", "P")
_COSINES = LinearSegmentedColormap.from_list("cosines", [PALETTE["prompt"][0], CARD, PALETTE["steered"][0]])


@dataclass(frozen=True)
class _Series:
    """One line: its name, its place among the colours, and `(layer, value)` where it is known."""

    name: str
    place: int
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class _View:
    """One panel of lines: what it is called, its unit, how to read it, and where it lies."""

    name: str
    title: str
    axis: str
    series: tuple[_Series, ...]
    limits: tuple[float, float] | None = None
    log: bool = False
    line: tuple[float, str] | None = None


def plot_directions(directions: Mapping[str, Direction], path: str | Path, *, force: bool = True) -> Path:
    """Return the path of the picture written: the panels by layer, and how alike the vectors are.

    One direction shows its norms, its diagnostics, its massive share and the cosines between its layers; several show
    the first three beside each other and the cosines between them, at the site nearest to 40 % of the depth that all of
    them hold. Layers are those of the point that holds most sites; other points are in the table of `inspect`.

    Args:
        directions: by name, one or more.
        path: a file name that ends in `.png` or `.svg`.
        force: replace an existing file.

    Raises:
        FileError: for another ending, a file that exists or cannot be written.
        InputError: for no direction, or several that hold no site together.
        MismatchError: for directions of models of other shapes.
    """
    target = Path(path).expanduser()
    if target.suffix not in FORMS:
        raise FileError(f"expected a picture's name ending in {' or '.join(FORMS)}, got {target.name!r}")
    if target.exists() and not force:
        raise FileError(f"{target} exists already; give another name, or --force to replace it")
    chart = direction_chart(directions)
    with tempfile.TemporaryDirectory() as folder:
        for written in save_chart(chart, Path(folder)):
            if written.suffix == target.suffix:
                write_atomically(target, written.read_bytes())
    return target


def direction_chart(directions: Mapping[str, Direction]) -> Chart:
    """Return the chart of one direction or several, not yet drawn.

    Raises:
        InputError: for no direction, or several that hold no site together.
        MismatchError: for directions of models of other shapes.
    """
    if not directions:
        raise InputError("expected at least one direction to draw, got none")
    rows = {name: _of_one_point(direction) for name, direction in directions.items()}
    if len(directions) == 1:
        ((name, direction),) = directions.items()
        views, square = _views_of_one(rows[name]), layer_cosines(_usual(direction))
        title, squares = f"{name}: {direction.method}", "Cosine between layers"
        labels = [name.rpartition(".")[2] for name in square.names]
    else:
        together = compare(directions)
        depth = next(iter(directions.values())).origin.depth
        site = min(together.by_site, key=lambda site: abs(site.layer - 0.4 * depth))
        views, square, labels = _views_of_several(rows), together.by_site[site], list(directions)
        title, squares = f"{len(directions)} directions", f"Cosine between directions, {site}"
    panels = [
        Panel(view.name, view.title, _description(view), partial(_lines, view=view)) for view in views if view.series
    ]
    if len(labels) > 1:
        panels.append(_square_panel(squares, square, labels))
    return Chart("direction", _cut(title, 90), "Layers are 0-based decoder blocks.", tuple(panels), columns=2)


def _square_panel(title: str, square: Cosines, labels: Sequence[str]) -> Panel:
    text = f"{title}: from {_extreme(square, min):.2f} to {_extreme(square, max):.2f} off the diagonal."
    return Panel("cosines", title, text, partial(_square, square=square, labels=labels))


def _views_of_one(rows: Sequence[SiteFigures]) -> list[_View]:
    stability = {
        "separation (AUROC)": lambda row: row.separation,
        "split-half cosine": lambda row: row.split_half_cosine,
        "vote share": lambda row: row.vote_share,
    }
    norms = {"residual stream": lambda row: row.residual_norm, "vector": lambda row: row.vector_norm}
    share = {"two largest": lambda row: 100 * row.massive_share}
    figures = _read(rows, stability)
    return [
        _View("norms", "Length", "L2 norm (activation units)", _read(rows, norms), log=True),
        _View(
            "stability",
            "Does it tell the two sides apart?",
            "share or cosine (1 is best)",
            figures,
            _up_to_one(figures),
        ),
        _massive(_read(rows, share)),
    ]


def _views_of_several(rows: Mapping[str, Sequence[SiteFigures]]) -> list[_View]:
    def each(read: Callable[[SiteFigures], float | None]) -> tuple[_Series, ...]:
        found = (_Series(name, place, _points(some, read)) for place, (name, some) in enumerate(rows.items()))
        return tuple(series for series in found if series.points)

    ratios, separations = each(lambda row: 100 * row.ratio), each(lambda row: row.separation)
    return [
        _View(
            "norms", "Length beside the residual stream", "vector norm (% of residual norm)", ratios, _from_zero(ratios)
        ),
        _View("stability", "Separation, held out", "AUROC (0.5 is chance)", separations, _up_to_one(separations)),
        _massive(each(lambda row: 100 * row.massive_share)),
    ]


def _massive(series: tuple[_Series, ...]) -> _View:
    line = (100 * MASSIVE_SHARE, "above: mostly massive activations")
    ends = _from_zero((*series, _Series("", 0, ((0, 1.5 * line[0]),))))
    return _View("massive", "Energy in the two largest coordinates", "share of |v|² (%)", series, ends, line=line)


def _from_zero(series: Sequence[_Series]) -> tuple[float, float]:
    return 0.0, 1.08 * max(value for each in series for _, value in each.points)


def _up_to_one(series: Sequence[_Series]) -> tuple[float, float] | None:
    values = [value for each in series for _, value in each.points]
    return limits(values, least=0.3, floor=-1.05, ceiling=1.02) if values else None


def _read(
    rows: Sequence[SiteFigures], lines: Mapping[str, Callable[[SiteFigures], float | None]]
) -> tuple[_Series, ...]:
    found = (_Series(name, place, _points(rows, read)) for place, (name, read) in enumerate(lines.items()))
    return tuple(series for series in found if series.points)


def _points(rows: Sequence[SiteFigures], read: Callable[[SiteFigures], float | None]) -> tuple[tuple[int, float], ...]:
    found = ((row.site.layer, read(row)) for row in rows)
    return tuple((layer, value) for layer, value in found if value is not None)


def _point(sites: Sequence[Site]) -> Point:
    """Return the point to draw by layer: the one with most sites, of equals the one computed last."""
    counts = Counter(site.point for site in sites)
    return max(reversed(sites), key=lambda site: counts[site.point]).point


def _usual(direction: Direction) -> Direction:
    point = _point(direction.sites)
    return direction.at(*(site for site in direction.sites if site.point == point))


def _of_one_point(direction: Direction) -> tuple[SiteFigures, ...]:
    return inspect_direction(_usual(direction)).sites


def _lines(axes: Axes, *, view: _View) -> None:
    several = sum(len(series.points) for series in view.series) > 24
    for series in view.series:
        colour, marker = COLOURS[series.place % len(COLOURS)], MARKERS[series.place % len(MARKERS)]
        repeated = len({layer for layer, _ in series.points}) < len(series.points)  # heads: several of one layer
        below = max(0, min(3, len(view.series) - 1 - series.place))  # wider where others may lie on top of it
        axes.plot(
            *zip(*series.points, strict=True), color=colour, label=_cut(series.name, 24), zorder=3, marker=marker,
            markersize=(3.2 if several else 4.5) + 1.2 * below, markeredgewidth=0, linewidth=1.3 + 0.9 * below,
            linestyle="" if repeated else "-",
        )  # fmt: skip
    axes.set_xlabel("layer (0-based decoder block)")
    axes.set_ylabel(view.axis)
    layers = [layer for series in view.series for layer, _ in series.points]
    axes.set_xlim(min(layers) - 0.8, max(layers) + 0.8)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
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
        axes.annotate(
            words, (1, height), xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points",
            ha="right", fontsize=8, color=FAINT,
        )  # fmt: skip
    if len(view.series) > 1:
        axes.legend(loc="best", fontsize=8, handlelength=1.4, labelspacing=0.25, borderpad=0.2, framealpha=0.85)


def _square(axes: Axes, *, square: Cosines, labels: Sequence[str]) -> None:
    """Draw cosines as a square of colours, -1 to 1 on one scale in every picture; small squares carry their numbers."""
    count = len(labels)
    image = axes.imshow(square.values, cmap=_COSINES, vmin=-1, vmax=1, interpolation="nearest")
    axes.set_anchor("W")
    axes.grid(visible=False)
    figure = axes.get_figure()
    assert figure is not None
    # The square is narrower than the panel, and the title's place is counted in widths of it.
    place, title = axes.get_position(original=True), axes.get_title(loc="left")
    wide = place.width * figure.bbox.width / (place.height * figure.bbox.height)
    for child in axes.get_children():
        if isinstance(child, Text) and child.get_text() == title:
            child.set_x(child.get_position()[0] * max(1.0, wide))
    every = max(1, -(-count // 8))
    shown = range(0, count, every)
    across = all(len(label) <= 3 for label in labels)
    axes.set_yticks(list(shown), [_cut(labels[place], 14) for place in shown], fontsize=9 if across else 8)
    if across:
        axes.set_xticks(list(shown), [labels[place] for place in shown])
        axes.set_xlabel("layer")
        axes.set_ylabel("layer")
    else:  # the same names, in the same order
        axes.set_xticks([])
    if count <= 6:
        for row, values in enumerate(square.values):
            for column, value in enumerate(values):
                colour = CARD if abs(value) > 0.6 else INK
                axes.text(column, row, number(value, 2), ha="center", va="center", fontsize=8, color=colour)
    bar = figure.colorbar(image, cax=axes.inset_axes((1.06, 0, 0.05, 1)), ticks=[-1, -0.5, 0, 0.5, 1])
    bar.ax.set_yticklabels([number(tick, 1) for tick in (-1, -0.5, 0, 0.5, 1)], fontsize=8)
    bar.set_label("cosine (−1 to 1)", fontsize=8.5, color=FAINT)
    bar.outline.set_visible(False)  # type: ignore[operator]


def _description(view: _View) -> str:
    words = [
        f"{series.name}: from {min(value for _, value in series.points):.3g} to "
        f"{max(value for _, value in series.points):.3g}"
        for series in view.series
    ]
    return f"{view.title}, {view.axis}, by layer. {'; '.join(words)}."


def _extreme(square: Cosines, choose: Callable[..., float]) -> float:
    values = [value for row, line in enumerate(square.values) for column, value in enumerate(line) if row != column]
    return choose(values)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
