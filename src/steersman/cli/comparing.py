"""What a comparison is made of: arms of a direction or of a plan, and what the verdict is about."""

from collections.abc import Sequence
from dataclasses import dataclass

from steersman.activations import Activations
from steersman.arms import Comparison, Controls, comparison
from steersman.cli.sources import refuse_folder
from steersman.direction import Direction
from steersman.errors import InputError
from steersman.maths.geometry import cosine
from steersman.methods import METHODS, Method
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.prompts import Contrast, Pair, pairs
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


def check_arms(source: Direction | Plan, arms: Arms) -> None:
    """Return when all that can be known of a comparison without a model is as it should be.

    Raises:
        InputError: for a coefficient that the edit cannot take, an unknown unit, span or control, or options that do
            not go together.
        DataError: for pairs that cannot be used.
    """
    comparison(
        source, arms.grid, unit=arms.unit, span=arms.span, system=arms.system, controls=arms.controls, seed=arms.seed
    )
    if not arms.pairs:
        if arms.opening_tokens is not None:
            raise InputError("expected --opening-tokens beside --pairs, which it is said of, got no --pairs")
        return
    if not isinstance(source, Direction):
        raise InputError("expected --pairs beside --direction, got it beside a plan, whose steps say no pairs")
    if arms.contrast == "prompt" and arms.opening_tokens is not None:
        raise InputError("expected --opening-tokens with pairs that have completions, got it with --contrast prompt")
    refuse_folder(arms.pairs, "pairs", "--pairs")
    _pairs(arms)


def compared(source: Direction | Plan, arms: Arms, model: Model) -> Comparison:
    """Return a comparison's settings, and what they lack.

    Args:
        source: a direction at its sites; or a plan, of which the grid's values are multiples.
        arms: the options, checked.
        model: records the pairs, where there are any and their control is wanted.

    Raises:
        InputError: for pairs that do not give the direction.
    """
    activations: Activations | None = None
    method: Method | None = None
    if isinstance(source, Direction) and arms.pairs and arms.controls.shuffled:
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


def _pairs(arms: Arms) -> list[Pair]:
    return pairs(arms.pairs or "", contrast=arms.contrast)


def _refitted(direction: Direction, arms: Arms, model: Model) -> tuple[Activations, Method]:
    """Return what the direction was fitted to, recorded again, and the method; checked by fitting it once more."""
    activations = record(
        model,
        _pairs(arms),
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
    task, metric = known[words]
    said = metric.replace("_", " ")
    # "refusal rate", and not "refusal refusal rate"
    aim = Aim(task, metric, "lower" if way == "lower" else "higher", said if said.startswith(task) else "")
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
