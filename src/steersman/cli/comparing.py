"""What a comparison is made of: tasks by name, and arms of a direction or of a plan."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from steersman.cli.sources import refuse_folder
from steersman.direction import Direction
from steersman.errors import InputError
from steersman.maths.geometry import random_like
from steersman.model.generate import Sampling
from steersman.plan import Plan
from steersman.prompts import passages, prompt_set, questions
from steersman.shapes import Vector
from steersman.studies.refusal import spread
from steersman.tasks import CompletionTask, FluencyTask, KnowledgeTask, Setting, Task

TASKS = {
    "refusal": "harmful",
    "helpfulness": "ordinary",
    "over-refusal": "over-refusal",
    "knowledge": "knowledge",
    "fluency": "prose",
}
"""The tasks, and the set of items that each is measured on."""


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
    if unknown := set(sets) - set(TASKS.values()):
        raise InputError(
            f"expected a set among {', '.join(sorted(TASKS.values()))} before the '=', got {', '.join(sorted(unknown))}"
        )
    for name, path in sets.items():
        refuse_folder(path, "tasks", f"--set {name}=")
    return [_task(name, sets, limit, Sampling(max_new_tokens=max_new_tokens)) for name in names or TASKS]


def _task(name: str, sets: dict[str, str], limit: int | None, sampling: Sampling) -> Task:
    if name not in TASKS:
        raise InputError(f"expected a task among {', '.join(TASKS)}, got {name!r}")
    source = sets.get(TASKS[name], TASKS[name])
    if name == "knowledge":
        return KnowledgeTask(spread(questions(source), limit))
    if name == "fluency":
        return FluencyTask(spread(passages(source), limit))
    return CompletionTask(name, spread(prompt_set(source), limit), sampling, helpfulness=name == "helpfulness")


def arms(
    source: Direction | Plan, grid: Sequence[float], unit: str, span: str, system: str | None, seed: int
) -> list[Setting]:
    """Return a comparison's settings: unsteered, the plans, a random direction at the strongest, and the prompt.

    Args:
        source: a direction at its sites; or a plan, of which the grid's values are multiples (unit `plan`).
        grid: coefficients; 0 is the unsteered arm and left out.
        unit: of a direction's coefficients.
        span: of a direction.
        system: of the prompt arm; none without.
        seed: of the random control.

    Raises:
        InputError: for a coefficient that the edit cannot take, or an unknown unit or span.
    """
    site = _sites(source)
    label = "plan" if isinstance(source, Plan) else unit
    control = random_plan(source, seed + 1) if isinstance(source, Plan) else source.random(seed + 1)
    settings = [Setting("unsteered")]
    wanted = sorted({value for value in grid if value != 0})
    for value in wanted:
        plan = _scaled(source, value, unit, span)
        settings.append(Setting("steered", plan, site=site, coefficient=value, unit=label))
    if wanted:
        strongest = max(wanted, key=abs)
        plan = _scaled(control, strongest, unit, span)
        settings.append(Setting("random", plan, site=site, coefficient=strongest, unit=label))
    if system:
        settings.append(Setting("prompt", system=system))
    return settings


def random_plan(plan: Plan, seed: int) -> Plan:
    """Return the plan with random vectors of equal norm: the control. Equal vectors become one and the same.

    Args:
        plan: its sites, edits, spans, coefficients and gates stay.
        seed: of the draw, together with each vector.
    """
    return Plan.of(
        replace(
            step,
            vector=_random(step.vector, seed),
            second=None if step.second is None else _random(step.second, seed),
        )
        for step in plan
    )


def _random(vector: Vector, seed: int) -> Vector:
    content = hashlib.sha256(f"{seed}|".encode() + vector.detach().cpu().contiguous().numpy().tobytes())
    return random_like(vector, int.from_bytes(content.digest()[:6], "big"))


def _scaled(source: Direction | Plan, value: float, unit: str, span: str) -> Plan:
    if isinstance(source, Direction):
        return Plan(source, span=span, coefficient=value, unit=unit)
    plan = source.scaled(value)
    for step in plan:
        step.check()
    return plan


def _sites(source: Direction | Plan) -> str:
    sites = source.sites if isinstance(source, Direction) else list(dict.fromkeys(step.site for step in source))
    return "+".join(map(str, sites))
