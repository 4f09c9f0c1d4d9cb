"""The run folder's report: `results.csv`, `plots/` and one self-contained `report.html`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.report.asides import agreement, breakdowns, warnings
from steersman.report.dose import dose_charts
from steersman.report.figures import PALETTE, save_chart
from steersman.report.headline import headline
from steersman.report.metrics import Metric
from steersman.report.profile import profile_charts
from steersman.report.reading import SEARCHES, read_run, read_searches
from steersman.report.samples import sample_completions
from steersman.report.selection_page import write_selection
from steersman.report.tables import Cell, cell, groups, metrics_in, settings_shown, strength, unit_of, write_csv
from steersman.report.templating import drawn, environment
from steersman.report.tradeoff import tradeoff_charts
from steersman.report.values import Result, Run, is_at
from steersman.report.words import ARMS, UNITS, slug
from steersman.report.writing import write_atomically


@dataclass(frozen=True)
class _Overview:
    """The small table at the top: settings across, metrics down."""

    settings: tuple[tuple[str, str], ...]
    rows: tuple[tuple[Metric, str, tuple[Cell, ...]], ...]


def write_report(folder: Path) -> Path:
    """Write the tables, plots and page of a run, finished or not.

    The same folder gives the same bytes. Existing reports are replaced, each file at once or not at all.

    Args:
        folder: A run folder with at least `results.json`.

    Returns:
        The path of `report.html`.

    Raises:
        FileError: `results.json` is missing, a file is not what it should be, or the folder cannot be written to.
    """
    run = read_run(Path(folder))
    tradeoffs, doses, profiles = tradeoff_charts(run), dose_charts(run), profile_charts(run)
    write_csv(run.results, run.folder / "results.csv")
    for chart in [*tradeoffs, *doses, *profiles]:
        save_chart(chart, run.folder / "plots")
    searches = read_searches(run.folder)
    if searches:
        write_selection(run.folder / SEARCHES, searches, title=f"{title_of(run)}: which layer, how strongly")
    page = environment().get_template("report.html.j2").render(
        run=run,
        title=title_of(run),
        headline=headline(run),
        notes=[*run.notes, *gaps(run)],
        status=_status(run),
        overview=_overview(run),
        tradeoffs=[drawn(chart) for chart in tradeoffs],
        doses=[drawn(chart) for chart in doses],
        profiles=[drawn(chart) for chart in profiles],
        searches=f"{SEARCHES}/selection.html" if searches else "",
        samples=sample_completions(run),
        groups=groups(run),
        warnings=warnings(run),
        breakdowns=breakdowns(run),
        agreement=agreement(run),
        unit_of=unit_of,
        several_seeds=any(_drawn_often(run, arm) for arm in ARMS),
        arms_shown=[arm for arm in ARMS if any(row.arm == arm for row in run.results)],
        meanings=[metric for metric in metrics_in(run.results) if metric.meaning],
        units={unit: words for unit, words in UNITS.items() if unit != "plan" or has_unit(run, "plan")},
        chosen=strength(run.chosen) if run.chosen else "",
        facts=facts(run.provenance),
        palette=PALETTE,
    )  # fmt: skip
    return write_atomically(run.folder / "report.html", page.encode())


def title_of(run: Run) -> str:
    """The run's title, or one made of what is known of it."""
    return str(run.summary.get("title") or f"{run.summary.get('study') or 'Steering'} study")


def has_unit(run: Run, unit: str) -> bool:
    """Whether anything was steered in this unit."""
    return any(row.unit == unit for row in run.results if row.arm == "steered")


def gaps(run: Run) -> list[str]:
    """What a complete study would have measured and this run has not, in sentences."""
    found: list[str] = []
    study = run.summary.get("study", "refusal") == "refusal"
    if not run.results:
        found.append("results.json is empty: nothing has been measured yet.")
    if run.summary and run.chosen is None and "chosen" in run.summary:
        found.append("No coefficient has been chosen yet.")
    arms = {row.arm for row in run.results}
    consequences = {
        "unsteered": "there is nothing to compare with",
        "steered": "no steered setting has been measured",
        "random": "damage that any direction would do cannot be told from the direction's own effect",
        "prompt": "steering is not compared with simply asking",
    }
    for arm, consequence in consequences.items():
        if run.results and arm not in arms:
            found.append(f"There is no {ARMS[arm]} arm: {consequence}.")
    # A study sweeps both units; a free evaluation is asked for one.
    missing = [unit for unit in ("norm", "raw") if study and "steered" in arms and not has_unit(run, unit)]
    return [*found, *(f"There are no coefficients in {unit} units ({UNITS[unit]})." for unit in missing)]


def _status(run: Run) -> str:
    if not run.summary:
        return "It is not known whether this run is finished."
    if run.summary.get("complete") is False:
        return "This run is not finished; what follows is what has been measured so far. The same command resumes it."
    if run.summary.get("mode") == "quick":
        return "A quick run: a smaller grid and fewer items than the whole study, which --full runs."
    return ""


def _overview(run: Run) -> _Overview | None:
    """Unsteered, chosen, random and prompt beside each other; None before a coefficient has been chosen."""
    if run.chosen is None:
        return None
    shown = settings_shown(run.results, run.chosen)
    rows: list[tuple[Metric, str, tuple[Cell, ...]]] = []
    for metric in metrics_in(run.results):
        # What was steered, but by another direction at another place, has no cell beside this setting.
        if run.row(*metric.key, "steered") and not run.row(*metric.key, "steered", run.chosen):
            continue
        cells = tuple(cell(run, metric, run.row(*metric.key, arm, setting)) for arm, setting in shown)
        counts = {found.n for found in cells if found.n}
        if counts:
            # one n for the whole row stands at its head; otherwise every cell carries its own
            rows.append((metric, counts.pop() if len(counts) == 1 else "", cells))
    return _Overview(tuple((slug(arm), ARMS.get(arm, arm) + _drawn_often(run, arm)) for arm, _ in shown), tuple(rows))


def _drawn_often(run: Run, arm: str) -> str:
    """How many seeds a column is the mean of; empty for one."""
    seeds = {row.seed for row in run.results if row.arm == arm and row.seed is not None and is_at_chosen(run, row)}
    return f", mean of {len(seeds)} seeds" if len(seeds) > 1 else ""


def is_at_chosen(run: Run, row: Result) -> bool:
    """Whether a row was measured at the setting the run chose."""
    return run.chosen is not None and is_at(row, run.chosen)


def facts(provenance: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The provenance as titled lists of names and values, nested records one level down."""
    known = {"model": "Model", "versions": "Versions", "data": "Data", "seeds": "Seeds", "seconds": "Time, seconds"}
    order = [key for key in known if key in provenance] + [key for key in provenance if key not in known]
    sections: list[tuple[str, list[tuple[str, str]]]] = []
    plain: list[tuple[str, str]] = []
    for key in order:
        value = provenance[key]
        name = known.get(key, key.replace("_", " ").capitalize())
        if isinstance(value, Mapping):
            sections.append((name, [(str(inner).replace("_", " "), _value(found)) for inner, found in value.items()]))
        elif key != "command":
            plain.append((name, _value(value)))
    return [*([("Run", plain)] if plain else []), *sections]


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(found)}" for key, found in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_value(found) for found in value)
    if value is None:
        return "not recorded"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
