# torch's tolist is only partly typed.
# pyright: strict, reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""Directions beside each other: at which sites they meet, how long they are there, and what lies between them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from steersman.direction import Direction
from steersman.errors import InputError, MismatchError
from steersman.maths.geometry import length
from steersman.maths.orthogonal import cosines_between
from steersman.plan import UNITS
from steersman.shapes import Float, Tensor
from steersman.where import Site

CANCELLED = 1e-6
"""Share of the lengths added up below which what is left of a sum is rounding."""

LARGEST = 1e15
"""Size of a weight or target above which sums would leave float32."""

Place = int | float | Site
Places = Place | Mapping[str, Place] | None
Directions = Mapping[str, Direction]
Numbers = Mapping[str, float]
Square = Float[Tensor, "k k"]
Each = Float[Tensor, "k"]
Loose = Float[Tensor, "_"]
"""A vector as wide as its site: a head's output is narrower than the stream."""


@dataclass(frozen=True)
class Frame:
    """Several directions, each at one site.

    Args:
        names: of the directions.
        sites: where each is taken.
        units: `[d]` float64 each, at length 1.
        lengths: `[k]` float64, what coefficient 1 adds, in the units of the activations.
        cosines: `[k, k]` float64; NaN where two sites share no basis.
    """

    names: tuple[str, ...]
    sites: tuple[Site, ...]
    units: tuple[Loose, ...]
    lengths: Each
    cosines: Square

    @staticmethod
    def of(directions: Directions, places: Mapping[str, Site], unit: str) -> "Frame":
        """Return the frame of directions at a site each, in a unit."""
        vectors = [each.vectors[places[name]].double() for name, each in directions.items()]
        norms = [each.norms[places[name]] for name, each in directions.items()]
        own = [length(vector) for vector in vectors]
        sites = tuple(places[name] for name in directions)
        return Frame(
            tuple(directions),
            sites,
            tuple(vector / size for vector, size in zip(vectors, own, strict=True)),
            torch.tensor(norms if unit == "norm" else own, dtype=torch.float64),
            _cosines(vectors, sites),
        )

    @property
    def effects(self) -> Square:
        """What coefficient 1 of direction i does to the axis of j, at `[j, i]`, in coefficients of j.

        What is added downstream of a direction's site does not reach it, nor what shares no basis with it.
        """
        reach = torch.tensor([[_reaches(source, target) for source in self.sites] for target in self.sites])
        return torch.where(reach, self.cosines * self.lengths / self.lengths[:, None], 0.0)

    @property
    def rows(self) -> Float[Tensor, "k d"]:
        """The unit vectors as `[k, d]` float64, of directions at one site."""
        return torch.stack(self.units)


def check_alike(directions: Directions) -> None:
    """Return when directions were made for one model.

    Where a file does not say the revision of its weights, width and depth have to do.

    Raises:
        InputError: for no direction.
        MismatchError: for another width, depth or revision of the weights.
    """
    if not directions:
        raise InputError("expected at least one direction, got none")
    (first, one), *others = directions.items()
    for name, other in others:
        a, b = one.origin, other.origin
        if (a.width, a.depth) != (b.width, b.depth):
            raise MismatchError(
                f"expected directions of one model, got {first} of width {a.width} and {a.depth} layers ({a.model}), "
                f"and {name} of width {b.width} and {b.depth} layers ({b.model})"
            )
    known = [(name, each.origin) for name, each in directions.items() if each.origin.revision]
    for name, origin in known[1:]:
        before, there = known[0]
        if origin.revision != there.revision:
            raise MismatchError(
                f"expected directions fitted on the same weights, got {before} of {there.model}, revision "
                f"{there.revision[:12]}, and {name} of {origin.model}, revision {origin.revision[:12]}; "
                "fit them on one model"
            )


def check_numbers(scale: float, unit: str, threshold: float, most: float | None = None) -> None:
    """Return when a composition's own numbers can be used.

    Raises:
        InputError: when not.
    """
    check_unit(unit)
    if most is not None and not most > 0:
        raise InputError(f"expected a length above 0 as the bound, got {most:g}")
    if not 0 < abs(scale) < math.inf:
        raise InputError(f"expected a finite scale other than 0, got {scale}")
    if not 0 < threshold < math.inf:
        raise InputError(f"expected a threshold above 0, got {threshold}")


def check_unit(unit: str) -> None:
    """Return when a unit is one; an InputError says which there are."""
    if unit not in UNITS:
        raise InputError(f"expected a unit among {', '.join(UNITS)}, got {unit!r}")


def numbers_for(directions: Directions, given: Numbers | None, usual: float) -> Each:
    """Return a number for each direction, in their order, float64.

    Args:
        directions: by name.
        given: numbers by name.
        usual: for those that have none.

    Raises:
        InputError: for a name that no direction has, a number that is not finite or too large, or nothing but zeros.
    """
    if unknown := [name for name in given or {} if name not in directions]:
        raise InputError(f"expected a name among {', '.join(directions)}, got {unknown[0]!r}")
    values = [float((given or {}).get(name, usual)) for name in directions]
    if not all(math.isfinite(value) for value in values) or not any(values):
        raise InputError(
            f"expected finite numbers, not all of them 0, for {', '.join(directions)}, "
            f"got {', '.join(f'{value:g}' for value in values)}"
        )
    if (largest := max(map(abs, values))) > LARGEST:
        raise InputError(f"expected numbers of at most {LARGEST:g} in size, got {largest:g}")
    return torch.tensor(values, dtype=torch.float64)


def check_something_left(site: Site, vector: Loose, parts: float) -> None:
    """Return when something is left of vectors that were added up.

    Args:
        site: where.
        vector: their sum.
        parts: their lengths added up.

    Raises:
        InputError: when what is left is rounding, which has a length but no meaning.
    """
    if not length(vector) > CANCELLED * parts:
        raise InputError(f"expected directions that leave something when added at {site}, got ones that cancel")


def sites_in_common(directions: Directions) -> list[Site]:
    """Return the sites that all directions hold, in order of depth.

    Raises:
        InputError: where there is none.
        MismatchError: for directions of different models.
    """
    check_alike(directions)
    first, *others = directions.values()
    shared = [site for site in first.sites if all(site in other.vectors for other in others)]
    if not shared:
        raise InputError(f"expected directions with a site in common, got none; {_held(directions)}")
    return shared


def common_site(directions: Directions, at: Place | None = None) -> Site:
    """Return the one site of that place which all directions hold.

    Args:
        directions: by name.
        at: a layer or a site; not needed where they share but one.

    Raises:
        InputError: where one of them does not hold it, or several sites are meant.
        MismatchError: for directions of different models.
    """
    shared = sites_in_common(directions)
    if at is not None:
        meant = [set(with_name(name, each, at).sites) for name, each in directions.items()]
        shared = [site for site in shared if all(site in sites for sites in meant)]
    if len(shared) != 1:
        came = (
            f"{len(shared)}, such as {shared[0]} and {shared[1]}; name one" if shared else f"none; {_held(directions)}"
        )
        raise InputError(f"expected directions with one site in common{'' if at is None else f' at {at}'}, got {came}")
    return shared[0]


def places_of(directions: Directions, at: Places) -> dict[str, Site]:
    """Return each direction's site.

    Args:
        directions: by name.
        at: a place for each by name; one for all; or none, for directions with one site each.

    Raises:
        InputError: for an unknown name, or a place that is not one site of its direction.
        MismatchError: for directions of different models.
    """
    check_alike(directions)
    if at is not None and not isinstance(at, Mapping):
        return dict.fromkeys(directions, common_site(directions, at))
    named: Mapping[str, Place] = at or {}
    if unknown := [name for name in named if name not in directions]:
        raise InputError(f"expected a name among {', '.join(directions)}, got {unknown[0]!r}")
    found: dict[str, Site] = {}
    for name, each in directions.items():
        held = with_name(name, each, named[name]) if name in named else each
        if len(held.sites) != 1:
            raise InputError(f"expected one site for {name}, got {len(held.sites)}; name one, such as {held.sites[0]}")
        found[name] = held.sites[0]
    return found


def with_name(name: str, direction: Direction, place: Place) -> Direction:
    """Return a direction at a place; where it does not hold it, the error says which direction it is."""
    try:
        return direction.at(place)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def gram_matrix(directions: Directions, at: Places = None, *, unit: str = "norm") -> Square:
    """Return the inner products between directions at the length that coefficient 1 means, float64.

    Args:
        directions: by name.
        at: as in `inject`.
        unit: `norm` or `raw`.

    Between sites that share no basis (a head's output and anything else) they are NaN.

    Raises:
        InputError: for a place that is not one site of a direction, or an unknown unit.
        MismatchError: for directions of different models.
    """
    check_unit(unit)
    frame = Frame.of(directions, places_of(directions, at), unit)
    return frame.cosines * frame.lengths[:, None] * frame.lengths


def cosine_matrix(directions: Directions, at: Places = None) -> Square:
    """Return the cosines between directions, float64; arguments as in `gram_matrix`."""
    return Frame.of(directions, places_of(directions, at), "norm").cosines


def _held(directions: Directions) -> str:
    return "; ".join(f"{name} holds {', '.join(map(str, each.sites[:6]))}" for name, each in directions.items())


def _reaches(source: Site, target: Site) -> bool:
    """Return whether what is added at a site is still there, to first order, where another one is read."""
    if source == target:
        return True
    stream = target.point in ("resid_pre", "resid_post")
    return stream and source.head is None and source < target


def _cosines(vectors: Sequence[Loose], sites: Sequence[Site]) -> Square:
    """Return the cosines; a head's output has a basis of its own, all else that of the residual stream."""
    bases = [site if site.head is not None else None for site in sites]
    found = torch.full((len(vectors), len(vectors)), math.nan, dtype=torch.float64)
    for basis in set(bases):
        same = torch.tensor([index for index, each in enumerate(bases) if each == basis])
        widths = sorted({len(vectors[index]) for index in same.tolist()})
        if len(widths) > 1:  # of the stream, a direction checks its own
            raise MismatchError(
                f"expected directions of one model, got vectors of widths {widths[0]} and {widths[1]} at {basis}"
            )
        found[same[:, None], same] = cosines_between(torch.stack([vectors[index] for index in same.tolist()]))
    return found
