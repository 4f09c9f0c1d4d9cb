"""Clamping: the projection on the direction is set to a value."""

from dataclasses import dataclass
from typing import ClassVar, Literal, final, get_args

import torch

from steersman.edits.edit import Coefficients, Directions, check_fraction, projections, units
from steersman.errors import InputError
from steersman.maths.geometry import lengths
from steersman.shapes import Hidden

Side = Literal["both", "above", "below"]


@final
@dataclass(frozen=True)
class Clamp:
    """Moves the projection on the direction to a value; the coefficient is the share of the way, 1 all of it.

    Formula: `h' = h + f (a |v| - h . r) r` with `r = v / |v|` and `|v|` the length that the plan's unit gives: the
    value is a fraction of the mean residual norm in `norm` units, a multiple of the fitted vector in `raw` units.
    `Clamp(0)` is ablation. It fails where positions differ much in norm, since all get the same projection (a text's
    first token often has tens of times the norm of others: leave it out with the span `all-bos`).

    Args:
        value: where the projection goes to.
        side: `both`; `above`, only where the projection is larger (a cap); `below`, only where it is smaller (a floor).

    References: the feature clamping of Templeton et al. (2024), "Scaling monosemanticity"; capping as in Lu et al.
    (2026), "The assistant axis".
    """

    value: float = 0.0
    side: str = "both"
    name: ClassVar[str] = "clamp"
    planar: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse a value that is none."""
        object.__setattr__(self, "value", float(self.value))
        if not abs(self.value) < float("inf"):
            raise InputError(f"expected a finite value to clamp to, got {self.value}")
        if self.side not in get_args(Side):
            raise InputError(f"expected a side among {', '.join(get_args(Side))}, got {self.side!r}")

    def check(self, coefficient: float) -> None:
        """Return when the coefficient is a fraction."""
        check_fraction(self.name, coefficient)

    def __call__(
        self, hidden: Hidden, direction: Directions, coefficient: Coefficients, second: Directions | None = None
    ) -> Hidden:
        """Return `hidden` with its projection moved towards the value, where the side says so."""
        unit = units(direction)
        gap = self.value * lengths(direction)[:, None, None] - projections(hidden, unit)
        if self.side == "above":
            gap = torch.clamp(gap, max=0)
        elif self.side == "below":
            gap = torch.clamp(gap, min=0)
        return hidden + coefficient[:, None, None] * gap * unit[:, None, :]
