# torch's tolist is only partly typed.
# pyright: strict, reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""Simultaneous injection: each direction at its own site, with its own weight and one scale for all."""

import torch

from steersman.composition.frame import (
    Directions,
    Frame,
    Numbers,
    Places,
    check_numbers,
    check_something_left,
    numbers_for,
    places_of,
)
from steersman.composition.record import INTERFERENCE, Composition, composed
from steersman.maths.geometry import length
from steersman.plan import Plan
from steersman.where import Site, Span


def inject(
    directions: Directions,
    *,
    at: Places = None,
    weights: Numbers | None = None,
    scale: float = 1.0,
    unit: str = "norm",
    span: str | Span = "all",
    threshold: float = INTERFERENCE,
) -> Composition:
    """Return each direction added at its own site with its own weight, all times one scale.

    The plan is the sum of the single plans, so what is known of each one's coefficients still warns. An effect counts
    what is written into the residual stream at or before a direction's site, as if the blocks between passed it on.

    Args:
        directions: by name.
        at: a layer or site by name; or one for all, where each direction's own vector there is added: the fair
            comparison of one site with several. Not needed for directions with one site.
        weights: 1 where not given.
        scale: times all weights; not 0.
        unit: `norm` (fractions of the residual norm at each site) or `raw` (multiples of the fitted vectors).
        span: the tokens the plan acts on.
        threshold: size of a cosine, and share of an effect, from which on it is reported.

    Raises:
        InputError: for unknown names, numbers that are not finite, a site that a direction does not hold, or directions
            that cancel at theirs.
        MismatchError: for directions of different models.
    """
    check_numbers(scale, unit, threshold)
    places = places_of(directions, at)
    asked = scale * numbers_for(directions, weights, 1.0)
    plan = Plan()
    for (name, each), value in zip(directions.items(), asked.tolist(), strict=True):
        plan += Plan(each.at(places[name]), coefficient=value, unit=unit, span=span)
    frame = Frame.of(directions, places, unit)
    pushes: dict[Site, float] = {}
    for site in sorted(set(places.values())):
        here = [index for index, place in enumerate(frame.sites) if place == site]
        total = torch.stack([asked[i] * frame.lengths[i] * frame.units[i] for i in here]).sum(0)
        if parts := float((asked[here] * frame.lengths[here]).abs().sum()):  # a weight of 0 asks for nothing
            check_something_left(site, total, parts)
        norm = sum(directions[frame.names[i]].norms[site] for i in here) / len(here)
        pushes[site] = length(total) / norm
    return composed("simultaneous", unit, frame, asked, asked, threshold, plan, pushes)
