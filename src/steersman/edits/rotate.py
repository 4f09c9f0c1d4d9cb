"""Rotation: hidden states turn within the plane of two directions; their length stays."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch

from steersman.edits.edit import Coefficients, Directions, projections, units
from steersman.errors import InputError
from steersman.shapes import Hidden


@final
@dataclass(frozen=True)
class Rotate:
    """Turns the component in the plane of two directions by an angle, from the first towards the second.

    Formula: with `e1 = v / |v|` and `e2` the second direction made orthogonal to e1 and of length 1, `x = h . e1`,
    `y = h . e2` and `t` the angle times the coefficient,
    `h' = h + (x cos t - y sin t - x) e1 + (x sin t + y cos t - y) e2`.
    An orthogonal map: norms and angles between positions stay, and angles at one plane add up. It fails when h hardly
    reaches into the plane, which leaves little to turn, and is undefined for parallel directions.

    Args:
        degrees: the angle that coefficient 1 means.

    References: Vu and Nguyen (2025), "Angular steering".
    """

    degrees: float = 90.0
    name: ClassVar[str] = "rotate"
    planar: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse an angle that is none."""
        object.__setattr__(self, "degrees", float(self.degrees))
        if not abs(self.degrees) < float("inf"):
            raise InputError(f"expected a finite angle in degrees, got {self.degrees}")

    def check(self, coefficient: float) -> None:
        """Return: every finite coefficient will do."""

    def __call__(
        self, hidden: Hidden, direction: Directions, coefficient: Coefficients, second: Directions | None = None
    ) -> Hidden:
        """Return `hidden`, turned within the plane of the row's two directions."""
        if second is None:
            raise InputError("expected a second direction to rotate towards, got none")
        one = units(direction)
        two = units(second)
        two = units(two - (two * one).sum(-1, keepdim=True) * one)
        angle = (coefficient * math.radians(self.degrees))[:, None, None]
        x, y = projections(hidden, one), projections(hidden, two)
        along = x * (torch.cos(angle) - 1) - y * torch.sin(angle)
        across = x * torch.sin(angle) + y * (torch.cos(angle) - 1)
        return hidden + along * one[:, None, :] + across * two[:, None, :]
