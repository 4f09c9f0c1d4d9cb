"""What the figures of behaviours share: a behaviour's colour and mark, room for long labels, a map of colours."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.text import Text

from steersman.report.figures import FAINT, PALETTE, Key, Mark
from steersman.report.words import number

NAMES: tuple[str, ...] = ("steered", "prompt", "harmless", "harmful", "both", "permuted")
COLOURS = tuple(PALETTE[name][0] for name in NAMES)
MARKERS = ("o", "s", "D", "^", "v", "P")
_MARKS: tuple[Mark, ...] = ("circle", "square", "diamond", "up", "down", "plus")

# A coloured cell keeps its colour in the dark, so its words and its white must keep theirs: none of these three is a
# colour of the palette, which the page would replace.
CELL_PAPER, CELL_INK, CELL_LIGHT = "#fdfdfd", "#1c1e23", "#fefefe"
BOTH_WAYS = LinearSegmentedColormap.from_list("behaviours", [PALETTE["prompt"][0], CELL_PAPER, PALETTE["steered"][0]])
FRAME = "#0b3d1f"
"""The frame of a cell: dark enough for both ends of the colours."""


@dataclass(frozen=True)
class Line:
    """One line: its name, its place among the colours, and its points with their intervals."""

    name: str
    place: int
    points: tuple[tuple[float, float, float, float], ...]


def style(place: int) -> dict[str, Any]:
    """Return colour and marker of the behaviour at a place."""
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}


def behaviour_keys(names: Sequence[str]) -> tuple[Key, ...]:
    """Return the legend of behaviours."""
    return tuple(Key(_MARKS[place % len(_MARKS)], NAMES[place % len(NAMES)], name) for place, name in enumerate(names))


def room(axes: Axes, *, left: float = 0.0, right: float = 0.0, top: float = 0.0, bottom: float = 0.0) -> None:
    """Take more inches from an axes on its sides; the title stays where it was."""
    figure = axes.get_figure()
    assert figure is not None
    width, height = figure.bbox.width / figure.dpi, figure.bbox.height / figure.dpi
    place = axes.get_position(original=True)
    before = place.width * width
    after = before - left - right
    axes.set_position(
        (place.x0 + left / width, place.y0 + bottom / height, after / width, place.height - (top + bottom) / height)
    )
    title = axes.get_title(loc="left")
    for child in axes.get_children():
        if isinstance(child, Text) and title and child.get_text() == title:
            child.set_x((child.get_position()[0] * before - left) / after)


def colour_bar(axes: Axes, image: Any, ticks: Sequence[float], unit: str, digits: int, *, extend: bool = False) -> None:
    """Draw the bar of colours at the right, where `room` was made for it."""
    figure = axes.get_figure()
    assert figure is not None
    # drawn as one picture, it would be coarse in the SVG; in cells it stays sharp
    bar = figure.colorbar(
        image, cax=axes.inset_axes((1.04, 0, 0.035, 1)), ticks=list(ticks), extend="both" if extend else "neither"
    )
    bar.ax.set_yticklabels([number(tick, digits) for tick in ticks], fontsize=8)
    bar.set_label(unit, fontsize=8.5, color=FAINT)
    bar.outline.set_visible(False)  # type: ignore[operator]


def draw_line(axes: Axes, line: Line, *, dashes: str = "-", **how: Any) -> None:
    """Draw a line with its marks, and its intervals as thin bars."""
    across, up, lows, highs = (list(values) for values in zip(*line.points, strict=True))
    look = style(line.place) | how
    axes.plot(across, up, linestyle=dashes, linewidth=1.4, markersize=4.5, markeredgewidth=0, zorder=3, **look)
    arms = [
        [max(0.0, value - low) for value, low in zip(up, lows, strict=True)],
        [max(0.0, high - value) for value, high in zip(up, highs, strict=True)],
    ]
    axes.errorbar(across, up, yerr=arms, fmt="none", ecolor=look["color"], elinewidth=0.8, alpha=0.45, zorder=2)


def counts_of(numbers: Iterable[int]) -> str:
    """Return numbers of items as `n = 300`, or `n = 280 to 300` where they differ; empty for none."""
    found = sorted(set(numbers))
    if not found:
        return ""
    return f"n = {found[0]}" if len(found) == 1 else f"n = {found[0]} to {found[-1]}"


def thinned(places: Sequence[int], most: int) -> list[int]:
    """Return at most so many of some places, evenly apart."""
    return list(places[:: max(1, -(-len(places) // most))])


def spaced(count: int, most: int) -> list[int]:
    """Return at most so many places among `count`, the first and the last of them included."""
    if count <= most:
        return list(range(count))
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]


def cut(text: str, most: int) -> str:
    """Return a text of at most so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
