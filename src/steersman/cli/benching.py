"""The commands that measure steersman's own rules on stored data: bench."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from steersman.cli.console import Bars, counting, show, show_json, show_table
from steersman.cli.options import AsJson, Device, Dtype, ModelName, open_model
from steersman.maths.statistics import Estimate
from steersman.selection.benchmark import HELD_OUT, Bench, bench_rules, read_curves
from steersman.selection.judged import read_sweeps

bench = typer.Typer(help="Measure the rules of selection on stored, judged data.", no_args_is_help=True)

Sweeps = Annotated[
    Path, typer.Option("--sweeps", help="Judged sweeps, one JSON object a line: concept, prompt, completions, marks.")
]
Keep = Annotated[
    Path | None, typer.Option("--keep", help="File that keeps what was read of each completion, for the next time.")
]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    bench.command("selection", epilog="Example: steersman bench selection --sweeps sweeps.jsonl --json")(selection)
    app.add_typer(bench, name="bench")


@bench.callback()
def top() -> None:
    """Measure the rules of selection on stored, judged data."""


def selection(
    sweeps: Sweeps,
    model: ModelName = "default",
    keep: Keep = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Apply every rule that chooses a coefficient to judged sweeps, and print what its choices were worth."""
    stored = read_sweeps(sweeps)
    reader = open_model(model, dtype, device)
    total = sum(len(sweep.completions) for sweep in stored)
    with Bars() as bars, counting(bars, "read completions", total) as notify:
        curves = read_curves(reader, stored, keep=keep, identity=reader.identity, notify=notify)
    found = bench_rules(stored, curves)
    if as_json:
        show_json({"sweeps": len(stored), "evaluator": reader.name, **found.plain()})
        return
    show_table(_rules(found, "All sweeps"))
    for concept, standings in found.by_concept.items():
        show_table(_rules(replace(found, standings=standings), f"Concept: {concept}"))
    show_table(_signals(found))
    show(f"{len(stored)} sweeps, {total} completions, read by {reader.name}; {HELD_OUT}")


def _rules(found: Bench, title: str) -> Table:
    table = Table(title=f"{title}: the judge's marks at the chosen coefficient (95 % intervals over sweeps)")
    for column in ("rule", "alarm", "coherence, 1-10", "behaviour, 1-10", "score over best", "quartiles", "no choice"):
        table.add_column(column, justify="left" if column == "rule" else "right")
    for one in found.standings:
        table.add_row(
            one.rule,
            f"{one.fired:.0%}",
            _marked(one.coherence, 1),
            _marked(one.behaviour, 1),
            _marked(one.share, 2),
            " / ".join(f"{value:.2f}" for value in one.quartiles),
            str(one.fell_short),
        )
    return table


def _signals(found: Bench) -> Table:
    table = Table(title="Rank correlation with the judge's marks, all completions")
    for column in ("signal", "coherence", "behaviour"):
        table.add_column(column, justify="left" if column == "signal" else "right")
    for name, (coherence, behaviour) in sorted(found.correlations.items(), key=lambda each: -abs(each[1][0])):
        table.add_row(name, f"{coherence:+.2f}", f"{behaviour:+.2f}")
    return table


def _marked(value: Estimate, digits: int) -> str:
    return f"{value.value:.{digits}f} ({value.low:.{digits}f}-{value.high:.{digits}f})"
