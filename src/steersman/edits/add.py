"""Activation addition: the residual stream plus a multiple of the direction."""

from dataclasses import dataclass
from typing import ClassVar, final

from steersman.edits.edit import Coefficients, Directions
from steersman.shapes import Hidden


@final
@dataclass(frozen=True)
class Add:
    """Adds `coefficient x direction` at every position of the span.

    Formula: `h' = h + c v`. Equivalent to a bias of the block's output that is on only in the span. It fails when
    `c |v|` approaches `|h|`: the text then falls apart.

    References: Turner et al. (2023), "Activation addition"; Panickssery et al. (2023).
    """

    name: ClassVar[str] = "add"
    planar: ClassVar[bool] = False

    def check(self, coefficient: float) -> None:
        """Return: every finite coefficient will do."""

    def __call__(
        self, hidden: Hidden, direction: Directions, coefficient: Coefficients, second: Directions | None = None
    ) -> Hidden:
        """Return `hidden + coefficient x direction`, each row with its own vector and strength."""
        return hidden + (coefficient[:, None] * direction)[:, None, :]
