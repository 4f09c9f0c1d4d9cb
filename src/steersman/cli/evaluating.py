"""Commands that compare: evaluate and sweep, a plan beside everything that it has to be told from."""

import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from steersman.arms import Comparison
from steersman.cli.comparing import Arms, aims_of, compared, judges_named, standings
from steersman.cli.console import Bars, counting, say, show, show_json
from steersman.cli.measures import (
    Concept,
    ContrastName,
    Folder,
    FormName,
    Gain,
    Harness,
    HarnessPath,
    HarnessShots,
    JudgeLimit,
    JudgeNames,
    KeyVariable,
    Limit,
    NewTokens,
    NoControls,
    OpeningTokens,
    PairsName,
    Prices,
    RandomSeeds,
    ScoringNames,
    Seed,
    Sets,
    Shots,
    Sure,
    SystemPrompt,
    TakeOver,
    TaskNames,
)
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
    one_of,
    open_model,
)
from steersman.cli.places import check_fit, check_writable, sites_at
from steersman.cli.planning import source_named
from steersman.cli.tables import results
from steersman.cli.words import describe
from steersman.direction import Direction
from steersman.errors import InputError
from steersman.evaluation import check_spans
from steersman.evaluation import evaluate as run_evaluation
from steersman.judging import agreement, judged
from steersman.model.generate import Sampling
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.prompts import Contrast, content_hash
from steersman.report import write_report
from steersman.runs import open_run, write_results
from steersman.standing import Standing
from steersman.studies.provenance import environment
from steersman.summary import Report, summarise
from steersman.tasks import Setting, Task
from steersman.tasks.named import Form, Scoring, TaskOptions, tasks_named


@dataclass(frozen=True)
class _Asked:
    """Everything that one of the two commands was given, read and checked as far as it can be without a model."""

    held: Direction | Plan
    arms: Arms
    tasks: Sequence[Task]
    gain: str | None
    judges: Sequence[str]
    concept: str | None
    prices: tuple[float, float] | None
    judge_limit: int | None
    key_variable: str | None
    sure: bool
    folder: Path | None
    force: bool
    seed: int
    as_json: bool


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
    gain: Gain = None,
    max_new_tokens: NewTokens = 32,
    shots: Shots = 0,
    form: FormName = None,
    scoring: ScoringNames = "letter,text",
    no_control: NoControls = None,
    random_seeds: RandomSeeds = 3,
    pairs: PairsName = None,
    contrast: ContrastName = "completion",
    opening_tokens: OpeningTokens = None,
    judge: JudgeNames = None,
    concept: Concept = None,
    judge_prices: Prices = None,
    judge_limit: JudgeLimit = None,
    judge_key: KeyVariable = None,
    sure: Sure = False,
    lm_eval: Harness = None,
    lm_eval_path: HarnessPath = None,
    lm_eval_shots: HarnessShots = None,
    folder: Folder = None,
    force: TakeOver = False,
    seed: Seed = 0,
    model: ModelName = "default",
    dtype: Dtype = "auto",
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure one plan beside the unsteered model, controls of equal norm, and a prompt."""
    if coefficient == 0:
        raise InputError(
            "expected a --coefficient other than 0, which steers nothing: the unsteered arm is always there"
        )
    held = source_named(direction, plan, {"coefficient": coefficient, "unit": unit, "layer": layer, "span": span})
    strength = coefficient or (0.3 if isinstance(held, Direction) else 1.0)
    given = locals()
    _measure(_asked(held, [strength], given), (model, dtype, device))


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
    gain: Gain = None,
    max_new_tokens: NewTokens = 32,
    shots: Shots = 0,
    form: FormName = None,
    scoring: ScoringNames = "letter,text",
    no_control: NoControls = None,
    random_seeds: RandomSeeds = 3,
    pairs: PairsName = None,
    contrast: ContrastName = "completion",
    opening_tokens: OpeningTokens = None,
    judge: JudgeNames = None,
    concept: Concept = None,
    judge_prices: Prices = None,
    judge_limit: JudgeLimit = None,
    judge_key: KeyVariable = None,
    sure: Sure = False,
    lm_eval: Harness = None,
    lm_eval_path: HarnessPath = None,
    lm_eval_shots: HarnessShots = None,
    folder: Folder = None,
    force: TakeOver = False,
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
    held = source_named(direction, plan, {"unit": unit, "layer": layer, "span": span})
    given = locals()
    _measure(_asked(held, grid, given), (model, dtype, device))


def _asked(held: Direction | Plan, grid: Sequence[float], given: dict[str, Any]) -> _Asked:
    """Return a command's options, read and checked: nothing of this needs a model."""
    check_writable(given["folder"])
    scoring = tuple(one_of("--scoring", word.strip(), get_args(Scoring)) for word in given["scoring"].split(","))
    options = TaskOptions(
        limit=given["limit"],
        sampling=Sampling(max_new_tokens=given["max_new_tokens"]),
        shots=given["shots"],
        form=one_of("--form", given["form"], get_args(Form)) if given["form"] else None,
        scoring=scoring,
    )
    only_harness = given["lm_eval"] and not given["task"]
    tasks = [] if only_harness else tasks_named(given["task"], sets=assignments(given["sets"]), options=options)
    tasks += _harness(given)
    prices = None if given["judge_prices"] is None else numbers(given["judge_prices"], "--judge-prices")
    if prices is not None and len(prices) != 2:
        raise InputError(f"expected two --judge-prices, of a million tokens in and out, got {given['judge_prices']!r}")
    arms = Arms(
        grid,
        given["unit"] or "norm",
        given["span"] or "all",
        given["prompt_arm"],
        given["no_control"] or (),
        given["random_seeds"],
        given["pairs"],
        one_of("--contrast", given["contrast"], get_args(Contrast)),
        given["opening_tokens"],
        given["seed"],
    )
    _ = arms.controls, aims_of(tasks, given["gain"])  # names are checked before a model is loaded
    return _Asked(
        sites_at(held, given["layer"]) if isinstance(held, Direction) else held,
        arms,
        tasks,
        given["gain"],
        given["judge"] or (),
        given["concept"],
        None if prices is None else (prices[0], prices[1]),
        given["judge_limit"],
        given["judge_key"],
        given["sure"],
        given["folder"],
        given["force"],
        given["seed"],
        given["as_json"],
    )


def _harness(given: dict[str, Any]) -> list[Task]:
    if not given["lm_eval"]:
        return []
    # The harness takes seconds to import, and is an extra.
    from steersman.bridges.harness_tasks import harness_tasks

    names = [name.strip() for name in given["lm_eval"].split(",") if name.strip()]
    return list(
        harness_tasks(names, shots=given["lm_eval_shots"], limit=given["limit"], include_path=given["lm_eval_path"])
    )


def _measure(asked: _Asked, name: tuple[str, str, str]) -> None:
    """Open the model (its name, dtype and device) and the run folder, measure, judge, write and print."""
    started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    with ExitStack() as stack:
        model = open_model(*name)
        if isinstance(asked.held, Plan):
            model.check(asked.held)
        else:
            check_fit(asked.held, model)
        found = compared(asked.held, asked.arms, model)
        check_spans(model, asked.tasks, found.settings)
        standings_of = _main_setting(found)
        for note in found.notes:
            say(note)
        judges = judges_named(
            asked.judges,
            engine=model,
            folder=asked.folder,
            questions=("behaviour", "coherence") if asked.concept else ("refusal",),
            prices=asked.prices,
            limit=asked.judge_limit,
            key_variable=asked.key_variable,
            sure=asked.sure,
        )
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
            summary = _summary(asked, found, model, verdict)
            write_results(asked.folder, report, summary=summary, provenance=record, agreement=kappas)
            page = write_report(asked.folder)
    _print(asked, report, found, verdict, kappas, page)


def _main_setting(found: Comparison) -> Setting:
    """Return the steered setting that the controls stand beside: the strongest."""
    steered = [setting for setting in found.settings if setting.arm == "steered"]
    return max(steered, key=lambda setting: abs(setting.coefficient))


def _config(asked: _Asked, found: Comparison, model: Model) -> dict[str, Any]:
    """Return everything that decides the results, as plain data."""
    return {
        "evaluate": [
            {"task": task.name, "items": content_hash(task.items), "settings": task.settings_key()}
            for task in asked.tasks
        ],
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
        "judges": list(asked.judges),
        "concept": asked.concept,
        "gain": asked.gain,
        "seed": asked.seed,
        "model": model.name,
        "model_revision": model.revision,
        "dtype": str(model.dtype).removeprefix("torch."),
    }


def _summary(asked: _Asked, found: Comparison, model: Model, verdict: Sequence[Standing]) -> dict[str, Any]:
    main, (aim, _) = _main_setting(found), aims_of(asked.tasks, asked.gain)
    return {
        "study": "evaluate",
        "title": f"Evaluation of {model.name}, steered",
        "method": asked.held.method if isinstance(asked.held, Direction) else "a plan",
        "steered": describe(main.plan),
        "gain": {"task": aim.task, "metric": aim.metric, "better": aim.better},
        "verdict": [each.sentence for each in verdict],
        "notes": list(found.notes),
        "mode": "free",
        "complete": True,
        "system_prompt": asked.arms.system,
    }


def _print(
    asked: _Asked,
    report: Report,
    found: Comparison,
    verdict: Sequence[Standing],
    kappas: Sequence[dict[str, Any]],
    page: Path | None,
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
