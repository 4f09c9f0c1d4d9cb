"""The numbers of a study of behaviours as text: the finding, a table for the console, cells for the page, a CSV."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from steersman.maths.statistics import Estimate
from steersman.report.behaviours.naming import (
    Row,
    margin_words,
    points_range,
    points_words,
    range_words,
    rows_of,
    scale_words,
    sign_mark,
)
from steersman.report.behaviours.record import read_behaviours
from steersman.report.behaviours.values import Record, Setting
from steersman.report.words import DASH, number, plain
from steersman.report.writing import write_atomically

COLUMNS = (
    "setting", "kind", "way", "weighted", "sign", "scale", "behaviour", "measure", "unit", "value", "low", "high", "n",
)  # fmt: skip

HEADLINE = 3
"""Sentences that the console shows."""


@dataclass(frozen=True)
class Change:
    """One cell: a change of the margin, and of the share in points, with intervals; all text, empty where unknown."""

    margin: str
    margin_range: str
    share: str
    share_range: str
    sure: bool


@dataclass(frozen=True)
class Line:
    """One setting, or one row of settings of one behaviour each: its name, its strength, its cells and its tax."""

    label: str
    detail: str
    kind: str
    cells: tuple[Change | None, ...]
    tax: str
    tax_range: str
    tax_sure: bool


def behaviours_finding(source: Record | str | Path) -> str:
    """Return what the study found, in the first few of its sentences; all of them stand on the page.

    Args:
        source: the record, or the run folder that holds it.

    Raises:
        FileError: for a folder without a record.
        DataError: for a record that is not what it should be.
    """
    record = _record(source)
    return " ".join(record.finding[:HEADLINE]) or _counted(record)


def behaviours_table(source: Record | str | Path) -> str:
    """Return a Markdown table of every way of steering: each behaviour's change and the tax, on the test items.

    A cell is the change of the margin with its 95 % interval, and behind it the change of the share in points; a star
    says that the margin's interval leaves out 0. In the rows of single behaviours, each column is its own behaviour's
    setting.

    Args:
        source: the record, or the run folder that holds it.

    Raises:
        FileError: for a folder without a record.
        DataError: for a record that is not what it should be.
    """
    record = _record(source)
    names = [f"{name}{_items(record, name)}" for name in record.names]
    lines = [
        f"| Margin in {record.nats} (95 %), share in points | " + " | ".join(names) + " | knowledge, points |",
        "|:--|" + "--:|" * (len(names) + 1),
    ]
    for line in summary_lines(record):
        cells = [_console(cell) for cell in line.cells]
        tax = f"{line.tax} ({line.tax_range}){'*' if line.tax_sure else ''}" if line.tax_range else line.tax
        lines.append(f"| {' | '.join([line.label, *cells, tax])} |")
    return plain("\n".join(lines) + "\n")


def summary_lines(record: Record) -> list[Line]:
    """Return a line for every row and sign, those of single behaviours folded into one."""
    return [_folded(record, row, sign) for row in rows_of(record) for sign in row.signs]


def single_lines(record: Record) -> list[Line]:
    """Return a line for every setting of one behaviour alone, with what it does to the others."""
    if len(record.names) < 2:
        return []
    return [
        _line(record, setting, f"{name}, {row.label} {sign_mark(sign)}".strip())
        for row in rows_of(record)
        for (name, sign), setting in row.own.items()
    ]


def write_settings(record: Record, path: Path) -> Path:
    """Write every number of every setting as CSV, a line for each, at full precision.

    Returns:
        The path.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for setting in record.settings:
        head = (setting.name, setting.kind, setting.way, setting.weighted, setting.sign, setting.scale)
        for behaviour, measure, unit, found in _numbers(record, setting):
            numbers = (found.value, found.low, found.high, found.n)
            writer.writerow(["" if cell is None else cell for cell in (*head, behaviour, measure, unit, *numbers)])
    return write_atomically(path, text.getvalue().encode())


def _numbers(record: Record, setting: Setting) -> Iterator[tuple[str, str, str, Estimate]]:
    for name, score in setting.scores.items():
        yield name, "text", "share", score.text
        yield name, "margin", record.nats, score.margin
        yield name, "text_change", "share", score.text_change
        yield name, "margin_change", record.nats, score.margin_change
    if setting.tax:
        yield "", "knowledge_accuracy", "share", setting.tax.accuracy
        yield "", "knowledge_accuracy_change", "share", setting.tax.change


def _record(source: Record | str | Path) -> Record:
    return source if isinstance(source, Record) else read_behaviours(source)


def _items(record: Record, name: str) -> str:
    counts = {setting.scores[name].margin_change.n for setting in record.settings if name in setting.scores}
    return f" (n = {counts.pop()})" if len(counts) == 1 else ""


def _console(cell: Change | None) -> str:
    if cell is None:
        return DASH
    return f"{cell.margin} ({cell.margin_range}){'*' if cell.sure else ''}, {cell.share}"


def _folded(record: Record, row: Row, sign: int) -> Line:
    """Return a row's line; where every behaviour has a setting of its own, each cell is of that."""
    words = f"{row.label} {sign_mark(sign)}".strip()
    if sign in row.shared:
        return _line(record, row.shared[sign], words)
    cells = tuple(_change(row.setting(name, sign), name) for name in record.names)
    taxes = sorted((tax.change for _, tax in row.taxes(sign)), key=lambda found: found.value)
    if not taxes:
        return Line(words, _folds(record), row.kind, cells, DASH, "", False)
    if len(taxes) == 1:
        (only,) = taxes
        return Line(words, "", row.kind, cells, points_words(only), points_range(only), bool(only.sign))
    # several settings, each with a tax: their ends, and every one of them in the table of single behaviours
    tax = f"{points_words(taxes[0])} to {points_words(taxes[-1])}"
    return Line(words, _folds(record), row.kind, cells, tax, "", False)


def _folds(record: Record) -> str:
    return "each column its own vector" if len(record.names) > 1 else ""


def _line(record: Record, setting: Setting, words: str) -> Line:
    cells = tuple(_change(setting, name) for name in record.names)
    found = setting.tax.change if setting.tax else None
    tax, span = (points_words(found), points_range(found)) if found else (DASH, "")
    return Line(words, scale_words(setting), setting.kind, cells, tax, span, bool(found and found.sign))


def _change(setting: Setting | None, name: str) -> Change | None:
    score = setting.scores.get(name) if setting else None
    if score is None:
        return None
    margin, share = score.margin_change, score.text_change
    return Change(
        margin_words(margin), range_words(margin), points_words(share), points_range(share), bool(margin.sign)
    )


def _counted(record: Record) -> str:
    """Return how many behaviours move each way alone, for a record whose study wrote no finding."""
    alone = [row for row in rows_of(record) if row.kind == "single"]
    if not alone:
        return "No behaviour was steered alone, so nothing can be said of what moves."
    moved: list[str] = []
    for name in record.names:
        scores = [(sign, row.score(name, sign)) for row in alone for sign in row.signs]
        right = [
            s.margin_change for sign, s in scores if s and s.margin_change.sign and sign * s.margin_change.value > 0
        ]
        if right:
            best = max(right, key=lambda found: abs(found.value))
            moved.append(f"{name} ({margin_words(best)} {record.nats}, {range_words(best)})")
    count = len(record.names)
    if not moved:
        return f"None of {count} behaviours moves the way it is steered, each by a vector of its own."
    head = f"{len(moved)} of {count} behaviours move" if count > 1 else "The one behaviour moves"
    return f"{head} the way {'they are' if count > 1 else 'it is'} steered by a vector of its own: {', '.join(moved)}."


def share_words(found: Estimate | None) -> tuple[str, str]:
    """Return a share and its interval in percent; dashes where it was not measured."""
    if found is None:
        return DASH, ""
    return f"{number(100 * found.value, 1)} %", f"{number(100 * found.low, 1)}{DASH}{number(100 * found.high, 1)}"
