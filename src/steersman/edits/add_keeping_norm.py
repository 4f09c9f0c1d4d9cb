"""Activation addition that turns the residual stream and leaves its length."""

from dataclasses import dataclass
from typing import ClassVar, final

from steersman.edits.edit import Coefficients, Directions
from steersman.maths.geometry import lengths
from steersman.shapes import Hidden


@final
@dataclass(frozen=True)
class AddKeepingNorm:
    """Adds `coefficient x direction` and sets every position back to the norm it had.

    Formula: `h' = |h| (h + c v) / |h + c v|`. Equivalent to `Add` for all that reads the stream through a normalisation
    without mean (RMSNorm); what later blocks add then weighs as much as before. It fails where c v cancels h, which
    leaves no direction to keep: such a position stays as it was.

    References: the norm-preserving addition of repeng (Vogel, 2024; `normalize=True`).
    """

    name: ClassVar[str] = "add_keeping_norm"
    planar: ClassVar[bool] = False

    def check(self, coefficient: float) -> None:
        """Return: every finite coefficient will do."""

    def __call__(
        self, hidden: Hidden, direction: Directions, coefficient: Coefficients, second: Directions | None = None
    ) -> Hidden:
        """Return the sum at the length of `hidden`, position by position."""
        moved = hidden + (coefficient[:, None] * direction)[:, None, :]
        before, after = (lengths(each)[..., None] for each in (hidden, moved))
        gone = after <= 1e-6 * before
        return hidden.where(gone, moved * (before / after.masked_fill(gone, 1.0)))
