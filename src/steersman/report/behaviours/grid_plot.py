"""The grid of each behaviour alone: layers up, coefficients across, the change of its margin as colour."""

from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from steersman.report.behaviours.drawing import (
    BOTH_WAYS,
    CELL_INK,
    CELL_LIGHT,
    FRAME,
    colour_bar,
    counts_of,
    room,
    thinned,
)
from steersman.report.behaviours.values import Cell, Record
from steersman.report.figures import CARD, Chart, Panel
from steersman.report.words import UNITS, coefficient, number, signed, slug

_HATCH = "#6f6f6f"  # of no palette colour: it lies on cells, which keep their colours in the dark
_NUMBERED = 11
"""Columns up to which a cell has room for its number."""


def grid_chart(record: Record) -> Chart | None:
    """Return one panel for each behaviour that has a grid; None where none has."""
    shown = [name for name in record.names if any(cell.behaviour == name for cell in record.grid)]
    if not shown:
        return None
    bound = _bound(record.grid)
    rows = max(len({cell.layer for cell in record.grid if cell.behaviour == name}) for name in shown)
    columns = max(len({cell.coefficient for cell in record.grid if cell.behaviour == name}) for name in shown)
    panels = tuple(_panel(record, name, bound, rows, columns) for name in shown)
    counts = counts_of(cell.margin_change.n for cell in record.grid)
    unit = f"{record.unit} units: {UNITS.get(record.unit, record.unit)}"
    return Chart(
        name="grid",
        title="Each behaviour alone: layer and coefficient",
        caption=(
            f"Every cell is one layer and coefficient, in {unit}. Colour and number: how far the margin "
            "(log-probability of the option that shows the behaviour, minus that of the other) moves from the "
            f"unsteered model, in {record.nats}; blue is more of the behaviour, orange less. Validation items, "
            f"{counts}. Hatched: not eligible, because answers collapse or are beside the question there, or plain "
            "prose suffers. Framed: chosen on these items, one for each sign; what it does is measured on other items, "
            "the test items. All panels share one scale of colours."
        ),
        panels=panels,
        columns=min(2, len(panels)),
    )


def _bound(cells: Sequence[Cell]) -> float:
    """Return the end of the colours: the largest change that is eligible, or any where none is."""
    sizes = [abs(cell.margin_change.value) for cell in cells if cell.eligible]
    return max(sizes or [abs(cell.margin_change.value) for cell in cells]) or 1e-3


def _panel(record: Record, name: str, bound: float, rows: int, columns: int) -> Panel:
    cells = [cell for cell in record.grid if cell.behaviour == name]
    framed = {
        (each.layer, each.coefficient): each.sign
        for each in record.chosen
        if each.behaviour == name and each.layer is not None and each.coefficient is not None
    }
    best = max(cells, key=lambda cell: cell.margin_change.value)
    worst = min(cells, key=lambda cell: cell.margin_change.value)
    out = sum(not cell.eligible for cell in cells)
    chosen = [f"layer {layer} at {coefficient(strength)}" for layer, strength in framed]
    return Panel(
        name=slug("grid", name),
        title=name,
        description=(
            f"{name}: change of the margin, {record.nats}, over {len({c.layer for c in cells})} layers and "
            f"{len({c.coefficient for c in cells})} coefficients: from {signed(worst.margin_change.value, 2)} at layer "
            f"{worst.layer}, coefficient {coefficient(worst.coefficient)}, to {signed(best.margin_change.value, 2)} at "
            f"layer {best.layer}, coefficient {coefficient(best.coefficient)}; {out} of {len(cells)} cells not "
            f"eligible; chosen: {' and '.join(chosen) or 'none'}."
        ),
        draw=partial(_draw, cells=cells, framed=set(framed), bound=bound, record=record),
        width=min(7.0, max(4.9, 1.9 + 0.38 * columns)),
        height=min(6.5, max(2.5, 1.05 + 0.27 * rows)),
    )


def _draw(axes: Axes, *, cells: Sequence[Cell], framed: set[tuple[int, float]], bound: float, record: Record) -> None:
    room(axes, right=0.72, left=-0.12)
    layers = sorted({cell.layer for cell in cells})
    strengths = sorted({cell.coefficient for cell in cells})
    at = {(cell.layer, cell.coefficient): cell for cell in cells}
    empty = float("nan")
    values = [
        [at[layer, strength].margin_change.value if (layer, strength) in at else empty for strength in strengths]
        for layer in layers
    ]
    image = axes.pcolormesh(
        values, cmap=BOTH_WAYS, vmin=-bound, vmax=bound, edgecolors=CARD, linewidth=0.8, antialiased=True
    )
    axes.grid(visible=False)
    for row, layer in enumerate(layers):
        for column, strength in enumerate(strengths):
            if (layer, strength) in at:
                _mark(axes, at[layer, strength], column, row, bound, numbered=len(strengths) <= _NUMBERED)
            if (layer, strength) in framed:
                axes.add_patch(
                    Rectangle((column + 0.04, row + 0.06), 0.92, 0.88, fill=False, edgecolor=FRAME, linewidth=2.2,
                              zorder=5, clip_on=False)
                )  # fmt: skip
    columns, rows = thinned(range(len(strengths)), _NUMBERED), thinned(range(len(layers)), 16)
    axes.set_xticks([place + 0.5 for place in columns], [coefficient(strengths[p]) for p in columns], fontsize=8)
    axes.set_yticks([place + 0.5 for place in rows], [str(layers[place]) for place in rows], fontsize=8.5)
    axes.set_xlabel(f"coefficient ({record.unit} units)")
    axes.set_ylabel("layer")
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)
    beyond = any(abs(cell.margin_change.value) > bound for cell in cells)
    digits = 2 if bound < 2 else 1
    colour_bar(axes, image, (-bound, -bound / 2, 0, bound / 2, bound), record.nats, digits, extend=beyond)


def _mark(axes: Axes, cell: Cell, column: int, row: int, bound: float, *, numbered: bool) -> None:
    value = cell.margin_change.value
    if not cell.eligible:
        axes.add_patch(
            Rectangle((column + 0.02, row + 0.03), 0.96, 0.94, fill=False, hatch="////", edgecolor=_HATCH, linewidth=0,
                      zorder=3)
        )  # fmt: skip
    if not numbered:
        return
    colour = CELL_LIGHT if abs(value) > 0.72 * bound else CELL_INK
    plate = {"boxstyle": "square,pad=0.08", "facecolor": "#fdfdfc", "edgecolor": "none", "alpha": 0.85}
    axes.text(
        column + 0.5, row + 0.48, number(value, 2 if abs(value) < 9.95 else 0), ha="center", va="center", fontsize=7,
        color=colour if cell.eligible else CELL_INK, zorder=4, bbox=None if cell.eligible else plate,
    )  # fmt: skip
