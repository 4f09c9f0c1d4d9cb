"""Making ready directions: fit to the pairs, then let the project's own selection find the place and the range.

The positive sign chooses the site; at that site the negative sign is searched as well, so that one vector has a range
on both sides. Everything is chosen on validation prompts. What the test prompts say is `prove`'s to tell.
"""

from collections.abc import Callable

from steersman.errors import InputError
from steersman.methods import MeanDifference
from steersman.model.loaded import Model
from steersman.ready.concepts import CONCEPTS
from steersman.ready.loading import Ready, ready_of
from steersman.recording import record
from steersman.selecting import select
from steersman.selection.budget import Budget

Notify = Callable[[str, int, int], None]
"""Called with a stage's name, items done and items in all."""


def make(
    model: Model,
    name: str,
    *,
    budget: Budget | str | None = None,
    limit: int | None = None,
    notify: Notify | None = None,
) -> Ready:
    """Return a ready direction made for a model: at the chosen site, with a range on both sides.

    It holds the other sites that were considered as well, each with what the search found there.

    Args:
        model: the model.
        name: one of `names()`.
        budget: the most that steering may cost; the concept's own where not given.
        limit: at most so many prompts of every measure.
        notify: progress.

    Raises:
        InputError: for another name, or where nothing keeps rule and budget and shows an effect.
    """
    concept = CONCEPTS.get(name)
    if concept is None:
        raise InputError(f"expected a ready direction among {', '.join(CONCEPTS)}, got {name!r}")
    tell = notify or (lambda *_: None)
    pairs = concept.pairs()
    done = 0

    def read(count: int) -> None:
        nonlocal done
        done += count
        tell(f"{name}: read", done, 2 * len(pairs))

    limits = budget or concept.budget
    acts = record(
        model, pairs, span=concept.span, opening_tokens=concept.opening, layers=concept.layers or None, notify=read
    )
    direction = MeanDifference().fit(acts)
    up = select(
        model,
        direction,
        budget=limits,
        target=concept.aim(direction, 1, limit),
        limit=limit,
        confirm=False,
        notify=lambda stage, at, total: tell(f"{name}: {stage} +", at, total),
    )
    if up.chosen is None:
        raise InputError(f"expected a place where {name} shows on {model.name}, got none: {up.reason}")
    at = direction.at(up.best.site)
    down = select(
        model,
        at,
        budget=limits,
        target=concept.aim(at, -1, limit),
        sites=at.sites,
        sign=-1,
        limit=limit,
        confirm=False,
        notify=lambda stage, at, total: tell(f"{name}: {stage} -", at, total),
    )
    # Those of the chosen site first: where nobody says where to act, the first is taken.
    ranges = sorted((*up.ranges, *down.ranges), key=lambda each: each.site != up.best.site)
    return ready_of(name, up.direction.with_ranges(*ranges))
