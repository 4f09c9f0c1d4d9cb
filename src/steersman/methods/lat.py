"""Linear artificial tomography: PCA of differences whose order, or partner, is drawn at random."""

from dataclasses import dataclass
from typing import Literal, final, get_args

import torch

from steersman.activations import Recorded, Sides
from steersman.direction import Direction
from steersman.errors import InputError
from steersman.maths.spectrum import leading_axis
from steersman.methods.fitting import Estimate, along, fit_sites, pairs_of, rows_of
from steersman.shapes import Rows
from steersman.where import Site

Pairing = Literal["pairs", "random"]


@final
@dataclass(frozen=True)
class LAT:
    """Fits the first principal component of differences in random order, at every site; labels give its sign alone.

    Formula: `d = s (a - b)` with a random sign s for every pair (a, b); `u` = leading eigenvector of the covariance of
    the d about their mean; `v = u (u . (mean(positive) - mean(negative)))`. Its raw length is the distance between the
    class means along u, and its sign makes the positive mean project higher.

    Equivalent to `PCACenter` as the number of pairs grows: random order makes the mean that PCA subtracts vanish. With
    random partners it is ordinary PCA of all texts in the limit, and finds the concept without pairs or labels if
    nothing else varies more.

    It fails as `PCACenter` does, on an unrelated axis of high variance, with random partners far sooner, because the
    texts' topics no longer cancel. With few pairs it depends on the seed; look at `split_half_cosine`.

    Args:
        seed: of the order and the partners; the same for every site.
        pairing: `pairs`, each text with its own partner; `random`, all texts of both sides two by two as they come.

    Raises:
        InputError: for another word.

    Reference: Zou et al. (2023), "Representation engineering", section 3.1 and appendix C.
    """

    seed: int = 0
    pairing: Pairing = "pairs"

    def __post_init__(self) -> None:
        """Refuse another pairing."""
        if self.pairing not in get_args(Pairing):
            raise InputError(f"expected a pairing among {', '.join(get_args(Pairing))}, got {self.pairing!r}")

    def fit(self, activations: Recorded) -> Direction:
        """Return the direction, with the diagnostics of `fit_sites` by site.

        Args:
            activations: stored ones, of pairs; of corpora with random pairing.

        Returns:
            One raw float32 vector per site.

        Raises:
            InputError: for moments, corpora without random pairing, or fewer than 2 differences.
        """
        words = f"LAT, {'random pairs' if self.pairing == 'random' else 'own pairs'}, seed {self.seed}"
        return fit_sites(activations, words, self._estimate)

    def _estimate(self, _: Site, sides: Sides) -> Estimate:
        rows = self._differences(sides)
        if len(rows) < 2:
            raise InputError(f"expected at least 2 differences, got {len(rows)}")
        return Estimate(along(leading_axis(rows - rows.mean(0)), sides))

    def _differences(self, sides: Sides) -> Rows:
        positive, negative = rows_of(sides)
        generator = torch.Generator().manual_seed(self.seed)
        if self.pairing == "random":
            texts = torch.cat([positive, negative])
            texts = texts[torch.randperm(len(texts), generator=generator)][: len(texts) // 2 * 2]
            return texts[0::2] - texts[1::2]
        pairs_of(sides)
        flips = torch.randint(2, (len(positive), 1), generator=generator) * 2 - 1
        return (positive - negative) * flips
