"""Coefficient labels for points that may lie on top of each other.

Neighbours in the order of coefficients that lie too close to be told apart share one label ("−2 … −0.5"). Each label
then takes the place around its point that covers least of the other points, labels and the plot's edge; a label that
had to move away keeps a thin line to its point.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes

from steersman.report.figures import CARD, FAINT, INK

_SIZE = 8.5  # points
_CLOSE = 11.0  # points: nearer than this, two labels would need lines to be told apart
_DIRECTIONS = tuple((math.cos(turn * math.pi / 8), math.sin(turn * math.pi / 8)) for turn in range(16))
_REACHES = (11.0, 16.0, 23.0, 32.0, 44.0)


@dataclass(frozen=True)
class Point:
    """A point in data coordinates; a label that must stand alone and bold is `strong`."""

    x: float
    y: float
    text: str
    strong: bool = False


@dataclass(frozen=True)
class _Box:
    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: "_Box") -> float:
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return width * height if width > 0 and height > 0 else 0.0


def label_points(axes: Axes, points: Sequence[Point], obstacles: Sequence[tuple[float, float]]) -> None:
    """Write every point's label, after the limits are set.

    Args:
        axes: Where to write.
        points: Points in the order of their coefficients.
        obstacles: Other marks to keep clear of, in data coordinates.
    """
    per_point = 72 / axes.figure.dpi

    def spot(x: float, y: float) -> tuple[float, float]:
        across, up = axes.transData.transform((x, y))
        return float(across) * per_point, float(up) * per_point

    corner, opposite = axes.transAxes.transform([(0, 0), (1, 1)]) * per_point
    frame = _Box(float(corner[0]), float(corner[1]), float(opposite[0]), float(opposite[1]))
    marks = [spot(point.x, point.y) for point in points] + [spot(x, y) for x, y in obstacles]
    blocked = [_around(x, y, 9.0, 9.0) for x, y in marks]
    blocked += [_around(x, y, 3.0, 3.0) for x, y in _along([spot(point.x, point.y) for point in points])]
    taken: list[_Box] = []
    for cluster in sorted(_clusters(points, spot), key=lambda found: not found[0].strong):
        anchor = cluster[len(cluster) // 2]
        text = anchor.text if len(cluster) == 1 else f"{cluster[0].text} … {cluster[-1].text}"
        x, y = spot(anchor.x, anchor.y)
        width, height = 0.64 * _SIZE * len(text) + 2, 1.25 * _SIZE
        offsets = [(reach, dx, dy) for reach in _REACHES for dx, dy in _DIRECTIONS]
        reach, shift_x, shift_y, box = min(
            (_candidate(x, y, width, height, *offset) for offset in offsets),
            key=lambda candidate: _cost(candidate, blocked, taken, frame, (x, y)),
        )
        taken.append(box)
        axes.annotate(
            text,
            (anchor.x, anchor.y),
            xytext=(shift_x, shift_y),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=_SIZE,
            color=INK,
            fontweight="bold" if anchor.strong else "normal",
            zorder=6,
            bbox={"boxstyle": "square,pad=0.12", "facecolor": CARD, "edgecolor": "none", "alpha": 0.75},
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
            if reach > _REACHES[1]
            else None,
        )


def _clusters(points: Sequence[Point], spot: Callable[[float, float], tuple[float, float]]) -> list[list[Point]]:
    clusters: list[list[Point]] = []
    for point in points:
        last = clusters[-1] if clusters else []
        mixed = point.strong or any(other.strong for other in last)
        near = last and math.dist(spot(point.x, point.y), spot(last[0].x, last[0].y)) < _CLOSE
        if near and not mixed:
            last.append(point)
        else:
            clusters.append([point])
    return clusters


def _candidate(
    x: float, y: float, width: float, height: float, reach: float, dx: float, dy: float
) -> tuple[float, float, float, _Box]:
    """A label box whose nearest edge lies about `reach` from the point in direction (dx, dy)."""
    shift_x = dx * (reach + width / 2 - 4)
    shift_y = dy * (reach + height / 2 - 4)
    return reach, shift_x, shift_y, _around(x + shift_x, y + shift_y, width, height)


def _along(spots: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Places along the line that joins the points, about six points apart: a label should not hide the line."""
    places: list[tuple[float, float]] = []
    for (x, y), (next_x, next_y) in pairwise(spots):
        steps = int(math.hypot(next_x - x, next_y - y) / 6)
        places += [(x + (next_x - x) * k / steps, y + (next_y - y) * k / steps) for k in range(1, steps)]
    return places


def _cost(
    candidate: tuple[float, float, float, _Box],
    blocked: Sequence[_Box],
    taken: Sequence[_Box],
    frame: _Box,
    centre: tuple[float, float],
) -> float:
    reach, _, _, box = candidate
    x, y = centre
    # error bars run straight up and straight across: a label on either would be struck through
    slant = 6.0 * (box.left < x < box.right) + 6.0 * (box.bottom < y < box.top)
    outside = (
        max(0.0, frame.left - box.left)
        + max(0.0, box.right - frame.right)
        + max(0.0, frame.bottom - box.bottom)
        + max(0.0, box.top - frame.top)
    )
    crowd = sum(box.overlap(other) for other in blocked) + 3 * sum(box.overlap(other) for other in taken)
    return 40 * outside + crowd + 0.6 * reach + slant


def _around(x: float, y: float, width: float, height: float) -> _Box:
    return _Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
