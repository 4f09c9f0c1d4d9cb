"""Arms: what a steered model is compared with, so that an effect can be told from what any push would do.

Every control changes one thing of the steered arm and keeps the rest, the vectors' lengths above all: `random`
(isotropic), `permuted` (the same coordinates in another order), `negated`, `shuffled` (fitted to shuffled labels), and
a system prompt that asks for the same, with steering and without.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch

from steersman.activations import Recorded
from steersman.direction import Direction
from steersman.edits import Ablate, Clamp
from steersman.errors import InputError
from steersman.maths.geometry import length, permuted_like, random_like, unit
from steersman.methods import LAT, Method, PCACenter, PCADiff
from steersman.methods.shuffling import shuffle_labels
from steersman.plan import Plan, Step
from steersman.shapes import Vector
from steersman.tasks import Setting
from steersman.tasks.task import Arm
from steersman.where import Site

Source = Direction | Plan


@dataclass(frozen=True)
class Controls:
    """Which controls a comparison holds; all, where not said otherwise.

    Args:
        random: how many random directions, each with a seed of its own; 0 for none.
        permuted: the vector with its coordinates permuted.
        negated: the vector turned round.
        shuffled: the vector fitted after its labels were shuffled.
        prompt: the system prompt without steering.
        prompt_steered: the system prompt and steering.

    Raises:
        InputError: for a number of random directions below 0.
    """

    random: int = 3
    permuted: bool = True
    negated: bool = True
    shuffled: bool = True
    prompt: bool = True
    prompt_steered: bool = True

    def __post_init__(self) -> None:
        """Refuse a number that is none."""
        if self.random < 0:
            raise InputError(f"expected a number of random directions of at least 0, got {self.random}")

    def without(self, *arms: str) -> "Controls":
        """Return the controls but for some.

        Args:
            arms: names of arms, such as `random` or `prompt+steered`; `all` for all of them.

        Raises:
            InputError: for an unknown name.
        """
        names = {each.name.replace("prompt_steered", "prompt+steered"): each.name for each in fields(self)}
        if unknown := [arm for arm in arms if arm not in (*names, "all")]:
            raise InputError(f"expected controls among {', '.join(names)}, all, got {', '.join(unknown)}")
        off = list(names) if "all" in arms else arms
        return replace(self, **{names[arm]: 0 if arm == "random" else False for arm in off})


@dataclass(frozen=True)
class Comparison:
    """The settings of a comparison, and what it lacks.

    Args:
        settings: unsteered first, then the steered ones by coefficient, then the controls.
        notes: which controls were asked for and left out, and why; sentences.
    """

    settings: Sequence[Setting]
    notes: Sequence[str] = ()


def comparison(
    source: Source,
    grid: Sequence[float],
    *,
    unit: str = "norm",
    span: str = "all",
    system: str | None = None,
    controls: Controls | None = None,
    at: float | None = None,
    shuffled: Direction | None = None,
    activations: Recorded | None = None,
    method: Method | None = None,
    seed: int = 0,
) -> Comparison:
    """Return the settings that show what a direction or a plan does, beside their controls.

    Args:
        source: a direction at its sites; or a plan, of which the grid's values are multiples (unit `plan`).
        grid: coefficients; 0 is the unsteered arm and left out.
        unit: of a direction's coefficients.
        span: of a direction.
        system: of the prompt arms.
        controls: all, where not given.
        at: coefficient of the grid at which the controls are; the strongest where not given, of two opposite ones the
            positive one.
        shuffled: the direction as fitted to shuffled labels, at any lengths.
        activations: what the direction was fitted to, in place of `shuffled`.
        method: how it was fitted, beside `activations`.
        seed: random directions take the following ones, the other drawn controls the first of them.

    Raises:
        InputError: for a coefficient that the edit cannot take, an unknown unit or span, or an `at` off the grid.
    """
    wanted = sorted({float(value) for value in grid if value != 0})
    if at is not None and float(at) not in wanted:
        raise InputError(f"expected the controls at a coefficient of the grid other than 0, got {at:g}")
    kind = controls or Controls()
    arms = _Arms(source, unit, span)
    settings = [Setting("unsteered"), *(arms.setting("steered", source, value) for value in wanted)]
    notes: list[str] = []
    strength = at if at is not None else max(wanted, key=lambda value: (abs(value), value), default=None)
    if strength is not None:
        settings += arms.drawn(kind, strength, seed)
        if kind.negated:
            turned = negated_plan(arms.plan(source, strength))
            if isinstance(turned, str):
                notes.append(turned)
            else:
                settings.append(replace(arms.setting("negated", source, strength), plan=turned))
        if kind.shuffled:
            fitted = shuffled_source(source, shuffled, activations, method, seed + 1)
            if isinstance(fitted, str):
                notes.append(fitted)
            else:
                settings.append(arms.setting("shuffled", fitted, strength, None if shuffled else seed + 1))
    if (kind.prompt or kind.prompt_steered) and not system:
        notes.append("no prompt arm: no system prompt was given (--prompt-arm)")
    if kind.prompt and system:
        settings.append(Setting("prompt", system=system))
    if kind.prompt_steered and system and strength is not None:
        settings.append(replace(arms.setting("prompt+steered", source, strength), system=system))
    return Comparison(tuple(settings), tuple(notes))


@dataclass(frozen=True)
class _Arms:
    """Makes settings of one label: where the source acts, and in what unit."""

    source: Source
    unit: str
    span: str

    def plan(self, source: Source, coefficient: float) -> Plan:
        if isinstance(source, Direction):
            return Plan(source, span=self.span, coefficient=coefficient, unit=self.unit)
        plan = source.scaled(coefficient)
        for step in plan:
            step.check()
        return plan

    def setting(self, arm: Arm, source: Source, coefficient: float, seed: int | None = None) -> Setting:
        direction = isinstance(self.source, Direction)
        sites = self.source.sites if isinstance(self.source, Direction) else [step.site for step in self.source]
        return Setting(
            arm,
            self.plan(source, coefficient),
            site="+".join(map(str, dict.fromkeys(sites))),
            coefficient=coefficient,
            unit=self.unit if direction else "plan",
            seed=seed,
        )

    def drawn(self, kind: Controls, coefficient: float, seed: int) -> list[Setting]:
        """Return the controls that need no more than the source and a seed."""
        numbers = range(seed + 1, seed + kind.random + 1)
        settings = [self.setting("random", random_source(self.source, n), coefficient, n) for n in numbers]
        if kind.permuted:
            settings.append(self.setting("permuted", permuted_source(self.source, seed + 1), coefficient, seed + 1))
        return settings


def random_source(source: Source, seed: int) -> Source:
    """Return the source with random vectors of equal norm; equal vectors become one and the same.

    Args:
        source: of a plan, its sites, edits, spans, coefficients and gates stay.
        seed: of the draw.
    """
    return random_plan(source, seed) if isinstance(source, Plan) else _alike(source, source.random(seed))


def permuted_source(source: Source, seed: int) -> Source:
    """Return the source with every vector's coordinates in another order; equal vectors in one and the same.

    Args:
        source: of a plan, its sites, edits, spans, coefficients and gates stay.
        seed: of the order.
    """
    return permuted_plan(source, seed) if isinstance(source, Plan) else _alike(source, source.permuted(seed))


def random_plan(plan: Plan, seed: int) -> Plan:
    """Return the plan with random vectors of equal norm: the control. Equal vectors become one and the same.

    Args:
        plan: its sites, edits, spans, coefficients and gates stay.
        seed: of the draw, together with each vector.
    """
    return _replaced(plan, lambda _, vector: random_like(vector, _draw(vector, seed)))


def permuted_plan(plan: Plan, seed: int) -> Plan:
    """Return the plan with every vector's coordinates permuted; both of a planar edit alike, which keeps their angle.

    Args:
        plan: its sites, edits, spans, coefficients and gates stay.
        seed: of the order, together with each step's vector.
    """
    return _replaced(plan, lambda step, vector: permuted_like(vector, _draw(step.vector, seed)))


def negated_plan(plan: Plan) -> Plan | str:
    """Return the plan turned round, or a note where turning it round changes nothing.

    An addition takes the opposite coefficient and a rotation the opposite angle, so that the plan is the very one that
    a grid with that coefficient holds; a clamp, whose coefficient is a share, takes the opposite vector. Ablation, and
    clamping to zero from both sides, remove the same component whichever way the vector points: they stay.

    Args:
        plan: its sites, edits, spans and gates stay.
    """
    if all(_unsigned(step) for step in plan):
        return "no negated control: ablation does the same along a vector and its opposite"
    return Plan.of(step if _unsigned(step) else _turned(step) for step in plan)


def shuffled_source(
    source: Source, shuffled: Direction | None, activations: Recorded | None, method: Method | None, seed: int
) -> Source | str:
    """Return the source with vectors fitted to shuffled labels, at the lengths of its own; or why there is none.

    Args:
        source: what is controlled.
        shuffled: the fitted direction; a single site's serves wherever the source acts.
        activations: what to fit it to, where it is not given.
        method: how.
        seed: of the shuffling.
    """
    missing = "no shuffled-label control: "
    if shuffled is None:
        if activations is None or method is None:
            return missing + "it needs the pairs the direction was fitted on (--pairs)"
        # Fitted to shuffled pairs, all three return the axis of unshuffled PCA or its opposite: no control.
        if isinstance(method, LAT | PCACenter | PCADiff):
            return missing + (
                f"{type(method).__name__} takes its axis from how the two sides differ, whichever is which, so that "
                "shuffling them takes nothing away"
            )
        try:
            shuffled = method.fit(shuffle_labels(activations, seed))
        except InputError as error:
            return missing + str(error)
    steps = list(source) if isinstance(source, Plan) else list(Plan(source, unit="raw"))
    held: dict[Site, Vector] = {}
    for step in steps:
        before = held.setdefault(step.site, step.vector)
        if step.second is not None or not torch.equal(before, step.vector):
            return missing + f"the plan holds several directions at {step.site}, and one was fitted"
    single = next(iter(shuffled.vectors.values())) if len(shuffled.vectors) == 1 else None
    fitted: dict[Site, Vector] = {}
    first: dict[bytes, Vector] = {}
    for site, vector in held.items():
        found = shuffled.vectors.get(site, single)
        if found is None or found.shape != vector.shape:
            return missing + (
                f"the shuffled direction holds no vector for {site}; where one vector acts at many sites, give it at "
                "the single site it was read at"
            )
        # As in the source, one vector stays one wherever it acts.
        fitted[site] = first.setdefault(_key(vector), found)
    if isinstance(source, Plan):
        return _replaced(source, lambda step, vector: _scaled(fitted[step.site], vector))
    vectors = {site: _scaled(fitted[site], vector) for site, vector in source.vectors.items()}
    return replace(source, vectors=vectors, method=f"{source.method}, labels shuffled", diagnostics={}, ranges=())


def _replaced(plan: Plan, new: Callable[[Step, Vector], Vector]) -> Plan:
    return Plan.of(
        replace(
            step,
            vector=new(step, step.vector),
            second=None if step.second is None else new(step, step.second),
            ranges=(),
        )
        for step in plan
    )


def _alike(source: Direction, control: Direction) -> Direction:
    """Return the control with one vector wherever the source has one, as a direction ablated everywhere does."""
    first: dict[bytes, Vector] = {}
    vectors = {
        site: _scaled(first.setdefault(_key(source.vectors[site]), control.vectors[site]), source.vectors[site])
        for site in source.sites
    }
    return replace(control, vectors=vectors)


def _scaled(vector: Vector, like: Vector) -> Vector:
    if length(vector) == length(like):
        return vector.to(like.dtype)
    return (unit(vector.double()) * length(like.double())).to(like.dtype)


def _unsigned(step: Step) -> bool:
    edit = step.edit
    return isinstance(edit, Ablate) or (isinstance(edit, Clamp) and edit.value == 0 and edit.side == "both")


def _turned(step: Step) -> Step:
    if isinstance(step.edit, Clamp):
        return replace(step, vector=-step.vector, ranges=())
    return replace(step, coefficient=-step.coefficient)


def _key(vector: Vector) -> bytes:
    return vector.detach().cpu().contiguous().numpy().tobytes()


def _draw(vector: Vector, seed: int) -> int:
    content = hashlib.sha256(f"{seed}|".encode() + _key(vector))
    return int.from_bytes(content.digest()[:6], "big")
