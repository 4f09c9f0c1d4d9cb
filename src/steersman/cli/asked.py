"""What a command that measures was given, read and checked as far as it can be without a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml

from steersman.cli.comparing import Arms, aims_of, check_arms
from steersman.cli.judging import Judging, judges_named
from steersman.cli.measures import Measuring
from steersman.cli.options import assignments, numbers, one_of
from steersman.cli.places import check_writable, sites_at
from steersman.cli.planning import source_named, usual_coefficient
from steersman.direction import Direction
from steersman.edits import Add
from steersman.engines import Engine
from steersman.errors import FileError, InputError
from steersman.files import said_plainly
from steersman.judges import Judge
from steersman.judging import check_judgeable
from steersman.model.generate import Sampling
from steersman.plan import Plan
from steersman.prompts import Contrast, content_hash
from steersman.tasks import Task
from steersman.tasks.named import Form, Scoring, TaskOptions, tasks_named


@dataclass(frozen=True)
class Asked:
    """A command's options, as things.

    Args:
        held: the direction at its sites, or the plan.
        arms: what it is compared with.
        tasks: what is measured.
        judges: gives the judges, once the model is there.
        known: the part of the run folder's configuration that needs no model.
    """

    held: Direction | Plan
    arms: Arms
    tasks: Sequence[Task]
    judges: Callable[[Engine], list[Judge]]
    known: dict[str, Any]
    gain: str | None
    concept: str | None
    folder: Path | None
    force: bool
    seed: int
    as_json: bool


def asked_for(options: Measuring, grid: Sequence[float] | None, single: str | None = None) -> Asked:
    """Return a command's options, read and checked: nothing of this needs a model.

    Args:
        options: as they were typed.
        grid: coefficients; the usual one where not given.
        single: the option that gave them, where a plan does not go with it.

    Raises:
        InputError: for options that are out of range, or that do not go together.
        DataError: for items or pairs that cannot be used.
        FileError: for a direction or plan that cannot be read, or a run folder that cannot be written.
    """
    how = _task_options(options)  # words first: the cheapest to check, and the likeliest to be mistyped
    prices = _prices(options.judge_prices)
    contrast = one_of("--contrast", options.contrast, get_args(Contrast))
    sets = assignments(options.sets)
    own = [] if options.lm_eval and not options.task else tasks_named(options.task, sets=sets, options=how)
    its_own = {"unit": options.unit, "layer": options.layer, "span": options.span}
    if single:
        its_own = {single: grid, **its_own}
    held = source_named(options.direction, options.plan, its_own)
    if isinstance(held, Direction):
        held = sites_at(held, options.layer)
    arms = Arms(
        grid=grid or [_usual(held, options)],
        unit=options.unit or "norm",
        span=options.span or "all",
        system=options.prompt_arm,
        without=options.no_control or (),
        random_seeds=options.random_seeds,
        pairs=options.pairs,
        contrast=contrast,
        opening_tokens=options.opening_tokens,
        seed=options.seed,
    )
    check_arms(held, arms)
    tasks = own + _harness(options)
    aims_of(tasks, options.gain)
    if options.judge:
        check_judgeable(tasks)
    judges = judges_named(
        Judging(
            options.judge or (),
            options.concept,
            options.folder,
            prices,
            options.judge_limit,
            options.judge_key,
            options.sure,
        )
    )
    known = {
        "evaluate": [
            {"task": task.name, "items": content_hash(task.items), "settings": task.settings_key()} for task in tasks
        ],
        "judges": list(options.judge or ()),
        "concept": options.concept,
        "gain": options.gain,
        "seed": options.seed,
    }
    _check_folder(options.folder, known, options.force)
    return Asked(
        held,
        arms,
        tasks,
        judges,
        known,
        options.gain,
        options.concept,
        options.folder,
        options.force,
        options.seed,
        options.as_json,
    )


def _usual(held: Direction | Plan, options: Measuring) -> float:
    """Return the coefficient where none was given; of a plan its own, times 1."""
    if isinstance(held, Plan):
        return 1.0
    return usual_coefficient(held, Add(), options.unit or "norm", options.span or "all")


def _task_options(options: Measuring) -> TaskOptions:
    words = [word.strip() for word in options.scoring.split(",")]
    return TaskOptions(
        limit=options.limit,
        sampling=Sampling(max_new_tokens=options.max_new_tokens),
        shots=options.shots,
        form=one_of("--form", options.form, get_args(Form)) if options.form is not None else None,
        scoring=tuple(one_of("--scoring", word, get_args(Scoring)) for word in words),
    )


def _prices(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    values = numbers(text, "--judge-prices")
    if len(values) != 2 or min(values) < 0:
        raise InputError(f"expected two --judge-prices, of a million tokens in and out, got {text!r}")
    return values[0], values[1]


def _harness(options: Measuring) -> list[Task]:
    if not options.lm_eval:
        if options.lm_eval_path or options.lm_eval_shots is not None:
            raise InputError("expected --lm-eval with the names of tasks beside its other options, got none")
        return []
    # The harness takes seconds to import, and is an extra.
    from steersman.bridges.harness_tasks import harness_tasks

    names = [name.strip() for name in options.lm_eval.split(",") if name.strip()]
    return list(
        harness_tasks(names, shots=options.lm_eval_shots, limit=options.limit, include_path=options.lm_eval_path)
    )


def _check_folder(folder: Path | None, known: dict[str, Any], force: bool) -> None:
    """Return when a run folder can be written, and holds no run that is another one as far as can be said yet."""
    if folder is None:
        return
    if folder.exists() and not folder.is_dir():
        raise FileError(f"expected a run folder for --out, got the file {str(folder)!r}")
    check_writable(folder / "config.yaml")
    path = folder / "config.yaml"
    if force or not path.exists():
        return
    with said_plainly(path):
        text = path.read_text(encoding="utf-8", errors="replace")
    try:
        before = yaml.safe_load(text)
    except yaml.YAMLError:
        before = None
    if not isinstance(before, dict) or {key: before.get(key) for key in known} != known:
        raise FileError(f"{folder} holds a run with other settings; give another --out, or --force to take it over")
