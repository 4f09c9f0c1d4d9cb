"""Figures of a direction that need no model: lengths, the diagnostics of its fit, cosines."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from steersman.activations import Origin
from steersman.direction import Direction
from steersman.errors import InputError, MismatchError
from steersman.maths.geometry import cosine, length, massive_share
from steersman.methods import massive_warning
from steersman.shapes import Vector
from steersman.where import Site


@dataclass(frozen=True)
class SiteFigures:
    """What is known of a direction at one site; `None` where nothing is.

    Args:
        site: where it was read.
        vector_norm: length of the raw vector, in the activations' units.
        residual_norm: mean norm of the activations there, in the same units.
        separation: held-out AUROC, 0 to 1 (cross-fitted: each half of the texts along the other half's vector); 0.5
            tells nothing apart.
        split_half_cosine: between the vectors of two halves of the data, -1 to 1.
        vote_share: share of the pairs whose positive text projects higher, 0 to 1; of the very texts fitted to.
        explained_variance: share of the differences' second moment along the vector, 0 to 1.
        massive_share: share of the squared length in the 2 largest coordinates, 0 to 1.
        next_cosine: to the vector at the same point of the next layer held, -1 to 1.
    """

    site: Site
    vector_norm: float
    residual_norm: float
    separation: float | None
    split_half_cosine: float | None
    vote_share: float | None
    explained_variance: float | None
    massive_share: float
    next_cosine: float | None

    @property
    def ratio(self) -> float:
        """Length of the vector as a fraction of the residual norm: the coefficient in `norm` units that 1 `raw` is."""
        return self.vector_norm / self.residual_norm


@dataclass(frozen=True)
class Inspection:
    """A direction in figures.

    Args:
        method: how it was fitted.
        origin: the model and the data.
        sites: the figures, in the order of computation.
        warning: a sentence where two coordinates hold so much of a vector's energy that it may follow massive
            activations more than the concept; `None` where not, and for vectors narrower than 128.
    """

    method: str
    origin: Origin
    sites: tuple[SiteFigures, ...]
    warning: str | None


@dataclass(frozen=True)
class Cosines:
    """A square of cosines.

    Args:
        names: of the rows and of the columns.
        values: `values[i][j]` between the i-th and the j-th, -1 to 1.
    """

    names: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Comparison:
    """How alike several directions are.

    Args:
        names: of the directions.
        by_site: their cosines at every site that all of them hold.
    """

    names: tuple[str, ...]
    by_site: Mapping[Site, Cosines]


def inspect_direction(direction: Direction) -> Inspection:
    """Return the figures of a direction, site by site."""
    after = {
        one: two
        for held in _by_stream(direction).values()
        for one, two in pairwise(held)
        # Lengths differ where a model's layers do: then there is no angle.
        if direction.vectors[one].shape == direction.vectors[two].shape
    }

    def known(name: str, site: Site) -> float | None:
        return direction.diagnostics.get(name, {}).get(site)

    rows = tuple(
        SiteFigures(
            site=site,
            vector_norm=length(direction.vectors[site].double()),
            residual_norm=direction.norms[site],
            separation=known("separation", site),
            split_half_cosine=known("split_half_cosine", site),
            vote_share=known("vote_share", site),
            explained_variance=known("explained_variance", site),
            massive_share=massive_share(direction.vectors[site]),
            next_cosine=cosine(direction.vectors[site], direction.vectors[after[site]]) if site in after else None,
        )
        for site in direction.sites
    )
    return Inspection(direction.method, direction.origin, rows, massive_warning(direction))


def layer_cosines(direction: Direction) -> Cosines:
    """Return the cosines between the direction's own sites in the residual stream's space, heads left out.

    High values around the diagonal say that neighbouring layers found one and the same direction; a block says over
    which layers it lives.
    """
    sites = [site for site in direction.sites if site.head is None]
    return _cosines({str(site): direction.vectors[site] for site in sites})


def compare(directions: Mapping[str, Direction]) -> Comparison:
    """Return the cosines between several directions at every site that all of them hold.

    Their interference when added together can be read off: what is anti-parallel works against each other.

    Args:
        directions: by name, two or more, for one width and depth.

    Raises:
        InputError: for fewer than two, or no site in common.
        MismatchError: for directions of models of other shapes.

    Sources: van der Weij et al. (2024), "Extending activation steering to broad skills and multiple behaviours", where
    the cosines foretell which behaviours disturb each other.
    """
    if len(directions) < 2:
        raise InputError(f"expected two directions or more to compare, got {len(directions)}")
    first, *others = directions.values()
    for name, other in directions.items():
        if (other.origin.width, other.origin.depth) != (first.origin.width, first.origin.depth):
            raise MismatchError(
                f"expected directions for width {first.origin.width} and {first.origin.depth} layers, got {name} for "
                f"width {other.origin.width} and {other.origin.depth} layers; compare directions of one model"
            )
    common = [site for site in first.sites if all(site in other.vectors for other in others)]
    if not common:
        raise InputError(f"expected a site that all of {', '.join(directions)} hold, got none")
    for site in common:
        widths = {len(each.vectors[site]) for each in directions.values()}
        if len(widths) > 1:
            raise MismatchError(f"expected vectors of one width at {site}, got {', '.join(map(str, sorted(widths)))}")
    return Comparison(
        tuple(directions),
        {site: _cosines({name: each.vectors[site] for name, each in directions.items()}) for site in common},
    )


def _cosines(vectors: Mapping[str, Vector]) -> Cosines:
    held = list(vectors.values())
    return Cosines(tuple(vectors), tuple(tuple(cosine(one, two) for two in held) for one in held))


def _by_stream(direction: Direction) -> dict[tuple[str, int | None], list[Site]]:
    """Return the sites by point and head, each list by layer."""
    grouped: dict[tuple[str, int | None], list[Site]] = {}
    for site in direction.sites:
        grouped.setdefault((site.point, site.head), []).append(site)
    return grouped
