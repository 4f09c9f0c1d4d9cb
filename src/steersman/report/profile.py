"""The layer profile: what the direction does and measures at every layer, and which layer was taken."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from steersman.report.figures import FAINT, INK, PALETTE, Chart, Key, Panel, limits
from steersman.report.values import Layer, LayerSearch, Run
from steersman.report.words import slug

_HARMFUL, _HARMLESS = PALETTE["harmful"][0], PALETTE["harmless"][0]


@dataclass(frozen=True)
class _Line:
    """One quantity of the search: how to read it from a row, and how it is drawn and named."""

    read: Callable[[Layer], float | None]
    colour: str
    marker: str
    text: str


@dataclass(frozen=True)
class _View:
    """One panel: its lines, unit, scale and reference value."""

    name: str
    title: str
    axis: str
    lines: tuple[_Line, ...]
    reference: float | None = None
    log: bool = False


_VIEWS = (
    _View(
        "effect",
        "Effect of adding the direction",
        "",  # what was measured there is said by the search itself
        (
            _Line(lambda row: row.effect_harmful, _HARMFUL, "o", "harmful prompts"),
            _Line(lambda row: row.effect_harmless, _HARMLESS, "s", "harmless prompts"),
            _Line(lambda row: row.effect, _HARMFUL, "o", "validation pairs"),
        ),
        reference=0.0,
    ),
    _View(
        "separation",
        "Separation of the two classes",
        "AUROC (0.5 is chance)",
        (_Line(lambda row: row.separation, INK, "o", ""),),
        reference=0.5,
    ),
    _View(
        "norms",
        "Norms, logarithmic scale",
        "norm (activation units)",
        (
            _Line(lambda row: row.vector_norm, _HARMFUL, "o", "vector"),
            _Line(lambda row: row.residual_norm, _HARMLESS, "s", "residual stream"),
        ),
        log=True,
    ),
    _View(
        "kl",
        "Disturbance of harmless prompts",
        "KL divergence (nats)",
        (_Line(lambda row: row.kl, INK, "o", ""),),
        reference=0.0,
    ),
)


def profile_charts(run: Run) -> list[Chart]:
    """One chart per direction whose layer search measured something."""
    charts: list[Chart] = []
    for search in run.layers:
        panels = tuple(
            Panel(
                name=slug("layers", search.direction, view.name),
                title=view.title,
                description=_description(search, view),
                draw=partial(_draw, search=search, view=view),
            )
            for view in _VIEWS
            if any(_values(search.rows, line, log=view.log) for line in view.lines)
        )
        if panels:
            charts.append(
                Chart(
                    name=slug("layers", search.direction),
                    title=f"Layer profile of the {search.direction} direction",
                    caption=_caption(search),
                    panels=panels,
                    columns=2,
                    legend=(Key("dashed", "ink", "chosen layer"),),
                )
            )
    return charts


def _caption(search: LayerSearch) -> str:
    chosen = "no layer chosen yet" if search.chosen is None else f"layer {search.chosen} chosen"
    criterion = f" by this rule: {search.criterion.rstrip('.')}" if search.criterion else ""
    return f"{chosen.capitalize()}{criterion}. Layers are 0-based decoder blocks; faint marks were not eligible."


def _description(search: LayerSearch, view: _View) -> str:
    parts: list[str] = []
    for line in view.lines:
        found = _values(search.rows, line, log=view.log)
        if found:
            layer, top = max(found, key=lambda pair: pair[1])
            parts.append(f"{line.text or view.title}: largest, {top:.3g}, at layer {layer}")
    return f"{view.axis or search.measure} by layer. {'; '.join(parts)}."


def _values(rows: Sequence[Layer], line: _Line, *, log: bool) -> list[tuple[int, float]]:
    found = ((row.layer, line.read(row)) for row in rows)
    # a norm of zero has no place on a logarithmic axis
    return [(layer, value) for layer, value in found if value is not None and not (log and value <= 0)]


def _draw(axes: Axes, *, search: LayerSearch, view: _View) -> None:
    eligible = {row.layer for row in search.rows if row.eligible}
    everything: list[float] = [] if view.reference is None else [view.reference]
    for line in view.lines:
        pairs = _values(search.rows, line, log=view.log)
        if not pairs:
            continue
        everything += [value for _, value in pairs]
        axes.plot(*zip(*pairs, strict=True), color=line.colour, linewidth=1, alpha=0.45, zorder=2)
        for keep, alpha in ((True, 1.0), (False, 0.28)):
            some = [pair for pair in pairs if (pair[0] in eligible) is keep]
            if some:
                axes.plot(
                    *zip(*some, strict=True), line.marker, color=line.colour, markersize=4.5,
                    markeredgewidth=0, alpha=alpha, zorder=3, label=line.text if keep or not eligible else None,
                )  # fmt: skip
    if view.reference is not None:
        axes.axhline(view.reference, color=FAINT, linewidth=0.8, zorder=1)
    _scale(axes, search, everything, log=view.log)
    handles, texts = axes.get_legend_handles_labels()
    if len(handles) > 1:
        # above the plot, right of the title's line end: never on top of a curve
        axes.legend(
            handles, texts, loc="lower right", bbox_to_anchor=(1.02, 0.97), ncols=1, fontsize=8.5,
            handletextpad=0.2, borderpad=0.1, labelspacing=0.15,
        )  # fmt: skip
    axes.set_xlabel("layer (0-based decoder block)")
    axes.set_ylabel(view.axis or search.measure)


def _scale(axes: Axes, search: LayerSearch, values: Sequence[float], *, log: bool) -> None:
    layers = [row.layer for row in search.rows]
    axes.set_xlim(min(layers) - 0.8, max(layers) + 0.8)
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")  # the default writes powers of ten as markup
        axes.yaxis.set_minor_formatter(NullFormatter())
        low, high = math.log10(min(values)), math.log10(max(values))
        air = max(0.06 * (high - low), 0.1)
        axes.set_ylim(10 ** (low - air), 10 ** (high + air))
    else:
        axes.set_ylim(*limits(values, least=0.02, floor=-math.inf, ceiling=math.inf))
    if search.chosen is not None and min(layers) <= search.chosen <= max(layers):
        axes.axvline(search.chosen, color=INK, linewidth=1.1, linestyle="--", zorder=1)
