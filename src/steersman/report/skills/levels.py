"""Layers and vectors compared: what is left of the removed skill at the kept level, and the area above the diagonal."""

from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes

from steersman.maths.statistics import Estimate
from steersman.report.figures import INK, Chart, Panel, limits
from steersman.report.skills.cells import ONE_WAY, Cell, draw_cells, left_for
from steersman.report.skills.faces import (
    ARM_WORDS,
    CONTROL_FACES,
    METRICS,
    counts,
    face,
    layer_sets,
    layers_short,
    layers_words,
    level,
    plate,
    room,
    vectors_of,
)
from steersman.report.skills.record import Curve, Skills
from steersman.report.words import coefficient, number, slug


def grid_charts(record: Skills) -> list[Chart]:
    """One chart per removed skill: every vector at every set of layers on validation, two grids."""
    charts: list[Chart] = []
    for remove in record.removed:
        curves = [curve for curve in record.curves("validation", remove) if curve.arm == "steered"]
        if curves:
            charts.append(_grid(record, remove, curves))
    return charts


def _grid(record: Skills, remove: str, curves: Sequence[Curve]) -> Chart:
    rows = [v.name for v in vectors_of(record, remove) if any(curve.vector == v.name for curve in curves)]
    sets = layer_sets(curves)
    found = {(curve.vector, curve.layers): curve for curve in curves}
    chosen = {(choice.vector, choice.layers) for choice in record.choices(remove)}
    lefts = [v.skills[remove].value for c in curves if (v := c.kept) is not None and remove in v.skills]
    least = min([0.5, *lefts])
    most = max([0.1, *(c.area.value for c in curves if c.area)])

    def left(curve: Curve) -> Cell:
        framed = (curve.vector, curve.layers) in chosen
        if curve.kept is None or remove not in curve.kept.skills:
            return Cell(None, "never", f"to {coefficient(curve.points[-1].coefficient)}", framed)
        value = curve.kept.skills[remove].value
        at = f"at {number(curve.kept.coefficient, 2)}"
        return Cell((1 - value) / (1 - least), number(100 * value, 0), at, framed)

    def area(curve: Curve) -> Cell:
        framed = (curve.vector, curve.layers) in chosen
        if curve.area is None:
            return Cell(None, "unknown", framed=framed)
        return Cell(curve.area.value / most, number(curve.area.value, 3), framed=framed)

    columns = [layers_short(layers) for layers in sets]
    width = max(6.2, left_for(rows) + 0.16 + 0.62 * len(columns))
    height = 0.96 + 0.46 * max(2, len(rows))
    titles = {
        left: f"% of {remove} left where {record.keep} passes {level(record)}",
        area: "Area between curve and diagonal",
    }
    panels: list[Panel] = []
    for make, title in titles.items():
        cells = [[make(found[n, s]) if (n, s) in found else None for s in sets] for n in rows]
        draw = partial(
            draw_cells, rows=rows, columns=columns, cells=cells, colours=ONE_WAY, unit="layers (0-based decoder blocks)"
        )
        there = [(n, s) for n in rows for s in sets if (n, s) in found]
        said = "; ".join(f"{n}, {layers_words(s)}: {make(found[n, s]).words}" for n, s in there)
        panels.append(Panel(slug("grid", remove, make.__name__), title, f"{title}. {said}.", draw, width, height))
    sizes = [p.relative[remove][record.metric] for curve in curves for p in curve.points[1:]]
    caption = (
        f"Validation texts ({counts(sizes)} a corpus): every vector (rows) at every set of layers (columns; "
        "9+12 is two "
        f"layers at once). First: {METRICS[record.metric]} of {remove}, % of the unsteered model's, where "
        f"{record.keep} "
        f"falls to {level(record)} of its own, between the coefficients measured; small: the coefficient. “never”: "
        f"{record.keep} stays above that level up to the largest coefficient tried. Second: the area on the trade-off "
        "between curve and diagonal, 0.5 at most; positive where the removed skill falls faster. Framed: chosen "
        "on these "
        "texts. Darker is better."
    )
    return Chart(slug("grid", remove), f"{remove} removed: vectors by layers, validation", caption, tuple(panels), 1)


def area_chart(record: Skills) -> Chart | None:
    """The area of every tested curve with its interval, a panel per removed skill; None without any."""
    panels: list[Panel] = []
    arms: set[str] = set()
    shown: list[Estimate] = []
    for remove in record.removed:
        curves = sorted(
            (curve for curve in record.curves("test", remove) if curve.area),
            key=lambda c: (c.vector, len(c.layers), c.layers, list(ARM_WORDS).index(c.arm), c.seed or 0),
        )
        if not curves:
            continue
        arms |= {curve.arm for curve in curves}
        rows = [(_row(curve), curve.arm, curve.area) for curve in curves if curve.area]
        shown += [area for _, _, area in rows]
        said = "; ".join(f"{name}: {_area(area)}" for name, _, area in rows)
        panels.append(
            Panel(
                slug("area", remove), f"{remove} removed", f"Area between curve and diagonal. {said}.",
                partial(_draw_area, rows=rows), width=8.2, height=1.0 + 0.3 * max(3, len(rows)),
            )
        )  # fmt: skip
    if not panels:
        return None
    keys = [face(0).key("steered")] if "steered" in arms else []
    keys += [looks.key(ARM_WORDS[arm]) for arm, looks in CONTROL_FACES.items() if arm in arms]
    caption = (
        f"Test texts ({counts(shown)} a corpus). The area between a curve of the trade-off and its diagonal, in "
        "squares "
        "of 100 % by 100 %: 0 where both skills fall alike, 0.5 at most; positive where the removed skill falls "
        "faster. "
        "Bars are 95 % intervals over texts. Curves end at the largest coefficient measured, so areas compare only "
        "curves over the same coefficients."
    )
    return Chart("area", "Area between curve and diagonal, on test", caption, tuple(panels), 1, tuple(keys))


def _row(curve: Curve) -> str:
    if curve.arm == "steered":
        return f"{curve.vector}, {layers_words(curve.layers)}"
    return ARM_WORDS[curve.arm] + ("" if curve.seed is None else f", draw {curve.seed}")


def _area(found: Estimate) -> str:
    return f"{number(found.value, 3)} ({number(found.low, 3)} to {number(found.high, 3)})"


def _draw_area(axes: Axes, *, rows: Sequence[tuple[str, str, Estimate]]) -> None:
    room(axes, left=left_for([name for name, _, _ in rows]), right=0.1)
    axes.axvline(0, color=INK, linewidth=0.9, zorder=3)
    low, high = limits([0.0, *(end for _, _, e in rows for end in (e.low, e.high))], least=0.05, floor=-1, ceiling=1)
    right = high + 0.42 * (high - low)  # room for the numbers
    for place, (_, arm, found) in enumerate(rows):
        looks = CONTROL_FACES.get(arm) or face(0)
        axes.barh(
            place, found.value, height=0.62, color=looks.colour, alpha=0.85 if arm == "steered" else 0.5, zorder=2
        )
        axes.plot([found.low, found.high], [place, place], "-", color=INK, linewidth=1.3, zorder=4)
        axes.annotate(
            _area(found), (max(found.high, 0.0), place), xytext=(6, 0), textcoords="offset points", va="center",
            fontsize=8.5, color=INK, zorder=5, bbox=plate(),
        )  # fmt: skip
    axes.set_xlim(low, right)
    axes.set_ylim(max(len(rows), 3) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows], fontsize=9)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("area (squares of 100 % by 100 %)")
