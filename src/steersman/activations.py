"""What was read: the activations of both sides of every pair, at every site, with where they came from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from steersman.errors import InputError, MismatchError
from steersman.maths.samples import Sample, Stored, Summed
from steersman.shapes import Float, Rows, Tensor, Vector
from steersman.where import Site


@dataclass(frozen=True)
class Origin:
    """Where activations, and the directions fitted to them, come from.

    Args:
        model: name of the model.
        revision: hash of its weights.
        template: sha256 of its chat template, empty without one.
        width: model width d.
        depth: number of decoder blocks.
        span: the tokens that were averaged, as `Span.parse` reads it.
        data: sha256 of the pairs.
        n: number of pairs.
    """

    model: str
    revision: str
    template: str
    width: int
    depth: int
    span: str
    data: str
    n: int


@dataclass(frozen=True)
class Sides:
    """Both sides of a contrast at one site, stored or summed: all that an estimator sees.

    Args:
        positive: the one side.
        negative: the other.
        differences: positive minus negative, pair by pair; of corpora there are none.
    """

    positive: Sample
    negative: Sample
    differences: Sample | None

    @property
    def shift(self) -> Vector:
        """The `[d]` float64 difference between the two means."""
        return self.differences.mean if self.differences else self.positive.mean - self.negative.mean

    @property
    def count(self) -> int:
        """Number of texts on the smaller side."""
        return min(self.positive.count, self.negative.count)


@dataclass(frozen=True, repr=False)
class Activations:
    """Activations of `n` pairs, or of two corpora, at every recorded site.

    Args:
        positive: `{site: [n, d]}` float32, row i from pair i.
        negative: the same for the other side; of corpora it may have another number of rows.
        norms: `{site: mean L2 norm of the activations there}`, over all tokens of both sides but each text's first
            (which many models use as an attention sink of enormous norm).
        origin: where they come from.
        paired: whether row i of both sides belongs together; of corpora it does not.

    Raises:
        MismatchError: when the two sides or the sites do not fit together.
    """

    positive: Mapping[Site, Float[Tensor, "n _"]]
    negative: Mapping[Site, Float[Tensor, "m _"]]
    norms: Mapping[Site, float]
    origin: Origin
    paired: bool = True

    def __post_init__(self) -> None:
        """Refuse sides that do not fit together."""
        if not (set(self.positive) == set(self.negative) == set(self.norms)):
            raise MismatchError("expected the same sites on both sides and in the norms")
        for site, rows in self.positive.items():
            other = self.negative[site]
            if rows.shape[1] != other.shape[1] or (self.paired and len(rows) != len(other)):
                raise MismatchError(
                    f"expected equal shapes at {site}, got {tuple(rows.shape)} and {tuple(self.negative[site].shape)}"
                )

    def __repr__(self) -> str:
        kind = "pairs" if self.paired else "positive texts"
        return f"Activations({self.origin.model}, {self.origin.n} {kind}, {len(self.positive)} sites)"

    @property
    def sites(self) -> list[Site]:
        """The recorded sites, in order of depth."""
        return sorted(self.positive)

    def subset(self, rows: slice) -> "Activations":
        """Return the activations of some of the pairs; norms and the data's hash stay those of all."""
        return Activations(
            {site: values[rows] for site, values in self.positive.items()},
            {site: values[rows] for site, values in self.negative.items()},
            self.norms,
            replace(self.origin, n=len(range(self.origin.n)[rows])),
            self.paired,
        )

    def differences(self, site: Site) -> Rows:
        """Return `[n, d]` positive minus negative, pair by pair, in float64.

        Raises:
            InputError: for corpora, whose texts do not belong together.
        """
        if not self.paired:
            raise InputError("expected pairs, got two corpora whose texts do not belong together two by two")
        return self.positive[site].to(torch.float64) - self.negative[site].to(torch.float64)

    def sides(self, site: Site, rows: slice = slice(None)) -> Sides:
        """Return both sides at a site in float64, or some of their rows.

        Args:
            site: one that was recorded.
            rows: which pairs; of corpora, which texts of each.
        """
        positive, negative = (side[site][rows].to(torch.float64) for side in (self.positive, self.negative))
        differences = Stored(positive - negative) if self.paired else None
        return Sides(Stored(positive), Stored(negative), differences)

    def halves(self, site: Site) -> tuple[Sides, Sides]:
        """Return the even and the odd pairs at a site; of corpora, texts."""
        return self.sides(site, slice(0, None, 2)), self.sides(site, slice(1, None, 2))


@dataclass(frozen=True, repr=False)
class Moments:
    """Sums over the activations of `n` pairs, or of two corpora, in place of the activations: as large for any n.

    The even and the odd pairs (of corpora, texts) are kept apart, so that a method can be fitted to each half.

    Args:
        even: `{site: sums over pairs 0, 2, 4, ...}`.
        odd: the same over the others.
        norms: mean L2 norms, as in `Activations`.
        origin: where they come from.

    Raises:
        MismatchError: when the halves and the norms do not hold the same sites.
    """

    even: Mapping[Site, Sides]
    odd: Mapping[Site, Sides]
    norms: Mapping[Site, float]
    origin: Origin

    def __post_init__(self) -> None:
        """Refuse halves that do not fit together."""
        if not (set(self.even) == set(self.odd) == set(self.norms)):
            raise MismatchError("expected the same sites in both halves and in the norms")

    @staticmethod
    def of(activations: Activations, *, second: bool = True) -> "Moments":
        """Return the sums over activations that are stored.

        Args:
            activations: of pairs or corpora.
            second: keep second moments, three `[d, d]` float64 matrices a site and half.
        """
        even: dict[Site, Sides] = {}
        odd: dict[Site, Sides] = {}
        for site in activations.sites:
            for half, sides in zip((even, odd), activations.halves(site), strict=True):
                half[site] = empty_sides(sides.shift.shape[0], paired=activations.paired, second=second)
                assert isinstance(sides.positive, Stored)
                assert isinstance(sides.negative, Stored)
                add_rows(half[site], sides.positive.rows, sides.negative.rows)
        return Moments(even, odd, activations.norms, activations.origin)

    def __repr__(self) -> str:
        return f"Moments({self.origin.model}, n = {self.origin.n}, {len(self.even)} sites)"

    @property
    def sites(self) -> list[Site]:
        """The recorded sites, in order of depth."""
        return sorted(self.even)

    @property
    def paired(self) -> bool:
        """Whether the sums are over pairs."""
        return all(sides.differences is not None for sides in self.even.values())

    def sides(self, site: Site) -> Sides:
        """Return both sides at a site, over all pairs."""
        even, odd = self.even[site], self.odd[site]
        differences = _sum(even.differences, odd.differences) if even.differences and odd.differences else None
        return Sides(_sum(even.positive, odd.positive), _sum(even.negative, odd.negative), differences)

    def halves(self, site: Site) -> tuple[Sides, Sides]:
        """Return the even and the odd pairs at a site; of corpora, texts."""
        return self.even[site], self.odd[site]


Recorded = Activations | Moments
"""What a method is fitted to."""


def empty_sides(width: int, *, paired: bool, second: bool) -> Sides:
    """Return sums of nothing yet, for vectors of width d."""
    positive, negative, differences = (Summed(width, second) for _ in range(3))
    return Sides(positive, negative, differences if paired else None)


def add_rows(sides: Sides, positive: Float[Tensor, "p d"] | None, negative: Float[Tensor, "m d"] | None) -> None:
    """Add `[n, d]` rows to the sums of either side; of pairs, to both and to their differences."""
    for sample, rows in ((sides.positive, positive), (sides.negative, negative)):
        assert isinstance(sample, Summed)
        if rows is not None:
            sample.add(rows)
    if sides.differences is not None:
        assert isinstance(sides.differences, Summed)
        assert positive is not None
        assert negative is not None
        sides.differences.add(positive.double() - negative.double())


def _sum(one: Sample, other: Sample) -> Summed:
    assert isinstance(one, Summed)
    assert isinstance(other, Summed)
    return one + other
