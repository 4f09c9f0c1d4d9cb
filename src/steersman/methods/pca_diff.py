"""PCA of mean-centred pair differences: kept for compatibility, because it removes what most users look for."""

from dataclasses import dataclass
from typing import final

from steersman.activations import Recorded, Sides
from steersman.direction import Direction
from steersman.methods.fitting import Estimate, along, fit_sites, pairs_of
from steersman.where import Site


@final
@dataclass(frozen=True)
class PCADiff:
    """Fits the axis along which the pair differences vary most about their mean, at every site.

    Formula: `u` = leading eigenvector of `sum (d - mean d)(d - mean d)'` over the differences `d = positive -
    negative`; `v = u (u . mean d)`. Its raw length is the distance between the class means along u, and its sign makes
    the positive mean project higher.

    Equivalent to the `pca_diff` of the package repeng, its default, up to the sign where the majority of pairs and the
    means disagree.

    It fails by design: the mean difference, which all pairs share, is subtracted before the axis is sought, so that the
    axis can be orthogonal to it and is then about how pairs differ from one another. It finds the concept where its
    strength varies from pair to pair more than anything else does. Its raw length says how much of the mean difference
    is left; prefer `MeanDifference` or `PCACenter`. It needs at least 2 pairs.

    References: Vogel (2024), the package repeng; ordinary PCA of differences as in Zou et al. (2023), "Representation
    engineering", section 3.1, but without the random order of each pair that keeps the mean in there.
    """

    def fit(self, activations: Recorded) -> Direction:
        """Return the direction, with the diagnostics of `fit_sites` by site.

        Args:
            activations: of pairs; moments with second moments will do.

        Returns:
            One raw float32 vector per site.

        Raises:
            InputError: for corpora, moments without second moments, or pairs that all differ alike.
        """
        return fit_sites(activations, "PCA of centred differences (pca_diff)", _estimate)


def _estimate(_: Site, sides: Sides) -> Estimate:
    return Estimate(along(pairs_of(sides, 2).axis(centred=True), sides))
