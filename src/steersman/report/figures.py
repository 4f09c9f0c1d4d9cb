"""Panels and how they become files: one drawing serves the page (inline SVG) and the plots folder (PNG and SVG).

A `Panel` draws on one pair of axes; a `Chart` is panels in a grid with a shared legend. On the page every panel is an
SVG of its own, so that the browser can stack them on a phone; its colours become CSS variables and follow light and
dark. In the files the same panels stand in one figure on white. Every axes is placed by hand in inches, so both agree.
Only matplotlib's object interface is used: no pyplot, no global figure, no change of rcParams that outlives a call.
"""

import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from steersman.report.writing import write_atomically

# Okabe and Ito's palette, safe for the common forms of colour blindness: (on light, on dark). The light values must be
# distinct, because the page finds them in the SVG and replaces each by its CSS variable.
PALETTE: Final = {
    "ink": ("#1b1d22", "#eceae4"),
    "faint": ("#62676f", "#a3a8b0"),
    "grid": ("#e4e2dd", "#33373f"),
    "card": ("#ffffff", "#1b1e24"),  # also what lies under the axes
    "steered": ("#0072b2", "#5cb8ee"),
    "random": ("#8a8d93", "#8f949c"),
    "prompt": ("#d55e00", "#f08a3c"),
    "both": ("#7b4fa3", "#b48ce0"),
    "permuted": ("#8f7a3a", "#c7b26b"),
    "negated": ("#a83f5b", "#e07f97"),
    "shuffled": ("#5d6fa3", "#93a5db"),
    "frontier": ("#1f8a5b", "#4fc48f"),
    "harmful": ("#b4578c", "#dd8fbd"),
    "harmless": ("#009e73", "#35c79b"),
}
INK, FAINT, GRID, CARD = (PALETTE[name][0] for name in ("ink", "faint", "grid", "card"))
FRONTIER = PALETTE["frontier"][0]
CONTROLS: Final = ("random", "permuted", "negated", "shuffled")
ARM_NAMES: Final = {"prompt+steered": "both", **{arm: arm for arm in ("steered", "prompt", *CONTROLS)}}
"""The palette's name of an arm's colour."""
ARM_COLOURS: Final = {"unsteered": INK, **{arm: PALETTE[name][0] for arm, name in ARM_NAMES.items()}}
ARM_MARKERS: Final = {
    "unsteered": "*",
    "steered": "o",
    "random": "s",
    "permuted": "^",
    "negated": "v",
    "shuffled": "P",
    "prompt": "D",
    "prompt+steered": "d",
}

_STYLE: Final[dict[str, Any]] = {
    "svg.hashsalt": "steersman",  # otherwise every run draws new ids
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib, so measures are the same everywhere
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": FAINT,
    "axes.titlecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.7,
    "lines.markersize": 4.5,
    "legend.frameon": False,
}
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.66, 0.16, 0.40, 0.56  # margins of a panel, inches
_TITLE = 0.45  # strip above a file's panels, inches

_DASHES: Final[dict[str, Any]] = {"line": "-", "dashed": "--", "dotted": ":"}
Mark = Literal["line", "dashed", "dotted", "star", "diamond", "ring", "circle", "square", "up", "down", "plus"]


@dataclass(frozen=True)
class Key:
    """One entry of a legend: a mark, the palette's name of its colour, and the words."""

    mark: Mark
    colour: str
    text: str


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        name: Identifier, unique in the report.
        title: Title above the axes.
        description: What a reader who cannot see it should know.
        draw: Draws on the axes; titles and margins are already set.
        width: Inches.
        height: Inches.
    """

    name: str
    title: str
    description: str
    draw: Callable[[Axes], None]
    width: float = 4.3
    height: float = 3.1


@dataclass(frozen=True)
class Chart:
    """Panels of one size in a grid, with a title, a caption and a legend."""

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    columns: int
    legend: tuple[Key, ...] = ()


@contextmanager
def _style(font: Literal["none", "path"]) -> Iterator[None]:
    # "default" first: a matplotlibrc of the user's must not change the report
    with matplotlib.style.context(["default", {**_STYLE, "svg.fonttype": font}]):
        yield


def inline_svg(panel: Panel) -> str:
    """A panel as an SVG element for the page: text as text, colours as CSS variables, ids under the panel's name."""
    with _style("none"):
        figure = Figure(figsize=(panel.width, panel.height))
        figure.patch.set_visible(False)
        _draw(figure, panel, 0.0, 0.0)
        raw = _rendered(figure, "svg").decode()
    body = raw[raw.index(">", raw.index("<svg")) + 1 : raw.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*</defs>", "", body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)  # the page's own font
    body = re.sub(r'\bid="', f'id="{panel.name}-', body)
    body = body.replace("url(#", f"url(#{panel.name}-")
    body = re.sub(r'(?:xlink:)?href="#', f'href="#{panel.name}-', body)
    for name, (light, _) in PALETTE.items():
        body = body.replace(light, f"var(--{name})")
    body = re.sub(r"\s*\n\s*", " ", body).strip()
    width, height = 72 * panel.width, 72 * panel.height
    # the description is spoken through aria-labelledby by the template; here only the drawing
    return f'<svg viewBox="0 0 {width:g} {height:g}" aria-hidden="true" focusable="false">{body}</svg>'


def save_chart(chart: Chart, folder: Path) -> list[Path]:
    """Write a chart as `folder/NAME.png` and `folder/NAME.svg`, the same bytes for the same numbers."""
    rows = math.ceil(len(chart.panels) / chart.columns)
    width = max(panel.width for panel in chart.panels) * min(chart.columns, len(chart.panels))
    heights = max(panel.height for panel in chart.panels)
    columns = _columns([len(key.text) for key in chart.legend], width)
    lines = math.ceil(len(chart.legend) / columns)
    legend = 0.2 + 0.22 * lines if lines else 0.0
    height = rows * heights + legend + _TITLE
    with _style("path"):
        figure = Figure(figsize=(width, height), facecolor="white")
        for place, panel in enumerate(chart.panels):
            row, column = divmod(place, chart.columns)
            _draw(figure, panel, column * panel.width, legend + (rows - 1 - row) * heights)
        figure.text(0.12 / width, 1 - 0.14 / height, chart.title, ha="left", va="top", fontsize=13, fontweight="bold")
        if chart.legend:
            handles = [_handle(key) for key in chart.legend]
            figure.legend(handles=handles, loc="lower left", ncols=columns, bbox_to_anchor=(0, 0), columnspacing=1.6)
        return [write_atomically(folder / f"{chart.name}.{form}", _rendered(figure, form)) for form in ("png", "svg")]


def _columns(characters: Sequence[int], width: float) -> int:
    """Return into how many columns a legend fits, at least 1: each is as wide as its longest entry, filled downward.

    Args:
        characters: of each entry.
        width: of the figure, inches.
    """
    for columns in range(len(characters), 1, -1):
        deep = math.ceil(len(characters) / columns)
        longest = [max(characters[start : start + deep]) for start in range(0, len(characters), deep)]
        # an estimate: 0.075 inches a character, the mark and the gap beside them
        if sum(0.075 * count + 0.55 for count in longest) <= width:
            return columns
    return 1


def _draw(figure: Figure, panel: Panel, x: float, y: float) -> None:
    """Place a panel's axes with its lower left corner at (x, y) inches and draw it."""
    width, height = figure.get_size_inches()
    inner = (panel.width - _LEFT - _RIGHT, panel.height - _TOP - _BOTTOM)
    axes = figure.add_axes(((x + _LEFT) / width, (y + _BOTTOM) / height, inner[0] / width, inner[1] / height))
    # the title starts at the panel's edge, not at the axis: long ones need the room
    axes.set_title(panel.title, x=-(_LEFT - 0.12) / inner[0], y=1.0)
    panel.draw(axes)


def _rendered(figure: Figure, form: str) -> bytes:
    stream = io.BytesIO()
    # without a date and a version the same numbers give the same bytes
    metadata = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
    FigureCanvasAgg(figure).print_figure(stream, format=form, dpi=150, metadata=metadata)
    return stream.getvalue()


def _handle(key: Key) -> Line2D:
    colour = PALETTE[key.colour][0]
    if key.mark in {"line", "dashed", "dotted"}:
        return Line2D([], [], color=colour, linestyle=_DASHES[key.mark], label=key.text)
    marks = {"star": ("*", 11), "diamond": ("D", 6), "square": ("s", 6), "up": ("^", 7), "down": ("v", 7)}
    marker, size = (marks | {"plus": ("P", 7)}).get(key.mark, ("o", 7))
    face = "none" if key.mark == "ring" else colour
    edge = 1.4 if key.mark == "ring" else 0
    size = 11 if key.mark == "ring" else size
    return Line2D(
        [], [], linestyle="", marker=marker, markersize=size, markerfacecolor=face, markeredgecolor=colour,
        markeredgewidth=edge, label=key.text,
    )  # fmt: skip


def limits(values: Sequence[float], *, least: float, floor: float, ceiling: float) -> tuple[float, float]:
    """Axis limits that hold every value with some air, span at least `least`, and stay inside [floor, ceiling]."""
    low, high = min(values), max(values)
    air = max(0.06 * (high - low), (least - (high - low)) / 2, 1e-9)
    return max(floor, low - air), min(ceiling, high + air)
