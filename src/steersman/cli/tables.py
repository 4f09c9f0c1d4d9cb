"""What an evaluation came to, on a terminal: results beside the unsteered arm, warnings, judges' agreement."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from steersman.cli.console import say, show_table
from steersman.summary import Report
from steersman.tasks import ARM_WORDS

Row = Mapping[str, Any]

LABEL = ("task", "metric", "arm", "seed", "site", "coefficient", "unit")


MAIN = (
    "refusal_rate",
    "firm_refusal_rate",
    "helpful_rate",
    "accuracy_letter",
    "accuracy_text",
    "matching_logprob",
    "matching_token",
    "faulty_rate",
    "matching_text",
    "top1_accuracy",
    "top10_accuracy",
    "cross_entropy",
    "flip_rate",
    "truthful_rate",
    "completion_logprob",
    "drift",
)
"""Metrics that a terminal shows; the page and `--json` have all of them."""


def results(report: Report, kappas: Sequence[Row] = (), *, captions: Sequence[str] = ()) -> None:
    """Print the main metrics arm by arm, the agreement between judges, and what a reader has to be warned of.

    Args:
        report: what was measured.
        kappas: agreement between judges, if any.
        captions: lines under the table.
    """
    changes = {_key(row): row for row in report.differences}
    table = Table(caption=Text("\n".join(captions)), box=None)
    for head in ("task", "metric", "arm", "coefficient", "value", "95 % interval", "n", "difference", "95 %", "p adj."):
        table.add_column(head)
    shown = _shown(report)
    for before, row in zip([None, *shown], shown, strict=False):
        change = changes.get(_key(row))
        # A metric's name stands once, over its arms, with room above: eight arms of each make a long table.
        first = before is None or (before["task"], before["metric"]) != (row["task"], row["metric"])
        if first and before is not None:
            table.add_row()
        table.add_row(
            row["task"] if first else "",
            row["metric"] if first else "",
            arm_words(row if row["arm"] == "random" else {**row, "seed": None}),
            f"{row['coefficient']:g} {row['unit']}" if row["site"] else "-",
            f"{row['value']:.3f}",
            f"{row['low']:.3f} to {row['high']:.3f}",
            str(row["n"]),
            "" if change is None else f"{change['value']:+.3f}",
            "" if change is None else f"{change['low']:+.3f} to {change['high']:+.3f}",
            "" if change is None else p_words(change.get("p_adjusted")),
        )
    show_table(table)
    if kappas:
        show_table(_agreement(kappas))
    for remark in report.remarks:
        say(f"warning: {remark['task']}, {arm_words(remark)}: {remark['remark']}")


def _shown(report: Report) -> list[Row]:
    """Return the rows of a terminal: by task and metric, of several seeds their mean, of unknown tasks everything."""
    judged = {metric.name for each in report.measured for metric in each.judged}
    order = {(row["task"], row["metric"]): place for place, row in reversed(list(enumerate(report.rows)))}
    main = [row for row in report.rows if row["metric"] in MAIN or row["metric"] in judged]
    known = {row["task"] for row in main}
    main += [row for row in report.rows if row["task"] not in known]
    pooled = {_key(row) for row in main if row["seed"] is None}
    kept = [row for row in main if row["seed"] is None or _key({**row, "seed": None}) not in pooled]
    return sorted(kept, key=lambda row: order[row["task"], row["metric"]])


def arm_words(row: Row) -> str:
    """Return a row's arm for people, with its seed where several were drawn."""
    words = ARM_WORDS.get(row["arm"], row["arm"])
    return words if row.get("seed") is None else f"{words}, seed {row['seed']}"


def p_words(value: float | None) -> str:
    """Return a p-value as it is written in tables."""
    if value is None:
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _agreement(kappas: Sequence[Row]) -> Table:
    table = Table(title="Agreement between judges", box=None)
    for head in ("task", "first", "second", "n", "unscored", "agreement", "kappa", "95 % interval"):
        table.add_column(head)
    for row in kappas:
        kappa = row.get("kappa")
        table.add_row(
            row["task"],
            row["first"],
            row["second"],
            str(row["n"]),
            str(row["unscored"]),
            "" if row["agreement"] is None else f"{row['agreement']:.1%}",
            "undefined" if kappa is None else f"{kappa:.2f}",
            "" if row.get("low") is None else f"{row['low']:.2f} to {row['high']:.2f}",
        )
    return table


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in LABEL)
