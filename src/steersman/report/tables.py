"""The numbers as tables: CSV for machines, Markdown for a README, and cells for the page.

Every cell that shows a rate or a mean shows its 95 % interval and n beside it.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from steersman.report.reading import Result, Run, Setting, pick
from steersman.report.words import (
    ARMS,
    METRICS,
    Metric,
    amount,
    change,
    change_interval,
    coefficient,
    interval,
    metric_for,
    plain,
)
from steersman.report.writing import write_atomically

COLUMNS = ("task", "metric", "arm", "site", "coefficient", "unit", "value", "low", "high", "n")


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
    unit = {"rate": "", "nats": "nats per token", "number": "unit not stated"}[metric.kind]
    inner = ", ".join(part for part in (unit, "" if n is None else f"n = {n}") if part)
    return f"{metric.label} ({inner})" if inner else metric.label


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
        if arm not in {"steered", "random"}:
            shown.append((arm, None))
        elif chosen is not None:
            if any(row.setting.same(chosen) for row in mine):
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
    unit = {"norm": "of the residual norm", "raw": "times the raw vector"}.get(setting.unit or "", "")
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


def groups(run: Run) -> list[Group]:
    """The full table, grouped by task and metric; unsteered first, then by arm, unit and coefficient."""
    found: list[Group] = []
    ranks = {arm: rank for rank, arm in enumerate(ARMS)}
    for metric in metrics_in(run.results):
        rows = [row for row in run.results if (row.task, row.metric) == metric.key]
        rows.sort(key=lambda row: (ranks.get(row.arm, len(ranks)), row.arm, *_order(row.setting)))
        found.append(Group(metric, tuple(_line(run, metric, row) for row in rows), _brief(run, metric)))
    return found


def _line(run: Run, metric: Metric, row: Result) -> Line:
    steerable = row.arm in {"steered", "random"}
    return Line(
        arm=row.arm,
        name=ARMS.get(row.arm, row.arm),
        coefficient=coefficient(row.coefficient) if steerable else "",
        unit=(row.unit or "") if steerable else "",
        site=row.site or "",
        cell=cell(run, metric, row),
        chosen=row.arm == "steered" and run.chosen is not None and row.setting.same(run.chosen),
    )


def cell(run: Run, metric: Metric, row: Result | None) -> Cell:
    """One number with its interval, n and paired change to the unsteered arm."""
    if row is None or row.value is None:
        return Cell(amount(metric, None, None), "", "" if row is None or row.n is None else str(row.n))
    found = None
    if row.arm != "unsteered":
        setting = row.setting if row.arm in {"steered", "random"} else None
        found = run.difference(row.task, row.metric, row.arm, setting)
    return Cell(
        value=amount(metric, row.value, row.n),
        span=interval(metric, row.low, row.high, row.n),
        n="" if row.n is None else str(row.n),
        change=change(metric, found.value, unit=False) if found else "",
        change_span=change_interval(metric, found.low, found.high) if found else "",
    )


def _brief(run: Run, metric: Metric) -> str:
    base = run.row(*metric.key, "unsteered")
    steered = run.row(*metric.key, "steered", run.chosen) if run.chosen else None
    parts = [
        f"{name} {amount(metric, row.value, row.n)}"
        for name, row in (("unsteered", base), ("steered", steered))
        if row is not None
    ]
    return ", ".join(parts)
