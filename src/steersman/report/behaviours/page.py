"""The report of a study of behaviours: `settings.csv`, `plots/` and one self-contained `report.html`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steersman.errors import FileError
from steersman.report.behaviours.bars_plot import bars_chart
from steersman.report.behaviours.checks_plot import letters_chart, predictions_chart
from steersman.report.behaviours.cosines_plot import cosines_chart, pairs_words
from steersman.report.behaviours.curves_plot import curves_chart
from steersman.report.behaviours.grid_plot import grid_chart
from steersman.report.behaviours.naming import WAY_MEANINGS, WAY_WORDS, sign_mark
from steersman.report.behaviours.record import read_behaviours
from steersman.report.behaviours.tables import (
    HEADLINE,
    behaviours_finding,
    share_words,
    single_lines,
    summary_lines,
    write_settings,
)
from steersman.report.behaviours.values import Baseline, Record
from steersman.report.behaviours.vectors_plot import energy_chart, histograms_chart, massive_words
from steersman.report.checked import optional_object
from steersman.report.figures import PALETTE, Chart, save_chart
from steersman.report.page import facts
from steersman.report.templating import drawn, environment
from steersman.report.words import UNITS, coefficient, signed
from steersman.report.writing import write_atomically


def write_behaviours(folder: Path) -> Path:
    """Write the tables, plots and page of a study of behaviours.

    The same folder gives the same bytes. Existing reports are replaced, each file at once or not at all.

    Args:
        folder: a run folder with `behaviours.json`; `summary.json`, `provenance.json` and `config.yaml` are shown where
            they are there.

    Returns:
        The path of `report.html`.

    Raises:
        FileError: a file is missing or cannot be read, or the folder cannot be written to.
        DataError: `behaviours.json` is not what it should be; the message names the place.
    """
    place = Path(folder)
    record = read_behaviours(place)
    summary, made = optional_object(place / "summary.json"), optional_object(place / "provenance.json")
    charts = _charts(record)
    page = environment().get_template("behaviours.html.j2").render(
        title=str(summary.get("title") or "Steering several behaviours"),
        record=record,
        sentences=record.finding or (behaviours_finding(record),),
        shown=HEADLINE,
        notes=_notes(place, record, summary),
        lines=summary_lines(record),
        singles=single_lines(record),
        baseline=[_baseline(each) for each in record.baseline],
        charts={name: drawn(chart) for name, chart in charts.items()},
        histograms=[drawn(chart) for chart in _histograms(record)],
        pairs=[words for square in record.cosines for words in pairs_words(square)],
        massive=massive_words(record),
        predictions=_predictions(record),
        chosen=_chosen(record),
        warnings=[(each.name, each.warnings) for each in record.settings if each.warnings],
        ways=_ways(record),
        unit=UNITS.get(record.unit, record.unit),
        made=made,
        facts=facts(made),
        config=_text(place / "config.yaml"),
        palette=PALETTE,
    )  # fmt: skip
    write_settings(record, place / "settings.csv")
    for chart in [*charts.values(), *_histograms(record)]:
        save_chart(chart, place / "plots")
    return write_atomically(place / "report.html", page.encode())


def _charts(record: Record) -> dict[str, Chart]:
    made = {
        "settings": bars_chart(record),
        "grid": grid_chart(record),
        "scales": curves_chart(record),
        "cosines": cosines_chart(record),
        "predictions": predictions_chart(record),
        "vectors": energy_chart(record),
        "letters": letters_chart(record),
    }
    return {name: chart for name, chart in made.items() if chart}


def _histograms(record: Record) -> list[Chart]:
    readings = dict.fromkeys(vector.reading for vector in record.vectors)
    return [chart for reading in readings if (chart := histograms_chart(record, reading))]


def _notes(folder: Path, record: Record, summary: Mapping[str, Any]) -> list[str]:
    """Return what a reader should know before the numbers: what is missing, and what the study is not."""
    found = list(record.notes)
    if not summary:
        found.append("summary.json is missing: whether the study came to its end is not known.")
    elif summary.get("complete") is False:
        found.append("This run is not finished; what follows is what has been measured. The same command resumes it.")
    elif summary.get("mode") == "quick":
        found.append("A quick run: a smaller grid and fewer items than the whole study, which --full runs.")
    if not (folder / "provenance.json").is_file():
        found.append("provenance.json is missing: versions, hashes and seeds are not known.")
    if not any(setting.kind in ("combined", "simultaneous", "one layer") for setting in record.settings):
        found.append("Behaviours were not steered together in this run: each stands by itself.")
    kinds = {setting.kind for setting in record.settings}
    if "random" not in kinds:
        found.append(
            "There is no random direction: what any push of that length does cannot be told from the vector's."
        )
    if "prompt" not in kinds:
        found.append("There is no system prompt beside the vectors: steering is not compared with simply asking.")
    if not any(setting.tax for setting in record.settings):
        found.append("The tax was not measured: what steering costs in knowledge is not known.")
    return found


def _baseline(each: Baseline) -> dict[str, Any]:
    margin = (signed(each.margin.value, 2), f"{signed(each.margin.low, 2)} to {signed(each.margin.high, 2)}")
    shares = [share_words(found) for found in (each.text, each.letter, each.token, each.faulty)]
    return {
        "behaviour": each.behaviour,
        "n": each.text.n,
        "cells": (shares[0], margin, *shares[1:]),
        "collapse": each.collapse,
    }


def _predictions(record: Record) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for each in record.predictions:
        found = each.measured
        measured = signed(found.value, 2) if found else "not known"
        span = f"{signed(found.low, 2)} to {signed(found.high, 2)}" if found else ""
        agrees = ("yes" if each.agrees else "no") if found else ""
        rows.append((each.setting, each.behaviour, signed(each.predicted, 2), measured, span, agrees))
    return rows


def _chosen(record: Record) -> list[tuple[str, str, str, str, str]]:
    return [
        (
            each.behaviour,
            sign_mark(each.sign),
            "none" if each.layer is None else str(each.layer),
            coefficient(each.coefficient),
            each.reason,
        )
        for each in record.chosen
    ]


def _ways(record: Record) -> list[tuple[str, str]]:
    used = dict.fromkeys(setting.way for setting in record.settings if setting.kind == "combined" and setting.way)
    return [(WAY_WORDS.get(way, way), WAY_MEANINGS.get(way, "")) for way in used if WAY_MEANINGS.get(way)]


def _text(path: Path) -> str:
    """Return a file's text; the empty text where there is no such file."""
    if not path.is_file():
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path} cannot be read as text: {error}.") from error
