"""`comparison.html`: two runs on one self-contained page."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from markupsafe import Markup
from matplotlib.axes import Axes

from steersman.report.comparison import Change, Comparison
from steersman.report.figures import ARM_COLOURS, ARM_MARKERS, FAINT, INK, PALETTE, Panel, inline_svg
from steersman.report.metrics import Metric, metric_for
from steersman.report.page import title_of
from steersman.report.tables import metrics_in
from steersman.report.templating import environment
from steersman.report.words import amount, change, change_interval, slug
from steersman.report.writing import write_atomically

_LINE = 0.27  # inches a row of the plot takes


@dataclass(frozen=True)
class _Line:
    """One row of the page's table, all text."""

    arm: str
    label: str
    before: str
    after: str
    change: str
    span: str
    n: int
    moved: int
    clear: bool


@dataclass(frozen=True)
class _Table:
    """All settings of one metric, with a drawing of their differences."""

    metric: Metric
    lines: tuple[_Line, ...]
    drawing: Markup
    description: str
    same: bool


def write_comparison(found: Comparison, folder: Path) -> Path:
    """Write `comparison.html` and return its path.

    Args:
        found: two runs compared.
        folder: where to; made where it does not exist.

    Raises:
        FileError: when it cannot be written.
    """
    keys = [metric.key for metric in metrics_in([*found.first.results, *found.second.results])]
    order = dict.fromkeys([*keys, *((one.task, one.metric) for one in found.changes)])
    tables = [_table(key, mine) for key in order if (mine := [c for c in found.changes if (c.task, c.metric) == key])]
    page = environment().get_template("comparison.html.j2").render(
        found=found,
        titles=(title_of(found.first), title_of(found.second)),
        tables=tables,
        palette=PALETTE,
    )  # fmt: skip
    return write_atomically(Path(folder) / "comparison.html", page.encode())


def _table(key: tuple[str, str], changes: Sequence[Change]) -> _Table:
    metric = metric_for(*key)
    panel = Panel(
        name=slug("change", *key),
        title="",
        description=f"{metric.label}: differences of {len(changes)} settings with their 95 % intervals.",
        draw=partial(_draw, metric=metric, changes=changes),
        width=6.4,
        height=1.0 + _LINE * len(changes),
    )
    return _Table(
        metric,
        tuple(_line(metric, one) for one in changes),
        Markup(inline_svg(panel)),
        panel.description,
        not any(c.moved for c in changes),
    )


def _line(metric: Metric, one: Change) -> _Line:
    n = one.difference.n
    return _Line(
        arm=slug(one.arm),
        label=one.label,
        before=amount(metric, one.before, n),
        after=amount(metric, one.after, n),
        change=change(metric, one.difference.value, unit=False),
        span=change_interval(metric, one.difference.low, one.difference.high),
        n=n,
        moved=one.moved,
        clear=one.clear,
    )


def _draw(axes: Axes, *, metric: Metric, changes: Sequence[Change]) -> None:
    """A forest plot: one row a setting, the first on top, zero as a line."""
    scale = 100 if metric.percent else 1
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    for place, one in enumerate(changes):
        value, low, high = (scale * end for end in (one.difference.value, one.difference.low, one.difference.high))
        colour = ARM_COLOURS.get(one.arm, FAINT)
        axes.plot([low, high], [place, place], "-", color=colour, linewidth=1.6, alpha=0.7, zorder=2)
        axes.plot(value, place, ARM_MARKERS.get(one.arm, "o"), color=colour, markersize=6, zorder=3, markeredgewidth=0)
    ends = [scale * end for one in changes for end in (one.difference.low, one.difference.high)]
    reach = max(1.1 * max(abs(end) for end in ends), 5.0 if metric.percent else 0.05)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(len(changes) - 0.4, -0.6)
    axes.set_yticks(range(len(changes)), [str(place + 1) for place in range(len(changes))])
    axes.set_xlabel("second less first" + (", points" if metric.percent else f", {metric.axis}"))
