# torch's tolist is only partly typed.
# pyright: strict, reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""One vector of several directions: by mean or sum, orthogonalised, or with joint coefficients."""

import hashlib
from dataclasses import replace
from typing import Any, Literal, get_args

from steersman.activations import Origin
from steersman.composition.frame import (
    CANCELLED,
    Directions,
    Each,
    Frame,
    Numbers,
    Place,
    Square,
    check_numbers,
    check_something_left,
    common_site,
    numbers_for,
    sites_in_common,
)
from steersman.composition.record import INTERFERENCE, Composition, composed
from steersman.direction import Direction
from steersman.errors import InputError
from steersman.maths.geometry import length
from steersman.maths.orthogonal import dependent, gram_schmidt, reaching, symmetric
from steersman.plan import Plan
from steersman.shapes import Vector
from steersman.where import Site, Span

Way = Literal["mean", "sum", "gram-schmidt", "symmetric", "solve"]
WAYS: tuple[Way, ...] = get_args(Way)
"""The ways to make one vector of several."""


def compose(
    directions: Directions,
    way: str = "sum",
    *,
    at: Place | None = None,
    weights: Numbers | None = None,
    targets: Numbers | None = None,
    scale: float = 1.0,
    unit: str = "norm",
    span: str | Span = "all",
    most: float | None = None,
    threshold: float = INTERFERENCE,
) -> Composition:
    """Return several directions made one vector at one site, with what it is predicted to do to each of them.

    Args:
        directions: by name, in the order in which Gram-Schmidt goes through them.
        way: `mean`, `sum`, `gram-schmidt` (the first keeps all of itself), `symmetric` (each stays as near to itself as
            can be; no order decides) or `solve` (joint coefficients that reach the targets, by least squares).
        at: a layer or site that all of them hold; not needed where they share but one.
        weights: of any way but `solve`; 1 where not given.
        targets: of `solve`, the effect on each direction's own axis, in `unit`; 0 where not given: not to be moved.
        scale: times all weights or targets; not 0.
        unit: `norm` (fractions of the residual norm at the site) or `raw` (multiples of the fitted vectors).
        span: the tokens the plan acts on.
        most: of `solve`, the greatest length of the vector, as a fraction of the mean residual norm in both units.
        threshold: size of a cosine, and share of an effect, from which on it is reported.

    Raises:
        InputError: for unknown names, numbers that are not finite, directions that share no such site, that cancel, or,
            where they are to be orthogonal, are linearly dependent.
        MismatchError: for directions of different models.
    """
    if way not in WAYS:
        raise InputError(f"expected a way among {', '.join(WAYS)}, got {way!r}")
    if (way == "solve") != (targets is not None) or (way == "solve" and weights is not None):
        raise InputError("expected targets with the way 'solve', and weights with any other, got them otherwise")
    if most is not None and way != "solve":
        raise InputError(f"expected a bound on the length with the way 'solve', got it with {way!r}")
    check_numbers(scale, unit, threshold, most)
    site = common_site(directions, at)
    given = numbers_for(directions, targets, 0.0) if targets is not None else numbers_for(directions, weights, 1.0)
    if way == "mean":
        given = given / given.abs().sum()
    norm = sum(each.norms[site] for each in directions.values()) / len(directions)
    frame = Frame.of(directions, dict.fromkeys(directions, site), unit)
    bound = None if most is None else most * norm / abs(scale)
    share = _coefficients(frame, way, given, bound)
    vector = ((share * frame.lengths)[:, None] * frame.rows).sum(0)
    if way == "solve":
        _check_reached(site, vector, frame.lengths * given, bound)
    check_something_left(site, vector, float((share * frame.lengths).abs().sum()))
    said = ", ".join(f"{name} {value:g}" for name, value in zip(directions, given.tolist(), strict=True))
    one = Direction(
        {site: vector.float()}, {site: norm}, _origin(directions), f"{way} of {said} in {unit} units of each"
    )
    strength = scale if unit == "raw" else scale * length(vector.float()) / norm
    plan = Plan(one, coefficient=strength, unit=unit, span=span)
    push = {site: abs(scale) * length(vector) / norm}
    return composed(way, unit, frame, scale * given, scale * share, threshold, plan, push, one)


def combined(directions: Directions, way: str = "sum", **how: Any) -> Direction:
    """Return several directions made one at every site that all of them hold: a vector per site, each for itself.

    Its `raw` coefficient 1 adds what the weights or targets say, at every site. It has no ranges, since it is another
    vector; `select` finds them as for any direction.

    Args:
        directions: by name.
        way: as in `compose`.
        how: `weights`, `targets`, `unit` and `most`, as in `compose`; `scale` counts only beside `most`, which bounds
            the vector at that scale.

    Raises:
        InputError: as `compose`.
        MismatchError: for directions of different models.
    """
    sites = sites_in_common(directions)
    made = (compose(directions, way, at=site, **how).direction for site in sites)
    found = [each for each in made if each is not None]
    return replace(
        found[0],
        vectors={site: each.vectors[site] for site, each in zip(sites, found, strict=True)},
        norms={site: each.norms[site] for site, each in zip(sites, found, strict=True)},
    )


def orthogonalised(directions: Directions, way: str = "symmetric") -> dict[str, Direction]:
    """Return directions at right angles to each other at every site that all of them hold, each as long as it was.

    Args:
        directions: by name, in the order in which Gram-Schmidt goes through them.
        way: `gram-schmidt` or `symmetric`.

    Raises:
        InputError: for directions that are linearly dependent at a site, or share none.
        MismatchError: for directions of different models.
    """
    if way not in ("gram-schmidt", "symmetric"):
        raise InputError(f"expected the way gram-schmidt or symmetric, got {way!r}")
    sites = sites_in_common(directions)
    vectors: dict[str, dict[Site, Vector]] = {name: {} for name in directions}
    for site in sites:
        frame = Frame.of(directions, dict.fromkeys(directions, site), "raw")
        rows = _mixing(frame, way) @ frame.rows * frame.lengths[:, None]
        for name, row in zip(directions, rows, strict=True):
            vectors[name][site] = row.float()
    return {
        name: replace(
            each,
            vectors=vectors[name],
            norms={site: each.norms[site] for site in sites},
            method=f"{each.method}, {way} among {', '.join(directions)}",
            diagnostics={},
            ranges=(),
        )
        for name, each in directions.items()
    }


def _coefficients(frame: Frame, way: str, given: Each, most: float | None) -> Each:
    """Return the coefficients at scale 1 of the directions as they are, whose sum is the combined vector."""
    if way == "solve":
        return reaching(frame.cosines, frame.lengths, given, most)
    if way in ("mean", "sum"):
        return given
    return _mixing(frame, way).T @ (given * frame.lengths) / frame.lengths


def _check_reached(site: Site, vector: Vector, wanted: Each, most: float | None) -> None:
    """Return when the least-squares answer is more than the rounding that targets leave which contradict each other.

    Args:
        site: where.
        vector: the answer, at scale 1.
        wanted: the lengths that the targets ask for, one by one.
        most: the bound on the vector's length, if any.

    Raises:
        InputError: when not.
    """
    asked = float(wanted.abs().max())
    if not length(vector) > CANCELLED * (asked if most is None else min(asked, most)):
        raise InputError(
            f"expected targets that can be met together at {site}, got ones of dependent directions that contradict "
            "each other, so that the best answer is nothing; turn a sign or leave one direction out"
        )


def _mixing(frame: Frame, way: str) -> Square:
    """Return the matrix that makes the unit vectors orthonormal."""
    if which := dependent(frame.cosines):
        names = [frame.names[index] for index in which]
        between = f", cosine {frame.cosines[which[0], which[1]]:+.6f}" if len(which) == 2 else ""
        raise InputError(
            f"expected linearly independent directions at {frame.sites[0]} to orthogonalise, got "
            f"{' and '.join(names)}, which are not{between}; leave one of them out, or use sum, mean or solve"
        )
    return gram_schmidt(frame.cosines) if way == "gram-schmidt" else symmetric(frame.cosines)


def _origin(directions: Directions) -> Origin:
    """Return where a combined direction comes from: the same model, all the data.

    What was read says `all` where the directions were read over different tokens, as it does where nobody knows.
    """
    origins = [each.origin for each in directions.values()]
    spans, templates = ({getattr(each, name) for each in origins} for name in ("span", "template"))
    known = next((each for each in origins if each.revision), origins[0])
    data = hashlib.sha256("|".join(each.data for each in origins).encode()).hexdigest()
    return replace(
        known,
        template=templates.pop() if len(templates) == 1 else "",
        span=spans.pop() if len(spans) == 1 else "all",
        data=data,
        n=sum(each.n for each in origins),
    )
