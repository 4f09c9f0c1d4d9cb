"""The numbers as tables: CSV for machines, Markdown for a README, and cells for the page.

Every cell that shows a rate or a mean shows its 95 % interval and n beside it.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from steersman.report.metrics import METRICS, Metric, metric_for
from steersman.report.values import Result, Run, Setting, is_at, pick
from steersman.report.words import (
    ARMS,
    UNSTEERED,
    amount,
    change,
    change_interval,
    coefficient,
    interval,
    plain,
    probability,
    slug,
)
from steersman.report.writing import write_atomically

COLUMNS = ("task", "metric", "arm", "seed", "site", "coefficient", "unit", "value", "low", "high", "n")


def write_csv(rows: Sequence[Result], path: Path) -> Path:
    """Write results as CSV, one line per row, numbers at full precision and empty cells for what is missing.

    Args:
        rows: Results; rates from 0 to 1, log-probabilities and entropies in nats per token.
        path: File to write, atomically.

    Returns:
        The path.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_cell(getattr(row, column)) for column in COLUMNS] for row in rows)
    return write_atomically(Path(path), text.getvalue().encode())


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def results_table(rows: Sequence[Result], chosen: Setting | None = None) -> str:
    """A Markdown table with one row per setting and one column per metric: "47 % (35-59)".

    Args:
        rows: Results to show.
        chosen: Steered and random rows are shown at this setting only; without it, every setting has a row.

    Returns:
        The table, ending in a newline. Numbers of items stand in the header where all settings share them, else in
        the cells.
    """
    shown = settings_shown(rows, chosen)
    metrics = metrics_in(rows)
    shared = {metric.key: _shared_n(rows, metric, shown) for metric in metrics}
    heads = [_head(metric, shared[metric.key]) for metric in metrics]
    lines = ["| Setting (95 % intervals) | " + " | ".join(heads) + " |", "|:--|" + "--:|" * len(metrics)]
    for arm, setting in shown:
        cells = [
            _markdown_cell(metric, pick(rows, metric.task, metric.name, arm, setting), shared[metric.key])
            for metric in metrics
        ]
        lines.append(f"| {setting_label(arm, setting)} | " + " | ".join(cells) + " |")
    return plain("\n".join(lines) + "\n")


def _markdown_cell(metric: Metric, row: Result | None, shared: int | None) -> str:
    if row is None:
        return amount(metric, None, None)
    span = interval(metric, row.low, row.high, row.n)
    inner = [span] if span else []
    if shared is None and row.n is not None:
        inner.append(f"n = {row.n}")
    text = amount(metric, row.value, row.n)
    return f"{text} ({', '.join(inner)})" if inner else text


def _head(metric: Metric, n: int | None) -> str:
    """A column's name with what its cells leave out: the unit, unless they show a percent sign, and a shared n."""
    inner = ", ".join(part for part in (unit_of(metric), "" if n is None else f"n = {n}") if part)
    return f"{metric.label} ({inner})" if inner else metric.label


def unit_of(metric: Metric) -> str:
    """The unit that a bare number is in; nothing for percentages, which show their sign."""
    if metric.percent:
        return ""
    return metric.axis if metric.kind == "nats" else metric.unit or "unit not stated"


def _shared_n(rows: Sequence[Result], metric: Metric, shown: Sequence[tuple[str, Setting | None]]) -> int | None:
    found = (pick(rows, metric.task, metric.name, arm, setting) for arm, setting in shown)
    counts = {row.n for row in found if row is not None}
    return counts.pop() if len(counts) == 1 else None


def metrics_in(rows: Sequence[Result]) -> list[Metric]:
    """Every metric that has a row: the known ones in reading order, then the others as they come."""
    present = dict.fromkeys((row.task, row.metric) for row in rows)
    keys = [key for key in METRICS if key in present] + [key for key in present if key not in METRICS]
    return [metric_for(*key) for key in keys]


def settings_shown(rows: Sequence[Result], chosen: Setting | None) -> list[tuple[str, Setting | None]]:
    """Arms with the settings to show them at, in the order of `ARMS`; None stands for "the only one"."""
    shown: list[tuple[str, Setting | None]] = []
    for arm in [*ARMS, *dict.fromkeys(row.arm for row in rows if row.arm not in ARMS)]:
        mine = [row for row in rows if row.arm == arm]
        if not mine:
            continue
        if arm in UNSTEERED:
            shown.append((arm, None))
        elif chosen is not None:
            if any(is_at(row, chosen) for row in mine):
                shown.append((arm, chosen))
        else:
            settings = sorted({row.setting for row in mine}, key=_order)
            shown.extend((arm, setting) for setting in settings)
    return shown


def _order(setting: Setting) -> tuple[str, str, float]:
    return setting.unit or "", setting.site or "", setting.coefficient or 0.0


def setting_label(arm: str, setting: Setting | None) -> str:
    """An arm and its strength: "steered, 0.35 of the residual norm at resid_post.14"."""
    name = ARMS.get(arm, arm)
    return f"{name}, {strength(setting)}" if setting is not None and setting.coefficient is not None else name


def strength(setting: Setting) -> str:
    """A coefficient with its unit and site in few words."""
    words = {"norm": "of the residual norm", "raw": "times the raw vector", "plan": "times the plan"}
    unit = words.get(setting.unit or "", "")
    where = f" at {setting.site}" if setting.site else ""
    return f"{coefficient(setting.coefficient)} {unit}".rstrip() + where


@dataclass(frozen=True)
class Cell:
    """One number on the page: value, interval, n and paired change, ready to print; all text."""

    value: str
    span: str
    n: str
    change: str = ""
    change_span: str = ""
    p: str = ""
    p_adjusted: str = ""
    span_adjusted: str = ""
    seeds: int = 1


@dataclass(frozen=True)
class Line:
    """One row of the full table."""

    arm: str
    name: str
    coefficient: str
    unit: str
    site: str
    cell: Cell
    chosen: bool


@dataclass(frozen=True)
class Group:
    """All rows of one metric of one task."""

    metric: Metric
    lines: tuple[Line, ...]
    brief: str

    @property
    def tested(self) -> bool:
        """Whether any change has a p-value."""
        return any(line.cell.p for line in self.lines)

    @property
    def adjusted(self) -> bool:
        """Whether any change is corrected for the number of settings tried."""
        cells = [line.cell for line in self.lines]
        return any(
            (each.p_adjusted, each.span_adjusted) not in ((each.p, each.change_span), ("", "")) for each in cells
        )


def groups(run: Run) -> list[Group]:
    """The full table, grouped by task and metric; unsteered first, then by arm, unit and coefficient."""
    found: list[Group] = []
    ranks = {arm: rank for rank, arm in enumerate(ARMS)}
    for metric in metrics_in(run.results):
        rows = [row for row in run.results if (row.task, row.metric) == metric.key]
        rows.sort(key=lambda row: (ranks.get(row.arm, len(ranks)), row.arm, *_order(row.setting), row.seed or 0))
        found.append(Group(metric, tuple(_line(run, metric, row) for row in rows), _brief(run, metric)))
    return found


def _line(run: Run, metric: Metric, row: Result) -> Line:
    steerable = row.arm not in UNSTEERED
    drawn = {other.seed for other in run.results if (other.arm, other.setting) == (row.arm, row.setting)} - {None}
    seed = f", seed {row.seed}" if row.seed is not None else f", mean of {len(drawn)} seeds" if drawn else ""
    return Line(
        arm=slug(row.arm),
        name=ARMS.get(row.arm, row.arm) + seed,
        coefficient=coefficient(row.coefficient) if steerable else "",
        unit=(row.unit or "") if steerable else "",
        site=row.site or "",
        cell=cell(run, metric, row),
        chosen=row.arm == "steered" and run.chosen is not None and row.setting.same(run.chosen),
    )


def cell(run: Run, metric: Metric, row: Result | None) -> Cell:
    """One number with its interval, n and paired change to the unsteered arm."""
    found = None if row is None or row.value is None else _change_of(run, row)
    bare = bare_cell(metric, row)
    return bare if found is None else replace(bare, **_change_cells(metric, found))


def bare_cell(metric: Metric, row: Result | None) -> Cell:
    """One number with its interval and n."""
    if row is None or row.value is None:
        return Cell(amount(metric, None, None), "", "" if row is None or row.n is None else str(row.n))
    return Cell(
        value=amount(metric, row.value, row.n),
        span=interval(metric, row.low, row.high, row.n),
        n="" if row.n is None else str(row.n),
        seeds=row.seeds,
    )


def _change_of(run: Run, row: Result) -> Result | None:
    """The paired difference that belongs to a row: of the same seed, or pooled as the row is."""
    if row.arm == "unsteered":
        return None
    if row.seeds > 1:
        return run.difference(row.task, row.metric, row.arm, row.setting)
    same = (other for other in run.differences if other.seed == row.seed)
    return pick(same, row.task, row.metric, row.arm, None if row.arm in UNSTEERED else row.setting)


def _change_cells(metric: Metric, found: Result) -> dict[str, str]:
    return {
        "change": change(metric, found.value, unit=False),
        "change_span": change_interval(metric, found.low, found.high),
        "p": probability(found.p),
        "p_adjusted": probability(found.p_adjusted),
        "span_adjusted": change_interval(metric, found.low_adjusted, found.high_adjusted),
    }


def _brief(run: Run, metric: Metric) -> str:
    base = run.row(*metric.key, "unsteered")
    steered = run.row(*metric.key, "steered", run.chosen) if run.chosen else None
    parts = [
        f"{name} {amount(metric, row.value, row.n)}"
        for name, row in (("unsteered", base), ("steered", steered))
        if row is not None
    ]
    return ", ".join(parts)
