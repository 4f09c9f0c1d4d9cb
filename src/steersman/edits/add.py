"""Activation addition: the residual stream plus a multiple of the direction."""

from dataclasses import dataclass
from typing import final

from steersman.shapes import Float, Hidden, Tensor


@final
@dataclass(frozen=True)
class Add:
    """Adds `coefficient x direction` at every position of the span.

    Formula: `h' = h + c v`. Equivalent to a bias of the block's output that is on only in the span. It fails when c |v|
    approaches |h|: the text then falls apart.

    References: Turner et al. (2023), "Activation addition"; Panickssery et al. (2023).
    """

    name: str = "add"

    def __call__(
        self, hidden: Hidden, direction: Float[Tensor, "batch d"], coefficient: Float[Tensor, "batch"]
    ) -> Hidden:
        """Return `hidden + coefficient x direction`, each row with its own vector and strength."""
        return hidden + (coefficient[:, None] * direction)[:, None, :]
