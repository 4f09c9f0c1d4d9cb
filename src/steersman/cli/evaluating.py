"""Commands that compare: evaluate and sweep, a plan beside everything that it has to be told from."""

import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from steersman.arms import Comparison
from steersman.cli.asked import Asked, asked_for
from steersman.cli.comparing import aims_of, compared, standings
from steersman.cli.console import Bars, counting, say, show, show_json
from steersman.cli.measures import Measuring, measuring
from steersman.cli.options import numbers, open_model
from steersman.cli.places import check_fit
from steersman.cli.planning import warned
from steersman.cli.tables import results
from steersman.cli.words import describe
from steersman.direction import Direction
from steersman.errors import InputError
from steersman.evaluation import check_spans
from steersman.evaluation import evaluate as run_evaluation
from steersman.judging import agreement, judged
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.prompts import content_hash
from steersman.report import write_report
from steersman.runs import open_run, write_results
from steersman.standing import Standing
from steersman.studies.provenance import environment
from steersman.summary import Report, summarise
from steersman.tasks import Setting


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(
        "evaluate",
        epilog="Example: steersman evaluate --direction refusal.safetensors --coefficient 0.3 --task refusal "
        "--task helpfulness --limit 20 --out runs/first",
    )(evaluate)
    app.command(
        "sweep",
        epilog="Example: steersman sweep --direction refusal.safetensors --coefficients=-0.3,0.2,0.3 --task refusal",
    )(sweep)


@measuring
def evaluate(
    coefficient: Annotated[
        float | None,
        typer.Option(
            "--coefficient",
            help="How strongly, in the unit; if not given, what the direction's file recommends, else 0.3.",
        ),
    ] = None,
    *,
    options: Measuring,
) -> None:
    """Measure one plan beside the unsteered model, controls of equal norm, and a prompt."""
    if coefficient == 0:
        raise InputError(
            "expected a --coefficient other than 0, which steers nothing: the unsteered arm is always there"
        )
    _measure(asked_for(options, None if coefficient is None else [coefficient], "coefficient"), options)


@measuring
def sweep(
    coefficients: Annotated[
        str,
        typer.Option("--coefficients", help="With commas between; 0 is always measured. With --plan, multiples of it."),
    ],
    *,
    options: Measuring,
) -> None:
    """Measure several coefficients of one direction, or multiples of one plan, on the same items."""
    grid = numbers(coefficients, "--coefficients")
    if not any(grid):
        raise InputError(f"expected at least one coefficient besides 0, got {coefficients!r}")
    _measure(asked_for(options, grid), options)


def _measure(asked: Asked, options: Measuring) -> None:
    """Open the model and the run folder, measure, judge, write and print."""
    started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    with ExitStack() as stack:
        model = open_model(options.model, options.dtype, options.device)
        if isinstance(asked.held, Plan):
            model.check(asked.held)
        else:
            check_fit(asked.held, model)
        found = compared(asked.held, asked.arms, model)
        check_spans(model, asked.tasks, found.settings)
        standings_of = _main_setting(found)
        for note in found.notes:
            say(note)
        warnings = warned(*(setting.plan for setting in found.settings if setting.arm == "steered"))
        judges = asked.judges(model)
        store = None
        if asked.folder is not None:
            store = open_run(asked.folder, _config(asked, found, model), force=asked.force)
            stack.callback(store.close)
        total = len(found.settings) * sum(len(task.items) for task in asked.tasks)
        with Bars() as bars, counting(bars, "evaluate", total) as notify:
            report = run_evaluation(
                model,
                asked.tasks,
                found.settings,
                context=model.identity,
                store=store,
                seed=asked.seed,
                notify=notify,
            )
        kappas: list[dict[str, Any]] = []
        if judges:
            measured = judged(report.measured, judges, concept=asked.concept)
            report = summarise(measured, seed=asked.seed)
            kappas = agreement(measured, seed=asked.seed)
        verdict = standings(report.measured, asked.tasks, asked.gain, standings_of, asked.seed)
        page = None
        if asked.folder is not None:
            record = environment(model) | {
                "command": shlex.join(["steersman", *sys.argv[1:]]),
                "started": started,
                "data": {task.name: {"sha256": content_hash(task.items), "n": len(task.items)} for task in asked.tasks},
                "seeds": {"controls and bootstrap": asked.seed},
            }
            summary = _summary(asked, found, model, verdict, warnings)
            write_results(asked.folder, report, summary=summary, provenance=record, agreement=kappas)
            page = write_report(asked.folder)
    _print(asked, report, found, verdict, kappas, page, warnings)


def _main_setting(found: Comparison) -> Setting:
    """Return the steered setting that the controls stand beside: the strongest."""
    steered = [setting for setting in found.settings if setting.arm == "steered"]
    return max(steered, key=lambda setting: (abs(setting.coefficient), setting.coefficient))


def _config(asked: Asked, found: Comparison, model: Model) -> dict[str, Any]:
    """Return everything that decides the results, as plain data."""
    return asked.known | {
        "arms": [
            {
                "arm": setting.arm,
                "seed": setting.seed,
                "site": setting.site,
                "coefficient": setting.coefficient,
                "unit": setting.unit,
                "digest": setting.digest(),
            }
            for setting in found.settings
        ],
        "model": model.name,
        "model_revision": model.revision,
        "dtype": str(model.dtype).removeprefix("torch."),
    }


def _summary(
    asked: Asked, found: Comparison, model: Model, verdict: Sequence[Standing], warnings: Sequence[str]
) -> dict[str, Any]:
    main, (aim, _) = _main_setting(found), aims_of(asked.tasks, asked.gain)
    return {
        "study": "evaluate",
        "title": f"Evaluation of {model.name}, steered",
        "method": asked.held.method if isinstance(asked.held, Direction) else "a plan",
        "steered": describe(main.plan),
        "gain": {"task": aim.task, "metric": aim.metric, "better": aim.better},
        "verdict": [each.sentence for each in verdict],
        "notes": [*found.notes, *warnings],
        "mode": "free",
        "complete": True,
        "system_prompt": asked.arms.system,
    }


def _print(
    asked: Asked,
    report: Report,
    found: Comparison,
    verdict: Sequence[Standing],
    kappas: Sequence[dict[str, Any]],
    page: Path | None,
    warnings: Sequence[str],
) -> None:
    if asked.as_json:
        show_json(
            {
                "results": list(report.rows),
                "differences": list(report.differences),
                "groups": list(report.groups),
                "remarks": list(report.remarks),
                "agreement": list(kappas),
                "notes": list(found.notes),
                "warnings": list(warnings),
                "verdict": [each.sentence for each in verdict],
                "report": None if page is None else str(page),
            }
        )
        return
    steered = [describe(setting.plan) for setting in found.settings if setting.arm == "steered"]
    results(report, kappas, captions=[f"steered: {words}" for words in steered])
    for each in verdict:
        show(each.sentence)
    if page is not None:
        show(str(page))
