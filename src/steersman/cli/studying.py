"""Commands that measure: evaluate, sweep, run, report."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from steersman.cli.console import Bars, counting, out, say, show, show_json
from steersman.cli.options import (
    AsJson,
    Device,
    DirectionName,
    Dtype,
    Layers,
    ModelName,
    SpanText,
    UnitName,
    assignments,
    direction_at,
    numbers,
    open_model,
)
from steersman.direction import Direction
from steersman.errors import InputError
from steersman.evaluation import evaluate as run_evaluation
from steersman.exchange import find_direction
from steersman.model.generate import Sampling
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.prompts import passages, prompt_set, questions
from steersman.report import headline, read_run, results_table, write_report
from steersman.runs import ItemStore
from steersman.studies import read_config, run_refusal
from steersman.studies.refusal import spread
from steersman.tasks import CompletionTask, FluencyTask, KnowledgeTask, Setting, Task

TASKS = ("refusal", "helpfulness", "over-refusal", "knowledge", "fluency")

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
    direction: DirectionName,
    coefficient: Annotated[float, typer.Option("--coefficient", help="How strongly, in the unit.")] = 0.3,
    unit: UnitName = "norm",
    layer: Layers = None,
    span: SpanText = "all",
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
    tasks = chosen_tasks(task, assignments(sets), limit, max_new_tokens)
    held = find_direction(direction)
    loaded = open_model(model, dtype, device)
    at = direction_at(held, layer, loaded)
    settings = arms(at, [coefficient], unit, span, prompt_arm, seed)
    _measure(loaded, tasks, settings, store, seed, as_json)


def sweep(
    direction: DirectionName,
    coefficients: Annotated[str, typer.Option("--coefficients", help="With commas between; 0 is always measured.")],
    unit: UnitName = "norm",
    layer: Layers = None,
    span: SpanText = "all",
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
    """Measure several coefficients of one direction on the same items."""
    grid = numbers(coefficients, "--coefficients")
    if not any(grid):
        raise InputError(f"expected at least one coefficient besides 0, got {coefficients!r}")
    tasks = chosen_tasks(task, assignments(sets), limit, max_new_tokens)
    held = find_direction(direction)
    loaded = open_model(model, dtype, device)
    at = direction_at(held, layer, loaded)
    _measure(loaded, tasks, arms(at, grid, unit, span, prompt_arm, seed), store, seed, as_json)


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


def chosen_tasks(
    names: Sequence[str] | None, sets: dict[str, str], limit: int | None, max_new_tokens: int
) -> list[Task]:
    """Return the tasks by name, on the built-in sets or the user's.

    Raises:
        InputError: for an unknown task or set, or a limit below 1.
        DataError: for a set that cannot be used.
    """
    if limit is not None and limit < 1:
        raise InputError(f"expected a --limit of at least 1, got {limit}")
    known = {"harmful", "ordinary", "over-refusal", "knowledge", "prose"}
    if unknown := set(sets) - known:
        raise InputError(
            f"expected a set among {', '.join(sorted(known))} before the '=', got {', '.join(sorted(unknown))}"
        )
    sampling = Sampling(max_new_tokens=max_new_tokens)
    tasks: list[Task] = []
    for name in names or TASKS:
        if name == "refusal":
            items = spread(prompt_set(sets.get("harmful", "harmful")), limit)
            tasks.append(CompletionTask(name, items, sampling))
        elif name == "helpfulness":
            items = spread(prompt_set(sets.get("ordinary", "ordinary")), limit)
            tasks.append(CompletionTask(name, items, sampling, helpfulness=True))
        elif name == "over-refusal":
            items = spread(prompt_set(sets.get("over-refusal", "over-refusal")), limit)
            tasks.append(CompletionTask(name, items, sampling))
        elif name == "knowledge":
            tasks.append(KnowledgeTask(spread(questions(sets.get("knowledge", "knowledge")), limit)))
        elif name == "fluency":
            tasks.append(FluencyTask(spread(passages(sets.get("prose", "prose")), limit)))
        else:
            raise InputError(f"expected a task among {', '.join(TASKS)}, got {name!r}")
    return tasks


def arms(at: Direction, grid: Sequence[float], unit: str, span: str, system: str | None, seed: int) -> list[Setting]:
    """Return a comparison's settings: unsteered, the plans, a random direction at the strongest, and the prompt."""
    site = "+".join(str(site) for site in at.sites)
    settings = [Setting("unsteered")]
    wanted = sorted({value for value in grid if value != 0})
    for value in wanted:
        plan = Plan(at, span=span, coefficient=value, unit=unit)
        settings.append(Setting("steered", plan, site=site, coefficient=value, unit=unit))
    strongest = max(wanted, key=abs, default=0.0)
    if strongest:
        plan = Plan(at.random(seed + 1), span=span, coefficient=strongest, unit=unit)
        settings.append(Setting("random", plan, site=site, coefficient=strongest, unit=unit))
    if system:
        settings.append(Setting("prompt", system=system))
    return settings


def _measure(
    model: Model, tasks: Sequence[Task], settings: Sequence[Setting], path: Path | None, seed: int, as_json: bool
) -> None:
    store = ItemStore(path) if path else None
    total = len(settings) * sum(len(task.items) for task in tasks)
    try:
        with Bars() as bars, counting(bars, "evaluate", total) as notify:
            found = run_evaluation(
                model, tasks, settings, context=model.identity, store=store, seed=seed, notify=notify
            )
    finally:
        if store is not None:
            store.close()
    if as_json:
        show_json({"results": list(found.rows), "differences": list(found.differences)})
        return
    table = Table("task", "metric", "arm", "coefficient", "value", "95 % interval", "n", box=None)
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
    out.print(table)
