"""What an evaluation came to, as the files of its run folder: one form for studies and free evaluations."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from steersman.evaluation import Measured, Report
from steersman.files import write_json, write_text

TEXT = ("completion_logprob",)
"""Metrics that stand beside a text in `completions.jsonl`; all of them are in `outcomes.jsonl`."""


def write_results(
    folder: Path,
    report: Report,
    *,
    summary: Mapping[str, Any],
    provenance: Mapping[str, Any] | None = None,
    agreement: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Write a report's files, each whole or not at all; `summary.json`, which says that a run is complete, last.

    `results.json`, `differences.json`, `groups.json` and `remarks.json` are the report's rows. `outcomes.jsonl` holds
    `task, item, arm, seed, site, coefficient, unit, group, metrics`, a line for every item under every setting: what
    two runs are compared by. `completions.jsonl` holds the items that have a text, with their details.

    Args:
        folder: the run folder.
        report: what was measured.
        summary: `study`, `title`, `direction`, `chosen`, `verdict` (sentences), `complete`, `system_prompt` and what
            else a reader of the page wants to know.
        provenance: versions, model, seeds, hashes; left as it is in the folder where not given.
        agreement: rows of agreement between judges, `task, metric, arm, first, second, kappa, low, high, n`.

    Raises:
        FileError: when a file cannot be written.
    """
    write_text(folder / "outcomes.jsonl", _lines(outcome_records(report.measured)))
    write_text(folder / "completions.jsonl", _lines(completion_records(report.measured)))
    write_json(folder / "results.json", list(report.rows))
    write_json(folder / "differences.json", list(report.differences))
    write_json(folder / "groups.json", list(report.groups))
    write_json(folder / "remarks.json", list(report.remarks))
    if agreement is not None:
        write_json(folder / "agreement.json", list(agreement))
    if provenance is not None:
        write_json(folder / "provenance.json", dict(provenance))
    write_json(folder / "summary.json", dict(summary))


def outcome_records(measured: Iterable[Measured]) -> list[dict[str, Any]]:
    """Return one record for every item under every setting: its labels, its group and its metrics."""
    return [
        _label(each, outcome.item) | {"group": outcome.group, "metrics": dict(outcome.metrics)}
        for each in measured
        for outcome in each.outcomes
    ]


def completion_records(measured: Iterable[Measured]) -> list[dict[str, Any]]:
    """Return one record for every item that has a completion: its labels and its details."""
    return [
        _label(each, outcome.item) | {**outcome.details} | {name: outcome.metrics.get(name) for name in TEXT}
        for each in measured
        for outcome in each.outcomes
        if "completion" in outcome.details and "prompt" in outcome.details
    ]


def _label(measured: Measured, item: str) -> dict[str, Any]:
    setting = measured.setting
    return {
        "task": measured.task.name,
        "item": item,
        "arm": setting.arm,
        "seed": setting.seed,
        "site": setting.site,
        "coefficient": setting.coefficient,
        "unit": setting.unit,
    }


def _lines(records: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)
