"""What every edit is: a pure function of hidden states, a direction and a coefficient."""

from typing import ClassVar, Protocol, runtime_checkable

from steersman.errors import InputError
from steersman.maths.geometry import lengths
from steersman.shapes import Float, Hidden, Tensor

Directions = Float[Tensor, "batch d"]
Coefficients = Float[Tensor, "batch"]


@runtime_checkable
class Edit(Protocol):
    """Changes hidden states along a direction; never in place, position by position, row by row.

    An edit is a frozen dataclass: equal ones, of the same settings, act together on the rows of a batch. Coefficient 0
    is the identity for every edit.
    """

    name: ClassVar[str]
    """The edit's name in files and tables."""

    planar: ClassVar[bool]
    """Whether it needs a second direction."""

    def check(self, coefficient: float) -> None:
        """Return when the coefficient is one the edit can take.

        Raises:
            InputError: when it is out of range.
        """
        ...

    def __call__(
        self, hidden: Hidden, direction: Directions, coefficient: Coefficients, second: Directions | None = None
    ) -> Hidden:
        """Return edited hidden states.

        Args:
            hidden: `[batch, seq, d]` float32.
            direction: `[batch, d]` float32, one vector per row, at the length that coefficient 1 means; never zero.
            coefficient: `[batch]`, one per row.
            second: `[batch, d]`, the second direction of a planar edit.
        """
        ...


def check_fraction(name: str, coefficient: float) -> None:
    """Return when a coefficient is a fraction.

    Raises:
        InputError: when it is not from 0 to 1.
    """
    if not 0 <= coefficient <= 1:
        raise InputError(
            f"expected a fraction from 0 to 1 as the coefficient of {name!r}, got {coefficient:g}; "
            "equal steps of a plan add up, so take one that stands twice out"
        )


def units(direction: Directions) -> Directions:
    """Return every row's direction at length 1."""
    return direction / lengths(direction)[:, None]


def projections(hidden: Hidden, unit: Directions) -> Float[Tensor, "batch seq 1"]:
    """Return how far hidden states reach along a row's unit direction."""
    return hidden @ unit[:, :, None]
