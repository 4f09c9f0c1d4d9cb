"""Commands around run folders: run a study, write a report, compare two runs."""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from steersman.cli.console import Bars, say, show, show_json
from steersman.cli.options import AsJson, Device, assignments, numbers, open_model
from steersman.report import (
    compare_runs,
    comparison_table,
    headline,
    read_run,
    results_table,
    write_comparison,
    write_report,
)
from steersman.report.studies import study_report
from steersman.studies import read_config, run_study

HEADLINE_METRICS = (
    ("refusal", "refusal_rate"),
    ("refusal", "firm_refusal_rate"),
    ("helpfulness", "refusal_rate"),
    ("helpfulness", "helpful_rate"),
    ("over-refusal", "refusal_rate"),
    ("knowledge", "accuracy_text"),
    ("knowledge", "accuracy_letter"),
    ("fluency", "cross_entropy"),
)
"""The columns of the table that a study prints; the page has all of them."""

Sets = Annotated[list[str] | None, typer.Option("--set", help="NAME=PATH replaces a set; may be given several times.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("run", epilog="Example: steersman run refusal --out runs/refusal")(run)
    app.command("report", epilog="Example: steersman report runs/refusal")(report)


def run(
    study: Annotated[str, typer.Argument(help="refusal, behaviours, skills, or the path of a study file.")],
    destination: Annotated[
        Path | None, typer.Option("--out", help="Run folder; runs/STUDY-MODE where not given.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="The whole grid and every item.")] = False,
    sets: Sets = None,
    raw: Annotated[
        str | None, typer.Option("--raw", help="Raw coefficients of the sweep, with commas between.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of draws, random controls and the bootstrap.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Instead of the study's own.")] = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="auto, float32, bfloat16 or float16.")] = None,
    device: Device = "auto",
    force: Annotated[
        bool, typer.Option("--force", help="Take over a folder with other settings; valid items are kept.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a study from extraction to the report; the same command continues an interrupted one."""
    overrides: dict[str, Any] = {"model": model, "dtype": dtype, "seed": seed}
    if raw is not None:
        overrides["sweep.raw"] = numbers(raw, "--raw")
    config = read_config(study, full=full, overrides=overrides, sets=assignments(sets))
    folder = destination or Path("runs") / f"{config.study}-{config.mode}"
    loaded = open_model(config.model, config.dtype, device)
    command = shlex.join(["steersman", *sys.argv[1:]])
    with Bars() as bars:
        run_study(config, loaded, folder, command=command, force=force, notify=bars)
    _present(folder, as_json)


def report(
    folder: Annotated[Path, typer.Argument(help="A run folder.")],
    other: Annotated[
        Path | None, typer.Argument(help="A second run folder, to be compared with the first item by item.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the report of a run folder anew: results.csv, plots and report.html; or compare two runs."""
    if other is None:
        _present(folder, as_json)
        return
    found = compare_runs(folder, other)
    page = write_comparison(found, other)
    if as_json:
        show_json(
            {
                "finding": found.finding,
                "changes": [asdict(change) for change in found.changes],
                "configuration": list(found.configuration),
                "report": str(page),
            }
        )
        return
    say(found.finding)
    show(comparison_table(found, clear=True))
    show(str(page))


def _present(folder: Path, as_json: bool) -> None:
    """Write the report and print headline, table and, last, the report's path."""
    own = study_report(folder)
    if own is not None:
        page, finding = own.write(folder), own.finding(folder)
        if as_json:
            show_json({"folder": str(folder), "report": str(page), "headline": finding})
            return
        say(finding)
        show(own.table(folder))
        show(str(page))
        return
    page = write_report(folder)
    found = read_run(folder)
    words = headline(found)
    if as_json:
        show_json({"folder": str(folder), "report": str(page), "headline": words.finding, "verdict": words.verdict})
        return
    say(f"{words.finding}\n{words.verdict}\n{words.power}")
    show(results_table([row for row in found.results if (row.task, row.metric) in HEADLINE_METRICS], found.chosen))
    show(str(page))
