"""What every edit is: a pure function of hidden states, a direction and a coefficient."""

from typing import Protocol, runtime_checkable

from steersman.shapes import Float, Hidden, Tensor


@runtime_checkable
class Edit(Protocol):
    """Changes hidden states along a direction; never in place, position by position, row by row."""

    @property
    def name(self) -> str:
        """The edit's name in files and tables."""
        ...

    def __call__(
        self, hidden: Hidden, direction: Float[Tensor, "batch d"], coefficient: Float[Tensor, "batch"]
    ) -> Hidden:
        """Return edited hidden states.

        Args:
            hidden: `[batch, seq, d]` float32.
            direction: `[batch, d]` float32, one vector per row, at the length that coefficient 1 means.
            coefficient: `[batch]`, one per row.
        """
        ...
