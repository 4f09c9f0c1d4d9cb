"""Mean-centring: what a set of texts has beyond texts in general."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from steersman.activations import Recorded, Sides
from steersman.direction import Direction
from steersman.errors import MismatchError
from steersman.methods.fitting import Estimate, fit_sites
from steersman.shapes import Vector
from steersman.where import Site


@final
@dataclass(frozen=True, eq=False)
class CentredMean:
    """Fits the mean of the positive texts less the mean of texts in general, at every site.

    Formula: `v = mean(positive) - mean(neutral)`, in float64. Its raw length is the distance between the two.

    Activations do not lie about zero: a plain mean of texts is mostly the mean of all texts. Jorgensen et al. subtract
    the mean of a corpus that stands for the model's training data, and so does this, given its means. Without them the
    mean of all recorded texts stands in, and the method is equivalent to `MeanDifference` times the share of negative
    texts (one half of it for pairs): a direction of its own needs a neutral corpus.

    It fails when the neutral corpus differs from the positive texts in more than the concept (form, language, length),
    as it does more easily than the negative side of a pair. `explained_variance` and `separation` compare with the
    negative side even so.

    Args:
        neutral: `{site: [d]}` mean activations of a neutral corpus, read at the same sites and span as the texts; such
            as `moments.sides(site).negative.mean`.

    Reference: Jorgensen, Cope, Schoots and Shanahan (2023), "Improving activation steering in language models with
    mean-centring", section 3.
    """

    neutral: Mapping[Site, Vector] | None = None

    def fit(self, activations: Recorded) -> Direction:
        """Return the direction, with the diagnostics of `fit_sites` by site.

        Args:
            activations: of pairs or of two corpora; moments will do.

        Returns:
            One raw float32 vector per site.

        Raises:
            MismatchError: for a neutral corpus that lacks a site or has another width.
            InputError: when the two means are equal at a site.
        """
        words = "all texts" if self.neutral is None else "a neutral corpus"
        return fit_sites(activations, f"centred mean, less that of {words}", self._estimate)

    def _estimate(self, site: Site, sides: Sides) -> Estimate:
        positive, negative = sides.positive, sides.negative
        if self.neutral is None:
            share = negative.count / (positive.count + negative.count)
            return Estimate(share * sides.shift)
        if site not in self.neutral or self.neutral[site].shape != positive.mean.shape:
            raise MismatchError("expected the neutral corpus's mean of equal width; record it at the same sites")
        return Estimate(positive.mean - self.neutral[site].double())
