"""A plan: what is done to the model, as plain values. Direction x edit x span x coefficient, once per step."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, final, get_args

import torch

from steersman.direction import Direction
from steersman.edits import Add, Edit
from steersman.errors import InputError
from steersman.maths.geometry import length
from steersman.shapes import Vector
from steersman.where import Site, SpanName, check_span

Unit = Literal["norm", "raw"]
UNITS: tuple[Unit, ...] = get_args(Unit)


@dataclass(frozen=True)
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
    """

    site: Site
    vector: Vector
    edit: Edit
    span: SpanName
    coefficient: float
    unit: Unit
    width: int
    depth: int


@final
@dataclass(frozen=True, init=False)
class Plan:
    """A tuple of steps; plans add up, scale, and may differ from row to row of one batch.

    Args:
        direction: one or several sites; every one of them becomes a step. `None` makes the empty plan.
        edit: how; `Add()` where not said.
        span: `all`, `prompt`, `generated` or `last`.
        coefficient: how strongly, in `unit`; finite.
        unit: `norm` (fractions of the mean residual norm at each site) or `raw` (the papers' alpha).

    Raises:
        InputError: for a coefficient that is not finite, an unknown span or unit.
    """

    steps: tuple[Step, ...]

    def __init__(
        self,
        direction: Direction | None = None,
        edit: Edit | None = None,
        *,
        span: str = "all",
        coefficient: float = 1.0,
        unit: str = "norm",
    ) -> None:
        span = check_span(span)
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
            steps.append(
                Step(
                    site,
                    vector,
                    edit or Add(),
                    span,
                    coefficient,
                    unit,
                    direction.origin.width,
                    direction.origin.depth,
                )
            )
        object.__setattr__(self, "steps", tuple(steps))

    def __add__(self, other: "Plan") -> "Plan":
        """Return both plans' steps; where they meet, this plan's come first."""
        return _with_steps((*self.steps, *other.steps))

    def __neg__(self) -> "Plan":
        """Return the plan with every coefficient's sign turned."""
        return self.scaled(-1.0)

    def __sub__(self, other: "Plan") -> "Plan":
        """Return this plan and the other one turned round."""
        return self + -other

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
        return _with_steps(scaled)

    def digest(self) -> str:
        """Return a sha256 over everything that the plan does: equal digests, equal effects. 64 hex digits."""
        content = hashlib.sha256()
        for step in self.steps:
            words = (str(step.site), step.edit.name, step.span, step.unit, repr(step.coefficient))
            content.update("|".join(words).encode())
            content.update(step.vector.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
        return content.hexdigest()

    def describe(self) -> list[dict[str, Any]]:
        """Return the steps as plain data for tables and logs (without the vectors' numbers)."""
        return [
            {
                "site": str(step.site),
                "edit": step.edit.name,
                "span": step.span,
                "coefficient": step.coefficient,
                "unit": step.unit,
                "length": length(step.vector) * abs(step.coefficient),
            }
            for step in self.steps
        ]


def _with_steps(steps: tuple[Step, ...]) -> Plan:
    plan = Plan()
    object.__setattr__(plan, "steps", steps)
    return plan
