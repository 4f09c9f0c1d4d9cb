"""Directional ablation: what lies along the direction is taken out."""

from dataclasses import dataclass
from typing import ClassVar, final

from steersman.edits.edit import Coefficients, Directions, check_fraction, projections, units
from steersman.shapes import Hidden


@final
@dataclass(frozen=True)
class Ablate:
    """Removes a fraction of the component along the direction; 1 removes it all.

    Formula: `h' = h - f (h . r) r` with `r = v / |v|`; the length of v and the plan's unit play no part. At f = 1 it is
    idempotent and the orthogonal projection; done to all that writes to the stream, it is the same as weights
    orthogonalised against r. It fails when the direction carries more than the concept, since all of it goes: mean
    ablation (`Clamp` to the mean of neutral texts) keeps the average. Over the span `all` it also takes the part along
    the direction out of a text's first token, which many models need as an attention sink: `all-bos` spares it.

    References: Arditi et al. (2024), section 2.4; Ravfogel et al. (2020) for the projection.
    """

    name: ClassVar[str] = "ablate"
    planar: ClassVar[bool] = False

    def check(self, coefficient: float) -> None:
        """Return when the coefficient is a fraction."""
        check_fraction(self.name, coefficient)

    def __call__(
        self, hidden: Hidden, direction: Directions, coefficient: Coefficients, second: Directions | None = None
    ) -> Hidden:
        """Return `hidden` without the fraction of its component along the direction."""
        unit = units(direction)
        return hidden - coefficient[:, None, None] * projections(hidden, unit) * unit[:, None, :]
