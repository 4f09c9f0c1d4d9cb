"""What the figures of a study of skills share: words for layers and metrics, colours of lines, room for long names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.axes import Axes

from steersman.maths.statistics import Estimate
from steersman.report.figures import ARM_MARKERS, CARD, INK, PALETTE, Key, Mark
from steersman.report.skills.record import Choice, Curve, Skills, Vector
from steersman.report.words import DASH, number

METRICS: Final = {
    "top1_accuracy": "top-1 accuracy",
    "top10_accuracy": "top-10 accuracy",
    "cross_entropy": "cross-entropy",
}
ARM_WORDS: Final = {"steered": "steered", "permuted": "permuted coordinates", "random": "random vector"}

_MARKS: Final[dict[Mark, str]] = {"circle": "o", "square": "s", "diamond": "D", "up": "^", "down": "v", "plus": "P"}
_COLOURS: Final = ("steered", "prompt", "harmless", "both", "ink", "harmful", "shuffled", "negated")
MARGIN: Final = 0.66
"""Inches that every panel leaves free at its left; longer names need `room`."""


@dataclass(frozen=True)
class Face:
    """How a line looks: the palette's name of its colour, and its mark; told apart by either alone."""

    name: str
    mark: Mark

    @property
    def colour(self) -> str:
        """The colour as matplotlib takes it."""
        return PALETTE[self.name][0]

    @property
    def marker(self) -> str:
        """The mark as matplotlib takes it."""
        return _MARKS.get(self.mark, "*")

    def key(self, text: str) -> Key:
        """The entry of a legend."""
        return Key(self.mark, self.name, text)


CONTROL_FACES: Final = {"permuted": Face("permuted", "up"), "random": Face("random", "square")}


def face(place: int) -> Face:
    """The look of the line at a place: eight colours, each with a mark, then the same colours with other marks."""
    marks, turn = tuple(_MARKS), place // len(_COLOURS)
    return Face(_COLOURS[place % len(_COLOURS)], marks[(place + 3 * turn) % len(marks)])


def face_of(curve: Curve, place: int) -> Face:
    """The look of a curve: a control's own, or that of its place."""
    return CONTROL_FACES.get(curve.arm) or face(place)


def layers_words(layers: Sequence[int]) -> str:
    """A set of layers in words: "layer 9", "layers 9 and 12"."""
    if len(layers) == 1:
        return f"layer {layers[0]}"
    *others, last = map(str, layers)
    return f"layers {', '.join(others)} and {last}"


def layers_short(layers: Sequence[int]) -> str:
    """A set of layers as short as it can be written: "9", "9+12"."""
    return "+".join(map(str, layers))


def layer_sets(curves: Sequence[Curve]) -> list[tuple[int, ...]]:
    """The sets of layers among curves: single layers first, each by depth."""
    return sorted({curve.layers for curve in curves}, key=lambda layers: (len(layers), layers))


def percent(found: Estimate) -> str:
    """A share and its interval as "72.0 % (69.1–75.2)"."""
    value, low, high = (number(100 * end, 1) for end in (found.value, found.low, found.high))
    return f"{value} % ({low}{DASH}{high})"


def level(record: Skills) -> str:
    """The level at which skills are compared, as "90 %"."""
    return f"{100 * record.retain:g} %"


def chosen_of(record: Skills, remove: str) -> Choice | None:
    """The first choice for a removed skill; None where none was made."""
    return next(iter(record.choices(remove)), None)


def vectors_of(record: Skills, remove: str) -> list[Vector]:
    """The vectors of one removed skill, the chosen one first."""
    chosen = {choice.vector for choice in record.choices(remove)}
    mine = [vector for vector in record.vectors if vector.remove == remove]
    return sorted(mine, key=lambda vector: vector.name not in chosen)


def counts(found: Sequence[Estimate]) -> str:
    """The number of texts behind estimates, as "n = 200" or "n = 150 to 200"."""
    sizes = sorted({each.n for each in found})
    if not sizes:
        return "n unknown"
    return f"n = {sizes[0]}" if len(sizes) == 1 else f"n = {sizes[0]} to {sizes[-1]}"


def room(axes: Axes, *, left: float = MARGIN, right: float = 0.0) -> None:
    """Narrow axes so that `left` inches are free at their left (names) and `right` more at their right (a colour bar).

    The title keeps its place at the panel's edge: its place is counted in widths of the axes.
    """
    figure = axes.get_figure()
    assert figure is not None
    across = figure.bbox.width / figure.dpi
    place = axes.get_position(original=True)
    inner = place.width * across - (left - MARGIN) - right
    axes.set_position((place.x0 + (left - MARGIN) / across, place.y0, inner / across, place.height))
    axes.set_title(axes.get_title(loc="left"), x=-(left - 0.12) / inner, y=1.0)


def plate(alpha: float = 0.8) -> dict[str, object]:
    """What lies behind words that stand on lines."""
    return {"boxstyle": "square,pad=0.1", "facecolor": CARD, "edgecolor": "none", "alpha": alpha}


def star(axes: Axes, x: float = 100.0, y: float = 100.0) -> None:
    """Mark the unsteered model."""
    axes.plot(x, y, ARM_MARKERS["unsteered"], color=INK, markersize=12, markeredgewidth=0, zorder=6)
