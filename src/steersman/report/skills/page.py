"""`report.html` of a study of skills, with its figures and `curves.csv` beside it."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steersman.errors import FileError
from steersman.maths.statistics import Estimate
from steersman.report.checked import optional_object
from steersman.report.figures import PALETTE, save_chart
from steersman.report.page import facts
from steersman.report.skills.curves import metric_charts
from steersman.report.skills.faces import layers_short, level
from steersman.report.skills.levels import area_chart, grid_charts
from steersman.report.skills.reading import read_skills
from steersman.report.skills.record import ACCURACIES, LOSS, Curve, Skills
from steersman.report.skills.tradeoff import test_tradeoffs, validation_tradeoffs
from steersman.report.skills.vectors import cosine_charts, figures_chart, histogram_charts
from steersman.report.skills.wording import HEADLINE, cells, compared, heads, outcomes, sentences
from steersman.report.templating import drawn, environment
from steersman.report.words import DASH, UNITS
from steersman.report.writing import write_atomically

_COLUMNS = ("part", "remove", "vector", "arm", "seed", "layers", "coefficient", "corpus", "metric",
            "absolute", "absolute_low", "absolute_high", "compared_as", "compared", "compared_low", "compared_high",
            "n")  # fmt: skip


def write_skills(folder: Path) -> Path:
    """Write the page, the figures and the curves of a study of skills.

    The same folder gives the same bytes. What was written before is replaced, each file at once or not at all.

    Args:
        folder: a run folder with `skills.json`; `summary.json`, `provenance.json` and `config.yaml` are used where
            they are there.

    Returns:
        The path of `report.html`.

    Raises:
        FileError: `skills.json` is missing, a file is not JSON, or the folder cannot be written to.
        DataError: `skills.json` does not hold what it should.
    """
    place = Path(folder)
    record = read_skills(place)
    summary, provenance = optional_object(place / "summary.json"), optional_object(place / "provenance.json")
    area, figures = area_chart(record), figures_chart(record)
    charts = {
        "tests": test_tradeoffs(record),
        "metrics": metric_charts(record),
        "grids": grid_charts(record),
        "validations": validation_tradeoffs(record),
        "areas": [area] if area else [],
        "cosines": cosine_charts(record),
        "figures": [figures] if figures else [],
        "histograms": histogram_charts(record),
    }
    for some in charts.values():
        for chart in some:
            save_chart(chart, place / "plots")
    write_curves(record, place / "curves.csv")
    page = environment().get_template("skills.html.j2").render(
        record=record,
        title=str(summary.get("title") or f"Removing a broad skill from {record.model}"),
        finding=sentences(record),
        shown=HEADLINE,
        notes=_notes(record, summary),
        level=level(record),
        heads=heads(record),
        rows=[(cells(outcome), outcome.reason) for outcome in outcomes(record)],
        comparisons=[(contrast, *compared(contrast)) for contrast in record.comparisons],
        unit=UNITS.get(record.unit, ""),
        drawn={name: [drawn(chart) for chart in some] for name, some in charts.items()},
        facts=facts(provenance),
        command=_command(provenance),
        config=_text(place / "config.yaml"),
        dash=DASH,
        palette=PALETTE,
    )  # fmt: skip
    return write_atomically(place / "report.html", page.encode())


def write_curves(record: Skills, path: Path) -> Path:
    """Write every point of every curve as CSV, numbers at full precision, and return the path.

    Args:
        record: accuracies as fractions of 1, cross-entropy in nats per token.
        path: file to write, atomically.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for part, curves in (("validation", record.validation), ("test", record.test)):
        for curve in curves:
            writer.writerows(_lines(part, curve))
    return write_atomically(path, text.getvalue().encode())


def _lines(part: str, curve: Curve) -> list[tuple[str | int | float, ...]]:
    seed = "" if curve.seed is None else curve.seed
    head = (part, curve.remove, curve.vector, curve.arm, seed, layers_short(curve.layers))
    found: list[tuple[str | int | float, ...]] = []
    for point in curve.points:
        for corpus, absolute in point.absolute.items():
            for metric in (*ACCURACIES, LOSS):
                as_, other = (
                    ("change", point.change[corpus]) if metric == LOSS else ("relative", point.relative[corpus][metric])
                )
                values = (*_three(absolute[metric]), as_, *_three(other), other.n)
                found.append((*head, point.coefficient, corpus, metric, *values))
    return found


def _three(found: Estimate) -> tuple[float, float, float]:
    return found.value, found.low, found.high


def _notes(record: Skills, summary: Mapping[str, Any]) -> list[str]:
    """What a reader must know before the numbers, in sentences."""
    found: list[str] = []
    if summary.get("complete") is False:
        found.append("This run is not finished; what follows is what has been measured so far.")
    if summary.get("mode") == "quick":
        found.append("A quick run: fewer texts and settings than the whole study, which --full runs.")
    if not record.test:
        found.append("Nothing has been measured on the test texts: every number here is from validation.")
    arms = {curve.arm for curve in record.test}
    if record.test and "permuted" not in arms:
        found.append(
            "There is no permuted control: damage that any vector would do cannot be told from this vector's effect."
        )
    never = [remove for remove in record.removed if (c := _steered(record, remove)) and all(x.kept is None for x in c)]
    found += [
        f"With {remove} removed, {record.keep} never falls to {level(record)} within the coefficients measured "
        "on test, "
        "so nothing can be compared at that level."
        for remove in never
    ]
    return found


def _steered(record: Skills, remove: str) -> Sequence[Curve]:
    return [curve for curve in record.curves("test", remove) if curve.arm == "steered"]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path} cannot be read as text: {error}.") from error


def _command(provenance: Mapping[str, Any]) -> str:
    command = provenance.get("command") or ""
    return command if isinstance(command, str) else " ".join(map(str, command))
