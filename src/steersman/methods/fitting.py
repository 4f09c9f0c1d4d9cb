"""What all methods share: the loop over sites, the sign and length of an axis, and the diagnostics of a fit.

A method is one function from the two sides at a site to a vector. Everything else is done here, so that every method's
diagnostics mean the same and come from the same method fitted again to each half of the pairs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch

from steersman.activations import Activations, Recorded, Sides
from steersman.direction import Direction
from steersman.errors import InputError
from steersman.maths.geometry import auroc, cosine, length, massive_share, unit
from steersman.maths.samples import Sample, Stored
from steersman.shapes import Float, Tensor, Vector
from steersman.where import Site

LEAST = 4
"""Texts a side below which halves say nothing, so that the diagnostics that need them are left out."""

ROUNDING = 1e-12
"""Share of a length below which what float64 leaves of it is rounding."""

MASSIVE_COUNT = 2
MASSIVE_SHARE = 0.20
"""Share of the energy in so many coordinates above which a vector may follow massive activations more than the concept:
van der Weij et al. (2024) saw 0.56 to 0.93 in early layers, where unlike concepts came out alike and alike ones
opposed."""

MASSIVE_WIDTH = 128
"""Vectors narrower than this are not warned of: in few coordinates, two hold a fifth of the energy by chance."""


class Method(Protocol):
    """What every estimator is: a frozen value whose fit turns activations into a direction."""

    def fit(self, activations: Recorded) -> Direction:
        """Return one vector per site, with diagnostics."""
        ...


@dataclass(frozen=True)
class Estimate:
    """What a method found at one site.

    Args:
        vector: `[d]` float64.
        figures: further diagnostics by name.
    """

    vector: Vector
    figures: dict[str, float] = field(default_factory=dict[str, float])


Estimator = Callable[[Site, Sides], Estimate]


def fit_sites(activations: Recorded, method: str, estimate: Estimator) -> Direction:
    """Return the direction that a method finds at every site, with its diagnostics.

    Args:
        activations: stored activations, or moments where the method works from them.
        method: its name and settings, in words.
        estimate: the method at one site.

    Returns:
        One raw float32 vector per site, and diagnostics by site:

        * `massive_share`: energy share of the vector's 2 largest coordinates, 0 to 1;
        * `explained_variance`: share of the second moment of the differences (of corpora, of all cross pairs) that lies
          along the vector, 0 to 1;
        * `vote_share`: share of the pairs (of corpora, cross pairs) whose positive text projects higher, 0 to 1, ties
          counting half;
        * `separation`: AUROC of each half's texts along the vector fitted to the other half, averaged, 0 to 1;
        * `split_half_cosine`: between the vectors fitted to the halves, -1 to 1.

        The last two need 4 texts a side; `vote_share` and `separation` need stored activations, `explained_variance`
        second moments. A half in which the method finds nothing counts as separation 0.5 and cosine 0.
    """
    vectors: dict[Site, Vector] = {}
    diagnostics: dict[str, dict[Site, float]] = {}
    for site in activations.sites:
        sides = activations.sides(site)
        try:
            found = estimate(site, sides)
        except InputError as error:
            raise type(error)(f"{method} at {site}: {error}") from None
        vectors[site] = found.vector.float()
        if not length(vectors[site]) > 0:
            continue  # refused below, in the words that every direction is refused with
        figures = _figures(found.vector, sides) | _stability(activations, site, estimate) | found.figures
        for name, value in figures.items():
            diagnostics.setdefault(name, {})[site] = value
    return Direction(vectors, activations.norms, activations.origin, method, diagnostics)


def along(axis: Vector, sides: Sides) -> Vector:
    """Return the part of the mean difference that lies along an axis: `u (u . shift)`, signed and as long as that is.

    Args:
        axis: `[d]` float64, of any length and sign.
        sides: whose means are compared.

    Raises:
        InputError: when the means do not differ along it at all.
    """
    way = unit(axis)
    reach = float(way @ sides.shift)
    if not abs(reach) > ROUNDING * length(sides.shift):
        raise InputError("expected classes whose means differ along the axis found, got equal ones; try MeanDifference")
    return way * reach


def pairs_of(sides: Sides, least: int = 1) -> Sample:
    """Return the pair differences.

    Args:
        sides: both sides at a site.
        least: pairs needed.

    Raises:
        InputError: for corpora, or too few pairs.
    """
    if sides.differences is None:
        raise InputError(
            "expected pairs, got two corpora whose texts do not belong together two by two; use mean_difference, "
            "logistic, lda or centred_mean, or LAT(pairing='random')"
        )
    if sides.differences.count < least:
        raise InputError(f"expected at least {least} pairs, got {sides.differences.count}")
    return sides.differences


def rows_of(sides: Sides) -> tuple[Float[Tensor, "p d"], Float[Tensor, "m d"]]:
    """Return both sides' rows, in float64.

    Raises:
        InputError: for moments, which have none.
    """
    if not isinstance(sides.positive, Stored) or not isinstance(sides.negative, Stored):
        raise InputError("expected stored activations, got moments, which hold no single text; record with record()")
    return sides.positive.rows, sides.negative.rows


def massive_warning(direction: Direction) -> str | None:
    """Return a sentence where two coordinates hold more than a fifth of a vector's energy; `None` where none does."""
    shares = {
        site: massive_share(vector, MASSIVE_COUNT)
        for site, vector in direction.vectors.items()
        if len(vector) >= MASSIVE_WIDTH
    }
    above = sorted(site for site, share in shares.items() if share > MASSIVE_SHARE)
    if not above:
        return None
    worst = max(above, key=lambda site: shares[site])
    names = ", ".join(map(str, above[:6])) + (f" and {len(above) - 6} more" if len(above) > 6 else "")
    return (
        f"{MASSIVE_COUNT} coordinates hold more than {MASSIVE_SHARE:.0%} of the vector's energy (its squared length) "
        f"at {names} (most at {worst}: {shares[worst]:.0%}): there it may follow massive activations more than the "
        "concept; set them to zero with .masked(), or average over more tokens"
    )


def _figures(vector: Vector, sides: Sides) -> dict[str, float]:
    figures = {"massive_share": massive_share(vector, MASSIVE_COUNT)}
    way = unit(vector)
    explained = _explained(way, sides)
    if explained is not None:
        figures["explained_variance"] = explained
    if isinstance(sides.positive, Stored) and isinstance(sides.negative, Stored):
        if isinstance(sides.differences, Stored):
            signs = torch.sign(sides.differences.rows @ way)
            figures["vote_share"] = float((signs + 1).mean() / 2)
        else:
            figures["vote_share"] = auroc(sides.positive.rows @ way, sides.negative.rows @ way)
    return figures


def _explained(way: Vector, sides: Sides) -> float | None:
    samples = (sides.positive, sides.negative) if sides.differences is None else (sides.differences,)
    if any(not sample.has_second for sample in samples):
        return None
    if sides.differences is not None:
        part, whole = sides.differences.along(way), sides.differences.energy
    else:
        # Over all cross pairs: E[(x - y)(x - y)'] = E[xx'] + E[yy'] - E[x]E[y]' - E[y]E[x]'.
        plus, minus = sides.positive.mean, sides.negative.mean
        part = sum(sample.along(way) for sample in samples) - 2 * float((plus @ way) * (minus @ way))
        whole = sum(sample.energy for sample in samples) - 2 * float(plus @ minus)
    return min(1.0, max(0.0, part / whole)) if whole > 0 else None


def _stability(activations: Recorded, site: Site, estimate: Estimator) -> dict[str, float]:
    halves = activations.halves(site)
    if sum(half.count for half in halves) < LEAST:
        return {}
    stored = isinstance(activations, Activations)
    try:
        vectors = [estimate(site, half).vector for half in halves]
    except InputError:
        vectors = []
    if not vectors or not all(length(vector) > 0 for vector in vectors):
        return {"split_half_cosine": 0.0} | ({"separation": 0.5} if stored else {})
    figures = {"split_half_cosine": cosine(*vectors)}
    if stored:
        scores = [_separation(vector, half) for vector, half in zip(vectors, halves[::-1], strict=True)]
        figures["separation"] = sum(scores) / 2
    return figures


def _separation(vector: Vector, sides: Sides) -> float:
    positive, negative = rows_of(sides)
    return auroc(positive @ vector, negative @ vector)
