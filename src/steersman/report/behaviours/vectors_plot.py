"""The vectors themselves: how their coordinates are spread, and how much of them lies in the two largest."""

import math
from collections.abc import Callable, Sequence
from functools import partial

from matplotlib.axes import Axes

from steersman.methods.fitting import MASSIVE_SHARE
from steersman.report.behaviours.drawing import behaviour_keys, room, spaced, style, thinned
from steersman.report.behaviours.values import Record, Vector
from steersman.report.figures import CARD, FAINT, INK, PALETTE, Chart, Key, Panel
from steersman.report.vector_figures import Histogram, LayerFigures
from steersman.report.words import number, slug

MOST = 5
"""Layers of a panel of histograms."""
READINGS = {"text": "read at the answer's words", "letter": "read at the answer's letter"}
_BARS = PALETTE["steered"][0]
_LARGE = PALETTE["prompt"][0]

Read = Callable[[LayerFigures], float | None]


def energy_chart(record: Record) -> Chart | None:
    """Return lines by layer for each reading: energy in the two largest coordinates, and separation."""
    panels: list[Panel] = []
    for reading in dict.fromkeys(vector.reading for vector in record.vectors):
        vectors = [vector for vector in record.vectors if vector.reading == reading]
        words = READINGS.get(reading, reading)
        views: tuple[tuple[str, str, str, Read, tuple[float, str]], ...] = (
            ("energy", f"Two largest coordinates, {words}", "share of the energy (%)",
             lambda row: None if row.massive_share is None else 100 * row.massive_share,
             (100 * MASSIVE_SHARE, f"above {100 * MASSIVE_SHARE:.0f} %: read with care")),
            ("separation", f"Separation, {words}", "AUROC, held out", lambda row: row.separation, (0.5, "chance")),
        )  # fmt: skip
        panels += [panel for view in views if (panel := _by_layer(record, vectors, reading, *view))]
    if not panels:
        return None
    return Chart(
        name="vectors",
        title="How much lies in two coordinates",
        caption=(
            "Left: the share of a vector's energy (its squared length) in its two largest coordinates. Above "
            f"{100 * MASSIVE_SHARE:.0f} % (dashed) the vector may follow a few massive activations, which every text "
            "has, more than the behaviour, and cosines mean little. Right: how well the vector tells held-out "
            "training items with the behaviour from those without (area under the ROC curve: 0.5 is chance, 1 "
            f"perfect). By layer, counted from 0; the model has {record.layers}."
        ),
        panels=tuple(panels),
        columns=min(2, len(panels)),
        legend=behaviour_keys(record.names) if len(record.names) > 1 else (),
    )


def _by_layer(
    record: Record, vectors: Sequence[Vector], reading: str, name: str, title: str, axis: str, read: Read,
    line: tuple[float, str],
) -> Panel | None:  # fmt: skip
    series = [
        (vector.behaviour, [(row.layer, value) for row in vector.by_layer if (value := read(row)) is not None])
        for vector in vectors
    ]
    series = [(behaviour, points) for behaviour, points in series if points]
    if not series:
        return None
    said = [
        f"{behaviour} from {min(v for _, v in points):.3g} to {max(v for _, v in points):.3g}"
        for behaviour, points in series
    ]
    return Panel(
        name=slug(name, reading),
        title=title,
        description=f"{title}, {axis}, by layer: {'; '.join(said)}.",
        draw=partial(_draw_lines, series=series, names=record.names, axis=axis, line=line, share=name == "energy"),
        width=4.9,
        height=3.0,
    )


def _draw_lines(
    axes: Axes,
    *,
    series: Sequence[tuple[str, Sequence[tuple[int, float]]]],
    names: Sequence[str],
    axis: str,
    line: tuple[float, str],
    share: bool,
) -> None:
    for behaviour, points in series:
        look = style(names.index(behaviour) if behaviour in names else len(names))
        axes.plot(*zip(*points, strict=True), linewidth=1.4, markersize=4.5, markeredgewidth=0, zorder=3, **look)
    height, words = line
    axes.axhline(height, color=FAINT, linewidth=1.1, linestyle="--", zorder=2)
    values = [value for _, points in series for _, value in points]
    # at the right, above its line, where a strip beyond the last layer is free
    layers = sorted({layer for _, points in series for layer, _ in points})
    axes.set_xlim(layers[0] - 0.8, layers[-1] + 0.8)
    axes.set_xticks(thinned(layers, 10))
    if share:
        axes.set_ylim(0, 1.18 * max(height, *values))
    else:
        axes.set_ylim(min(0.46, min(values) - 0.02), 1.02)
    axes.annotate(
        words, (1, height), xycoords=("axes fraction", "data"), xytext=(-2, 2), textcoords="offset points",
        ha="right", va="bottom", fontsize=8, color=FAINT, zorder=2,
    )  # fmt: skip
    axes.set_xlabel("layer")
    axes.set_ylabel(axis)


def histograms_chart(record: Record, reading: str) -> Chart | None:
    """Return a panel for each behaviour's vector of a reading: a histogram of its coordinates at a few layers."""
    vectors = [vector for vector in record.vectors if vector.reading == reading and vector.histograms]
    if not vectors:
        return None
    most = max(min(MOST, len(vector.histograms)) for vector in vectors)
    panels = tuple(
        Panel(
            name=slug("histogram", reading, vector.behaviour),
            title=vector.behaviour,
            description=f"{vector.behaviour}, histograms of the vector's coordinates: {_said(vector)}.",
            draw=partial(_draw_histograms, vector=vector),
            width=4.9,
            height=1.05 + 0.55 * most,
        )
        for vector in vectors
    )
    return Chart(
        name=slug("histograms", reading),
        title=f"Coordinates of the vectors, {READINGS.get(reading, reading)}",
        caption=(
            "Every row is one layer: how many of the vector's coordinates have which value, in multiples of their root "
            "mean square there, so that layers can be compared; heights are logarithms of counts. Orange: the largest "
            "coordinates, with their numbers. A vector that follows a behaviour is spread over many coordinates; the "
            "same few far outside at every layer are massive activations."
        ),
        panels=panels,
        columns=min(2, len(panels)),
        legend=(Key("square", "steered", "coordinates"), Key("down", "prompt", "the largest two")),
    )


def _spread(vector: Vector, found: Histogram) -> float:
    """Return the root mean square of the coordinates, from the vector's length where it is known."""
    count = sum(found.counts)
    norm = next((row.vector_norm for row in vector.by_layer if row.layer == found.layer), None)
    if norm and count:
        return norm / math.sqrt(count)
    middles = [(low + high) / 2 for low, high in zip(found.edges, found.edges[1:], strict=False)]
    total = sum(n * middle**2 for n, middle in zip(found.counts, middles, strict=True))
    return math.sqrt(total / count) if count and total else 1.0


def _few(vector: Vector) -> list[Histogram]:
    found = sorted(vector.histograms, key=lambda one: one.layer)
    return [found[place] for place in spaced(len(found), MOST)]


def _said(vector: Vector) -> str:
    words: list[str] = []
    for found in _few(vector):
        large = ", ".join(f"{at} ({value / _spread(vector, found):.1f})" for at, value in found.largest[:2])
        words.append(f"layer {found.layer}, largest {large or 'not known'}")
    return "; ".join(words)


def _draw_histograms(axes: Axes, *, vector: Vector) -> None:
    shown = _few(vector)
    room(axes, left=-0.1)
    reach = 3.0
    for place, found in enumerate(shown):
        spread = _spread(vector, found)
        top = math.log1p(max(found.counts, default=1) or 1)
        edges = [edge / spread for edge in found.edges]
        heights = [0.8 * math.log1p(count) / top for count in found.counts]
        axes.stairs([place + height for height in heights], edges, baseline=place, fill=True, color=_BARS, zorder=3)
        axes.axhline(place, color=FAINT, linewidth=0.6, zorder=2)
        reach = max([reach, *map(abs, edges), *(abs(value) / spread for _, value in found.largest[:2])])
    axes.set_xlim(-1.12 * reach, 1.12 * reach)
    for place, found in enumerate(shown):
        _name_largest(axes, found, _spread(vector, found), place, 2.24 * reach)
    axes.set_ylim(-0.15, len(shown) + 0.05)
    axes.set_yticks([place + 0.4 for place in range(len(shown))], [str(found.layer) for found in shown], fontsize=8.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("coordinate (multiples of the root mean square)")
    axes.set_ylabel("layer")


def _name_largest(axes: Axes, found: Histogram, spread: float, place: int, width: float) -> None:
    """Mark the two largest coordinates; where they lie close together, their numbers share one label."""
    large = [(value / spread, str(at)) for at, value in found.largest[:2]]
    if len(large) == 2 and abs(large[0][0] - large[1][0]) < 0.13 * width:
        ordered = sorted(large)
        labels = [(sum(at for at, _ in ordered) / 2, ", ".join(words for _, words in ordered))]
    else:
        labels = large
    for at, _ in large:
        axes.plot(at, place + 0.16, "v", color=_LARGE, markersize=5, markeredgewidth=0, zorder=5, clip_on=False)
    for at, words in labels:
        axes.text(
            at, place + 0.32, words, ha="center", va="bottom", fontsize=7.5, color=INK, zorder=6, clip_on=False,
            bbox={"boxstyle": "square,pad=0.08", "facecolor": CARD, "edgecolor": "none", "alpha": 0.8},
        )  # fmt: skip


def massive_words(record: Record) -> list[str]:
    """Return a sentence for each vector that two coordinates carry at some layer."""
    found: list[str] = []
    for vector in record.vectors:
        heavy = [row for row in vector.by_layer if (row.massive_share or 0) > MASSIVE_SHARE]
        if heavy:
            worst = max(heavy, key=lambda row: row.massive_share or 0)
            found.append(
                f"{vector.behaviour} ({READINGS.get(vector.reading, vector.reading)}): two coordinates hold more than "
                f"{100 * MASSIVE_SHARE:.0f} % of the vector's energy at {len(heavy)} of {len(vector.by_layer)} layers, "
                f"most at layer {worst.layer} ({number(100 * (worst.massive_share or 0), 0)} %)."
            )
    return found
