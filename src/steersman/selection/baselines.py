"""Simple rules for a site, which look at the direction alone and measure nothing: what a causal rule has to beat."""

import math
from collections.abc import Callable

from steersman.direction import Direction
from steersman.errors import InputError
from steersman.maths.geometry import length
from steersman.selection.site import Candidate, Judged, SiteChoice, chosen_by
from steersman.where import Site, layer_at


def largest_norm(direction: Direction) -> SiteChoice:
    """Return the site where the vector is longest: the baseline of "the layer with the strongest direction".

    It is a baseline and no advice: residual norms grow with depth in every model, and vectors with them, so it takes a
    late layer whatever the behaviour is.

    Args:
        direction: with the sites to choose from.
    """
    return _by_property(
        direction, "largest norm", "length of the raw vector", lambda site: length(direction.vectors[site])
    )


def at_depth(direction: Direction, share: float = 0.4) -> SiteChoice:
    """Return the site nearest to a share of the depth: the baseline of a fixed rule of thumb.

    Args:
        direction: with the sites to choose from.
        share: of the depth, 0 to 1; 0.4 is the block `0.4 x layers`.

    Raises:
        InputError: for a share outside 0 to 1.
    """
    target = layer_at(float(share), direction.origin.depth)
    return _by_property(
        direction, f"{share:.0%} depth", "minus the layers between", lambda site: 0.0 - abs(site.layer - target)
    )


def best_auroc(direction: Direction) -> SiteChoice:
    """Return the site where held-out texts of the two sides lie furthest apart: the baseline of "the best probe".

    What can be read at a layer need not be what the model acts on: the separation is often perfect from an early layer
    on, and ties go to the earlier one.

    Args:
        direction: with the diagnostic `separation` at every site.

    Raises:
        InputError: for a direction without it.
    """
    found = direction.diagnostics.get("separation", {})
    missing = [str(site) for site in direction.sites if site not in found]
    if missing:
        raise InputError(
            f"expected a direction with the diagnostic separation at every site, got none at {', '.join(missing[:4])}; "
            "fit it to at least 4 pairs"
        )
    return _by_property(direction, "best AUROC", "AUROC of held-out halves", lambda site: found[site])


def _by_property(direction: Direction, rule: str, measure: str, merit: Callable[[Site], float]) -> SiteChoice:
    judged = [Judged(Candidate(site, math.nan), merit(site)) for site in direction.sites]
    return chosen_by(rule, measure, judged, lambda each: f"{each.merit:.3g}", f"the largest {measure}")
