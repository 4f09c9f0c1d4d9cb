"""Squares of colour with their numbers: the layer grids and the cosines.

The cells keep their colours in the page's dark view, so their words do too: none of these shades is in the palette,
which the page replaces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_hex
from matplotlib.patches import Rectangle

from steersman.report.figures import FAINT, INK
from steersman.report.skills.faces import room

_PAPER, _WORDS, _NEVER, _EDGE = "#fefefe", "#1b1d21", "#e9e7e3", "#fdfdfd"
ONE_WAY: Final = LinearSegmentedColormap.from_list("one", [_PAPER, "#a9cfe6", "#00629b"])
BOTH_WAYS: Final = LinearSegmentedColormap.from_list("both", ["#b84a00", "#f3bd94", _PAPER, "#a9cfe6", "#00629b"])
_WIDEST: Final = 1.0  # inches of a column
_LETTER: Final = 0.077  # inches a letter of a row's name takes


@dataclass(frozen=True)
class Cell:
    """One cell: its place on the colours from 0 to 1 (None for grey), its number, what stands below it, its frame."""

    shade: float | None
    words: str
    below: str = ""
    framed: bool = False


def left_for(names: Sequence[str]) -> float:
    """The inches that the names of rows need."""
    return max(0.66, _LETTER * max(map(len, names), default=0) + 0.3)


def draw_cells(
    axes: Axes,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[Cell | None]],
    colours: Colormap,
    unit: str = "",
) -> None:
    """Draw a table of cells, the first row on top.

    Args:
        axes: where to.
        rows: their names.
        columns: their names.
        cells: by row and column; None where nothing was measured.
        colours: shades from 0 to 1.
        unit: the words below the columns.
    """
    room(axes, left=left_for(rows))
    for place, line in enumerate(cells):
        for column, cell in enumerate(line):
            if cell is not None:
                _draw(axes, column, place, cell, colours)
    figure = axes.get_figure()
    assert figure is not None
    inches = axes.get_position(original=True).width * figure.bbox.width / figure.dpi
    axes.set_xlim(-0.5, max(len(columns), inches / _WIDEST) - 0.5)  # a few columns do not fill the panel
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xticks(range(len(columns)), list(columns), fontsize=9)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=9)
    axes.tick_params(length=0, labelcolor=INK)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel(unit, color=FAINT, x=0, ha="left")


def _draw(axes: Axes, column: int, row: int, cell: Cell, colours: Colormap) -> None:
    fill = _NEVER if cell.shade is None else to_hex(colours(min(1.0, max(0.0, cell.shade))))
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=fill, edgecolor=_EDGE, linewidth=1.2, zorder=2))
    dark = sum(weight * int(fill[k : k + 2], 16) for weight, k in ((0.299, 1), (0.587, 3), (0.114, 5))) < 135
    colour = _PAPER if dark else _WORDS
    up = 0.13 if cell.below else 0.0
    weight = "bold" if cell.framed else "normal"
    axes.text(
        column, row - up, cell.words, ha="center", va="center", fontsize=9, color=colour, fontweight=weight, zorder=4
    )
    if cell.below:
        axes.text(column, row + 0.25, cell.below, ha="center", va="center", fontsize=7.5, color=colour, zorder=4)
    if cell.framed:
        axes.add_patch(
            Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, edgecolor=_WORDS, linewidth=1.8, zorder=5)
        )
