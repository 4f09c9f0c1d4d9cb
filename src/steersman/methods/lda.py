"""Linear discriminant analysis: the mean difference, whitened by what varies within the classes."""

from dataclasses import dataclass
from typing import final

from steersman.activations import Recorded, Sides
from steersman.direction import Direction
from steersman.errors import InputError
from steersman.maths.shrinkage import whiten
from steersman.methods.fitting import Estimate, along, fit_sites
from steersman.where import Site


@final
@dataclass(frozen=True)
class LDA:
    """Fits the direction that separates the classes best relative to their spread, at every site.

    Formula: `w = C⁻¹ (mean(positive) - mean(negative))`, with `C = (1 - s) S + s (tr S / d) I`, S the covariance within
    the classes and s the shrinkage; `v = u (u . (mean(positive) - mean(negative)))` with `u = w / |w|`. Its raw length
    is the distance between the class means along u.

    Equivalent to Fisher's discriminant at s = 0, to `MeanDifference` at s = 1 but for its length, and to the Bayes
    classifier for two Gaussians of equal covariance.

    It fails as a vector to steer with where it succeeds as a detector: to read the concept it subtracts directions that
    merely correlate with it, and adding those to a model moves it away from its usual activations. It fails as a
    detector with few texts, when S is mostly noise; shrinkage helps, towards the mean difference. A few coordinates of
    massive variance raise `tr S` and with it the amount by which all others are shrunk: mask them first.

    Args:
        shrinkage: s, 0 to 1; estimated at each site by the formula of Ledoit and Wolf where not given. What was used is
            the diagnostic `shrinkage`.

    Raises:
        InputError: for a shrinkage out of range.

    References: Fisher (1936), "The use of multiple measurements in taxonomic problems"; Ledoit and Wolf (2004), "A
    well-conditioned estimator for large-dimensional covariance matrices"; Marks and Tegmark (2023), "The geometry of
    truth", section 5.1, for reading truth from activations so.
    """

    shrinkage: float | None = None

    def __post_init__(self) -> None:
        """Refuse what is not a share."""
        if self.shrinkage is not None and not 0 <= self.shrinkage <= 1:
            raise InputError(f"expected a shrinkage from 0 to 1, got {self.shrinkage}")

    def fit(self, activations: Recorded) -> Direction:
        """Return the direction, with the diagnostics of `fit_sites` and `shrinkage` by site.

        Args:
            activations: of pairs or of two corpora; moments with second moments will do.

        Returns:
            One raw float32 vector per site.

        Raises:
            InputError: for classes without spread, moments without second moments, equal means, or shrinkage 0 with too
                few texts.
        """
        words = "Ledoit-Wolf shrinkage" if self.shrinkage is None else f"shrinkage {self.shrinkage:g}"
        return fit_sites(activations, f"LDA, {words}", self._estimate)

    def _estimate(self, _: Site, sides: Sides) -> Estimate:
        whitened = whiten(sides.shift, [sides.positive, sides.negative], self.shrinkage)
        return Estimate(along(whitened.vector, sides), {"shrinkage": whitened.shrinkage})
