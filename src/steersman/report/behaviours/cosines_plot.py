"""How alike the behaviours' vectors are: a square of cosines for each of a few layers, with what interferes framed."""

import re
from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from steersman.composition.record import INTERFERENCE
from steersman.report.behaviours.drawing import (
    BOTH_WAYS,
    CELL_INK,
    CELL_LIGHT,
    FRAME,
    colour_bar,
    cut,
    room,
    spaced,
)
from steersman.report.behaviours.values import Record
from steersman.report.figures import CARD, Chart, Panel
from steersman.report.vector_figures import Square
from steersman.report.words import number, slug

MOST = 4
"""Squares of a figure."""
_WORDED = 7
"""Behaviours up to which a cell has room for a word."""


def cosines_chart(record: Record) -> Chart | None:
    """Return a square for each layer where something is steered, at most four; None for one behaviour alone."""
    squares = _shown(record)
    if not squares:
        return None
    size = 2.1 + 0.56 * min(_WORDED, len(squares[0].names))
    panels = tuple(
        Panel(
            name=slug("cosines", str(square.layer)),
            title=f"Layer {square.layer}",
            description=f"Cosines at layer {square.layer}: {_said(square)}",
            draw=partial(_draw, square=square),
            width=size + 1.1,
            height=size,
        )
        for square in squares
    )
    rest = sorted({square.layer for square in record.cosines} - {square.layer for square in squares})
    return Chart(
        name="cosines",
        title="Which behaviours will fight",
        caption=(
            "Cosine between the behaviours' vectors: 1 is the same direction, 0 at right angles, −1 opposed. Framed: "
            f"{number(INTERFERENCE, 1)} or more in size, from where on a push along one moves the other noticeably; "
            "steered the same way, such a pair reinforces each other where the cosine is positive, and fights where it "
            "is negative. From the training items alone"
            + (f"; {len(rest)} more layers are in behaviours.json." if rest else ".")
        ),
        panels=panels,
        columns=min(2, len(panels)),
    )


def interfering(square: Square) -> list[tuple[str, str, float]]:
    """Return the pairs whose cosine reaches the threshold, the largest first."""
    found: list[tuple[str, str, float]] = []
    for row, one in enumerate(square.names):
        for column in range(row + 1, len(square.names)):
            value = square.matrix[row][column]
            if value is not None and abs(value) >= INTERFERENCE:
                found.append((one, square.names[column], value))
    return sorted(found, key=lambda pair: -abs(pair[2]))


def relation(value: float) -> str:
    """Return what two vectors do to each other when both are steered the same way."""
    return "fight" if value < 0 else "reinforce"


def _shown(record: Record) -> list[Square]:
    squares = [square for square in record.cosines if len(square.names) > 1]
    steered = {
        int(match[1])
        for setting in record.settings
        for member in setting.members
        if (match := re.search(r"\.(\d+)", member.site))
    }
    wanted = [square for square in squares if square.layer in steered] or squares
    return [wanted[place] for place in spaced(len(wanted), MOST)]


def _said(square: Square) -> str:
    pairs = [f"{one} and {two} {relation(value)} ({value:+.2f})" for one, two, value in interfering(square)]
    return "; ".join(pairs) + "." if pairs else f"no pair reaches {INTERFERENCE:g} in size."


def _draw(axes: Axes, *, square: Square) -> None:
    names = [cut(name, 18) for name in square.names]
    count = len(names)
    longest = 0.072 * max(map(len, names))
    room(axes, left=max(0.0, longest - 0.42), right=0.72, bottom=max(0.0, 0.62 * longest - 0.18))
    empty = float("nan")
    values = [[empty if value is None else value for value in row] for row in square.matrix]
    image = axes.pcolormesh(values, cmap=BOTH_WAYS, vmin=-1, vmax=1, edgecolors=CARD, linewidth=0.8)
    axes.invert_yaxis()
    axes.grid(visible=False)
    for row, line in enumerate(square.matrix):
        for column, value in enumerate(line):
            if value is not None and count <= 12:
                _cell(axes, row, column, value, worded=count <= _WORDED)
    places = [place + 0.5 for place in range(count)]
    axes.set_yticks(places, names, fontsize=8.5)
    axes.set_xticks(places, names, fontsize=8.5, rotation=35, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    colour_bar(axes, image, (-1, -0.5, 0, 0.5, 1), "cosine", 1)


def _cell(axes: Axes, row: int, column: int, value: float, *, worded: bool) -> None:
    framed = row != column and abs(value) >= INTERFERENCE
    colour = CELL_LIGHT if abs(value) > 0.72 else CELL_INK
    axes.text(
        column + 0.5, row + (0.4 if framed and worded else 0.5), number(value, 2), ha="center", va="center",
        fontsize=8.5, color=colour, zorder=4,
    )  # fmt: skip
    if not framed:
        return
    if worded:
        axes.text(
            column + 0.5, row + 0.72, relation(value), ha="center", va="center", fontsize=6.8, color=colour, zorder=4
        )
    axes.add_patch(
        Rectangle((column + 0.05, row + 0.05), 0.9, 0.9, fill=False, edgecolor=FRAME, linewidth=1.8, zorder=5)
    )


def pairs_words(square: Square) -> Sequence[str]:
    """Return a sentence for each pair that interferes at a layer."""
    return [
        f"Layer {square.layer}: {one} and {two} {relation(value)} (cosine {number(value, 2)})."
        for one, two, value in interfering(square)
    ]
