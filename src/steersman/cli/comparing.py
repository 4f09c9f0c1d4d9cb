"""What a comparison is made of: arms of a direction or of a plan, judges, and what the verdict is about."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import typer

from steersman.activations import Activations
from steersman.arms import Comparison, Controls, comparison
from steersman.cli.console import on_terminal, say
from steersman.direction import Direction
from steersman.engines import Engine
from steersman.errors import InputError
from steersman.judges import Judge
from steersman.judges.llm import Cost
from steersman.judges.naming import judge_named
from steersman.maths.geometry import cosine
from steersman.methods import METHODS, Method
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.prompts import Contrast, pairs
from steersman.recording import record
from steersman.standing import COSTS, Aim, Standing, against_controls, against_prompt
from steersman.summary import Measured
from steersman.tasks import Setting, Task

SAME = 0.999
"""Least cosine between a direction and the one fitted again to the pairs it is said to come from."""


@dataclass(frozen=True)
class Arms:
    """The options that say what is compared with what.

    Args:
        grid: coefficients.
        unit: of a direction's coefficients.
        span: of a direction.
        system: system prompt of the prompt arms.
        without: names of controls to leave out; `all` for all of them.
        random_seeds: how many random directions.
        pairs: what the direction was fitted to, for the control with shuffled labels.
        contrast: of the pairs.
        opening_tokens: of the pairs' completions, where only those were read.
        seed: of drawn controls.
    """

    grid: Sequence[float]
    unit: str
    span: str
    system: str | None
    without: Sequence[str]
    random_seeds: int
    pairs: str | None
    contrast: Contrast
    opening_tokens: int | None
    seed: int

    @property
    def controls(self) -> Controls:
        """The controls that are left.

        Raises:
            InputError: for an unknown name.
        """
        return Controls(random=self.random_seeds).without(*self.without)


def compared(source: Direction | Plan, arms: Arms, model: Model) -> Comparison:
    """Return a comparison's settings, and what they lack.

    Args:
        source: a direction at its sites; or a plan, of which the grid's values are multiples.
        arms: the options.
        model: records the pairs, where there are any and their control is wanted.

    Raises:
        InputError: for a coefficient that the edit cannot take, an unknown unit or span, or pairs that do not give the
            direction.
        DataError: for pairs that cannot be used.
    """
    activations: Activations | None = None
    method: Method | None = None
    if arms.pairs and arms.controls.shuffled:
        if not isinstance(source, Direction):
            raise InputError("expected --pairs beside --direction, got it beside a plan, whose steps say no pairs")
        activations, method = _refitted(source, arms, model)
    return comparison(
        source,
        arms.grid,
        unit=arms.unit,
        span=arms.span,
        system=arms.system,
        controls=arms.controls,
        activations=activations,
        method=method,
        seed=arms.seed,
    )


def _refitted(direction: Direction, arms: Arms, model: Model) -> tuple[Activations, Method]:
    """Return what the direction was fitted to, recorded again, and the method; checked by fitting it once more."""
    items = pairs(arms.pairs or "", contrast=arms.contrast)
    activations = record(
        model,
        items,
        span=direction.origin.span,
        opening_tokens=arms.opening_tokens,
        layers=sorted({site.layer for site in direction.sites}),
        points=list(dict.fromkeys(site.point for site in direction.sites)),
    )
    for kind in METHODS.values():
        method = kind()
        try:
            again = method.fit(activations)
        except InputError:
            continue
        if again.method == direction.method:
            break
    else:
        raise InputError(
            f"expected a direction fitted by one of {', '.join(METHODS)} with its usual settings beside --pairs, got "
            f"one by {direction.method!r}; leave out --pairs, and the control with shuffled labels with it"
        )
    least = min(cosine(again.vectors[site], direction.vectors[site]) for site in direction.sites)
    if least < SAME:
        raise InputError(
            f"expected the pairs, contrast and opening tokens that the direction was fitted to, got some that give "
            f"another one (cosine {least:.3f}); `steersman inspect` shows what its file says of its origin"
        )
    return activations, method


def judges_named(
    specs: Sequence[str],
    *,
    engine: Engine,
    folder: Path | None,
    questions: Sequence[str],
    prices: tuple[float, float] | None,
    limit: int | None,
    key_variable: str | None,
    sure: bool,
) -> list[Judge]:
    """Return the judges by their words; endpoints say what they will cost before the first request.

    Args:
        specs: such as `phrases` or `openai:MODEL@BASE_URL`.
        engine: what the judge `odds` asks.
        folder: the run folder, which keeps verdicts; the user's cache where there is none.
        questions: what an endpoint is asked.
        prices: of a million tokens in and out.
        limit: most texts that an endpoint may be asked.
        key_variable: environment variable with an endpoint's key.
        sure: whether to go on without asking.

    Raises:
        InputError: for words that name no judge.
        ModelError: for a model that cannot be loaded.
    """

    def confirm(cost: Cost) -> bool:
        say(f"judging: {cost}")
        return sure or not cost.requests or not on_terminal() or typer.confirm("Go on?", err=True)

    cache = (folder or Path(platformdirs.user_cache_dir("steersman"))) / "judgements.jsonl"
    return [
        judge_named(
            spec,
            engine=engine,
            questions=questions,
            cache=cache,
            limit=limit,
            prices=prices,
            confirm=confirm,
            key_variable=key_variable,
            tell=say,
        )
        for spec in specs
    ]


def aims_of(tasks: Sequence[Task], gain: str | None) -> tuple[Aim, list[Aim]]:
    """Return what the vector is for, and what it should not harm.

    Args:
        tasks: what is measured.
        gain: `TASK.METRIC`, with `:lower` behind it where less is better; where not given, the first task's first
            metric, higher.

    Raises:
        InputError: for a task or metric that is not measured.
    """
    known = {f"{task.name}.{metric.name}": (task.name, metric.name) for task in tasks for metric in task.metrics}
    words, colon, way = (gain or next(iter(known))).rpartition(":")
    if not colon or way not in ("lower", "higher"):
        words, way = gain or next(iter(known)), "higher"
    if words not in known:
        raise InputError(f"expected --gain as one of {', '.join(known)}, with :lower behind it or not, got {gain!r}")
    aim = Aim(*known[words], "lower" if way == "lower" else "higher")
    there = set(known.values())
    return aim, [
        cost for cost in COSTS if (cost.task, cost.metric) in there and (cost.task, cost.metric) != known[words]
    ]


def standings(
    measured: Sequence[Measured], tasks: Sequence[Task], gain: str | None, setting: Setting | None, seed: int
) -> list[Standing]:
    """Return how the vector stands against the prompt and against its controls, where those were measured."""
    aim, costs = aims_of(tasks, gain)
    found = [
        against_prompt(measured, aim, costs, setting=setting, seed=seed),
        against_controls(measured, aim, setting=setting, seed=seed),
    ]
    return [each for each in found if each is not None]
