"""What the vectors are made of: how alike they are, their coordinates, and how much of them lies in two coordinates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from steersman.methods.fitting import MASSIVE_SHARE
from steersman.report.figures import FAINT, INK, PALETTE, Chart, Key, Panel, limits
from steersman.report.skills.cells import BOTH_WAYS, Cell, draw_cells, left_for
from steersman.report.skills.faces import face, plate, vectors_of
from steersman.report.skills.record import Skills, Vector
from steersman.report.vector_figures import Histogram, LayerFigures, Square
from steersman.report.words import number, slug

_NAMED: Final = 3
"""Coordinates that a histogram names."""

MOST: Final = 4
"""Squares of cosines in the first chart; the other layers are in a second one."""

_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _ordered(record: Skills) -> list[Vector]:
    """All vectors, raw ones first, readings together: what belongs together stands side by side."""
    order = {vector.reading: place for place, vector in reversed(list(enumerate(record.vectors)))}
    return sorted(record.vectors, key=lambda vector: (vector.masked, order[vector.reading]))


def cosine_charts(record: Skills) -> list[Chart]:
    """Cosines between the vectors: by layer as lines, then as squares; the chosen layers' squares come first."""
    chosen = {layer for choice in record.chosen for layer in choice.layers}
    several = [square for square in record.cosines if len(square.names) > 1]
    first = sorted(several, key=lambda square: square.layer not in chosen)[:MOST]
    shown = sorted(first, key=lambda square: square.layer)
    rest = [square for square in several if square not in shown]
    charts = [chart for chart in (_lines(record),) if chart]
    for name, squares in (("cosines", shown), ("cosines-other-layers", rest)):
        if squares:
            charts.append(_squares(record, name, squares))
    return charts


def _squares(record: Skills, name: str, squares: Sequence[Square]) -> Chart:
    order = [vector.name for vector in _ordered(record)]
    raw = sum(vector.masked == 0 for vector in record.vectors)
    masked = len(record.vectors) - raw
    panels: list[Panel] = []
    for square in squares:
        names = sorted(square.names, key=lambda each: order.index(each) if each in order else len(order))
        places = [square.names.index(each) for each in names]
        values = [[square.matrix[row][column] for column in places] for row in places]
        letters = list(_LETTERS[: len(names)]) if len(names) <= len(_LETTERS) else [str(k) for k in range(len(names))]
        rows = [f"{each}  {letter}" for each, letter in zip(names, letters, strict=True)]
        cells = [[None if v is None else Cell((v + 1) / 2, number(v, 2)) for v in row] for row in values]
        others = [value for place, row in enumerate(values) for value in row[:place] if value is not None]
        draw = partial(draw_cells, rows=rows, columns=letters, cells=cells, colours=BOTH_WAYS)
        span = f"{min(others):.2f} to {max(others):.2f}" if others else "not known"
        said = f"Cosines between {len(names)} vectors at layer {square.layer}: {span}."
        width = left_for(rows) + 0.16 + 0.5 * max(3, len(names))
        height = 0.96 + 0.36 * max(3, len(names))
        panels.append(Panel(slug(name, str(square.layer)), f"Layer {square.layer}", said, draw, width, height))
    both = " Raw vectors stand first, then masked ones (their largest coordinates set to 0)." if raw and masked else ""
    caption = (
        "Cosine between every two vectors, −1 (opposed) to 1 (the same way); columns have the letters of the rows. "
        f"Vectors are fitted on the training texts.{both} Blue: aligned; orange: opposed."
    )
    return Chart(name, "Do the vectors point the same way?", caption, tuple(panels), 2)


@dataclass(frozen=True)
class _Series:
    """One line by layer: its words, its place among the looks, and `(layer, value)`."""

    words: str
    place: int
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class _View:
    """One panel of lines by layer."""

    title: str
    axis: str
    series: tuple[_Series, ...]
    limits: tuple[float, float]
    line: float | None = None


def _lines(record: Skills) -> Chart | None:
    """The cosine between vectors that differ only in what they remove, by layer; None with one layer or one skill."""
    by_name = {vector.name: vector for vector in record.vectors}
    found: dict[str, list[tuple[int, float]]] = {}
    for square in sorted(record.cosines, key=lambda each: each.layer):
        for row, one in enumerate(square.names):
            for column, other in enumerate(square.names[:row]):
                first, second = by_name.get(other), by_name.get(one)
                if first is None or second is None or first.remove == second.remove:
                    continue
                value = square.matrix[row][column]
                if value is not None and (first.reading, first.masked) == (second.reading, second.masked):
                    words = f"{first.remove} and {second.remove}: {_reading(first)}"
                    found.setdefault(words, []).append((square.layer, value))
    if not found or max(map(len, found.values())) < 2:
        return None
    series = tuple(_Series(words, place, tuple(points)) for place, (words, points) in enumerate(found.items()))
    view = _View("Cosine between the vectors of two skills", "cosine (−1 to 1)", series, (-1.05, 1.05), 0.0)
    caption = (
        "Vectors of two skills that are read and masked in the same way. Where they are opposed (below 0) although the "
        "skills are alike, a few massive coordinates may decide where they point: masked vectors tell."
    )
    keys = tuple(face(each.place).key(each.words) for each in series)
    panel = _panel("cosines-by-layer", view, width=8.2, height=3.2)
    return Chart("cosines-by-layer", "Are the vectors of similar skills aligned?", caption, (panel,), 1, keys)


def _reading(vector: Vector) -> str:
    reading = "mean over tokens" if vector.reading == "mean" else "last token"
    return f"{reading}, {f'{vector.masked} coordinates masked' if vector.masked else 'raw'}"


def figures_chart(record: Skills) -> Chart | None:
    """By layer: energy in the two largest coordinates, length, separation; None where nothing is known."""
    vectors = [vector for vector in _ordered(record) if vector.by_layer]
    if not vectors:
        return None

    def of(title: str, axis: str, read: Callable[[LayerFigures], float | None], line: float | None = None) -> _View:
        series: list[_Series] = []
        for place, vector in enumerate(vectors):
            known = [(row.layer, value) for row in vector.by_layer if (value := read(row)) is not None]
            if known:
                series.append(_Series(vector.name, place, tuple(sorted(known))))
        seen = [value for each in series for _, value in each.points] + ([line] if line else [])
        return _View(title, axis, tuple(series), (0.0, 1.08 * max(seen, default=1.0)), line)

    views = {
        "energy": of("Energy in the two largest coordinates", "share of |v|² (%)", _energy, 100 * MASSIVE_SHARE),
        "lengths": of("Length beside the activations", "vector norm (% of theirs)", _length),
        "separation": of("Does it tell the texts apart?", "AUROC (0.5 is chance)", lambda row: row.separation),
    }
    known = {slug("figures", name): view for name, view in views.items() if view.series}
    panels = tuple(_panel(name, view, width=4.2, height=3.4) for name, view in known.items())
    caption = (
        "By layer (0-based decoder blocks), fitted on the training texts. Energy: how much of the vector's "
        "squared length "
        f"lies in its two largest coordinates; above {100 * MASSIVE_SHARE:.0f} % (dashed) it may follow massive "
        "activations more than the skill. AUROC: how often a text of the kept corpus lies further along the "
        "vector than "
        "one of the removed."
    )
    keys = tuple(face(place).key(vector.name) for place, vector in enumerate(vectors))
    return Chart("vectors", "The vectors by layer", caption, panels, 3, keys)


def _energy(row: LayerFigures) -> float | None:
    return None if row.massive_share is None else 100 * row.massive_share


def _length(row: LayerFigures) -> float | None:
    return 100 * row.vector_norm / row.residual_norm if row.vector_norm is not None and row.residual_norm else None


def _panel(name: str, view: _View, *, width: float, height: float) -> Panel:
    ends = [(value, layer) for each in view.series for layer, value in each.points]
    (low, at), (high, there) = min(ends), max(ends)
    said = f"{view.title}, {view.axis}: from {low:.3g} (layer {at}) to {high:.3g} (layer {there})."
    return Panel(name, view.title, said, partial(_draw_lines, view=view), width, height)


def _draw_lines(axes: Axes, *, view: _View) -> None:
    for each in view.series:
        looks = face(each.place)
        axes.plot(
            *zip(*each.points, strict=True), "-", marker=looks.marker, color=looks.colour, markersize=5,
            markeredgewidth=0, linewidth=1.4, alpha=0.9, zorder=3,
        )  # fmt: skip
    if view.line is not None:
        axes.axhline(view.line, color=FAINT, linewidth=1.1, linestyle="--", zorder=2)
    layers = sorted({layer for each in view.series for layer, _ in each.points})
    air = 0.04 * (layers[-1] - layers[0]) or 0.8
    axes.set_xlim(layers[0] - air, layers[-1] + air)
    axes.set_xticks(layers[:: max(1, -(-len(layers) // 10))])
    axes.set_ylim(*view.limits)
    axes.set_xlabel("layer (0-based decoder block)")
    axes.set_ylabel(view.axis)


def histogram_charts(record: Skills) -> list[Chart]:
    """One chart per raw vector (all where none is raw), the chosen skills' first: its coordinates, layer by layer."""
    mine = [vector for remove in record.removed for vector in vectors_of(record, remove) if vector.histograms]
    return [_histograms(vector) for vector in ([v for v in mine if v.masked == 0] or mine)]


def _histograms(vector: Vector) -> Chart:
    panels = tuple(
        Panel(
            slug("histogram", vector.name, str(each.layer)), f"Layer {each.layer}", _histogram_words(each),
            partial(_draw_histogram, shown=each), width=4.2, height=2.9,
        )
        for each in sorted(vector.histograms, key=lambda each: each.layer)
    )  # fmt: skip
    caption = (
        f"How the coordinates of the vector “{vector.name}” are spread; counts on a logarithmic scale, so that "
        "a single "
        "coordinate far out can be seen. Marked: the largest coordinates, with their place in the vector."
    )
    keys = (Key("line", "steered", "coordinates"), Key("down", "prompt", "a largest coordinate"))
    return Chart(slug("histogram", vector.name), f"Coordinates of {vector.name}", caption, panels, 3, keys)


def _histogram_words(shown: Histogram) -> str:
    largest = ", ".join(f"coordinate {place} at {value:.3g}" for place, value in shown.largest)
    return f"{sum(shown.counts)} coordinates at layer {shown.layer}; largest: {largest or 'not recorded'}."


def _draw_histogram(axes: Axes, *, shown: Histogram) -> None:
    colour, mark = PALETTE["steered"][0], PALETTE["prompt"][0]
    most = max(shown.counts, default=0) or 1
    axes.stairs(shown.counts, shown.edges, fill=True, color=colour, alpha=0.35, baseline=0.5, zorder=2)
    axes.stairs(shown.counts, shown.edges, color=colour, linewidth=1.2, baseline=0.5, zorder=3)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0.5, most * 3.0 ** (1 + len(shown.largest[:_NAMED])))  # the names stand above the histogram
    ends = [shown.edges[0], shown.edges[-1], *(value for _, value in shown.largest)]
    axes.set_xlim(*limits(ends, least=1e-6, floor=-float("inf"), ceiling=float("inf")))
    low, high = axes.get_xlim()
    for rank, (place, value) in enumerate(shown.largest[:_NAMED]):
        height = most * 1.7 * 3.0**rank
        axes.plot(value, height, "v", color=mark, markersize=6, markeredgewidth=0, zorder=5)
        axes.plot([value, value], [0.5, height], "-", color=mark, linewidth=0.9, zorder=4)
        right = value < (low + high) / 2
        axes.annotate(
            f"coordinate {place}: {number(value, 2)}", (value, height), xytext=(7 if right else -7, 0),
            textcoords="offset points", ha="left" if right else "right", va="center", fontsize=8, color=INK,
            bbox=plate(), zorder=6,
        )  # fmt: skip
    axes.set_xlabel("value of a coordinate (activation units)")
    axes.set_ylabel("coordinates (log scale)")
