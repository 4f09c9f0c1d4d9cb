"""A plan: what is done to the model, as plain values. Direction x edit x span x coefficient, once per step."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal, final, get_args

import torch

from steersman.direction import Direction
from steersman.edits import Add, Edit
from steersman.errors import InputError, MismatchError
from steersman.gates import Gate
from steersman.maths.geometry import cosine, length
from steersman.range import Range
from steersman.shapes import Float, Tensor, Vector
from steersman.where import Site, Span

Unit = Literal["norm", "raw"]
UNITS: tuple[Unit, ...] = get_args(Unit)

PARALLEL = 1 - 1e-6
"""Two directions with a larger absolute cosine span no plane."""


@dataclass(frozen=True, eq=False, repr=False)
class Step:
    """One edit at one site.

    Args:
        site: where.
        vector: `[d]` float32 at the length that coefficient 1 means.
        edit: how.
        span: the tokens it acts on.
        coefficient: how strongly, in `unit`.
        unit: `norm` (fractions of the mean residual norm at the site) or `raw` (multiples of the fitted vector).
        width: model width the vector was made for.
        depth: number of decoder blocks of that model.
        second: `[d]`, the second direction of a planar edit.
        gate: acts only where it fires; always, where there is none.
        ranges: what is known of good coefficients, in `unit`, at most one per sign. No part of what the step does.
    """

    site: Site
    vector: Vector
    edit: Edit
    span: Span
    coefficient: float
    unit: Unit
    width: int
    depth: int
    second: Float[Tensor, "e"] | None = None
    gate: Gate | None = None
    ranges: tuple[Range, ...] = ()

    def check(self) -> None:
        """Return when the edit can take the coefficient, has its second direction, and the gate reads early enough.

        Raises:
            InputError: when not.
        """
        self.edit.check(self.coefficient)
        if not 0 < length(self.vector) < float("inf"):
            raise InputError(
                f"expected a vector of positive, finite length at {self.site}, got {length(self.vector):g}"
            )
        if self.edit.planar != (self.second is not None):
            raise InputError(
                f"expected a second direction for {self.edit.name!r}"
                if self.edit.planar
                else f"expected one direction for {self.edit.name!r}, got a second one"
            )
        if self.second is not None:
            if self.second.shape != self.vector.shape:
                raise MismatchError(
                    f"expected two directions of one width, got {len(self.vector)} and {len(self.second)}"
                )
            if abs(cosine(self.vector, self.second)) > PARALLEL:
                raise InputError("expected two directions that span a plane, got parallel ones")
        if self.gate is not None and self.site < self.gate.site:
            raise InputError(
                f"expected a gate that reads no later than its step acts ({self.site}), got one at {self.gate.site}"
            )

    def __repr__(self) -> str:
        behind = f", gate at {self.gate.site}" if self.gate else ""
        return f"{self.edit} at {self.site} over {self.span}, {self.coefficient:g} {self.unit}{behind}"

    @cached_property
    def what(self) -> bytes:
        """All that the step does but how strongly: steps equal in this add up."""
        made_for = f"{self.width}x{self.depth}"
        gate = self.gate.digest if self.gate else ""
        words = (str(self.site), repr(self.edit), str(self.span), self.unit, made_for, gate)
        content = hashlib.sha256("|".join(words).encode())
        for vector in (self.vector, self.second):
            content.update(b"|")
            if vector is not None:
                content.update(vector.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
        return content.digest()


@final
@dataclass(frozen=True, init=False, eq=False, repr=False)
class Plan:
    """A tuple of steps; plans add up, scale, and may differ from row to row of one batch.

    Steps that differ in nothing but their coefficient add up to one, so that `a - a` does nothing and `a + a` is
    `a.scaled(2)`, for every edit.

    Args:
        direction: one or several sites; every one of them becomes a step. `None` makes the empty plan.
        edit: how; `Add()` where not said.
        span: `all`, `prompt`, `generated`, `after_instruction`, `last`, `first(k)`, `positions(i,j)` or a `Span`;
            `-bos` behind it leaves a beginning-of-sequence token out.
        coefficient: how strongly, in `unit`; finite, for `Ablate` and `Clamp` a fraction from 0 to 1.
        unit: `norm` (fractions of the mean residual norm at each site) or `raw` (the papers' alpha).
        second: the second direction of a planar edit such as `Rotate`, with a vector at every site of the first.
        gate: acts only where it fires.

    Raises:
        InputError: for a coefficient that is not finite or that the edit cannot take, an unknown span or unit, a gate
            later than a step, or two directions that span no plane.
    """

    steps: tuple[Step, ...]

    def __init__(
        self,
        direction: Direction | None = None,
        edit: Edit | None = None,
        *,
        span: str | Span = "all",
        coefficient: float = 1.0,
        unit: str = "norm",
        second: Direction | None = None,
        gate: Gate | None = None,
    ) -> None:
        if edit is not None and not isinstance(edit, Edit):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"expected an edit such as Ablate(), got {edit!r}")
        tokens = Span.parse(span)
        if tokens.name == "end":
            raise InputError(
                "expected a span that is known while a text is being written, got 'end', which is for recording"
            )
        if unit not in UNITS:
            raise InputError(f"expected a unit among {', '.join(UNITS)}, got {unit!r}")
        coefficient = float(coefficient)
        if not abs(coefficient) < float("inf"):
            raise InputError(f"expected a finite coefficient, got {coefficient}")
        steps: list[Step] = []
        for site in direction.sites if direction else []:
            assert direction is not None
            raw = direction.vectors[site].to(torch.float32)
            vector = direction.units(site).to(torch.float32) * direction.norms[site] if unit == "norm" else raw
            other = None if second is None else second.at(site).vectors[site].to(torch.float32)
            width, depth = direction.origin.width, direction.origin.depth
            how = edit or Add()
            ranges = _ranges(direction, site, unit, how, tokens)
            step = Step(site, vector, how, tokens, coefficient, unit, width, depth, other, gate, ranges)
            step.check()
            steps.append(step)
        object.__setattr__(self, "steps", tuple(steps))

    @staticmethod
    def of(steps: Iterable[Step]) -> "Plan":
        """Return the plan of some steps, in their order, as they are."""
        plan = Plan()
        object.__setattr__(plan, "steps", tuple(steps))
        return plan

    def __eq__(self, other: object) -> bool:
        """Return whether both plans do the same."""
        return isinstance(other, Plan) and self.digest() == other.digest()

    def __hash__(self) -> int:
        """Return a hash that equal plans share."""
        return hash(self.digest())

    def __add__(self, other: "Plan") -> "Plan":
        """Return both plans' steps; where they meet, this plan's come first, and equal steps add up in its place."""
        return Plan.of(_summed((*self.steps, *other.steps)))

    def __neg__(self) -> "Plan":
        """Return the plan with every coefficient's sign turned."""
        return self.scaled(-1.0)

    def __sub__(self, other: "Plan") -> "Plan":
        """Return this plan and the other one turned round."""
        return self + -other

    def __mul__(self, factor: float) -> "Plan":
        """Return the plan with every coefficient times the factor; see `scaled`."""
        return self.scaled(factor)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.steps[:3]))
        return f"Plan({shown}{f', ... {len(self.steps)} steps' if len(self.steps) > 3 else ''})"

    def __iter__(self) -> Iterator[Step]:
        """Go through the steps."""
        return iter(self.steps)

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.steps)

    def scaled(self, factor: float) -> "Plan":
        """Return the plan with every coefficient times the factor.

        Raises:
            InputError: for a factor that is not finite, or makes a coefficient that is not.
        """
        scaled = tuple(replace(step, coefficient=step.coefficient * factor) for step in self.steps)
        if not all(abs(value) < float("inf") for value in (factor, *(step.coefficient for step in scaled))):
            raise InputError(f"expected a finite factor that leaves every coefficient finite, got {factor}")
        return Plan.of(scaled)

    def digest(self) -> str:
        """Return a sha256 over everything that the plan does: equal digests, equal effects. 64 hex digits."""
        content = hashlib.sha256()
        for step in self.steps:
            if step.coefficient != 0:
                content.update(step.what + repr(step.coefficient).encode())
        return content.hexdigest()

    def beyond(self, *others: "Plan") -> list[str]:
        """Return a sentence for every site where coefficients lie beyond what is known to leave coherent text.

        Args:
            others: further plans, such as those of a sweep; what they have in common is said once.

        Nothing is said where no range is known. What was found at a site alone is said of plans with more sites as
        well, which end coherence earlier if anything.
        """
        found: dict[Range, list[float]] = {}
        for step in (step for plan in (self, *others) for step in plan):
            for each in step.ranges:
                # What was found at several sites together is said once, of the first.
                first = replace(each, site=each.sites[0], beside=each.sites[1:])
                found.setdefault(first, []).append(step.coefficient)
        return [sentence for each, values in found.items() if (sentence := each.beyond(*values))]

    def describe(self) -> list[dict[str, Any]]:
        """Return the steps as plain data for tables and logs (without the vectors' numbers)."""
        return [
            {
                "site": str(step.site),
                **_settings(step.edit),
                "span": str(step.span),
                "coefficient": step.coefficient,
                "unit": step.unit,
                "length": length(step.vector) * abs(step.coefficient),
                **({"gate": str(step.gate.site), "gate_threshold": step.gate.threshold} if step.gate else {}),
            }
            for step in self.steps
        ]


def edit_words(edit: Edit) -> str:
    """Return an edit's name with its settings, such as `add` or `clamp(value=0.2, side=both)`; a range's `edit`."""
    settings = ", ".join(f"{name}={value}" for name, value in _settings(edit).items() if name != "edit")
    return f"{edit.name}({settings})" if settings else edit.name


def _ranges(direction: Direction, site: Site, unit: str, edit: Edit, span: Span) -> tuple[Range, ...]:
    """Return what is known of a step's coefficients: found at the same sites, else at this one alone.

    What breaks the text at one site breaks it with more besides.
    """
    if not direction.ranges:
        return ()
    beside = [other for other in direction.sites if other != site]
    found: list[Range] = []
    for sign in (1, -1):
        how = (site, sign, unit, edit_words(edit), str(span))
        known = direction.range_for(*how, beside=beside) or direction.range_for(*how)
        found += [known] if known else []
    return tuple(found)


def _summed(steps: Iterable[Step]) -> tuple[Step, ...]:
    merged: dict[bytes, Step] = {}
    for step in steps:
        held = merged.get(step.what)
        if held is not None:
            # What only the other one knows of good coefficients holds for the sum as well.
            step = replace(held, coefficient=held.coefficient + step.coefficient, ranges=held.ranges or step.ranges)
        merged[step.what] = step
    return tuple(merged.values())


def _settings(edit: Edit) -> dict[str, Any]:
    settings: dict[str, Any] = asdict(edit)  # type: ignore[call-overload]
    return {"edit": edit.name, **settings}
