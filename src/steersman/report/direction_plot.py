"""The picture of a direction, or of several: how long, how stable, how much of it in two coordinates, how alike.

What is drawn follows from what there is. Many layers are lines by layer, one for each point. Attention heads are a map,
layers by heads. One site or a few are bars and marks with their numbers, since a line of one point shows nothing.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from steersman.direction import Direction
from steersman.errors import FileError, InputError
from steersman.inspection import Cosines, SiteFigures, compare, inspect_direction, layer_cosines
from steersman.methods.fitting import MASSIVE_SHARE, MASSIVE_WIDTH
from steersman.report.direction_panels import (
    BOTH_WAYS,
    ONE_WAY,
    Map,
    Row,
    Series,
    View,
    cut,
    draw_bars,
    draw_lines,
    draw_map,
    draw_marks,
    draw_square,
)
from steersman.report.figures import Chart, Panel, limits, save_chart
from steersman.report.words import number
from steersman.report.writing import write_atomically
from steersman.where import Point, Site

FORMS = (".png", ".svg")
FEW = 3
"""Layers, or heads, up to which a picture shows marks with numbers in place of lines and maps."""

_PLACES: dict[Point, str] = {
    "resid_pre": "residual stream",
    "resid_post": "residual stream",
    "head": "head's output",
    "attn_out": "attention's output",
    "mlp_out": "MLP's output",
}
_HELD_OUT = "AUROC, held out (cross-fitted)"

Read = Callable[[SiteFigures], float | None]

_FIT: dict[str, Read] = {
    _HELD_OUT: lambda row: row.separation,
    "split-half cosine": lambda row: row.split_half_cosine,
    "vote share (fitted texts)": lambda row: row.vote_share,
}


def plot_directions(directions: Mapping[str, Direction], path: str | Path, *, force: bool = True) -> Path:
    """Return the path of the picture written.

    One direction shows its norms, its diagnostics, the share of its two largest coordinates and the cosines between its
    layers; several points are a line each, heads a map of layers by heads, and up to three layers or heads marks with
    their numbers. Several directions show the same beside each other, and the cosines between them at the site nearest
    to 40 % of the depth that all of them hold.

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
    if len(directions) == 1:
        ((name, direction),) = directions.items()
        panels, title = _panels_of_one(direction), f"{name}: {direction.method}"
    else:
        panels, title = _panels_of_several(directions), f"{len(directions)} directions"
    columns = 3 if len(panels) == 3 else 2
    return Chart("direction", cut(title, 90), "Layers are 0-based decoder blocks.", tuple(panels), columns)


def _panels_of_one(direction: Direction) -> list[Panel]:
    figures = inspect_direction(direction).sites
    rows, heads = ([row for row in figures if (row.site.head is not None) == wanted] for wanted in (False, True))
    panels: list[Panel] = []
    if rows and len({row.site.layer for row in rows}) <= FEW:
        panels += _few({_short(row.site, rows): row for row in rows}, direction)
    elif rows:
        several = len({row.site.point for row in rows}) > 1
        views = (_views_of_points if several else _views_of_one)(rows, direction)
        panels += _line_panels(views)
    if len(rows) > 1:
        panels.append(_own_square(direction, rows))
    if heads and len(heads) <= FEW:
        panels += _few({str(row.site): row for row in heads}, direction, "head_" if rows else "")
    elif heads:
        panels += _maps(heads)
    return panels


def _panels_of_several(directions: Mapping[str, Direction]) -> list[Panel]:
    together = compare(directions)
    point = _point(list(together.by_site))
    depth = next(iter(directions.values())).origin.depth
    site = min(
        (site for site in together.by_site if site.point == point), key=lambda site: abs(site.layer - 0.4 * depth)
    )
    rows = {
        name: [row for row in inspect_direction(direction).sites if row.site.point == point]
        for name, direction in directions.items()
    }
    if point == "head" or len({row.site.layer for some in rows.values() for row in some}) <= FEW:
        there = {name: next(row for row in some if row.site == site) for name, some in rows.items()}
        panels = _few(there, next(iter(directions.values())), where=f", {site}")
    else:
        panels = _line_panels(_views_of_several(rows, directions))
    title = f"Cosine between directions, {site}"
    return [*panels, _square_panel(title, together.by_site[site], list(directions))]


def _line_panels(views: Sequence[View]) -> list[Panel]:
    return [
        Panel(view.name, view.title, _description(view), partial(draw_lines, view=view))
        for view in views
        if view.series
    ]


def _own_square(direction: Direction, rows: Sequence[SiteFigures]) -> Panel:
    """Return the cosines between a direction's own sites: all where they are few, else those of one point."""
    points = {row.site.point for row in rows}
    if len(points) == 1 or len(rows) > 12:
        point = _point([row.site for row in rows])
        square = layer_cosines(direction.at(*(row.site for row in rows if row.site.point == point)))
        title = "Cosine between layers" + (f", {point}" if len(points) > 1 else "")
        return _square_panel(title, square, [name.rpartition(".")[2] for name in square.names])
    square = layer_cosines(direction)
    return _square_panel("Cosine between sites", square, list(square.names))


def _square_panel(title: str, square: Cosines, labels: Sequence[str]) -> Panel:
    others = [value for row, line in enumerate(square.values) for column, value in enumerate(line) if row != column]
    text = f"{title}: from {min(others):.2f} to {max(others):.2f} off the diagonal." if others else f"{title}: 1."
    return Panel("cosines", title, text, partial(draw_square, square=square, labels=labels))


def _few(entries: Mapping[str, SiteFigures], direction: Direction, prefix: str = "", *, where: str = "") -> list[Panel]:
    """Return the panels of a few sites, or of one site in several directions: every figure with its number."""
    bars = [
        Row(
            f"{name}: {row.vector_norm:.3g} of {row.residual_norm:.3g} ({_percent(row.ratio)})",
            (100 * row.ratio,),
        )
        for name, row in entries.items()
    ]
    places = {_PLACES[row.site.point] for row in entries.values()}
    unit = f"vector norm (% of {places.pop() if len(places) == 1 else 'activation'} norm)"
    reads = _FIT | {"explained variance": lambda row: row.explained_variance}
    if _wide(direction, entries.values()):
        reads = reads | {"energy in the two largest coordinates": lambda row: row.massive_share}
    marks: list[Row] = []
    for words, read in reads.items():
        values = tuple(read(row) for row in entries.values())
        if any(value is not None for value in values):
            shown = ", ".join("–" if value is None else number(value, 2) for value in values)
            marks.append(Row(f"{words}: {shown}" if len(values) <= 4 else words, values))
    said = "; ".join(row.words for row in bars)
    draw = partial(draw_bars, rows=bars, unit=unit, floor=5.0)
    panels = [Panel(f"{prefix}norms", f"Length{where}", f"Length{where}: {said}.", draw)]
    if marks:
        said = "; ".join(row.words for row in marks)
        axis = "share, AUROC or cosine (1 at most)"
        draw = partial(draw_marks, rows=marks, names=list(entries), unit=axis)
        title = f"Figures of the fit{'' if len(entries) > 1 else ' at ' + next(iter(entries))}"
        panels.append(Panel(f"{prefix}stability", title, f"{title}: {said}.", draw))
    return panels


def _maps(rows: Sequence[SiteFigures]) -> list[Panel]:
    """Return maps of attention heads, layers by heads."""
    layers, heads = (tuple(sorted(set(places))) for places in zip(*map(_at, rows), strict=True))

    def of(title: str, unit: str, read: Read, both: tuple[float, float] | None = None) -> Map | None:
        found = {_at(row): read(row) for row in rows}
        known = [value for value in found.values() if value is not None]
        if not known:
            return None
        values = tuple(tuple(found.get((layer, head)) for head in heads) for layer in layers)
        return Map(title, unit, layers, heads, values, both or (0.0, max(known)), BOTH_WAYS if both else ONE_WAY)

    maps = {
        "head_separation": of("Separation by head, held out", "AUROC, cross-fitted (0.5 is chance)",
                              lambda row: row.separation, (0.0, 1.0)),
        "head_halves": of("Split-half cosine by head", "cosine (−1 to 1)",
                          lambda row: row.split_half_cosine, (-1.0, 1.0)),
        "head_norms": of("Length by head", "vector norm (% of head's output)", lambda row: 100 * row.ratio),
    }  # fmt: skip
    return [
        Panel(name, each.title, _map_words(each), partial(draw_map, shown=each)) for name, each in maps.items() if each
    ]


def _map_words(shown: Map) -> str:
    found = [
        (value, layer, head)
        for layer, line in zip(shown.layers, shown.values, strict=True)
        for head, value in zip(shown.heads, line, strict=True)
        if value is not None
    ]
    value, layer, head = max(found)
    return f"{shown.title}, {shown.unit}: from {min(found)[0]:.3g} to {value:.3g} at head.{layer}.{head}."


def _at(row: SiteFigures) -> tuple[int, int]:
    return row.site.layer, row.site.head or 0


def _views_of_one(rows: Sequence[SiteFigures], direction: Direction) -> list[View]:
    norms: dict[str, Read] = {
        f"{_PLACES[rows[0].site.point]} (mean)": lambda row: row.residual_norm,
        "vector": lambda row: row.vector_norm,
    }
    figures = _read(rows, _FIT)
    share = _read(rows, {"two largest": lambda row: 100 * row.massive_share})
    return [
        View("norms", "Length", "L2 norm (activation units)", _read(rows, norms), log=True),
        View(
            "stability", "Does it tell the two sides apart?", "AUROC, cosine, share (1 is best)", figures,
            _up_to_one(figures),
        ),
        _massive(share, wide=_wide(direction, rows)),
    ]  # fmt: skip


def _views_of_points(rows: Sequence[SiteFigures], direction: Direction) -> list[View]:
    """Return lines by layer, one for each point."""
    by_point: dict[str, list[SiteFigures]] = {}
    for row in rows:
        by_point.setdefault(row.site.point, []).append(row)
    return _compared(by_point, wide=_wide(direction, rows))


def _views_of_several(rows: Mapping[str, Sequence[SiteFigures]], directions: Mapping[str, Direction]) -> list[View]:
    wide = all(_wide(directions[name], some) for name, some in rows.items())
    return _compared(rows, wide=wide)


def _compared(rows: Mapping[str, Sequence[SiteFigures]], *, wide: bool) -> list[View]:
    def each(read: Read) -> tuple[Series, ...]:
        found = (Series(name, place, _points(some, read)) for place, (name, some) in enumerate(rows.items()))
        return tuple(series for series in found if series.points)

    ratios, separations = each(lambda row: 100 * row.ratio), each(lambda row: row.separation)
    unit, axis = "vector norm (% of theirs)", "AUROC, cross-fitted"
    return [
        View("norms", "Length beside the activations", unit, ratios, _from_zero(ratios)),
        View("stability", "Separation, held out (0.5 is chance)", axis, separations, _up_to_one(separations)),
        _massive(each(lambda row: 100 * row.massive_share), wide=wide),
    ]


def _massive(series: tuple[Series, ...], *, wide: bool) -> View:
    name, title, axis = "massive", "Energy in the two largest coordinates", "share of |v|² (%)"
    if not wide:
        return View(name, title, axis, series, _from_zero(series))
    height = 100 * MASSIVE_SHARE
    words = f"above {height:.0f} % (dashed) the vector may follow\nmassive activations more than the concept"
    low, high = _from_zero((*series, Series("", 0, ((0, height),))))
    return View(name, title, axis, series, (low, 1.2 * high), line=(height, words))


def _from_zero(series: Sequence[Series]) -> tuple[float, float]:
    return 0.0, 1.08 * max(value for each in series for _, value in each.points)


def _up_to_one(series: Sequence[Series]) -> tuple[float, float] | None:
    values = [value for each in series for _, value in each.points]
    return limits(values, least=0.3, floor=-1.05, ceiling=1.02) if values else None


def _read(rows: Sequence[SiteFigures], lines: Mapping[str, Read]) -> tuple[Series, ...]:
    found = (Series(name, place, _points(rows, read)) for place, (name, read) in enumerate(lines.items()))
    return tuple(series for series in found if series.points)


def _points(rows: Sequence[SiteFigures], read: Read) -> tuple[tuple[int, float], ...]:
    found = ((row.site.layer, read(row)) for row in rows)
    return tuple((layer, value) for layer, value in found if value is not None)


def _point(sites: Sequence[Site]) -> Point:
    """Return the point to draw: the one with most sites, of equals the one computed last."""
    counts = Counter(site.point for site in sites)
    return max(reversed(sites), key=lambda site: counts[site.point]).point


def _wide(direction: Direction, rows: Iterable[SiteFigures]) -> bool:
    """Return whether the vectors are wide enough for a share of two coordinates to say something."""
    return all(len(direction.vectors[row.site]) >= MASSIVE_WIDTH for row in rows)


def _short(site: Site, rows: Sequence[SiteFigures]) -> str:
    """Return a site's name, without the point where all have the same."""
    return str(site) if len({row.site.point for row in rows}) > 1 else f"layer {site.layer}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def _description(view: View) -> str:
    words = [
        f"{series.name}: from {min(value for _, value in series.points):.3g} to "
        f"{max(value for _, value in series.points):.3g}"
        for series in view.series
    ]
    return f"{view.title}, {view.axis}, by layer. {'; '.join(words)}."
