"""The mean difference: the estimator to start from, and the best detector in the field's benchmarks."""

from dataclasses import dataclass
from typing import final

import torch

from steersman.activations import Activations
from steersman.direction import Direction
from steersman.maths.geometry import auroc, cosine, length
from steersman.where import Site


@final
@dataclass(frozen=True)
class MeanDifference:
    """Fits the difference between the two class means, at every site.

    Formula: `v = mean(positive) - mean(negative)`, in float64.

    Equivalent to the mean of the pair differences, to the least-squares regression of centred activations on a balanced
    label, and to LDA with the identity as covariance.

    It fails when the classes differ in something besides the concept (length, topic, position): the difference holds
    that as well. Its raw length grows with depth, so lengths must not be compared between layers.

    References: Marks and Tegmark (2023), "The geometry of truth", section 5; Arditi et al. (2024), "Refusal in language
    models is mediated by a single direction", section 2.3; Panickssery et al. (2023), "Steering Llama 2 via contrastive
    activation addition", section 3.
    """

    def fit(self, activations: Activations) -> Direction:
        """Return the direction, with held-out separation and split-half cosine as diagnostics by site.

        Args:
            activations: `{site: [n, d]}` of both sides.

        Returns:
            One raw float32 vector per site. Diagnostics: `separation` (AUROC in [0, 1] of each half's examples along
            the other half's direction, averaged) and `split_half_cosine` (in [-1, 1]), where n >= 4.
        """
        vectors = {site: activations.differences(site).mean(0).float() for site in activations.sites}
        separation: dict[Site, float] = {}
        stability: dict[Site, float] = {}
        if activations.origin.n >= 4:
            for site in activations.sites:
                separation[site], stability[site] = _halves(activations, site)
        diagnostics = {"separation": separation, "split_half_cosine": stability} if separation else {}
        return Direction(vectors, activations.norms, activations.origin, "mean difference", diagnostics)


def _halves(activations: Activations, site: Site) -> tuple[float, float]:
    even, odd = activations.differences(site)[::2].mean(0), activations.differences(site)[1::2].mean(0)
    if not length(even) > 0 or not length(odd) > 0:
        return 0.5, 0.0
    scores: list[float] = []
    for vector, rows in ((even, slice(1, None, 2)), (odd, slice(0, None, 2))):
        positive = activations.positive[site][rows].to(torch.float64) @ vector
        negative = activations.negative[site][rows].to(torch.float64) @ vector
        scores.append(auroc(positive, negative))
    return sum(scores) / 2, cosine(even, odd)
