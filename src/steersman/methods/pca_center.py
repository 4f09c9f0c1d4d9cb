"""PCA about each pair's midpoint: the axis along which the pairs differ most."""

from dataclasses import dataclass
from typing import final

from steersman.activations import Recorded, Sides
from steersman.direction import Direction
from steersman.methods.fitting import Estimate, along, fit_sites, pairs_of
from steersman.where import Site


@final
@dataclass(frozen=True)
class PCACenter:
    """Fits the axis that holds most of the pair differences' energy, at every site.

    Formula: `u` = leading eigenvector of `sum d d'` over the differences `d = positive - negative`, their mean left in;
    `v = u (u . mean d)`. Its raw length is the distance between the class means along u, and its sign makes the
    positive mean project higher.

    Equivalent to PCA of all texts after subtracting each pair's midpoint, and to the `pca_center` of the package
    repeng. The closer to each other the differences are, the closer it comes to `MeanDifference`.

    It fails where pairs differ more along something else than along the concept: an unrelated axis of high variance
    (length, topic) takes the first place as soon as its energy exceeds that of the concept. Look at `vote_share`, which
    then falls towards 0.5. It needs pairs.

    References: Zou et al. (2023), "Representation engineering", section 3.1; Vogel (2024), the package repeng.
    """

    def fit(self, activations: Recorded) -> Direction:
        """Return the direction, with the diagnostics of `fit_sites` by site.

        Args:
            activations: of pairs; moments with second moments will do.

        Returns:
            One raw float32 vector per site.

        Raises:
            InputError: for corpora, moments without second moments, or pairs that do not differ.
        """
        return fit_sites(activations, "PCA of differences (pca_center)", _estimate)


def _estimate(_: Site, sides: Sides) -> Estimate:
    return Estimate(along(pairs_of(sides).axis(centred=False), sides))
