"""What stands beside the numbers: warnings, tables by group, and how far judges agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steersman.report.metrics import Metric, metric_for
from steersman.report.tables import Cell, bare_cell, setting_label, settings_shown
from steersman.report.values import Run, pick
from steersman.report.words import ARMS, DASH, number, slug


def warnings(run: Run) -> list[str]:
    """What the choice does not keep, then every remark once, with its task and settings, in sentences."""
    honesty = run.summary.get("honesty")
    choices = {
        "choice": run.summary,
        "choice of the honesty direction": honesty if isinstance(honesty, Mapping) else {},
    }
    statuses = {name: str(each.get("status") or "within budget") for name, each in choices.items()}
    found = [f"The {name} on validation data: {said}." for name, said in statuses.items() if said != "within budget"]
    places: dict[tuple[str, str], list[str]] = {}
    for remark in run.remarks:
        labels = places.setdefault((remark.task, remark.text), [])
        label = setting_label(remark.arm, remark.setting if remark.setting.site else None)
        if label not in labels:
            labels.append(label)
    return found + [f"{task} ({_few(labels)}): {text}" for (task, text), labels in places.items()]


def _few(labels: Sequence[str]) -> str:
    """The labels, or the first ones and how many more there are."""
    more = len(labels) - 2
    return "; ".join(labels if more < 2 else [*labels[:2], f"and {more} more settings"])


@dataclass(frozen=True)
class Breakdown:
    """One metric by subject or category: a line for each, a cell for every setting shown."""

    metric: Metric
    heads: tuple[tuple[str, str], ...]
    lines: tuple[tuple[str, tuple[Cell, ...]], ...]


def breakdowns(run: Run) -> list[Breakdown]:
    """A table by group for every metric that has one, at the chosen setting where there is one."""
    found: list[Breakdown] = []
    for key in dict.fromkeys((row.task, row.metric) for _, row in run.groups):
        metric = metric_for(*key)
        mine = [(group, row) for group, row in run.groups if (row.task, row.metric) == key]
        shown = settings_shown([row for _, row in mine], run.chosen)
        heads = [(slug(arm), ARMS.get(arm, arm) if run.chosen else setting_label(arm, at)) for arm, at in shown]
        lines: list[tuple[str, tuple[Cell, ...]]] = []
        for group in dict.fromkeys(group for group, _ in mine):
            rows = [row for name, row in mine if name == group]
            lines.append((group, tuple(bare_cell(metric, pick(rows, *key, arm, at)) for arm, at in shown)))
        found.append(Breakdown(metric, tuple(heads), tuple(lines)))
    return found


@dataclass(frozen=True)
class Agreement:
    """How far judges agree: column heads, and lines of text."""

    heads: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


def agreement(run: Run) -> Agreement | None:
    """The rows of `agreement.json` as a table; whatever columns they have are shown."""
    if not run.agreement:
        return None
    columns = list(dict.fromkeys(key for row in run.agreement for key in row))
    kept = [key for key in columns if any(row.get(key) is not None for row in run.agreement)]
    heads = tuple(key.replace("_", " ") for key in kept)
    return Agreement(heads, tuple(_texts([row.get(key) for key in kept]) for row in run.agreement))


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    return tuple(_text(value) for value in values)


def _text(value: Any) -> str:
    if value is None:
        return DASH
    if isinstance(value, float):
        return number(value, 2)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
