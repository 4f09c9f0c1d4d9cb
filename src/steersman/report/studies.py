"""Which report a run folder gets: kinds of study that have a page of their own, by the word in their summary."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from steersman.report.behaviours import behaviours_finding, behaviours_table, write_behaviours
from steersman.report.skills import skills_finding, skills_table, write_skills


@dataclass(frozen=True)
class StudyReport:
    """What a kind of study shows of a run folder.

    Args:
        write: writes the page with its figures, and returns its path.
        table: the console's table.
        finding: the headline.
    """

    write: Callable[[Path], Path]
    table: Callable[[Path], str]
    finding: Callable[[Path], str]


STUDIES: dict[str, StudyReport] = {
    "behaviours": StudyReport(write_behaviours, behaviours_table, behaviours_finding),
    "skills": StudyReport(write_skills, skills_table, skills_finding),
}
"""Kinds of study with a page of their own; every other run folder gets `write_report`'s."""


def study_report(folder: Path) -> StudyReport | None:
    """Return what reports a run folder; None where it is of no kind that has a page of its own."""
    try:
        summary = json.loads((Path(folder) / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # whoever reads the rest of the folder says what is wrong with it
    return STUDIES.get(str(summary.get("study"))) if isinstance(summary, dict) else None
