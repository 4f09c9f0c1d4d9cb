"""The mean difference: the estimator to start from, and the best detector in the field's benchmarks."""

from dataclasses import dataclass
from typing import final

from steersman.activations import Recorded
from steersman.direction import Direction
from steersman.methods.fitting import Estimate, fit_sites


@final
@dataclass(frozen=True)
class MeanDifference:
    """Fits the difference between the two class means, at every site.

    Formula: `v = mean(positive) - mean(negative)`, in float64. Its raw length is the distance between the means.

    Equivalent to the mean of the pair differences, to the least-squares regression of centred activations on a balanced
    label, and to LDA with the identity as covariance.

    It fails when the classes differ in something besides the concept (length, topic, position): the difference holds
    that as well. Its raw length grows with depth, so lengths must not be compared between layers.

    References: Marks and Tegmark (2023), "The geometry of truth", section 5; Arditi et al. (2024), "Refusal in language
    models is mediated by a single direction", section 2.3; Panickssery et al. (2023), "Steering Llama 2 via contrastive
    activation addition", section 3.
    """

    def fit(self, activations: Recorded) -> Direction:
        """Return the direction, with the diagnostics of `fit_sites` by site.

        Args:
            activations: of pairs or of two corpora; moments will do.

        Returns:
            One raw float32 vector per site.

        Raises:
            InputError: when the means are equal at a site.
        """
        return fit_sites(activations, "mean difference", lambda _, sides: Estimate(sides.shift))
