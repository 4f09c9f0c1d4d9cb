"""Commands that measure: evaluate, sweep, run, report."""

import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from steersman.cli.comparing import TASKS, arms, chosen_tasks
from steersman.cli.console import Bars, counting, say, show, show_json, show_table
from steersman.cli.options import (
    AsJson,
    Device,
    DirectionName,
    Dtype,
    ModelName,
    Places,
    PlanFile,
    SpanText,
    UnitName,
    assignments,
    numbers,
    open_model,
)
from steersman.cli.places import check_fit, check_writable, sites_at
from steersman.cli.planning import source_named
from steersman.cli.words import describe
from steersman.direction import Direction
from steersman.errors import InputError
from steersman.evaluation import Report
from steersman.evaluation import evaluate as run_evaluation
from steersman.plan import Plan
from steersman.report import headline, read_run, results_table, write_report
from steersman.runs import ItemStore
from steersman.studies import read_config, run_refusal
from steersman.tasks import Setting, Task

HEADLINE_METRICS = (
    ("refusal", "refusal_rate"),
    ("helpfulness", "refusal_rate"),
    ("helpfulness", "helpful_rate"),
    ("over-refusal", "refusal_rate"),
    ("knowledge", "accuracy_text"),
    ("knowledge", "accuracy_letter"),
    ("fluency", "cross_entropy"),
)
"""The columns of the table that a study prints; the page has all of them."""

TaskNames = Annotated[
    list[str] | None,
    typer.Option("--task", help=f"One of {', '.join(TASKS)}; may be given several times; all by default."),
]
Sets = Annotated[list[str] | None, typer.Option("--set", help="NAME=PATH replaces a set; may be given several times.")]
Limit = Annotated[int | None, typer.Option("--limit", help="At most so many items of every task.")]
SystemPrompt = Annotated[
    str | None,
    typer.Option("--prompt-arm", help="System prompt that asks for the same behaviour: adds the prompt arm."),
]
NewTokens = Annotated[int, typer.Option("--max-new-tokens", help="Limit of every completion.")]
Store = Annotated[Path | None, typer.Option("--store", help="JSONL file of finished items; the same command resumes.")]
Seed = Annotated[int, typer.Option("--seed", help="Of the random control and of the bootstrap.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(
        "evaluate",
        epilog="Example: steersman evaluate --direction refusal.safetensors --coefficient 0.3 --task refusal "
        "--limit 20",
    )(evaluate)
    app.command(
        "sweep",
        epilog="Example: steersman sweep --direction refusal.safetensors --coefficients=-0.3,0.2,0.3 --task refusal",
    )(sweep)
    app.command("run", epilog="Example: steersman run refusal --out runs/refusal")(run)
    app.command("report", epilog="Example: steersman report runs/refusal")(report)


def evaluate(
    direction: DirectionName = None,
    plan: PlanFile = None,
    coefficient: Annotated[
        float | None, typer.Option("--coefficient", help="How strongly, in the unit; 0.3 if not given.")
    ] = None,
    unit: UnitName = None,
    layer: Places = None,
    span: SpanText = None,
    task: TaskNames = None,
    sets: Sets = None,
    limit: Limit = None,
    prompt_arm: SystemPrompt = None,
    max_new_tokens: NewTokens = 32,
    store: Store = None,
    seed: Seed = 0,
    model: ModelName = "default",
    dtype: Dtype = "auto",
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure one plan beside the unsteered model and a random direction of equal norm."""
    if coefficient == 0:
        raise InputError(
            "expected a --coefficient other than 0, which steers nothing: the unsteered arm is always there"
        )
    tasks = chosen_tasks(task, assignments(sets), limit, max_new_tokens)
    held = source_named(direction, plan, {"coefficient": coefficient, "unit": unit, "layer": layer, "span": span})
    at = sites_at(held, layer) if isinstance(held, Direction) else held
    strength = coefficient or (0.3 if isinstance(held, Direction) else 1.0)
    settings = arms(at, [strength], unit or "norm", span or "all", prompt_arm, seed)
    _measure(held, (model, dtype, device), tasks, settings, store, seed, as_json)


def sweep(
    coefficients: Annotated[
        str,
        typer.Option("--coefficients", help="With commas between; 0 is always measured. With --plan, multiples of it."),
    ],
    direction: DirectionName = None,
    plan: PlanFile = None,
    unit: UnitName = None,
    layer: Places = None,
    span: SpanText = None,
    task: TaskNames = None,
    sets: Sets = None,
    limit: Limit = None,
    prompt_arm: SystemPrompt = None,
    max_new_tokens: NewTokens = 32,
    store: Store = None,
    seed: Seed = 0,
    model: ModelName = "default",
    dtype: Dtype = "auto",
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure several coefficients of one direction, or multiples of one plan, on the same items."""
    grid = numbers(coefficients, "--coefficients")
    if not any(grid):
        raise InputError(f"expected at least one coefficient besides 0, got {coefficients!r}")
    tasks = chosen_tasks(task, assignments(sets), limit, max_new_tokens)
    held = source_named(direction, plan, {"unit": unit, "layer": layer, "span": span})
    at = sites_at(held, layer) if isinstance(held, Direction) else held
    settings = arms(at, grid, unit or "norm", span or "all", prompt_arm, seed)
    _measure(held, (model, dtype, device), tasks, settings, store, seed, as_json)


def run(
    study: Annotated[str, typer.Argument(help="refusal, or the path of a study file.")],
    destination: Annotated[
        Path | None, typer.Option("--out", help="Run folder; runs/STUDY-MODE where not given.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="The whole grid and every item.")] = False,
    sets: Sets = None,
    raw: Annotated[
        str | None, typer.Option("--raw", help="Raw coefficients of the sweep, with commas between.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of random controls and of the bootstrap.")] = None,
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
        run_refusal(config, loaded, folder, command=command, force=force, notify=bars)
    _present(folder, as_json)


def report(
    folder: Annotated[Path, typer.Argument(help="A run folder.")],
    as_json: AsJson = False,
) -> None:
    """Write the report of a run folder anew: results.csv, plots and report.html."""
    _present(folder, as_json)


def _present(folder: Path, as_json: bool) -> None:
    """Write the report and print headline, table and, last, the report's path."""
    page = write_report(folder)
    found = read_run(folder)
    words = headline(found)
    if as_json:
        show_json({"folder": str(folder), "report": str(page), "headline": words.finding, "verdict": words.verdict})
        return
    say(f"{words.finding}\n{words.verdict}\n{words.power}")
    show(results_table([row for row in found.results if (row.task, row.metric) in HEADLINE_METRICS], found.chosen))
    show(str(page))


def _measure(
    held: Direction | Plan,
    name: tuple[str, str, str],
    tasks: Sequence[Task],
    settings: Sequence[Setting],
    path: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Open the store and the model (its name, dtype and device), measure, and print."""
    with ExitStack() as stack:
        check_writable(path)
        store = ItemStore(path) if path else None
        if store is not None:
            stack.callback(store.close)
        model = open_model(*name)
        if isinstance(held, Plan):
            model.check(held)
        else:
            check_fit(held, model)
        total = len(settings) * sum(len(task.items) for task in tasks)
        with Bars() as bars, counting(bars, "evaluate", total) as notify:
            found = run_evaluation(
                model, tasks, settings, context=model.identity, store=store, seed=seed, notify=notify
            )
    _print(found, settings, as_json)


def _print(found: Report, settings: Sequence[Setting], as_json: bool) -> None:
    if as_json:
        show_json({"results": list(found.rows), "differences": list(found.differences)})
        return
    done = [f"steered: {describe(setting.plan)}" for setting in settings if setting.arm == "steered"]
    table = Table(caption=Text("\n".join(done)), box=None)
    for head in ("task", "metric", "arm", "coefficient", "value", "95 % interval", "n"):
        table.add_column(head)
    for row in found.rows:
        table.add_row(
            row["task"],
            row["metric"],
            row["arm"],
            f"{row['coefficient']:g} {row['unit']}" if row["site"] else "-",
            f"{row['value']:.3f}",
            f"{row['low']:.3f} to {row['high']:.3f}",
            str(row["n"]),
        )
    show_table(table)
